"""The input gradient of few channels: exact on integers, over any geometry."""

import kernel_cases as cases
import numpy as np
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
