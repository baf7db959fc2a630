"""Elementwise CUDA kernels equal the reference bit for bit, NaN and memory order included."""

import numpy as np
import pytest

import kernels
from tests.emulator.device import ndarray, to_device


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (1, 1, 1, 1), (2, 3, 5, 7), (3, 17, 9, 11)])
def test_relu(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype).transpose(0, 2, 3, 1)
    x[x > 2] = np.nan
    with kernels.use(relu="cuda"):
        result = kernels.relu(to_device(x))
    assert isinstance(result, ndarray) and result.strides == x.strides
    assert np.array_equal(result.get(), np.maximum(x, 0), equal_nan=True)
