"""Convolutions of few channels: exact on integers, over any geometry, whatever the number of threads."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings

import kernels


@settings(max_examples=120)
@given(cases.conv_calls())
def test_equals_the_reference_bit_for_bit_on_integers(call):
    x, w, g, options = call
    with kernels.use("narrow"):
        found = kernels.conv2d_input(x.shape, w, g, **options)
    assert cases.same_bits(found, cases.reference(kernels.conv2d_input, x.shape, w, g, **options))


def test_full_layer_equals_the_reference():
    rng = np.random.default_rng(0)
    w, g = cases.integers(rng, (64, 3, 7, 7), "float32"), cases.integers(rng, (3, 64, 29, 30), "float32")
    args, options = ((3, 3, 57, 59), w, g), {"stride": 2, "padding": 3}
    assert kernels.explain(kernels.conv2d_input, *args, **options).implementation == "narrow"
    assert cases.same_bits(
        kernels.conv2d_input(*args, **options), cases.reference(kernels.conv2d_input, *args, **options)
    )


def test_many_channels_and_single_images_go_elsewhere():
    w, g = np.ones((8, 16, 3, 3)), np.ones((2, 8, 5, 5))
    assert "fill vectors" in kernels.explain(kernels.conv2d_input, (2, 16, 7, 7), w, g).reason
    choice = kernels.explain(kernels.conv2d_input, (1, 1, 7, 7), w[:, :1], g[:1])
    assert "one image" in choice.reason
    assert choice.implementation == "direct"


@settings(max_examples=120)
@given(cases.calls_of_full_vectors())
def test_forward_and_weight_gradient_equal_the_reference_bit_for_bit_on_integers(call):
    x, w, g, bias, options = call
    for kernel, args in ((kernels.conv2d, (x, w, bias)), (kernels.conv2d_weight, (x, w.shape, g))):
        with kernels.use("narrow"):
            assert kernels.explain(kernel, *args, **options).implementation == "narrow"
            found = kernel(*args, **options)
        assert cases.same_bits(found, cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_forward_and_weight_gradient_have_the_same_bits_for_any_number_of_threads(monkeypatch, batch):
    rng = np.random.default_rng(0)
    x, w, g = (rng.standard_normal(s, "float32") for s in ((batch, 1, 61, 30), (32, 1, 3, 3), (batch, 32, 59, 28)))
    results = []
    for threads in (1, 2, 3, 8):
        cases.pretend(monkeypatch, threads)
        results.append((kernels.conv2d(x, w), kernels.conv2d_weight(x, w.shape, g)))
        cases.check_activation("narrow", x, w, g[0, :, 0, 0], 0.2, {})
    assert kernels.explain(kernels.conv2d, x, w).implementation == "narrow"
    assert all(cases.same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_runs_that_dilation_cuts_up_are_not_left_to_others():
    x, w = np.ones((2, 3, 19, 19), "f"), np.ones((32, 3, 3, 3), "f")
    assert kernels.explain(kernels.conv2d, x, w).implementation == "overlap"
    assert kernels.explain(kernels.conv2d, x, w, dilation=(1, 2)).implementation == "narrow"


@pytest.mark.parametrize("x, w, options, why", [
    ((2, 4, 9, 9), (32, 4, 2, 2), {"dilation": (1, 2)}, "more than 3 channels"),
    ((2, 1, 12, 12), (32, 1, 6, 6), {"dilation": (1, 2)}, "or 32 numbers"),
    ((2, 3, 9, 9), (32, 3, 3, 3), {}, "multiplied as they lie"),
    ((2, 1, 9, 9), (20, 1, 3, 3), {}, "fill vectors"),
    ((2, 4, 9, 9), (32, 2, 3, 3), {"groups": 2}, "groups must be 1"),
    ((0, 1, 9, 9), (32, 1, 3, 3), {}, "nothing to multiply"),
])  # fmt: skip
def test_long_patches_and_ragged_channels_go_elsewhere(x, w, options, why):
    choice = kernels.explain(kernels.conv2d, np.ones(x, "f"), np.ones(w, "f"), **options)
    assert choice.implementation != "narrow"
    assert why in choice.reason
