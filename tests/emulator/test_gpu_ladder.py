"""The GPU's ladder: each step computes what the reference does, in any order of threads, and only when asked for."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import kernels
from kernels.gpu import ladder, module
from tests.emulator.device import to_device
from tests.emulator.on_device import orders
from tests.emulator.test_gpu_conv import all_three, check, check_infinities
from tests.kernels import kernel_cases as cases


@pytest.mark.parametrize("step", ladder.TILES)
@settings(max_examples=15)
@given(call=cases.conv_calls(), order=orders)
def test_each_step_equals_the_reference(step, call, order):
    x, w, g, options = call
    for kernel, args in all_three(*(a.astype(np.float32) for a in (x, w, g))):
        if kernel is not kernels.conv2d_weight:
            check(step, kernel, args, options, order)


@pytest.mark.parametrize("step", ladder.TILES)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_layer_of_many_blocks_equals_the_reference(step, order):
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, (2, 19, 9, 8), "float32"), cases.integers(rng, (70, 19, 4, 4), "float32")
    g = cases.integers(rng, (2, 70, 4, 4), "float32")
    for kernel, args in all_three(x, w, g):
        if kernel is not kernels.conv2d_weight:
            check(step, kernel, args, dict(stride=2, padding=1), order)


@pytest.mark.parametrize("step", ["shared", "async"])  # naive leaves padding out, where infinity times 0 is NaN
def test_an_infinity_reaches_only_the_sums_it_is_in(step):
    check_infinities(step)


def test_no_call_runs_a_step_that_did_not_ask():
    x, w = to_device(np.ones((1, 4, 5, 5))), to_device(np.ones((4, 4, 3, 3)))
    with kernels.use(conv2d="naive"):
        why = kernels.explain(kernels.conv2d, x, w)
    assert why.implementation == "simt" and "'naive' cannot: it is written for float32, given float64" in why.reason
    names = kernels.conv2d.implementations("gpu")
    assert names == ["tf32", "simt", "naive", "shared", "async", "reference"]


def test_the_page_of_the_ladder_runs_and_names_its_steps():
    text = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(code, "docs/gpu.md", "exec"), names)
    assert "tf32" in names
    sources = dict(re.findall(r"^\| \d \| `(\w+)` \| \[(\w+\.cu)\]", text, flags=re.MULTILINE))
    assert list(sources) == ["naive", "shared", "simt", "async", "tf32"]
    assert all((module.FOLDER / source).exists() for source in sources.values())
