"""Some planted faults, which the emulator must show; `python -m tests.emulator.planted` plants them all."""

import shutil

import numpy as np
import pytest

import kernels
from kernels.gpu import module
from tests.emulator import memory_faults, planted
from tests.emulator.emulate import KernelError
from tests.emulator.test_gpu_conv import all_three, check
from tests.kernels import kernel_cases as cases

FAULTS = [fault for file in planted.sources() for fault in planted.faults(file)]
SAMPLE = [
    ("conv_tf32.cu", "barrier removed"),
    ("conv_tf32.cu", "waits for one copy too few"),
    ("conv_weight_tf32.cu", "rows of a fragment exchanged"),
    ("conv.cuh", "right edge"),
]


@pytest.fixture
def fault(request, tmp_path, monkeypatch):
    found = next(fault for fault in FAULTS if (fault.file, fault.what) == request.param)
    monkeypatch.setattr(module, "FOLDER", shutil.copytree(module.FOLDER, tmp_path / "cuda"))
    (module.FOLDER / found.file).write_text(found.text)
    module._function.cache_clear()
    yield found
    module._function.cache_clear()


@pytest.mark.parametrize("fault", SAMPLE, ids=" ".join, indirect=True)
def test_a_planted_fault_is_found(fault):
    kernel_of_file = kernels.conv2d_weight if "weight" in fault.file else kernels.conv2d
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, (2, 36, 6, 7), "float32"), cases.integers(rng, (12, 36, 3, 3), "float32")
    g = cases.integers(rng, (2, 12, 6, 7), "float32")
    args = next(args for kernel, args in all_three(x, w, g) if kernel is kernel_of_file)
    with pytest.raises((AssertionError, KernelError)):
        for order in range(6):
            check("tf32", kernel_of_file, args, dict(padding=1), order)


def test_every_rule_fits_some_source_and_faults_are_many():
    assert len(FAULTS) > 100
    by_rule = {fault.what for fault in FAULTS if fault.file not in memory_faults.FAULTS}
    assert by_rule == {*planted.EVERYWHERE, *planted.ONCE}
    survivors = {(what, file) for what, file in planted.HARMLESS if file != "*"}
    assert survivors <= {(fault.what, fault.file) for fault in FAULTS}


def test_outcomes_are_noted_and_planted_no_second_time(monkeypatch, tmp_path):
    kept, some = tmp_path / "kept.jsonl", list(planted.faults("losses.cu"))
    monkeypatch.setattr(planted, "TABLE", tmp_path / "FAULTS.md")
    monkeypatch.setattr(planted, "sources", lambda: ["losses.cu"])
    looked = []
    monkeypatch.setattr(planted, "find", lambda fault: looked.append(fault) or (None if len(looked) == 1 else "test"))
    planted.main(["losses.cu"], kept)
    assert len(looked) == len(some) and not planted.TABLE.exists()
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join(lines[:-1]) + "\n")
    planted.main([], kept, table_only=True)
    assert len(looked) == len(some)
    table = planted.TABLE.read_text()
    count = len(some) - 1
    assert f"{count - 1} of {count} faults are found" in table and "1 more have yet to be planted" in table
    assert f"| `losses.cu` | {len(some)} | {count} | {count - 1} |" in table and "NOT EXPLAINED" in table
    planted.main([], kept)
    assert len(looked) == len(some) + 1 and "yet to be planted" not in planted.TABLE.read_text()
