"""Convolution and its gradients: compiled against reference, bit for bit, and the identities that tie the three."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels


@pytest.fixture(autouse=True)
def direct():
    """The definition's sums, exact on integers; Winograd's have tests of their own."""
    with kernels.use("direct"):
        yield


@settings(max_examples=120)
@given(cases.conv_calls())
def test_compiled_kernels_equal_the_reference_bit_for_bit(call):
    x, w, g, options = call
    for kernel, args in (
        (kernels.conv2d, (x, w)),
        (kernels.conv2d_input, (x.shape, w, g)),
        (kernels.conv2d_weight, (x, w.shape, g)),
    ):
        with kernels.use("direct"):
            compiled = kernel(*args, **options)
        assert cases.same_bits(compiled, cases.reference(kernel, *args, **options)), kernel.name


@settings(max_examples=40)
@given(cases.conv_calls(), cases.seeds)
def test_bias_is_added_to_every_pixel(call, seed):
    x, w, _, options = call
    bias = cases.integers(np.random.default_rng(seed), len(w), x.dtype)
    for implementation in ("direct", "reference"):
        with kernels.use(implementation):
            expected = kernels.conv2d(x, w, **options) + bias[:, None, None]
            assert cases.same_bits(kernels.conv2d(x, w, bias, **options), expected)


@settings(max_examples=40)
@given(cases.conv_calls(), st.sampled_from((0, 0.2)), st.booleans())
def test_an_activation_has_the_bits_of_its_own_kernel(call, slope, biased):
    x, w, _, options = call
    bias = cases.integers(np.random.default_rng(0), len(w), x.dtype) if biased else None
    for implementation in ("direct", "reference", "im2col", "tiled", "naive"):
        cases.check_activation(implementation, x, w, bias, slope, options)


@pytest.mark.parametrize("implementation", ["direct", "reference", "winograd", "depthwise", "im2col", "tiled", "naive"])
@pytest.mark.parametrize("slope", [0, 0.2])
def test_an_activation_of_what_is_not_finite(implementation, slope):
    """NaN stays NaN, and ReLU of minus infinity is 0."""
    rng, groups = np.random.default_rng(0), 20 if implementation == "depthwise" else 1
    x, w = (rng.standard_normal(s).astype("float32") for s in ((2, 20, 9, 9), (20, 20 // groups, 3, 3)))
    x[0, :, 0, 0], x[0, :, 8, 8] = np.nan, np.inf
    cases.check_activation(implementation, x, w, w[:, 0, 0, 0], slope, {"padding": 1, "groups": groups})


@settings(max_examples=40)
@given(cases.conv_calls())
def test_the_three_kernels_are_adjoint(call):
    x, w, g, options = call
    product = np.vdot(kernels.conv2d(x, w, **options), g)
    assert product == np.vdot(x, kernels.conv2d_input(x.shape, w, g, **options))
    assert product == np.vdot(w, kernels.conv2d_weight(x, w.shape, g, **options))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("channels", [40, 80, 256])
def test_channels_that_fill_vectors_and_no_number_of_panels(channels, kernel, groups):
    rng = np.random.default_rng(0)
    x, w, bias = (
        cases.integers(rng, shape, np.float32)
        for shape in ((2, 6, 9, 7), (channels * groups, 6 // groups, kernel, kernel), channels * groups)
    )
    options = {"padding": kernel // 2, "groups": groups}
    expected = cases.reference(kernels.conv2d, x, w, bias, **options)
    assert cases.same_bits(kernels.conv2d(x, w, bias, **options), expected)


@pytest.mark.parametrize("input_size, weight_size, options", [
    ((8, 32, 13, 13), (64, 32, 3, 3), {}),
    ((4, 64, 16, 16), (100, 64, 4, 4), {"stride": 2, "padding": 1}),
    ((3, 48, 40, 41), (32, 24, 5, 3), {"stride": (3, 2), "padding": ((0, 4), (3, 1)), "dilation": 2, "groups": 2}),
    ((40, 1, 28, 28), (32, 1, 3, 3), {"padding": 1}),
    ((4, 20, 30, 31), (70, 20, 1, 1), {}),
    ((4, 20, 30, 31), (70, 10, 1, 1), {"groups": 2, "stride": (2, 1)}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_full_layers_equal_the_reference_and_are_adjoint(input_size, weight_size, options, dtype):
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, input_size, dtype), cases.integers(rng, weight_size, dtype)
    y = kernels.conv2d(x, w, **options)
    g = cases.integers(rng, y.shape, dtype)
    dx, dw = kernels.conv2d_input(x.shape, w, g, **options), kernels.conv2d_weight(x, w.shape, g, **options)
    assert cases.same_bits(y, cases.reference(kernels.conv2d, x, w, **options))
    assert cases.same_bits(dx, cases.reference(kernels.conv2d_input, x.shape, w, g, **options))
    assert cases.same_bits(dw, cases.reference(kernels.conv2d_weight, x, w.shape, g, **options))
    exact = np.vdot(y.astype("float64"), g)
    assert exact == np.vdot(x, dx.astype("float64")) == np.vdot(w, dw.astype("float64"))


def test_float32_stays_close_to_float64():
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=shape) for shape in ((4, 24, 12, 12), (40, 24, 3, 3), (4, 40, 12, 12)))
    single = [a.astype("float32") for a in (x, w, g)]
    for kernel, pick in ((kernels.conv2d, (0, 1)), (kernels.conv2d_input, (1, 2)), (kernels.conv2d_weight, (0, 2))):
        arrays = [[source[i] if i in pick else source[i].shape for i in range(3)] for source in ((x, w, g), single)]
        exact, rounded = (kernel(*(a[:2] if kernel is kernels.conv2d else a), padding=1) for a in arrays)
        assert rounded.dtype == np.float32
        assert np.abs(rounded - exact).max() < 1e-6 * np.abs(exact).max(), kernel.name


@pytest.mark.parametrize(
    "input_size, weight_size",
    [((0, 3, 5, 5), (4, 3, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3)), ((2, 0, 5, 5), (4, 0, 3, 3))],
)
def test_empty_sizes_give_zeros(input_size, weight_size):
    x, w = np.ones(input_size), np.ones(weight_size)
    y = kernels.conv2d(x, w)
    assert y.shape == (input_size[0], weight_size[0], 3, 3)
    assert not y.any()
    assert not kernels.conv2d_input(input_size, w, y).any()
    assert kernels.conv2d_weight(x, weight_size, y).shape == weight_size


def test_results_are_channels_last_in_memory():
    x, w = np.ones((2, 3, 5, 5)), np.ones((4, 3, 3, 3))
    y = kernels.conv2d(x, w)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert kernels.conv2d_input(x.shape, w, y).transpose(0, 2, 3, 1).flags.c_contiguous
    assert kernels.conv2d_weight(x, w.shape, y).flags.c_contiguous


def test_nan_outside_of_a_window_does_not_reach_it():
    x = np.ones((1, 1, 4, 4), "float32")
    x[0, 0, 3, 3] = np.nan
    y = kernels.conv2d(x, np.ones((1, 1, 3, 3), "float32"))
    assert np.isnan(y).tolist() == [[[[False, False], [False, True]]]]
