"""The GPU, in one command of less than ten minutes: tests, sanitizers, layers of DCGAN against PyTorch, whole steps.

    python benchmarks/gpu.py                            # prints all
    python benchmarks/gpu.py --write kernels/README.md  # and puts the tables between the file's gpu marks, row by row

Needs CuPy and a GPU; without PyTorch its columns stay empty, without compute-sanitizer its lines. Where the project is
not installed, PYTHONPATH=. will do. Every table is measured in a process of its own, gpu_rows.py, which says how. What
fails, or is not done in time, is named and costs no other row.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gpu_rows import BATCH, DIRECTIONS, LADDER_LAYER, LAYERS, STEPS, TRAININGS, work
from harness import torch, write_section
from scratchnet.device import find_cupy, why_unavailable

ROWS = Path(__file__).with_name("gpu_rows.py")
LADDER = {
    "naive": "a thread a number, operands from global memory",
    "shared": "a block's tiles in shared memory",
    "simt": "a thread's tile in registers",
    "async": "copies that pass no register, several under way",
    "tf32": "tensor cores",
}
SECONDS = 570  # for everything; a part that is done early leaves its time to the others
CLOSE = 0.01  # of a training's numbers on the GPU and on the CPU
KERNELS_SHOWN = 6  # of a profile
PYTEST = [sys.executable, "-m", "pytest", "-q", "tests/gpu", "--ignore", "tests/gpu/test_compile_table.py"]
FEW = ["-n", "0", "-k", "integers and (dcgan or vectors) or every_kernel or optimiser"]  # under a sanitizer all is slow


def parts(with_torch):
    """(part, its rows, the most seconds it gets), in the order in which they are run."""
    libraries = ["scratchnet", *(["NCHW", "channels last"] if with_torch else [])]
    layers = [f"{layer} | {way} | {who}" for layer in LAYERS for way in DIRECTIONS for who in libraries]
    steps = [
        f"{name} | {how}" for name in STEPS for how in ("eager", "as graphs", *(["PyTorch"] if with_torch else []))
    ]
    return [
        ("tests", ["conformance", "on the GPU"], 150),
        ("ceilings", ["bandwidth", *(["product"] if with_torch else [])], 40),
        ("layers", layers, 150),
        ("ladder", list(LADDER), 60),
        ("steps", steps, 90),
        ("trainings", list(TRAININGS), 120),
        ("steps", [f"{name} | losses" for name in STEPS], 60),
        ("tests", ["memcheck"], 90),
        ("tests", ["racecheck"], 90),
        ("profile", list(STEPS) if with_torch else [], 40),
    ]


class Report:
    """What was found, {(part, row): values or {"failed": why}}; the tables of it are rewritten with each row."""

    def __init__(self, path=None, heading=""):
        self.path, self.heading, self.found = path, heading, {}

    def add(self, part, row, values):
        self.found[part, row] = values
        print(f"{part} | {row}: {json.dumps(values)}", flush=True)
        if self.path:
            write_section(self.path, "gpu", self.text())

    def value(self, part, row, name="seconds"):
        """The number, or None where there is none."""
        return self.found.get((part, row), {}).get(name)

    def text(self):
        tables = ladder_table(self), layer_table(self), step_table(self), training_table(self), profile_table(self)
        ends = f"{self.heading}. {self._ceilings()}", test_lines(self), self._failures()
        return "\n\n".join(filter(None, (*tables, *ends)))

    def _ceilings(self):
        bandwidth, product = (self.value("ceilings", row, "rate") for row in ("bandwidth", "product"))
        said = [f"copies reach {bandwidth / 1e12:.2f} TB/s"] if bandwidth else []
        said += [f"torch.matmul reaches {product / 1e12:.0f} TFLOP/s in TF32"] if product else []
        return f"Ceilings: {', '.join(said)}." if said else ""

    def _failures(self):
        failed = [f"* {part}, {row}: {v['failed']}" for (part, row), v in self.found.items() if "failed" in v]
        return "\n".join(["Not measured:", "", *failed]) if failed else ""


def rate(number, form):
    return "" if number is None else format(number, form)


def ratio(theirs, ours):
    return None if theirs is None or ours is None else theirs / ours


def layer_table(report):
    """Every layer in three directions: Markdown."""
    lines = [
        "| layer | direction | µs | TFLOP/s | of roofline | PyTorch NCHW, µs | channels last, µs | times as fast |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    ratios = []
    bandwidth, peak = (report.value("ceilings", row, "rate") for row in ("bandwidth", "product"))
    for name in LAYERS:
        operations, moved = work(name)
        floor = max(operations / peak, moved / bandwidth) if peak and bandwidth else None
        for direction in DIRECTIONS:
            row = f"{name} | {direction}"
            ours, *theirs = (
                report.value("layers", f"{row} | {who}") for who in ("scratchnet", "NCHW", "channels last")
            )
            best = min(filter(None, theirs), default=None)
            times = ratio(best, ours)
            ratios += [times] if times else []
            cells = [rate(ours and ours * 1e6, ".1f"), rate(ours and operations / ours / 1e12, ".1f")]
            cells += [
                rate(ratio(floor, ours), ".0%"),
                *(rate(t and t * 1e6, ".1f") for t in theirs),
                rate(times, ".2f"),
            ]
            lines.append(f"| {row} | {' | '.join(cells)} |")
    if ratios:
        mean = statistics.geometric_mean(ratios)
        lines += ["", f"Geometric mean {mean:.2f}, least {min(ratios):.2f}, of {len(ratios)}."]
    return "\n".join(lines)


def ladder_table(report):
    """The steps of kernels/gpu/ladder.py on one layer, forward: Markdown."""
    lines = ["| step | idea | TFLOP/s | of peak |", "|---|---|---:|---:|"]
    for number, (step, idea) in enumerate(LADDER.items(), 1):
        reached = ratio(work(LADDER_LAYER)[0], report.value("ladder", step))
        share = ratio(reached, report.value("ceilings", "product", "rate"))
        lines.append(
            f"| {number} `{step}` | {idea} | {rate(reached and reached / 1e12, '.3g')} | {rate(share, '.0%')} |"
        )
    return "\n".join(lines)


def step_table(report):
    """Whole training steps, as a program runs them, and the loss after some of them beside the CPU's: Markdown.

    "As graphs" are scratchnet's forward and backward passes, captured by `sn.cuda.capture`, with the optimisers'
    launches after them; the DCGAN's has one more forward pass of the generator than the step beside it.
    """
    lines = [
        "| step | batch | scratchnet, ms | as graphs, ms | PyTorch, ms | times as fast | as graphs | loss: GPU, CPU |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name in STEPS:
        ours, graphs, theirs = (report.value("steps", f"{name} | {how}") for how in ("eager", "as graphs", "PyTorch"))
        losses = report.value("steps", f"{name} | losses", "losses") or ()
        cells = [rate(t and t * 1e3, ".2f") for t in (ours, graphs, theirs)]
        cells += [rate(ratio(theirs, t), ".2f") for t in (ours, graphs)] + [", ".join(f"{x:.5f}" for x in losses)]
        lines.append(f"| {name} | {BATCH} | {' | '.join(cells)} |")
    return "\n".join(lines)


def training_table(report):
    """The examples, trained for a few steps in strict float32 on either device: Markdown."""
    lines = ["| example | number | GPU | CPU | |", "|---|---|---:|---:|---|"]
    for name, (_, numbers) in TRAININGS.items():
        for number in numbers:
            on_gpu, on_cpu = report.value("trainings", name, number) or (None, None)
            verdict = ""
            if on_gpu is not None:
                verdict = "equal" if abs(on_gpu - on_cpu) <= CLOSE * abs(on_cpu) else "DIFFERENT"
            lines.append(f"| {name} | {number} | {rate(on_gpu, '.5g')} | {rate(on_cpu, '.5g')} | {verdict} |")
    return "\n".join(lines)


def profile_table(report):
    """Where the GPU time of a step goes: Markdown, or nothing where no step was profiled."""
    lines = []
    for name in STEPS:
        kinds = report.value("profile", name, "kernels") or []
        total, launches = sum(seconds for *_, seconds in kinds), sum(count for _, count, _ in kinds)
        shown = [
            f"`{kernel[:60]}` {count} x, {seconds / total:.0%}" for kernel, count, seconds in kinds[:KERNELS_SHOWN]
        ]
        if total:
            lines.append(f"* {name}: {launches} launches, {total * 1e3:.2f} ms on the GPU: {'; '.join(shown)}")
    return "\n".join(["Where a step's GPU time goes:", "", *lines]) if lines else ""


def test_lines(report):
    """What tests/gpu and compute-sanitizer say: Markdown."""
    said = {row: values for (part, row), values in report.found.items() if part == "tests" and "failed" not in values}
    return "\n".join(f"* {row}: {'passed' if v['passed'] else 'FAILED'}: {v['said']}" for row, v in said.items())


def measure(report, part, rows, seconds):
    """Run gpu_rows.py on rows until all are done or the time is up; a row that fails is left out of the next run."""
    left, end = list(rows), time.monotonic() + seconds
    while left:
        with tempfile.TemporaryFile("w+") as errors:
            command = [sys.executable, str(ROWS), part, *left]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            watch = threading.Timer(max(end - time.monotonic(), 0), end_all, [process])
            watch.start()
            for line in process.stdout:
                if line.startswith('{"row"'):
                    values = json.loads(line)
                    left.remove(values["row"])
                    report.add(part, values.pop("row"), values)
            process.wait()
            watch.cancel()
            errors.seek(0)
            words = errors.read().strip().splitlines() or [f"the process ended with {process.returncode}"]
        if time.monotonic() >= end:
            for row in left:
                report.add(part, row, {"failed": f"not done in {seconds:.0f} s"})
            return
        if left:
            print("\n".join(words[-20:]), flush=True)
            report.add(part, left.pop(0), {"failed": words[-1]})


def end_all(process):
    """Kill a process and those it has started."""
    os.killpg(process.pid, signal.SIGKILL)


def command_of(row):
    """The command that answers for a row of tests, or None where its tool is not there."""
    if row == "conformance":
        return [*PYTEST, "-n", "0", "-k", "test_conformance"]
    if row == "on the GPU":
        return [*PYTEST, "-n", str(min(8, os.cpu_count())), "-k", "test_on_gpu"]
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    return tool and [tool, "--tool", row, "--error-exitcode", "9", *PYTEST, *FEW]


def run_tests(report, rows, seconds):
    """Run each row's command; all its output is printed where it fails."""
    end = time.monotonic() + seconds
    for row in rows:
        command = command_of(row)
        if command is None:
            report.add("tests", row, {"failed": "there is no compute-sanitizer"})
            continue
        environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "2"}  # the CPU runs the reference
        environment |= {"SCRATCHNET_NO_POOL": "1"} if row in ("memcheck", "racecheck") else {}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROWS.parents[1],
                start_new_session=True,
            )  # fmt: skip
            try:
                process.wait(max(end - time.monotonic(), 1))
            except subprocess.TimeoutExpired:
                end_all(process)
                process.wait()
            output.seek(0)
            lines = output.read().strip().splitlines() or ["it said nothing"]
        if process.returncode:
            print("\n".join(lines), flush=True)
        if process.returncode == -signal.SIGKILL:
            report.add("tests", row, {"failed": f"not done in {seconds:.0f} s: {lines[-1]}"})
        else:
            names = [line.split(" - ")[0].split("::")[-1] for line in lines if line.startswith(("FAILED", "ERROR "))]
            said = "; ".join([lines[-1].strip("= "), *names[:20]])
            report.add("tests", row, {"passed": process.returncode == 0, "said": said})


def machine():
    """The GPU's name and the versions at work."""
    cupy = find_cupy()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"]
    name = name.decode() if isinstance(name, bytes) else name
    theirs = f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}" if torch else "no PyTorch"
    return f"{name}, driver {cupy.cuda.runtime.driverGetVersion()}; CuPy {cupy.__version__}, {theirs}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the file's gpu marks")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for everything together")
    args = parser.parse_args()
    if find_cupy() is None:
        raise SystemExit(f"nothing is measured: {why_unavailable()}")
    end = time.monotonic() + args.seconds
    with_torch = bool(torch and torch.cuda.is_available())
    report = Report(args.write, machine() + ("" if with_torch or not torch else ", which sees no GPU"))
    print(report.heading, flush=True)
    for part, rows, most in parts(with_torch):
        seconds = min(most, end - time.monotonic())
        if seconds < 5:
            for row in rows:
                report.add(part, row, {"failed": "no time was left"})
        elif part == "tests":
            run_tests(report, rows, seconds)
        else:
            measure(report, part, rows, seconds)
    print(report.text())


if __name__ == "__main__":
    main()
