"""The input gradient that multiplies first: exact on integers, chosen for small maps alone."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels


def shapes(n, c, k, image, kernel, padding):
    """Of input, weight and grad_output."""
    output = [size + 2 * padding - taps + 1 for size, taps in zip(image, kernel, strict=True)]
    return (n, c, *image), (k, c, *kernel), (n, k, *output)


@settings(max_examples=60)
@given(st.data(), st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 3), cases.dtypes, cases.seeds)
def test_equals_the_reference_bit_for_bit_on_integers(data, sizes, padding, dtype, seed):
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = [data.draw(st.integers(max(1, taps - 2 * padding), 7)) for taps in kernel]
    rng, (input_size, weight_size, output_size) = np.random.default_rng(seed), shapes(*sizes, image, kernel, padding)
    w, g = (cases.lay_out(cases.integers(rng, s, dtype), data.draw(cases.layouts)) for s in (weight_size, output_size))
    with kernels.use(conv2d_input="columns"):
        assert kernels.explain(kernels.conv2d_input, input_size, w, g, padding=padding).implementation == "columns"
        found = kernels.conv2d_input(input_size, w, g, padding=padding)
    assert cases.same_bits(found, cases.reference(kernels.conv2d_input, input_size, w, g, padding=padding))


@pytest.mark.parametrize(("image", "kernel", "padding", "implementation"), [
    (5, 3, 0, "columns"), (6, 3, 0, "winograd"), (5, 3, 1, "winograd"), (10, 5, 0, "columns"), (3, 3, 0, "dense"),
])  # fmt: skip
def test_small_maps_run_here_by_default(image, kernel, padding, implementation):
    input_size, weight_size, output_size = shapes(16, 64, 64, (image, image), (kernel, kernel), padding)
    w, g = np.ones(weight_size, np.float32), np.ones(output_size, np.float32)
    choice = kernels.explain(kernels.conv2d_input, input_size, w, g, padding=padding)
    assert choice.implementation == implementation, choice


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {}], ids=str)
def test_others_go_elsewhere(options):
    x, w = np.ones((2, 4, 6, 6)), np.ones((8, 4 // options.get("groups", 1), 3, 3))
    why = "'columns' cannot: stride, dilation and groups must be 1" if options else "'columns' would not pay: below"
    g = kernels.conv2d(x, w, **options)
    choice = kernels.explain(kernels.conv2d_input, x.shape, w, g, **options)
    assert choice.implementation != "columns" and why in choice.reason
