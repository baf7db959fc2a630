"""Between the contract's shapes (N, C, ...) and the memory the kernels work in: channels last, contiguous."""

import numpy as np


def channels_last(array):
    """(N, C, ...) as a contiguous (N, ..., C) array: a view where memory is so already, else a copy.

    A read-only array is copied too: Numba would compile every kernel anew for it.
    """
    return np.require(np.moveaxis(array, 1, -1), requirements="CAW")


def channels_first(array):
    """(N, ..., C) seen as (N, C, ...)."""
    return np.moveaxis(array, -1, 1)
