"""What docs/running.md promises, held against the trainers of the examples themselves: CNN, GAN and VAE.

The same with everything that has a state, and at more moments, is done to a smaller trainer in the files beside.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scratchnet import jsonlines
from scratchnet.replay import compare

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the trainers' process forks")
SCRIPT = Path(__file__).parent / "trainers.py"
POOLS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
TRAINERS = ("cnn", "gan", "vae")
LAST = "step-00000016.safetensors"
REFUSED, ANOMALY = 2, 3


class Trainers:
    """A process that has run each trainer once, and starts runs that need not import and compile anything."""

    def __init__(self, folder: Path):
        self.folder = folder
        environment = os.environ | dict.fromkeys(POOLS, "1") | {"NUMBA_THREADING_LAYER": "workqueue"}  # it may fork
        command = [sys.executable, SCRIPT, folder, "serve"]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self, name, *arguments, die=None) -> int:
        """Begin a run; its process number."""
        wanted = {"name": name, "arguments": list(map(str, arguments)), "die": die}
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> tuple[int, str]:
        """The exit code of the run and what it printed."""
        code = int(self.process.stdout.readline())
        return code, (self.folder / "output").read_text()

    def run(self, name, *arguments, die=None) -> tuple[int, str]:
        self.start(name, *arguments, die=die)
        return self.end()


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    trainers = Trainers(tmp_path_factory.mktemp("trainers"))
    yield trainers
    trainers.process.communicate()


def assert_equal(folder: Path, whole: Path) -> None:
    """The same weights, states, pictures, logged numbers and results of every op."""
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.suffix in (".safetensors", ".png", ".gif")]
    assert LAST in map(str, names) and len(names) >= 5
    for name in names:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert logged(folder) == logged(whole)
    assert compare(folder / "certificate.jsonl", whole / "certificate.jsonl")[0]
    assert not list(folder.rglob("*.part"))


def logged(folder: Path) -> list[dict]:
    _, *rows = jsonlines.read(folder / "metrics.jsonl", "scratchnet.metrics/1")
    return [{key: row[key] for key in row if key != "seconds"} for row in rows if "event" not in row]


def kills(rng: random.Random):
    """Four in the middle of a checkpoint's write, two at another step or file, one by the clock."""
    yield from ([rng.randint(2, 4), ["write"], signal.SIGKILL] for _ in range(4))
    yield from ([rng.randint(1, 12), ["flush", "rename", "delete", "step"], signal.SIGKILL] for _ in range(2))
    yield None


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_interrupted_and_killed_goes_on_bit_for_bit(trainers, tmp_path, name):
    code, output = trainers.run(name, "--out", tmp_path, die=[2, ["step"], signal.SIGINT])
    assert (code, output) == (130, "stopped: step 2 is saved, --resume goes on from there\n")

    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, output = trainers.run(name, "--out", tmp_path)
    assert code == REFUSED and "holds a run already: use --resume, or another --out" in output
    code, output = trainers.run(name, "--out", tmp_path, "--resume", "--seed", 1)
    assert code == REFUSED and "run with other settings: seed was 0, now 1" in output
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    rng, halves = random.Random(name), 0
    for die in kills(rng):
        number = trainers.start(name, "--out", tmp_path, "--resume", die=die)
        if die is None:
            time.sleep(rng.uniform(0, 0.2))
            os.kill(number, signal.SIGKILL)
        code, output = trainers.end()
        assert code == -signal.SIGKILL, output
        halves += bool(list(tmp_path.glob(".*.part")))
    assert halves >= 4
    code, output = trainers.run(name, "--out", tmp_path, "--resume")
    assert code == 0, output
    assert_equal(tmp_path, trainers.folder / name)


@pytest.fixture(scope="module", params=["2", "8"])
def other(request, tmp_path_factory):
    """Six steps of the trainers in processes of their own, with more threads."""
    folder = tmp_path_factory.mktemp("threads")
    environment = os.environ | dict.fromkeys(POOLS, request.param) | {"OMP_WAIT_POLICY": "passive"}
    subprocess.run([sys.executable, SCRIPT, folder, "6"], env=environment, check=True)
    return folder


@pytest.mark.parametrize("name", TRAINERS)
def test_bits_do_not_depend_on_threads_and_process(trainers, other, name):
    shorter = other / name / "certificate.jsonl"
    _, report = compare(trainers.folder / name / "certificate.jsonl", shorter)
    assert report.splitlines()[-1] == f"equal for 6 steps, then {shorter} ends", report


@pytest.mark.parametrize("name", TRAINERS)
def test_a_learning_rate_too_large_stops_with_op_and_step(trainers, tmp_path, name):
    code, output = trainers.run(name, "--out", tmp_path, "--lr", "1e38")
    assert code == ANOMALY, output
    assert re.search(r"^error: step [12]: \w+( in the backward pass of \w+)?: ", output, re.MULTILINE), output
    assert "No step was saved" in output and "Traceback" not in output
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["event"] == "anomaly" and f"error: step {rows[-1]['step']}: {rows[-1]['message']}" in output


@pytest.mark.parametrize("name", TRAINERS)
def test_the_state_of_another_model_is_refused(trainers, tmp_path, name):
    other = TRAINERS[TRAINERS.index(name) - 1]
    (tmp_path / LAST).write_bytes((trainers.folder / other / LAST).read_bytes())
    code, output = trainers.run(name, "--out", tmp_path, "--resume")
    assert code == REFUSED and "holds a run with other settings" in output
