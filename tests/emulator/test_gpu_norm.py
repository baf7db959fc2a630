"""Batch norm, channel sums and biases on the device: exact where sums are, else within rounding of the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases

channels = st.sampled_from((1, 2, 3, 16, 31, 33, 67))
shapes = st.one_of(
    st.tuples(st.integers(0, 99), st.integers(0, 5)),
    st.tuples(st.integers(0, 4), channels, st.integers(0, 7)),
    st.tuples(st.integers(0, 4), channels, st.integers(1, 7), st.integers(1, 7)),
)
layouts = st.sampled_from(["contiguous", "channels_last", "strided", "read_only"])


@settings(max_examples=40)
@given(shapes, cases.dtypes, layouts, layouts, cases.seeds, orders)
def test_batch_norm_equals_the_reference_to_rounding(shape, dtype, layout, grad_layout, seed, order):
    rng = np.random.default_rng(seed)
    x, g = (cases.lay_out(rng.normal(0.3, 2, size=shape).astype(dtype), a) for a in (layout, grad_layout))
    weight, bias = rng.normal(size=(2, 2 * shape[1])).astype(dtype)[:, ::2]
    forward = run(kernels.batch_norm, x, weight, bias, eps=1e-3, order=order)
    tiny = 8 * np.finfo(dtype).eps
    for found, expected in zip(forward, reference(kernels.batch_norm, x, weight, bias, eps=1e-3), strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=tiny, atol=tiny)
    statistics = forward[1:]
    scale = 1 + np.abs(statistics[1]).max(initial=0) + np.abs(g).sum()
    for found, expected in zip(
        run(kernels.batch_norm_backward, g, x, weight, *statistics, order=order),
        reference(kernels.batch_norm_backward, g, x, weight, *statistics),
        strict=True,
    ):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=tiny, atol=tiny * scale)


@settings(max_examples=40)
@given(shapes, cases.dtypes, layouts, cases.seeds, orders)
def test_sums_of_whole_numbers_are_exact(shape, dtype, layout, seed, order):
    rng = np.random.default_rng(seed)
    x, g = (cases.lay_out(cases.integers(rng, shape, dtype), layout) for _ in range(2))
    assert cases.same_bits(run(kernels.channel_sum, x, order=order), reference(kernels.channel_sum, x))
    weight, mean, invstd = (cases.integers(rng, shape[1:2], dtype) for _ in range(3))
    _, *found = run(kernels.batch_norm_backward, g, x, weight, mean, invstd, order=order)
    _, *expected = reference(kernels.batch_norm_backward, g, x, weight, mean, invstd)
    assert all(map(cases.same_bits, found, expected))


@settings(max_examples=40)
@given(shapes, cases.dtypes, layouts, cases.seeds, orders)
def test_adding_a_bias_gives_the_bits_of_the_reference(shape, dtype, layout, seed, order):
    rng = np.random.default_rng(seed)
    x, bias = cases.lay_out(rng.normal(size=shape).astype(dtype), layout), rng.normal(size=2 * shape[1]).astype(dtype)
    found = run(kernels.add_bias, x, bias[::2], order=order)
    assert cases.same_bits(found, reference(kernels.add_bias, x, bias[::2]))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(2, 35, 9, 11), (9, 3, 31, 37), (5000, 2), (7, 1030), (3, 5, 7), (3, 2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_a_bias_reaches_every_row_and_the_result_is_channels_last(dtype, size, layout):
    rng = np.random.default_rng(0)
    x, bias = cases.lay_out(rng.normal(size=size).astype(dtype), layout), rng.normal(size=size[1]).astype(dtype)
    found = run(kernels.add_bias, x, bias)
    assert cases.same_bits(found, reference(kernels.add_bias, x, bias))
    assert found.strides == cases.lay_out(x, "channels_last").strides


@pytest.mark.parametrize("size", [(0, 3, 2, 2), (2, 0, 2, 2), (2, 3, 0, 2), (0, 3), (3, 0), (0, 0)])
def test_a_bias_of_nothing_is_nothing(size):
    found = run(kernels.add_bias, np.ones(size, "float32"), np.ones(size[1], "float32"))
    assert (found.shape, found.dtype) == (size, "float32")


@pytest.mark.parametrize("size", [(40, 40, 10, 10), (9, 3, 31, 37), (5000, 2)])
def test_chunks_of_rows_join(size):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=size).T + np.linspace(-5, 5, size[0])).T
    g, (weight, bias) = rng.normal(size=size) + x, rng.normal(size=(2, size[1]))
    forward = run(kernels.batch_norm, x, weight, bias, eps=0)
    backward = run(kernels.batch_norm_backward, g, x, weight, *forward[1:])
    expected = reference(kernels.batch_norm, x, weight, bias, eps=0)
    expected += reference(kernels.batch_norm_backward, g, x, weight, *forward[1:])
    for value, wanted in zip(forward + backward, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-11, atol=1e-12)
    whole = cases.integers(rng, size, "float32")
    assert cases.same_bits(run(kernels.channel_sum, whole), reference(kernels.channel_sum, whole))


@pytest.mark.parametrize("outlier", [0, 1e6])
def test_the_variance_survives_a_large_mean_and_a_first_value_far_from_it(outlier):
    x = (np.random.default_rng(0).normal(size=(64, 3, 8, 8)) + 1e4).astype("float32")
    x[0, :, 0, 0] += outlier
    _, mean, invstd = run(kernels.batch_norm, x, np.ones(3, "float32"), np.zeros(3, "float32"), eps=0.0)
    exact = x.astype("float64").var(axis=(0, 2, 3))
    np.testing.assert_allclose(invstd, exact**-0.5, rtol=1e-6)
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2, 3), dtype="float64"), rtol=1e-7)


def test_a_batch_without_elements_has_mean_and_variance_zero():
    x, ones = np.ones((0, 3, 2, 2)), np.ones(3)
    output, mean, invstd = run(kernels.batch_norm, x, ones, ones, eps=0.25)
    gradients = run(kernels.batch_norm_backward, x, x, ones, mean, invstd)
    assert (output.shape, mean.tolist(), invstd.tolist()) == (x.shape, [0, 0, 0], [2, 2, 2])
    assert [g.shape for g in gradients] == [x.shape, (3,), (3,)]
    assert not any(g.any() for g in gradients)
