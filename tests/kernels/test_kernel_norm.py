"""Batch norm: compiled against reference, and statistics that survive a large mean."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

shapes = st.one_of(
    st.tuples(st.integers(0, 9), st.integers(0, 20)),
    st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(0, 7)),
    st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)


@settings(max_examples=80)
@given(shapes, cases.dtypes, st.sampled_from(["contiguous", "channels_last", "read_only"]), cases.seeds)
def test_equals_the_reference_to_rounding(shape, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    x, g = (cases.lay_out(rng.normal(0.3, 2, size=shape).astype(dtype), layout) for _ in range(2))
    weight, bias = rng.normal(size=(2, shape[1])).astype(dtype)
    tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).eps}
    forward = kernels.batch_norm(x, weight, bias, eps=1e-3)
    for compiled, expected in zip(forward, cases.reference(kernels.batch_norm, x, weight, bias, eps=1e-3), strict=True):
        assert compiled.dtype == expected.dtype
        np.testing.assert_allclose(compiled, expected, **tolerance)
    tolerance["atol"] *= 1 + np.abs(forward[2]).max(initial=0) + np.abs(g).sum()
    for compiled, expected in zip(
        kernels.batch_norm_backward(g, x, weight, *forward[1:]),
        cases.reference(kernels.batch_norm_backward, g, x, weight, *forward[1:]),
        strict=True,
    ):
        assert compiled.dtype == expected.dtype
        np.testing.assert_allclose(compiled, expected, **tolerance)


def test_statistics_join_chunks_of_different_means():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20, 9, 9)) + np.linspace(-5, 5, 200)[:, None, None, None]
    g, (weight, bias) = rng.normal(size=x.shape) + x, rng.normal(size=(2, 20))
    forward = kernels.batch_norm(x, weight, bias, eps=0)
    for compiled, expected in zip(
        (*forward, *kernels.batch_norm_backward(g, x, weight, *forward[1:])),
        (
            *cases.reference(kernels.batch_norm, x, weight, bias, eps=0),
            *cases.reference(kernels.batch_norm_backward, g, x, weight, *forward[1:]),
        ),
        strict=True,
    ):
        np.testing.assert_allclose(compiled, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("implementation", ["reference", "numba"])
def test_variance_survives_a_large_mean(implementation):
    x = (np.random.default_rng(0).normal(size=(64, 3, 16, 16)) + 1e4).astype("float32")
    exact = x.astype("float64").var(axis=(0, 2, 3))
    with kernels.use(implementation):
        _, mean, invstd = kernels.batch_norm(x, np.ones(3, "float32"), np.zeros(3, "float32"), eps=0.0)
    np.testing.assert_allclose(invstd, exact**-0.5, rtol=1e-6)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2, 3), dtype="float64"), rtol=1e-7)


@pytest.mark.parametrize("implementation", ["reference", "numba"])
def test_a_batch_without_elements_has_mean_and_variance_zero(implementation):
    x, ones = np.ones((0, 3, 2, 2)), np.ones(3)
    with kernels.use(implementation):
        output, mean, invstd = kernels.batch_norm(x, ones, ones, eps=0.25)
        gradients = kernels.batch_norm_backward(x, x, ones, mean, invstd)
    assert output.shape == x.shape
    assert (mean.tolist(), invstd.tolist()) == ([0, 0, 0], [2, 2, 2])
    assert [g.shape for g in gradients] == [x.shape, (3,), (3,)]
    assert not any(g.any() for g in gradients)


@given(
    st.tuples(st.integers(0, 3), st.sampled_from((1, 3, 16, 600)), st.integers(0, 90), st.integers(1, 9)), cases.seeds
)
def test_channel_sums_are_exact_on_integers(size, seed):
    x = cases.lay_out(cases.integers(np.random.default_rng(seed), size, "float32"), "channels_last")
    with kernels.use("numba"):
        assert cases.same_bits(kernels.channel_sum(x), cases.reference(kernels.channel_sum, x))


@given(
    st.tuples(st.integers(0, 3), st.sampled_from((1, 3, 16, 600)), st.integers(0, 90), st.integers(1, 9)),
    st.sampled_from(cases.LAYOUTS),
    cases.seeds,
)
def test_adding_a_bias_gives_the_bits_of_numpys_sum(size, layout, seed):
    rng = np.random.default_rng(seed)
    x, bias = cases.lay_out(rng.standard_normal(size, "float32"), layout), rng.standard_normal(size[1], "float32")
    with kernels.use("numba"):
        assert cases.same_bits(kernels.add_bias(x, bias), cases.reference(kernels.add_bias, x, bias))
