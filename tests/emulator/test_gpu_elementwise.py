"""Activations on the device: the reference's values, kept memory order, special values, and accuracy in the tails."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases

FORWARD = (kernels.relu, kernels.sigmoid, kernels.tanh, kernels.softplus, kernels.gelu, kernels.erf)
BACKWARD = (kernels.relu_backward, kernels.sigmoid_backward, kernels.tanh_backward, kernels.gelu_backward)
SLOPED = (kernels.leaky_relu, kernels.leaky_relu_backward)
LOSS = (kernels.binary_cross_entropy, kernels.binary_cross_entropy_slope)
EXACT = (kernels.relu, kernels.relu_backward, *SLOPED)
EVERY_KERNEL = pytest.mark.parametrize("kernel", [*FORWARD, *BACKWARD, *SLOPED, *LOSS], ids=lambda k: k.name)
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-38, 3.4e38, -3.4e38], np.float32)


def options(kernel):
    return {"negative_slope": 0.2} if kernel in SLOPED else {}


def operands(kernel, *arrays):
    """Of (gradient or target, input)."""
    if kernel in LOSS:
        return arrays[::-1]
    return arrays if kernel.name.endswith("_backward") else arrays[-1:]


@EVERY_KERNEL
@settings(max_examples=12)
@given(st.lists(st.integers(0, 9), max_size=5), cases.dtypes, cases.seeds, orders, st.data())
def test_equals_the_reference_in_any_memory_order(kernel, shape, dtype, seed, order, data):
    rng = np.random.default_rng(seed)
    layouts = cases.LAYOUTS if len(shape) > 2 else ("contiguous", "read_only")
    arrays = [cases.lay_out(rng.normal(size=shape).astype(dtype), data.draw(st.sampled_from(layouts))) for _ in "gx"]
    args = operands(kernel, *arrays)
    value, expected = run(kernel, *args, **options(kernel), order=order), reference(kernel, *args, **options(kernel))
    expected = np.asarray(expected)
    assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
    tiny = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(value, expected, rtol=tiny, atol=tiny)
    if kernel in EXACT:
        assert cases.same_bits(value, expected)


@EVERY_KERNEL
def test_special_values_are_the_references(kernel):
    args = operands(kernel, np.tile(SPECIAL, len(SPECIAL)), np.repeat(SPECIAL, len(SPECIAL)))
    with np.errstate(all="ignore"):
        expected = reference(kernel, *args, **options(kernel))
    np.testing.assert_allclose(run(kernel, *args, **options(kernel)), expected, rtol=3e-7, atol=3e-45)


@EVERY_KERNEL
def test_layout_is_kept_and_every_block_does_its_part(kernel):
    x = cases.lay_out(np.random.default_rng(0).normal(size=(3, 8, 11, 17)).astype(np.float32), "channels_last")
    args = operands(kernel, x[:, ::-1], x)
    value = run(kernel, *args, **options(kernel))
    assert value.strides == x.strides
    np.testing.assert_allclose(value, reference(kernel, *args, **options(kernel)), rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def x():
    return np.linspace(-13, 13, 1 << 13, dtype=np.float32)


@pytest.fixture(scope="module")
def distribution(x):
    return np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()])


def test_gelu_is_accurate_in_its_tail(x, distribution):
    np.testing.assert_allclose(run(kernels.gelu, x), x.astype(float) * distribution, rtol=1e-6)


def test_the_gradient_of_gelu_is_accurate_in_its_tail(x, distribution):
    exact = x.astype(float)
    slope = distribution + exact * np.exp(-exact * exact / 2) / math.sqrt(2 * math.pi)
    value = run(kernels.gelu_backward, np.ones_like(x), x)
    np.testing.assert_allclose(value, slope, rtol=0, atol=2 * np.finfo(np.float32).eps)
    tail = exact < -1.5  # beyond the zero at -0.75
    np.testing.assert_allclose(value[tail], slope[tail], rtol=2e-6)


def test_sigmoid_is_accurate_in_its_tail():
    x = np.linspace(-87, 87, 999, dtype=np.float32)
    small = np.exp(-np.abs(x.astype(float)))
    np.testing.assert_allclose(run(kernels.sigmoid, x), np.where(x >= 0, 1, small) / (1 + small), rtol=3e-7)
