"""Activations and their gradients: accuracy over all of float32, special values, layouts, and the reference."""

import math

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

FORWARD = (kernels.relu, kernels.sigmoid, kernels.tanh, kernels.softplus, kernels.gelu)
BACKWARD = (kernels.relu_backward, kernels.sigmoid_backward, kernels.tanh_backward, kernels.gelu_backward)
SLOPED = (kernels.leaky_relu, kernels.leaky_relu_backward)
LOSS = (kernels.binary_cross_entropy, kernels.binary_cross_entropy_slope)
EVERY = (kernels.add, *FORWARD, *BACKWARD, *SLOPED, *LOSS)
EVERY_KERNEL = pytest.mark.parametrize("kernel", EVERY, ids=lambda k: k.name)
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38], np.float32)


def compiled(kernel, *args):
    """The compiled implementation also where the array is too small for it to pay."""
    with kernels.use("numba"):
        return kernel(*args, **options(kernel))


def options(kernel):
    return {"negative_slope": 0.2} if kernel in SLOPED else {}


def operands(kernel, *arrays):
    """Of (gradient, target or other summand, input)."""
    if kernel in (kernels.add, *LOSS):
        return arrays[::-1]
    return arrays[-1:] if kernel in (*FORWARD, kernels.leaky_relu) else arrays


def every_scale():
    """About 2.2 million float32: every 4099th bit pattern, a fine grid of -20 to 20, and the special values."""
    patterns = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([patterns[np.isfinite(patterns)], np.linspace(-20, 20, 1 << 20, dtype=np.float32), SPECIAL])


def error_in_ulps(value, exact):
    """The largest error in units of the last place of float32, where the exact value is finite."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(value), np.isnan(rounded))
    np.testing.assert_array_equal(value[np.isinf(rounded)], rounded[np.isinf(rounded)])
    finite = np.isfinite(rounded)
    return (np.abs(value[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite])).astype(float)).max()


@pytest.fixture(scope="module")
def x():
    return every_scale()


@pytest.fixture(scope="module")
def exact(x):
    return x.astype(np.float64)


@pytest.fixture(scope="module")
def distribution(exact):
    return np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in exact.tolist()])


def test_sigmoid_is_accurate_everywhere(x, exact):
    small = np.exp(-np.abs(exact))
    assert error_in_ulps(kernels.sigmoid(x), np.where(exact >= 0, 1, small) / (1 + small)) < 2.5


def test_tanh_is_accurate_everywhere(x, exact):
    y = kernels.tanh(x)
    assert error_in_ulps(y, np.tanh(exact)) < 2.5
    known = ~np.isnan(x)
    np.testing.assert_array_equal(np.signbit(y[known]), np.signbit(x[known]))  # of zeros, too


@pytest.mark.filterwarnings("ignore:invalid value")
def test_softplus_is_accurate_everywhere(x, exact):
    assert error_in_ulps(kernels.softplus(x), np.logaddexp(exact, 0)) < 3


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_and_its_slope_are_accurate_everywhere(x, exact, target):
    usual = np.isfinite(x)  # 0 times infinity is NaN
    x, exact = x[usual], exact[usual]
    wrong = exact if target == 0 else -exact
    t = np.full_like(x, target)
    assert error_in_ulps(kernels.binary_cross_entropy(x, t), np.logaddexp(wrong, 0)) < 3
    small = np.exp(-np.abs(exact))
    slope = np.where(wrong >= 0, 1, small) / (1 + small) * (1 - 2 * target)
    assert error_in_ulps(kernels.binary_cross_entropy_slope(x, t), slope) < 2.5


@pytest.mark.filterwarnings("ignore:invalid value")
def test_gelu_is_accurate_everywhere(x, exact, distribution):
    normal = np.abs(exact) < 13  # further out the distribution function is subnormal
    assert error_in_ulps(kernels.gelu(x)[normal], (exact * distribution)[normal]) < 7
    np.testing.assert_allclose(kernels.gelu(x), exact * distribution, rtol=1e-6, atol=3e-44)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_gradient_of_gelu_is_accurate_everywhere(x, exact, distribution):
    density = np.exp(-exact * exact / 2) / math.sqrt(2 * math.pi)
    slope = distribution + np.where(density > 0, exact * density, 0)
    value = kernels.gelu_backward(np.ones_like(x), x)
    np.testing.assert_allclose(value, slope, rtol=0, atol=2 * np.finfo(np.float32).eps)
    tail = exact < -1.5  # beyond the zero at -0.75
    np.testing.assert_allclose(value[tail], slope[tail], rtol=2e-6, atol=3e-44)


@EVERY_KERNEL
def test_special_values_are_the_references(kernel):
    with np.errstate(all="ignore"):
        x = np.repeat(SPECIAL, len(SPECIAL))
        g = np.tile(SPECIAL, len(SPECIAL))
        args = operands(kernel, g, x)
        expected = cases.reference(kernel, *args, **options(kernel))
        np.testing.assert_allclose(compiled(kernel, *args), expected, rtol=3e-7, atol=3e-45)


@EVERY_KERNEL
@settings(max_examples=25)
@given(st.lists(st.integers(0, 7), max_size=5), cases.dtypes, cases.seeds, st.data())
def test_equals_the_reference_in_any_memory_order(kernel, shape, dtype, seed, data):
    rng = np.random.default_rng(seed)
    layouts = cases.LAYOUTS if len(shape) > 2 else ("contiguous", "read_only")
    arrays = [cases.lay_out(rng.normal(size=shape).astype(dtype), data.draw(st.sampled_from(layouts))) for _ in "gx"]
    args = operands(kernel, *arrays)
    value = compiled(kernel, *args)
    expected = np.asarray(cases.reference(kernel, *args, **options(kernel)))
    assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
    tiny = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(value, expected, rtol=tiny, atol=tiny)
    if kernel in (kernels.add, kernels.relu, kernels.relu_backward, *SLOPED):
        assert cases.same_bits(value, expected)


@EVERY_KERNEL
def test_a_value_does_not_depend_on_its_place(kernel):
    """Whole vectors, what is left over at the end, and each thread's share run through different instructions."""
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(2, 5000)).astype(np.float32)
    whole = compiled(kernel, *operands(kernel, *arrays))
    for start, stop in ((1, 5000), (3, 4099), (4990, 5000), (17, 18)):
        part = compiled(kernel, *operands(kernel, *arrays[:, start:stop]))
        assert cases.same_bits(part, whole[start:stop])


@EVERY_KERNEL
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_layout_is_the_activations_whatever_the_gradients_is(kernel, layout):
    x = cases.lay_out(np.ones((2, 8, 20, 20), np.float32), layout)
    for g in (np.ones_like(x, order="C"), cases.lay_out(x, "channels_last")):
        assert kernel(*operands(kernel, g, x), **options(kernel)).strides == x.strides


@EVERY_KERNEL
def test_small_arrays_run_in_numpy(kernel):
    small, large = np.ones(4096), np.ones(4097)
    for array, chosen in ((small, "reference"), (large, "numba")):
        assert kernels.explain(kernel, *operands(kernel, array, array), **options(kernel)).implementation == chosen


@pytest.mark.parametrize("kernel", [*BACKWARD, SLOPED[1]], ids=lambda k: k.name)
@pytest.mark.parametrize("implementation", ["numba", "reference"])
def test_shapes_must_agree(kernel, implementation):
    with kernels.use(implementation), pytest.raises(ValueError, match=r"grad_output must have the shape of"):
        kernel(np.ones((2, 3)), np.ones((3, 2)), **options(kernel))
