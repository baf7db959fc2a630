"""Kernels for NumPy arrays, compiled by Numba. Importing this package registers them."""

from . import conv, norm, optim, pool
