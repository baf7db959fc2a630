"""benchmarks/gpu.py checks and writes what it should, as far as that can be seen without a GPU and a clock."""

import json
import math
import sys
from pathlib import Path

import pytest

from tests.emulator.device import cupy

SMALL = {"small": ((1, 8, 6, 6), (8, 8, 3, 3), dict(padding=1))}
MARKS = "before\n<!-- gpu: written by benchmarks/gpu.py -->\nold\n<!-- /gpu -->\nafter\n"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import gpu
    import gpu_rows

    monkeypatch.setattr(gpu_rows, "find_cupy", lambda: cupy)
    monkeypatch.setattr(gpu_rows, "LAYERS", gpu_rows.LAYERS | SMALL)
    monkeypatch.setattr(gpu_rows, "LADDER_LAYER", "small")
    monkeypatch.setattr(gpu_rows, "gpu_seconds", once)
    yield gpu
    for name in ("gpu", "gpu_rows"):
        sys.modules.pop(name)


def once(functions):
    functions[0]()
    return 1e-6


def test_rows_of_layers_and_of_the_ladder_are_measured(gpu, capsys):
    rows = [f"small | {direction} | scratchnet" for direction in gpu.DIRECTIONS]
    sys.modules["gpu_rows"].main("layers", rows)
    sys.modules["gpu_rows"].main("ladder", gpu.LADDER)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == [{"row": row, "seconds": 1e-6} for row in (*rows, *gpu.LADDER)]


def test_what_is_wrong_is_not_timed(gpu, monkeypatch):
    rows = sys.modules["gpu_rows"]
    right = rows.calls
    monkeypatch.setattr(rows, "calls", lambda x, w, g, o: right(x * (2 if x.dtype.itemsize == 8 else 1), w, g, o))
    with pytest.raises(AssertionError, match="relative error"):
        rows.layer("small | forward | scratchnet")


@pytest.fixture
def rows(gpu, tmp_path, monkeypatch):
    """In gpu_rows.py's place a script that measures most rows, and says so where it cannot."""
    script = tmp_path / "rows.py"
    script.write_text(
        "import os, sys, time\n"
        "for row in sys.argv[2:]:\n"
        "    if row == 'wrong': raise ValueError('relative error 1')\n"
        "    if row == 'killed': os._exit(3)\n"
        "    if row == 'slow': time.sleep(60)\n"
        "    print('noise')\n"
        '    print(\'{"row": "%s", "seconds": 2e-6}\' % row, flush=True)\n'
    )
    monkeypatch.setattr(gpu, "ROWS", script)


def test_a_row_that_fails_costs_no_other(gpu, rows, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(MARKS)
    report = gpu.Report(path, "a GPU")
    written = []
    report.add, add = lambda *given: (add(*given), written.append(path.read_text())), report.add
    gpu.measure(report, "ladder", ["naive", "wrong", "shared", "killed", "tf32"], seconds=300)
    gpu.measure(report, "ladder", ["slow", "async"], seconds=1)
    seconds = {row: report.value("ladder", row) for row in ("naive", "shared", "tf32", "async")}
    assert seconds == {"naive": 2e-6, "shared": 2e-6, "tf32": 2e-6, "async": None}
    text = path.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    for line in (
        "* ladder, wrong: ValueError: relative error 1",
        "* ladder, killed: the process ended with 3",
        "* ladder, slow: not done in 1 s",
        "* ladder, async: not done in 1 s",
    ):
        assert line in text
    assert "| 2 `shared` |" in written[0] and "relative error" not in written[0] and "relative error" in written[1]


def test_tables_say_what_was_found(gpu):
    report = gpu.Report(heading="a GPU")
    assert "Not measured" not in report.text() and "nan" not in report.text()
    operations, moved = gpu.work("64 > 64, 3x3")
    report.add("ceilings", "product", {"rate": operations / 1e-6})
    report.add("ceilings", "bandwidth", {"rate": moved / 1e-6})
    for who, seconds in (("scratchnet", 2e-6), ("NCHW", 5e-6), ("channels last", 3e-6)):
        report.add("layers", f"64 > 64, 3x3 | input | {who}", {"seconds": seconds})
    report.add("ladder", "tf32", {"seconds": 4e-6})
    for how, seconds in (("eager", 4e-3), ("as graphs", 2e-3), ("PyTorch", 3e-3)):
        report.add("steps", f"dcgan | {how}", {"seconds": seconds})
    report.add("steps", "dcgan | losses", {"losses": (1.25, 1.2501)})
    report.add("trainings", "vae", {"train_loss": (200.0, 201.0), "test_loss": (200.0, 300.0)})
    report.add("profile", "cnn", {"kernels": [("mma", 3, 3e-3), ("copy", 1, 1e-3)]})
    report.add("tests", "racecheck", {"passed": False, "said": "1 hazard"})
    text = report.text()
    for words in (
        f"| 64 > 64, 3x3 | input | 2.0 | {operations / 2e6:.1f} | 50% | 5.0 | 3.0 | 1.50 |",
        "Geometric mean 1.50, least 1.50, of 1.",
        "| 5 `tf32` | tensor cores | " + format(operations / 4e6, ".3g") + " | 25% |",
        "| dcgan | 128 | 4.00 | 2.00 | 3.00 | 0.75 | 1.50 | 1.25000, 1.25010 |",
        "| vae | train_loss | 200 | 201 | equal |",
        "| vae | test_loss | 200 | 300 | DIFFERENT |",
        "* cnn: 4 launches, 4.00 ms on the GPU: `mma` 3 x, 75%; `copy` 1 x, 25%",
        "* racecheck: FAILED: 1 hazard",
    ):
        assert words in text


def test_every_part_has_its_rows_and_all_fit_in_ten_minutes(gpu):
    parts = gpu.parts(with_torch=True)
    measured = [(part, row) for part, rows, _ in parts for row in rows]
    assert len(set(measured)) == len(measured)
    assert {part for part, _ in measured} == {*sys.modules["gpu_rows"].PARTS, "tests"}
    assert sum(part == "layers" for part, _ in measured) == 9 * len(gpu.LAYERS)
    assert gpu.SECONDS < 600
    assert not any("PyTorch" in row or "NCHW" in row for _, rows, _ in gpu.parts(with_torch=False) for row in rows)


def test_commands_that_fail_hang_or_are_not_there(gpu, monkeypatch):
    scripts = {
        "on the GPU": "print('FAILED tests/a.py::test_b[1] - no'); print('== 1 failed =='); raise SystemExit(1)",
        "conformance": "print('2 passed')",
        "racecheck": "import time; print('so far', flush=True); time.sleep(60)",
    }
    monkeypatch.setattr(gpu, "command_of", lambda row: [sys.executable, "-c", scripts[row]] if row in scripts else None)
    report = gpu.Report()
    gpu.run_tests(report, ["conformance", "on the GPU", "memcheck"], seconds=60)
    gpu.run_tests(report, ["racecheck"], seconds=2)
    assert report.found["tests", "conformance"] == {"passed": True, "said": "2 passed"}
    assert report.found["tests", "on the GPU"] == {"passed": False, "said": "1 failed; test_b[1]"}
    assert report.found["tests", "memcheck"] == {"failed": "there is no compute-sanitizer"}
    assert report.found["tests", "racecheck"]["failed"].startswith("not done in 2 s: ")


def test_the_work_of_a_layer(gpu):
    operations, moved = gpu.work("64 > 128, 4x4 stride 2")
    assert operations == 2 * math.prod((128, 128, 16, 16, 64, 4, 4))
    assert moved == 4 * (128 * 64 * 32 * 32 + 128 * 64 * 16 + 128 * 128 * 16 * 16)
