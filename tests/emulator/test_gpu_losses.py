"""Softmax cross entropy on the device: the reference's values to rounding, and its rules for odd logits and labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases


@settings(max_examples=40)
@given(
    st.tuples(st.integers(0, 19), st.sampled_from((1, 2, 10, 31, 32, 33, 70))),
    st.lists(st.integers(0, 5), max_size=2),
    cases.dtypes, st.sampled_from(["contiguous", "channels_last", "read_only"]), st.sampled_from([1.0, 30.0]),
    cases.seeds, orders,
)  # fmt: skip
def test_equals_the_reference(shape, rest, dtype, layout, scale, seed, order):
    rng = np.random.default_rng(seed)
    x = cases.lay_out((scale * rng.normal(size=(*shape, *rest))).astype(dtype), layout)
    target = rng.integers(-2, shape[1] + 1, size=(shape[0], *rest))
    g = rng.normal(size=target.shape).astype(dtype)
    tiny = 16 * np.finfo(dtype).eps
    forward = run(kernels.cross_entropy, x, target, order=order)
    for value, wanted in zip(forward, reference(kernels.cross_entropy, x, target), strict=True):
        assert (value.shape, value.dtype) == (target.shape, x.dtype)
        np.testing.assert_allclose(value, wanted, rtol=tiny, atol=tiny * scale)
    grad = run(kernels.cross_entropy_backward, g, x, target, forward[1], order=order)
    wanted = reference(kernels.cross_entropy_backward, g, x, target, forward[1])
    assert (grad.shape, grad.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(grad, wanted, rtol=tiny, atol=tiny * np.abs(g).max(initial=1))


def test_far_logits_stay_finite():
    x = np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30], [1e4, 1e4, -np.inf]], np.float32)
    target = np.array([1, 2, 0])
    loss, log_sum = run(kernels.cross_entropy, x, target)
    grad = run(kernels.cross_entropy_backward, np.ones(3, np.float32), x, target, log_sum)
    np.testing.assert_allclose(loss, [1e30, np.log(3), np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(grad, [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3], [-0.5, 0.5, 0]], rtol=1e-6)


@pytest.mark.parametrize("classes", [3, 40])
def test_a_target_that_is_no_class_has_no_loss_and_no_gradient(classes):
    x, target = np.full((2, classes), np.nan), np.array([-1, classes - 1])
    x[1] = 0
    loss, log_sum = run(kernels.cross_entropy, x, target)
    grad = run(kernels.cross_entropy_backward, np.ones(2), x, target, log_sum)
    np.testing.assert_allclose(loss, [0, np.log(classes)])
    assert not grad[0].any() and grad[1].any()


@pytest.mark.parametrize("place", [0, 15, 31, 32, 39])
def test_a_nan_among_the_logits_reaches_the_loss(place):
    x = np.zeros((1, 40), np.float32)
    x[0, place] = np.nan
    assert np.isnan(run(kernels.cross_entropy, x, np.array([3]))[0])
