"""Under compute-sanitizer every array gets memory of its own: inside CuPy's pool no access is seen to be beside it."""

import os

from scratchnet.device import find_cupy

if os.environ.get("SCRATCHNET_NO_POOL") and find_cupy() is not None:
    find_cupy().cuda.set_allocator(None)
