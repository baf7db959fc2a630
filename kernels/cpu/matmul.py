"""Matrix product as a convolution of 1 x 1 images, so that large ones run on the tile and in the kernels' threads.

BLAS has threads of its own, which go on spinning for a while after each product and take the cores from ours: a
training step of the CNN on two cores took 91 ms with OpenBLAS's two threads and 40 ms with one. They also make the
rounding depend on the number of threads.
"""

from .. import reference
from .conv import conv2d

_BLAS_LIMIT = 1 << 18  # multiply-adds up to which OpenBLAS stays on the calling thread (interface/gemm.c)


def _is_large(a, b):
    small = a.ndim == b.ndim == 2 and a.size * b.shape[1] <= _BLAS_LIMIT
    return f"up to {_BLAS_LIMIT} multiply-adds BLAS starts faster, and needs one thread" if small else True


@reference.matmul.implementation("tile", pays=_is_large)
def matmul(a, b):
    reference.check_matmul(a.shape, b.shape)
    return conv2d(a[:, :, None, None], b.T[:, :, None, None])[:, :, 0, 0]
