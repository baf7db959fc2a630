"""The steps of the ladder compute what the reference computes, and run only when asked for."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings

import kernels
from kernels import registry

FORWARD_ONLY, ALL_THREE = ("tiled",), ("naive", "im2col")


def calls_of(step, x, w, g):
    yield kernels.conv2d, (x, w)
    if step in ALL_THREE:
        yield kernels.conv2d_input, (x.shape, w, g)
        yield kernels.conv2d_weight, (x, w.shape, g)


@pytest.mark.parametrize("step", ALL_THREE + FORWARD_ONLY)
@settings(max_examples=80)
@given(call=cases.conv_calls())
def test_each_step_equals_the_reference_bit_for_bit(step, call):
    *arrays, options = call
    for kernel, args in calls_of(step, *arrays):
        with kernels.use(**{kernel.name: step}):
            choice = kernels.explain(kernel, *args, **options)
            assert (choice.implementation, choice.reason) == (step, "asked for by use")
            result = kernel(*args, **options)
        assert cases.same_bits(result, cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("step", ALL_THREE + FORWARD_ONLY)
def test_a_full_layer_equals_the_reference(step):
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, (3, 32, 20, 21), "float32"), cases.integers(rng, (100, 32, 3, 3), "float32")
    g = cases.integers(rng, (3, 100, 20, 21), "float32")
    for kernel, args in calls_of(step, x, w, g):
        with kernels.use(step):
            result = kernel(*args, padding=1)
        assert cases.same_bits(result, cases.reference(kernel, *args, padding=1)), kernel.name


def test_no_call_runs_a_step_that_did_not_ask(monkeypatch):
    monkeypatch.setattr(registry, "_environment", "")
    x, w, g = np.ones((1, 4, 5, 5)), np.ones((4, 4, 3, 3)), np.ones((1, 4, 3, 3))
    for kernel, args in calls_of("naive", x, w, g):
        others = [i for i in kernel._implementations if i.name not in ALL_THREE + FORWARD_ONLY]
        monkeypatch.setattr(kernel, "_implementations", [i for i in kernel._implementations if i not in others])
        monkeypatch.setattr(kernel, "_choices", {})
        choice = kernels.explain(kernel, *args)
        assert choice.implementation == "reference"
        assert "'naive' would not pay: it is a step of the ladder, there to be read" in choice.reason
