"""Between the contract's arrays and what compiled loops want: channels last, contiguous, writable."""

import numpy as np


def channels_last(array):
    """(N, C, ...) as a contiguous (N, ..., C) array: a view where memory is so already, else a copy."""
    return plain(np.moveaxis(array, 1, -1))


def channels_first(array):
    """(N, ..., C) seen as (N, C, ...)."""
    return np.moveaxis(array, -1, 1)


def plain(array):
    """`array` itself if it is C-contiguous, aligned and writable, else a copy that is.

    Numba would compile every kernel anew for a read-only or strided array.
    """
    return np.require(array, requirements="CAW")


def update_flat(core, written, read, *scalars):
    """Call core(*written, *read, *scalars) with 1-D arrays, all in the memory order of written[0].

    Arrays in another order, or with gaps, are copied first; what is written is copied back.
    """
    order = np.argsort([-abs(stride) for stride in written[0].strides], kind="stable")
    views = [array.transpose(order) for array in (*written, *read)]
    dense = [plain(view) for view in views]
    core(*(array.reshape(-1) for array in dense), *scalars)
    for view, array in zip(views[: len(written)], dense, strict=False):
        if array is not view:
            view[...] = array
