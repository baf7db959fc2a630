"""The VAE example, run as a user runs it, on little data."""

import json
import subprocess

import pytest
from PIL import Image
from scripts import run, start

ARGUMENTS = ["--smoke", "--epochs", 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vae"
    result = run("train_vae.py", *ARGUMENTS, "--out", folder)
    assert result.returncode == 0, result.stderr
    assert "effective beta 1\n" in result.stdout and "652,824" in result.stdout
    return folder


def test_training_leaves_log_pictures_and_animation(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines[1:] if "event" not in row]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["test_loss"] < rows[0]["test_loss"]
    for row in rows:
        assert row["test_loss"] == row["test_reconstruction"] + row["test_kl"]
        assert 0 < row["test_active"] <= 20
    grids = [(trained / "samples" / f"epoch-000{epoch}.png").read_bytes() for epoch in (1, 2)]
    assert grids[0] != grids[1]
    with Image.open(trained / "samples.gif") as animation:
        assert animation.n_frames == 2
    with Image.open(trained / "curves.png") as picture:
        assert min(picture.size) > 100


def test_a_killed_run_goes_on_bit_for_bit(trained, tmp_path):
    arguments = [*ARGUMENTS, "--save-every", 3, "--out", tmp_path]
    with start("train_vae.py", *arguments, stdout=subprocess.PIPE) as process:
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.kill()
    result = run("train_vae.py", *arguments, "--resume")
    assert result.returncode == 0, result.stderr
    for name in ("step-00000016.safetensors", "best.safetensors", "samples/epoch-0002.png", "samples.gif"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_convolutional_model_trains(tmp_path):
    result = run("train_vae.py", *ARGUMENTS, "--model", "conv", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "258,025" in result.stdout


def test_averaging_over_pixels_is_said_to_be_beta_784(tmp_path):
    result = run("train_vae.py", *ARGUMENTS, "--model", "plane", "--reduction", "mean", "--out", tmp_path / "run")
    assert "reconstruction reduced by mean, KL by batchmean: effective beta 784\n" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["test_active"] for row in rows if "test_active" in row][-1] == 0
