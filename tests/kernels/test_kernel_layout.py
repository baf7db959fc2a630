"""Copies in row-major memory."""

import kernel_cases as cases
import numpy as np
import pytest

import kernels

RNG = np.random.default_rng(0)
SHAPE = (9, 30, 17, 16)  # large enough for more than one thread, and no multiple of a vector


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2), (3, 1, 0, 2), (1, 0)])
def test_a_contiguous_copy_has_the_same_numbers_in_row_major_order(axes, dtype):
    memory = RNG.standard_normal([SHAPE[axis] if len(axes) == 4 else 300 for axis in axes]).astype(dtype)
    array = memory.transpose(np.argsort(axes))
    copy = kernels.contiguous(array)
    assert copy.flags.c_contiguous and copy.flags.writeable and not np.shares_memory(copy, array)
    assert cases.same_bits(copy, np.ascontiguousarray(array))


def test_small_arrays_are_copied_by_numpy():
    chosen = kernels.explain(kernels.contiguous, np.zeros((2, 3, 4, 4), "float32"))
    assert chosen.implementation == "reference" and "as fast" in chosen.reason
    assert kernels.explain(kernels.contiguous, np.zeros(SHAPE, "float32")).implementation == "numba"
