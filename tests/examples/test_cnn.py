"""The classifier examples, run as a user runs them, on little data."""

import json
import subprocess

import numpy as np
import pytest
from PIL import Image
from scripts import run, start

from scratchnet.data import Digits
from scratchnet.serialization import save_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = run("train_cnn.py", "--smoke", "--epochs", 3, "--out", folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_training_leaves_log_pictures_and_checkpoint(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["config"]["model"] == "cnn"
    rows = [row for row in lines[1:] if "event" not in row]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["test_loss"] < rows[0]["test_loss"]
    for name in ("curves.png", "mistakes.png"):
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 100


def test_a_killed_run_goes_on_bit_for_bit(trained, tmp_path):
    """Killed at some moment of the second epoch; tests/training does it at twenty, to a smaller trainer."""
    arguments = ["--smoke", "--epochs", "3", "--save-every", "5", "--out", tmp_path]
    with start("train_cnn.py", *arguments, stdout=subprocess.PIPE) as process:
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.kill()
    result = run("train_cnn.py", *arguments, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ("step-00000048.safetensors", "best.safetensors", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_a_folder_with_a_run_is_not_overwritten(trained):
    before = (trained / "metrics.jsonl").read_bytes()
    result = run("train_cnn.py", "--smoke", "--out", trained)
    assert result.returncode == 2
    assert "holds a run already" in result.stderr
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_shallow_model_trains(tmp_path):
    result = run("train_cnn.py", "--smoke", "--model", "shallow", "--epochs", 2, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "54,410" in result.stdout


def test_a_folder_of_images_with_a_corrupt_file(tmp_path):
    for i in range(24):
        path = tmp_path / "data" / ("train" if i < 16 else "test") / ("dark", "light")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20), 40 + 150 * (i % 2) + i, np.uint8)).save(path)
    bad = tmp_path / "data" / "train" / "dark" / "bad.png"
    bad.write_bytes(b"no image")
    arguments = ["--data", "folder", "--data-root", tmp_path / "data", "--image-size", 28, "--epochs", 1, "--quiet"]
    arguments += ["--out", tmp_path / "run"]
    refused = run("train_cnn.py", *arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {bad}: not a readable image")
    assert refused.stderr.endswith("(1 such files; --corrupt skip leaves them out)\n")
    result = run("train_cnn.py", *arguments, "--corrupt", "skip")
    assert result.returncode == 0 and result.stdout == ""
    assert f"left out {bad}: " in result.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["count"], row["files"]) for row in rows if row.get("event") == "skipped"] == [(1, [str(bad)])]


def test_data_that_is_not_there(tmp_path):
    result = run("train_cnn.py", "--data", "folder", "--data-root", tmp_path, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path / 'train'}: no such folder\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "svhn"],
        ["--data", "folder"],
        ["--epochs", "0"],
        ["--batch-size", "-1"],
        ["--bach-size", "8"],
        ["--lr", "x"],
    ],
)
def test_unknown_options_are_refused(arguments):
    result = run("train_cnn.py", *arguments)
    assert result.returncode == 2
    assert "error:" in result.stderr


def test_predict_names_classes_and_unreadable_files(trained, tmp_path):
    digit = Digits(train=False, size=8).images[3, 0]
    Image.fromarray(digit).resize((90, 90)).save(tmp_path / "digit.png")
    Image.fromarray(np.stack([255 - digit] * 3, axis=2)).save(tmp_path / "ink.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    result = run("predict.py", trained, tmp_path / "digit.png", tmp_path / "broken.png")
    assert result.returncode == 1
    assert "digit.png" in result.stdout and "%" in result.stdout
    assert "broken.png  not read" in result.stderr
    inverted = run("predict.py", trained / "best.safetensors", tmp_path / "ink.png", "--invert", "--top", 1)
    assert inverted.returncode == 0, inverted.stderr


def test_predict_refuses_what_is_no_checkpoint(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 64)
    result = run("predict.py", tmp_path / "weights.safetensors", tmp_path / "x.png")
    assert result.returncode == 2
    assert result.stderr.startswith("error:") and "weights.safetensors" in result.stderr
    for config in (None, {"trainer": "vae", "model": "conv"}):
        save_checkpoint(tmp_path / "best.safetensors", config=config)
        result = run("predict.py", tmp_path, tmp_path / "x.png")
        assert result.returncode == 2
        assert result.stderr.endswith("best.safetensors is no checkpoint of train_cnn.py\n")
