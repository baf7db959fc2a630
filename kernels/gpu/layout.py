"""Between the contract's arrays and what CUDA kernels want: channels last, without gaps."""

TYPES = ("float", "double")


def ctype(dtype):
    """The C++ name of a floating dtype."""
    return TYPES[dtype.itemsize // 4 - 1]


def empty(size, dtype):
    """A new C-contiguous array."""
    import cupy

    return cupy.empty(size, dtype)


def zeros(size, dtype):
    """A new C-contiguous array of zeros."""
    import cupy

    return cupy.zeros(size, dtype)


def channels_last(array):
    """(N, C, ...) as a contiguous (N, ..., C) array: a view where memory is so already, else a copy."""
    return contiguous(array.transpose(0, *range(2, array.ndim), 1))


def channels_first(array):
    """(N, ..., C) seen as (N, C, ...)."""
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def contiguous(array):
    """`array` itself if it is C-contiguous, else a copy that is."""
    return array if array.flags.c_contiguous else array.copy(order="C")


def memory_order(array):
    """(axes, the one with the largest steps in memory first, and the permutation that undoes this order)."""
    order = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return order, tuple(sorted(range(array.ndim), key=order.__getitem__))
