"""Kernels for NumPy arrays, compiled by Numba. Importing this package registers them.

With NUMBA_DISABLE_JIT set there is nothing to compile them, and every call runs the reference.
"""

import numba

if not numba.config.DISABLE_JIT:
    from . import dense, columns, depthwise, narrow, planes, winograd, overlap  # isort: skip - before conv: the first that supports and pays runs
    from . import conv, elementwise, losses, matmul, norm, optim, pool
    from . import ladder  # isort: skip - last: for those who ask
