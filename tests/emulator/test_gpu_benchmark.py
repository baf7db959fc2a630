"""benchmarks/gpu.py checks and writes what it should, as far as that can be seen without a GPU and a clock."""

import sys
from pathlib import Path

import pytest

from tests.emulator.device import cupy


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import gpu

    monkeypatch.setattr(gpu, "find_cupy", lambda: cupy)
    monkeypatch.setattr(gpu, "torch", None)
    yield gpu
    sys.modules.pop("gpu")


def once(functions):
    functions[0]()
    return 1e-6


def test_tables_have_a_row_for_each_thing_measured(gpu):
    layers = {"small": ((1, 8, 6, 6), (8, 8, 3, 3), dict(padding=1))}
    table = gpu.layer_table(layers, once, peak=1e12, bandwidth=1e12).splitlines()
    assert [line.split(" | ")[:4] for line in table[2:]] == [
        ["| small", way, "1.0", "0.0"] for way in ("forward", "input", "weight")
    ]
    ladder = gpu.ladder_table(layers["small"], once, peak=1e12).splitlines()[2:]
    assert [line.split("`")[1] for line in ladder] == ["naive", "shared", "simt", "async", "tf32"]


def test_what_is_wrong_is_not_timed(gpu, monkeypatch):
    right = gpu.calls
    monkeypatch.setattr(gpu, "calls", lambda x, w, g, o: right(x * (2 if x.dtype.itemsize == 8 else 1), w, g, o))
    with pytest.raises(AssertionError, match="relative error"):
        gpu.layer_table({"small": ((1, 8, 6, 6), (8, 8, 3, 3), dict(padding=1))}, once)
