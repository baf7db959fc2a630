"""Kernels as large as the image: exact on integers, chosen where they are worth it."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels


def arguments(x, w, g):
    return {kernels.conv2d: (x, w), kernels.conv2d_input: (x.shape, w, g), kernels.conv2d_weight: (x, w.shape, g)}


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 5)] * 5), st.integers(1, 3), cases.dtypes, cases.seeds, st.data())
def test_equals_the_reference_bit_for_bit_on_integers(sizes, stride, dtype, seed, data):
    n, c, k, height, width = sizes
    rng = np.random.default_rng(seed)
    shapes = (n, c, height, width), (k, c, height, width), (n, k, 1, 1)
    arrays = [cases.lay_out(cases.integers(rng, s, dtype), data.draw(st.sampled_from(cases.LAYOUTS))) for s in shapes]
    for kernel, args in arguments(*arrays).items():
        with kernels.use("dense"):
            assert kernels.explain(kernel, *args, stride=stride).implementation == "dense"
            found = kernel(*args, stride=stride)
        assert cases.same_bits(found, cases.reference(kernel, *args, stride=stride)), kernel.name
    x, w, _ = arrays
    bias = cases.integers(rng, (k,), dtype)
    with kernels.use("dense"):
        assert cases.same_bits(kernels.conv2d(x, w, bias), cases.reference(kernels.conv2d, x, w, bias))


def test_a_full_layer_runs_here_by_default():
    rng = np.random.default_rng(0)
    shapes = (3, 64, 4, 4), (100, 64, 4, 4), (3, 100, 1, 1)
    for kernel, args in arguments(*(cases.integers(rng, s, "float32") for s in shapes)).items():
        assert kernels.explain(kernel, *args).implementation == "dense"
        assert cases.same_bits(kernel(*args), cases.reference(kernel, *args))


def test_a_weight_gradient_is_contiguous_however_many_outputs_there_are():
    x, g = np.ones((32, 8, 4, 4), np.float32), np.ones((32, 512, 1, 1), np.float32)
    assert kernels.explain(kernels.conv2d_weight, x, (512, 8, 4, 4), g).implementation == "dense"
    assert kernels.conv2d_weight(x, (512, 8, 4, 4), g).flags.c_contiguous


@pytest.mark.parametrize(("x", "w", "options", "why"), [
    ((2, 3, 4, 4), (8, 3, 3, 3), {}, "must cover the image"),
    ((2, 3, 4, 4), (8, 3, 4, 4), {"padding": 1}, "padding 0"),
    ((2, 4, 4, 4), (8, 2, 4, 4), {"groups": 2}, "groups must be 1"),
    ((0, 3, 4, 4), (8, 3, 4, 4), {}, "nothing to multiply"),
    ((2, 3, 4, 4), (8, 3, 4, 4), {}, "not worth it"),
])  # fmt: skip
def test_others_go_elsewhere(x, w, options, why):
    choice = kernels.explain(kernels.conv2d, np.ones(x), np.ones(w), **options)
    assert choice.implementation != "dense" and why in choice.reason
