"""The VAE example, run as a user runs it, on little data."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import run, run_killed

import train_vae
from scratchnet import data

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
    result = run_killed("train_vae.py", *ARGUMENTS, "--save-every", 3, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("step-00000016.safetensors", "best.safetensors", "samples/epoch-0002.png", "samples.gif"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "parameters"), [("conv", "258,025"), ("gaussian", "120,521"), ("conditional", "660,824")]
)
def test_models_train(model, parameters, tmp_path):
    result = run("train_vae.py", *ARGUMENTS, "--model", model, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert parameters in result.stdout
    assert ("nearest to the mean image of the class asked for" in result.stdout) == (model == "conditional")


def test_averaging_over_pixels_is_said_to_be_beta_784(tmp_path):
    result = run("train_vae.py", *ARGUMENTS, "--model", "plane", "--reduction", "mean", "--out", tmp_path / "run")
    assert "reconstruction reduced by mean, KL by batchmean: effective beta 784\n" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["test_active"] for row in rows if "test_active" in row][-1] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "conv", "--image-size", 30], "image_size must be a multiple of 4"),
        (["--image-size", 0], "--image-size, --save-every and --keep"),
        (["--std", 0], "--std must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, words, tmp_path):
    result = run("train_vae.py", "--smoke", *arguments, "--out", tmp_path / "run")
    assert result.returncode == 2 and words in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["dense", "gaussian"])
def test_codes_that_are_ignored_are_not_good_enough(model):
    """A decoder that gives the mean training image whatever the code costs as much as it is said to."""
    train, test = data.Digits(size=300), data.Digits(train=False, size=200)
    vae = train_vae.build(model)
    mean = train[np.arange(300)][0].mean(0).clip(1e-6, 1 - 1e-6)
    for p in vae.parameters():
        p.data[...] = 0
    if model == "dense":
        list(vae.parameters())[-1].data[...] = np.log(mean / (1 - mean)).ravel()
    else:
        mean[...] = list(vae.parameters())[-1].data[...] = 0.3
    result = train_vae.evaluate(vae, data.DataLoader(test, 64), seed=0, std=0.2)
    assert result["kl"] == 0 == result["active"]
    assert result["loss"] == pytest.approx(train_vae.without_codes(vae, mean, test, 0.2), rel=1e-5)
