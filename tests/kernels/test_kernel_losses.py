"""Softmax cross entropy: compiled against reference, exact cases, far logits, and the gradient as a derivative."""

import math

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["reference", "numba"])


@settings(max_examples=60)
@given(
    st.tuples(st.integers(0, 9), st.sampled_from((1, 2, 10, 16, 19, 40))),
    st.lists(st.integers(0, 5), max_size=2),
    cases.dtypes, st.sampled_from(["contiguous", "channels_last", "read_only"]), st.sampled_from([1.0, 30.0]),
    cases.seeds,
)  # fmt: skip
def test_equals_the_reference(shape, rest, dtype, layout, scale, seed):
    rng = np.random.default_rng(seed)
    x = cases.lay_out((scale * rng.normal(size=(*shape, *rest))).astype(dtype), layout)
    target = rng.integers(-2, shape[1] + 1, size=(shape[0], *rest))
    g = rng.normal(size=target.shape).astype(dtype)
    tiny = 16 * np.finfo(dtype).eps
    with kernels.use("numba"):
        forward = kernels.cross_entropy(x, target)
        grad = kernels.cross_entropy_backward(g, x, target, forward[1])
    expected = cases.reference(kernels.cross_entropy, x, target)
    for value, wanted in zip(forward, expected, strict=True):
        assert (value.shape, value.dtype) == (target.shape, x.dtype)
        np.testing.assert_allclose(value, wanted, rtol=tiny, atol=tiny * scale)
    wanted = cases.reference(kernels.cross_entropy_backward, g, x, target, forward[1])
    assert (grad.shape, grad.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(grad, wanted, rtol=tiny, atol=tiny * np.abs(g).max(initial=1))


@IMPLEMENTATIONS
def test_against_exact_sums(implementation):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(30, 7)), rng.integers(0, 7, 30)
    with kernels.use(implementation):
        loss, log_sum = kernels.cross_entropy(x, target)
        grad = kernels.cross_entropy_backward(np.full(30, 0.5), x, target, log_sum)
    for row, label, value, slope in zip(x.tolist(), target.tolist(), loss, grad, strict=True):
        total = math.fsum(map(math.exp, row))
        assert value == pytest.approx(math.log(total) - row[label], rel=1e-14)
        softmax = [math.exp(v) / total - (c == label) for c, v in enumerate(row)]
        np.testing.assert_allclose(slope, np.multiply(softmax, 0.5), rtol=1e-13, atol=1e-16)


@IMPLEMENTATIONS
def test_far_logits_stay_finite(implementation):
    x = np.array([[1e30, 0, -1e30], [-1e30, -1e30, -1e30], [1e4, 1e4, -np.inf]], np.float32)
    target = np.array([1, 2, 0])
    with kernels.use(implementation):
        loss, log_sum = kernels.cross_entropy(x, target)
        grad = kernels.cross_entropy_backward(np.ones(3, np.float32), x, target, log_sum)
    np.testing.assert_allclose(loss, [1e30, math.log(3), math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(grad, [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3], [-0.5, 0.5, 0]], rtol=1e-6)


@IMPLEMENTATIONS
@pytest.mark.parametrize("classes", [3, 40])
def test_a_target_that_is_no_class_has_no_loss_and_no_gradient(implementation, classes):
    x = np.full((2, classes), np.nan)
    x[1] = 0
    target = np.array([-1, classes - 1])
    with kernels.use(implementation):
        loss, log_sum = kernels.cross_entropy(x, target)
        grad = kernels.cross_entropy_backward(np.ones(2), x, target, log_sum)
    np.testing.assert_allclose(loss, [0, math.log(classes)])
    assert not grad[0].any() and grad[1].any()


@IMPLEMENTATIONS
@pytest.mark.parametrize("place", [0, 15, 16, 39])
def test_a_nan_among_the_logits_reaches_the_loss(implementation, place):
    x = np.zeros((1, 40), np.float32)
    x[0, place] = np.nan
    with kernels.use(implementation):
        assert np.isnan(kernels.cross_entropy(x, np.array([3]))[0])


@IMPLEMENTATIONS
def test_shapes_must_agree(implementation):
    x, labels = np.ones((2, 3, 4)), np.zeros((2, 4), int)
    with kernels.use(implementation):
        for wrong in (np.ones(3), np.ones((2, 0, 4))):
            with pytest.raises(ValueError, match=r"input must have shape \(N, C, ...\) with at least one class, given"):
                kernels.cross_entropy(wrong, labels)
        with pytest.raises(ValueError, match=r"target must have shape \(2, 4\), one for each sample, given \(2, 3\)"):
            kernels.cross_entropy(x, labels[:, :3])
        with pytest.raises(ValueError, match=r"log_sum must have shape \(2, 4\), one for each sample, given \(4,\)"):
            kernels.cross_entropy_backward(x[:, 0], x, labels, np.ones(4))
