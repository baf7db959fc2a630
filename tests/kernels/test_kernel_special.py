"""Special functions against Python's own, to the last place or nearly."""

import math

import numpy as np
import pytest

import kernels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, lambda a: a[:, ::2], lambda a: a[:0]])
def test_erf(dtype, layout):
    x = layout(np.linspace(-6, 6, 60).reshape(5, 12).astype(dtype))
    before = x.copy()
    expected = np.array([math.erf(v) for v in x.ravel().tolist()]).reshape(x.shape)
    out = kernels.erf(x)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(x, before)


def test_erf_of_infinities_and_nan():
    np.testing.assert_array_equal(kernels.erf(np.array([np.inf, -np.inf, np.nan, 0.0])), [1.0, -1.0, np.nan, 0.0])
