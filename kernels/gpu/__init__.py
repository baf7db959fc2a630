"""Kernels for CuPy arrays: CUDA C++ in cuda/, compiled on first use. Importing this package registers their launchers.

Neither this nor anything below it imports CuPy before the first launch.
"""

from . import conv, copies, elementwise, ladder, losses, norm, optim, pool
