"""The GAN example, run as a user runs it, on little data."""

import json
import subprocess

import numpy as np
import pytest
from PIL import Image
from scripts import run, start

ARGUMENTS = ["--smoke", "--epochs", 2, "--model", "small"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "gan"
    result = run("train_gan.py", *ARGUMENTS, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert "765,761" in result.stdout and "22,081" in result.stdout
    return folder


def test_training_leaves_log_pictures_and_animation(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines[1:] if "event" not in row]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert 0 < row["d_fake_after"] < row["d_fake"] < row["d_real"] < 1  # D's step comes between the two
    with Image.open(trained / "samples.gif") as animation:
        assert animation.n_frames == 2
    with Image.open(trained / "samples" / "epoch-0002.png") as grid:
        assert np.asarray(grid).std() > 10
    with Image.open(trained / "curves.png") as picture:
        assert min(picture.size) > 100


def test_a_killed_run_goes_on_bit_for_bit(trained, tmp_path):
    """With dropout and batch norm in the networks, and noise in every step."""
    arguments = [*ARGUMENTS, "--save-every", 3, "--out", tmp_path]
    with start("train_gan.py", *arguments, stdout=subprocess.PIPE) as process:
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.kill()
    result = run("train_gan.py", *arguments, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ("step-00000016.safetensors", "generator.safetensors", "samples/epoch-0002.png", "samples.gif"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize("model", ["linear", "dcgan", "conditional", "wgan-gp"])
def test_models_train(model, tmp_path):
    result = run("train_gan.py", "--smoke", "--epochs", 1, "--model", model, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
