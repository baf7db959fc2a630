"""Forward pass and weight gradient of few channels: exact on integers, whatever the number of threads."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings

import kernels


@settings(max_examples=120)
@given(cases.calls_of_full_vectors())
def test_forward_and_weight_gradient_equal_the_reference_bit_for_bit_on_integers(call):
    x, w, g, bias, options = call
    for kernel, args in ((kernels.conv2d, (x, w, bias)), (kernels.conv2d_weight, (x, w.shape, g))):
        with kernels.use("planes"):
            assert kernels.explain(kernel, *args, **options).implementation == "planes"
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
        cases.check_activation("planes", x, w, g[0, :, 0, 0], 0.2, {})
    assert kernels.explain(kernels.conv2d, x, w).implementation == "planes"
    assert all(cases.same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_runs_that_dilation_cuts_up_are_not_left_to_others():
    x, w = np.ones((2, 3, 19, 19), "f"), np.ones((32, 3, 3, 3), "f")
    assert kernels.explain(kernels.conv2d, x, w).implementation == "overlap"
    assert kernels.explain(kernels.conv2d, x, w, dilation=(1, 2)).implementation == "planes"


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
    assert choice.implementation != "planes"
    assert why in choice.reason


def test_a_layer_without_output_channels_is_chosen_for_and_runs():
    x, w = np.ones((2, 1, 9, 9), "f"), np.ones((0, 1, 3, 3), "f")
    y = kernels.conv2d(x, w)
    assert y.shape == (2, 0, 7, 7)
    assert "nothing to multiply" in kernels.explain(kernels.conv2d, x, w).reason
    assert not kernels.conv2d_input(x.shape, w, y).any()
    assert kernels.conv2d_weight(x, w.shape, y).shape == w.shape
