"""Winograd's convolution: exact matrices, results close to the definition's, and the choice of when it pays."""

from fractions import Fraction

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels.cpu import cook_toom, winograd, winograd_room

CALLS = (kernels.conv2d, kernels.conv2d_input, kernels.conv2d_weight)


@pytest.mark.parametrize("outputs, taps", [(m, r) for m in range(1, 8) for r in range(1, 8) if 2 < m + r <= 9])
def test_matrices_are_exact(outputs, taps):
    """On unit vectors A^T ((G e_k) * (B^T e_i)) is 1 where i - k is an output: all there is to show."""
    a, g, b = cook_toom.exact_matrices(outputs, taps)
    for k in range(taps):
        for i in range(outputs + taps - 1):
            products = [row_g[k] * row_b[i] for row_g, row_b in zip(g, b, strict=True)]
            found = [sum(x * y for x, y in zip(row, products, strict=True)) for row in a]
            assert found == [Fraction(int(i - k == j)) for j in range(outputs)]


def test_more_points_than_there_are_are_refused():
    with pytest.raises(ValueError, match="at most m \\+ r - 1 = 8 points, given m = 6, r = 4"):
        cook_toom.exact_matrices(6, 4)


def make_room(monkeypatch, **constants):
    """Let rooms be found with these constants, and not be remembered."""
    for name, value in constants.items():
        monkeypatch.setattr(winograd_room, name, value)
    for name in ("room_of_pass", "room_of_sums"):
        monkeypatch.setattr(winograd, name, getattr(winograd_room, name).__wrapped__)


def of(kernel, x, w, g):
    """The arguments of one of the three kernels."""
    return {"conv2d": (x, w), "conv2d_input": (x.shape, w, g), "conv2d_weight": (x, w.shape, g)}[kernel.name]


LAYERS = [((3, 3), (1, 1)), ((4, 4), (2, 2)), ((5, 3), (2, 1))]  # each F(m, r) takes 10 s to compile


@st.composite
def winograd_calls(draw):
    """(x, w, g, options) in float32: kernels and strides with phases of 2 or 3 taps, any size and padding."""
    kernel, stride = draw(st.sampled_from(LAYERS))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2))
    size = [max(k - sum(p), 1) + draw(st.integers(0, 12)) for k, p in zip(kernel, padding, strict=True)]
    n, c, k = draw(st.integers(1, 3)), draw(st.sampled_from((1, 3, 16, 33))), draw(st.sampled_from((1, 5, 32, 100)))
    output = kernels.geometry.conv_output_size(size, kernel, stride=stride, padding=padding)
    rng = np.random.default_rng(draw(cases.seeds))
    shapes = (n, c, *size), (k, c, *kernel), (n, k, *output)
    return *(cases.lay_out(rng.standard_normal(s).astype("float32"), draw(cases.layouts)) for s in shapes), {
        "stride": stride,
        "padding": padding,
    }


def check_close(x, w, g, options):
    for kernel in CALLS:
        args = of(kernel, x, w, g)
        with kernels.use("winograd"):
            assert kernels.explain(kernel, *args, **options).implementation == "winograd"
            found = kernel(*args, **options)
        doubles = [a.astype("float64") if isinstance(a, np.ndarray) else a for a in args]
        expected = cases.reference(kernel, *doubles, **options)
        assert found.shape == expected.shape
        assert found.dtype == x.dtype
        assert np.abs(found - expected).max() <= 500 * np.finfo(x.dtype).eps * np.abs(expected).max(), kernel.name


@settings(max_examples=80)
@given(winograd_calls())
def test_close_to_the_definition(call):
    check_close(*call)


@pytest.mark.parametrize("kernel, options", [(4, {}), (5, {"padding": 2}), (7, {"stride": 2, "padding": 3})])
def test_close_to_the_definition_with_more_taps(kernel, options):
    """F(m, 4), F(m, 5), and the phases of 4 and 3 taps of a 7 x 7 kernel with stride 2."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype("float32") for s in ((2, 17, 14, 13), (20, 17, kernel, kernel)))
    g = rng.standard_normal(kernels.conv2d(x, w, **options).shape).astype("float32")
    check_close(x, w, g, options)


@pytest.mark.parametrize("shapes, options", [
    (((2, 70, 8, 7), (130, 70, 3, 3)), {"padding": 1}),
    (((1, 20, 9, 8), (100, 20, 4, 4)), {"stride": 2, "padding": 1}),
])  # fmt: skip
def test_weights_too_large_to_be_kept_give_the_same_bits(monkeypatch, shapes, options):
    """They are transformed panel by panel, and so are the sums of their gradients."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, "float32") for shape in shapes)
    g = rng.standard_normal(kernels.conv2d(x, w, **options).shape, "float32")
    with kernels.use("winograd"):
        kept = [kernel(*of(kernel, x, w, g), **options) for kernel in CALLS]
        make_room(monkeypatch, _L3_BYTES=0)
        monkeypatch.setattr(winograd, "multiply_squares", None)
        for threads in (1, 2, 3):
            cases.pretend(monkeypatch, threads)
            passing = [kernel(*of(kernel, x, w, g), **options) for kernel in CALLS]
            cases.check_activation("winograd", x, w, g[0, :, 0, 0], 0.2, options)
            assert all(cases.same_bits(a, b) for a, b in zip(kept, passing, strict=True))
    check_close(x, w, g, options)


def test_large_weights_of_several_phases_are_close(monkeypatch):
    """With more than one piece of channels their sums have another order than where the weight is kept."""
    rng, options = np.random.default_rng(0), {"stride": 2, "padding": 1}
    x, w = (rng.standard_normal(shape, "float32") for shape in ((2, 70, 9, 8), (90, 70, 4, 4)))
    g = rng.standard_normal((2, 90, 4, 4), "float32")
    make_room(monkeypatch, _L3_BYTES=0)
    monkeypatch.setattr(winograd, "multiply_squares", None)
    check_close(x, w, g, options)
    with kernels.use("winograd"):
        results = []
        for threads in (1, 2, 3):
            cases.pretend(monkeypatch, threads)
            results.append([kernel(*of(kernel, x, w, g), **options) for kernel in CALLS])
    assert all(cases.same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_close_to_the_definition_in_float64():
    rng = np.random.default_rng(0)
    x, w, g = (rng.standard_normal(s) for s in ((2, 33, 13, 11), (20, 33, 3, 3), (2, 20, 13, 11)))
    check_close(x, w, g, {"padding": 1})


@settings(max_examples=40)
@given(winograd_calls(), cases.seeds)
def test_weight_gradients_without_a_term_are_zero(call, seed):
    """Units that are alive in few places only: rounding must not put anything where the definition has 0."""
    x, w, g, options = call
    rng = np.random.default_rng(seed)
    x, g = (a * (rng.random((1, *a.shape[1:])) < rng.random((1, a.shape[1], 1, 1)) ** 3) for a in (x, g))
    with kernels.use("winograd"):
        found = kernels.conv2d_weight(x, w.shape, g, **options)
    with kernels.use("direct"):
        assert np.array_equal(found == 0, kernels.conv2d_weight(x, w.shape, g, **options) == 0)


@pytest.mark.parametrize("batch", [1, 5, 31, 33, 70])
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "padding": 1}])
def test_a_term_is_found_wherever_it_is(batch, options):
    """A few pixels of a channel are other than 0, in any image: words of 32 images, or of bands of fewer."""
    rng = np.random.default_rng(batch)
    x, w = np.zeros((batch, 9, 13, 7), "f"), np.zeros((20, 9, *((4, 4) if "stride" in options else (3, 3))), "f")
    g = np.zeros(kernels.conv2d(x, w, **options).shape, "f")
    for a in (x, g):
        for c in range(a.shape[1]):
            for _ in range(1 + 3 * (c % 3)):
                a[rng.integers(batch), c, rng.integers(a.shape[2]), rng.integers(a.shape[3])] = 1
    x[:, 4], g[:, 7] = 0, np.nan
    with kernels.use("winograd"):
        found = kernels.conv2d_weight(x, w.shape, g, **options)
    with kernels.use("direct"):
        expected = kernels.conv2d_weight(x, w.shape, g, **options)
    finite = np.arange(20) != 7
    assert np.array_equal(found[finite] == 0, expected[finite] == 0)
    assert not found[finite, 4].any() and expected[finite].any()


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_bias_is_added_to_every_pixel(dtype):
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(s).astype(dtype) for s in ((2, 16, 9, 9), (37, 16, 3, 3), (37,)))
    with kernels.use("winograd"):
        difference = kernels.conv2d(x, w, bias, padding=1) - kernels.conv2d(x, w, padding=1)
    assert np.abs(difference - bias[:, None, None]).max() < 100 * np.finfo(dtype).eps


@settings(max_examples=40)
@given(winograd_calls(), st.sampled_from((0, 0.2)))
def test_an_activation_has_the_bits_of_its_own_kernel(call, slope):
    x, w, g, options = call
    cases.check_activation("winograd", x, w, g[0, :, 0, 0], slope, options)


@pytest.mark.parametrize("size, weight, options", [
    ((5, 32, 13, 13), (64, 32, 3, 3), {}),
    ((4, 64, 16, 16), (48, 64, 4, 4), {"stride": 2, "padding": 1}),
    ((3, 40, 9, 9), (24, 40, 4, 4), {"stride": 2, "padding": 1}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_same_bits_for_any_number_of_threads(monkeypatch, size, weight, options, dtype):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (size, weight))
    with kernels.use("winograd"):
        g = kernels.conv2d(x, w, **options)
        for kernel in CALLS:
            results = []
            for threads in (1, 2, 3, 8):
                cases.pretend(monkeypatch, threads)
                results.append(kernel(*of(kernel, x, w, g), **options))
                cases.check_activation("winograd", x, w, None, 0.2, options)
            make_room(monkeypatch, _SLAB_BYTES=(0, 0))  # the fewest squares at a time
            results.append(kernel(*of(kernel, x, w, g), **options))
            monkeypatch.undo()
            assert all(cases.same_bits(results[0], other) for other in results[1:]), kernel.name
    check_close(x, w, g, options)


def chosen(x, w, **options):
    x, w = np.empty(x, "float32"), np.empty(w, "float32")
    return kernels.explain(kernels.conv2d, x, w, **options).implementation


def test_large_layers_take_it_and_small_ones_do_not():
    assert chosen((32, 64, 32, 32), (64, 64, 3, 3), padding=1) == "winograd"
    assert chosen((32, 64, 32, 32), (128, 64, 4, 4), stride=2, padding=1) == "winograd"
    assert chosen((32, 1, 28, 28), (32, 1, 3, 3)) == "planes"
    assert chosen((1, 1, 5, 5), (4, 1, 3, 3)) == "direct"
    double = kernels.explain(kernels.conv2d, np.empty((32, 64, 32, 32)), np.empty((64, 64, 3, 3)))
    assert double.implementation == "direct"
    assert "rounding counts" in double.reason


@pytest.mark.parametrize(("size", "channels", "cache", "outputs"), [
    (16, 64, 1 << 19, 4), (14, 64, 1 << 19, 7), (28, 64, 1 << 19, 7), (54, 64, 1 << 19, 4), (14, 64, 1 << 21, 4),
    (14, 16, 1 << 21, 7), (14, 256, 1 << 21, 7),
])  # fmt: skip
def test_maps_of_7_and_14_pixels_are_cut_into_squares_of_7(monkeypatch, size, channels, cache, outputs):
    """54: where F(7, 2) saves less than a quarter of the time, F(4, 2) rounds less.

    The transformed weight of 64 channels stays in a cache of 2 MiB with F(4, 2) only, that of 16 with both, and that of
    256 with neither.
    """
    monkeypatch.setattr(winograd, "_CACHE", cache)
    plan = winograd._plan.__wrapped__  # what is remembered is of this processor's cache
    options = {"stride": 2, "padding": 1}
    geometry = kernels.geometry.Conv2dGeometry.of((64, 32, size, size), (channels, 32, 4, 4), **options)
    for to_input in (False, True):
        assert len(plan(geometry, np.dtype("float32"), to_input).work.outputs) == outputs
        assert len(plan(geometry, np.dtype("float64"), to_input).work.outputs) == 4


@pytest.mark.parametrize("size, doubt", [(4, "maps are so small that it would multiply more often"), (5, "")])
def test_maps_too_small_for_it_are_left_to_the_definition(size, doubt):
    """The one pixel of a map of 4 takes 16 products, of which F(4, 4) makes 49: its weight alone is packed faster."""
    geometry = kernels.geometry.Conv2dGeometry.of((4, 16, size, size), (1, 16, 4, 4))
    assert winograd._plan(geometry, np.dtype("float32")).doubt == doubt


@pytest.mark.parametrize("weight, options, why", [
    ((6, 8, 1, 1), {}, "nothing to save"),
    ((6, 8, 2, 2), {"stride": 2}, "nothing to save"),
    ((6, 8, 6, 6), {}, "too many points"),
    ((6, 8, 3, 3), {"dilation": 2}, "dilation must be 1"),
    ((6, 4, 3, 3), {"groups": 2}, "groups"),
])  # fmt: skip
def test_what_it_cannot_do_goes_to_the_definition(weight, options, why):
    """6 output channels fill no processor's vectors, and leave no other way."""
    x, w = np.ones((2, 8, 12, 12), "float32"), np.ones(weight, "float32")
    with kernels.use(conv2d="winograd"):
        choice = kernels.explain(kernels.conv2d, x, w, **options)
    assert choice.implementation == "direct"
    assert why in choice.reason


def test_strides_that_skip_pixels_have_no_input_gradient_by_it():
    x, w, g = np.ones((1, 8, 7, 7), "f"), np.ones((8, 8, 3, 2), "f"), np.ones((1, 8, 5, 2), "f")
    with kernels.use("winograd"):
        choice = kernels.explain(kernels.conv2d_input, x.shape, w, g, stride=(1, 3))
    assert "skips pixels" in choice.reason
