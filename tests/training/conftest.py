"""The small trainer, run as a process."""

import os
import subprocess

import pytest
from trainer import command

from scratchnet import jsonlines


@pytest.fixture(scope="session")
def train():
    """train(folder, *arguments): the trainer's exit code, stdout and stderr."""

    def run(folder, *arguments, **options):
        return subprocess.run(command(folder, *arguments), capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture(scope="session")
def whole(train, tmp_path_factory):
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = train(folder, "--certificate")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def assert_equal():
    """assert_equal(folder, whole): the same weights, states and logged numbers, to the last bit."""

    def compare(folder, whole):
        for name in ("step-00000016.safetensors", "best.safetensors", "model.safetensors"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
        assert logged(folder) == logged(whole)
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]

    return compare


def logged(folder):
    """The rows of metrics.jsonl but for times and for what happened to the process."""
    _, *rows = jsonlines.read(folder / "metrics.jsonl", "scratchnet.metrics/1")
    return [{key: row[key] for key in row if key != "seconds"} for row in rows if "event" not in row]
