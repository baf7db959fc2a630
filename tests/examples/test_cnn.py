"""The classifier examples, run as a user runs them, on little data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scratchnet.data import Digits

ROOT = Path(__file__).parent.parent.parent


def run(script, *arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = run("train_cnn.py", "--smoke", "--epochs", 3, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_training_leaves_log_pictures_and_checkpoint(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["config"]["model"] == "cnn"
    assert [row["epoch"] for row in lines[1:]] == [1, 2, 3]
    assert lines[-1]["test_loss"] < lines[1]["test_loss"]
    for name in ("curves.png", "mistakes.png"):
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 100


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(trained, tmp_path):
    """The first run is stopped after an epoch by a budget of epochs that keeps the schedule's length."""
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "examples")!r})
import train_cnn
save, calls = train_cnn.save_checkpoint, []
def stop_after_the_first(*args, **kwargs):
    save(*args, **kwargs)
    raise SystemExit(7)
train_cnn.save_checkpoint = stop_after_the_first
train_cnn.main(["--smoke", "--epochs", "3", "--out", {str(tmp_path / "part")!r}])
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 7
    result = run("train_cnn.py", "--smoke", "--epochs", 3, "--out", tmp_path / "part", "--resume")
    assert result.returncode == 0, result.stderr
    whole, part = ((f / "checkpoint.safetensors").read_bytes() for f in (trained, tmp_path / "part"))
    assert whole == part


def test_a_folder_with_a_run_is_not_overwritten(trained):
    before = (trained / "metrics.jsonl").read_bytes()
    result = run("train_cnn.py", "--smoke", "--out", trained)
    assert result.returncode != 0
    assert "holds a run already" in result.stderr
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_shallow_model_trains(tmp_path):
    result = run("train_cnn.py", "--smoke", "--model", "shallow", "--epochs", 2, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "54,410" in result.stdout


@pytest.mark.parametrize("arguments", [["--data", "svhn"], ["--epochs", "0"], ["--batch-size", "-1"]])
def test_unknown_options_are_refused(arguments):
    result = run("train_cnn.py", *arguments)
    assert result.returncode == 2
    assert "error:" in result.stderr


def test_predict_names_classes_and_unreadable_files(trained, tmp_path):
    digit = Digits(train=False, size=8).images[3, 0]
    Image.fromarray(digit).resize((90, 90)).save(tmp_path / "digit.png")
    Image.fromarray(np.stack([255 - digit] * 3, axis=2)).save(tmp_path / "ink.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    checkpoint = trained / "checkpoint.safetensors"
    result = run("predict.py", checkpoint, tmp_path / "digit.png", tmp_path / "broken.png")
    assert result.returncode == 1
    assert "digit.png" in result.stdout and "%" in result.stdout
    assert "broken.png  not read" in result.stderr
    inverted = run("predict.py", checkpoint, tmp_path / "ink.png", "--invert", "--top", 1)
    assert inverted.returncode == 0, inverted.stderr


def test_predict_refuses_what_is_no_checkpoint(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 64)
    result = run("predict.py", tmp_path / "weights.safetensors", tmp_path / "x.png")
    assert result.returncode == 2
    assert result.stderr.startswith("error:") and "weights.safetensors" in result.stderr
