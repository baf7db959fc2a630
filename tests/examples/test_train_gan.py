"""The GAN example, run as a user runs it, on little data."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import run, run_killed

import scratchnet as sn
import train_gan
from reporting import assert_within
from scratchnet import data, optim
from scratchnet.nn import functional as F
from scratchnet.serialization import load_checkpoint

ARGUMENTS = ["--smoke", "--epochs", 2, "--model", "small", "--generator-lr", 4e-4, "--decay"]


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
    result = run_killed("train_gan.py", *ARGUMENTS, "--save-every", 3, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("step-00000016.safetensors", "generator.safetensors", "samples/epoch-0002.png", "samples.gif"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_the_rates_fall_to_zero_where_that_is_wanted(trained):
    optimizer = optim.SGD([sn.zeros(1, requires_grad=True)], lr=2.0)
    schedule, rates = train_gan.decay(optimizer, 10, True), []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    np.testing.assert_allclose(rates, [2, 2, 2, 2, 2, 2, 1.6, 1.2, 0.8, 0.4])
    generator = optim.Adam(train_gan.build("small", 1, 28)[0].parameters())
    load_checkpoint(trained / "step-00000016.safetensors", g_optimizer=generator)
    assert generator.param_groups[0]["initial_lr"] == 4e-4 and generator.param_groups[0]["lr"] == 0


@pytest.mark.parametrize(
    "options", [("linear",), ("dcgan",), ("conditional", "--r1", 1), ("wgan-gp",)], ids=lambda options: options[0]
)
def test_models_train(options, tmp_path):
    result = run("train_gan.py", "--smoke", "--epochs", 1, "--model", *options, "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr


def test_the_penalty_is_descended_with_the_loss():
    rng = np.random.default_rng(0)
    real, fake = (sn.tensor(rng.uniform(-1, 1, (4, 1, 28, 28))) for _ in range(2))
    sn.manual_seed(1)
    _, start = train_gan.build("dcgan", 1, 28)
    gradients = []
    for gamma in (0.0, 3.0):
        discriminator = train_gan.build("dcgan", 1, 28)[1]
        discriminator.load_state_dict(start.state_dict())
        discriminator.double()
        before = [param.data.copy() for param in discriminator.parameters()]
        seen = train_gan.discriminator_step(
            discriminator, optim.SGD(discriminator.parameters(), lr=1.0), real, fake, [], False, gamma
        )
        assert 0.5 < seen["d_loss"] < 2.5, "the penalty is not counted in it"
        gradients.append([a - b.data for a, b in zip(before, discriminator.parameters(), strict=True)])
    start.double()
    F.r1_penalty(start, real, gamma=3.0).backward()
    for plain, penalised, param in zip(*gradients, start.parameters(), strict=True):
        slope = 0 if param.grad is None else param.grad.data  # a bias moves no slope but across a kink
        np.testing.assert_allclose(penalised - plain, slope, rtol=1e-9, atol=1e-12)


def test_an_epoch_smaller_than_a_batch_is_refused(tmp_path):
    result = run("train_gan.py", "--smoke", "--batch-size", 513, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert result.stderr == "error: there are 512 training images, fewer than --batch-size 513\n"
    assert not (tmp_path / "run").exists()


def test_an_epoch_without_a_step_of_the_generator_is_refused(tmp_path):
    result = run("train_gan.py", "--smoke", "--model", "wgan-gp", "--batch-size", 128, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "with --batch-size 128 an epoch has fewer than the 5 steps that the critic takes" in result.stderr
    assert not (tmp_path / "run").exists()


def test_options_have_the_defaults_of_the_model_and_contradict_none(capsys):
    linear, dcgan = (train_gan.parse_arguments(["--model", model]) for model in ("linear", "dcgan"))
    assert (linear.lr, linear.generator_lr, linear.image_size) == (1e-3, 2e-4, 8)
    assert (dcgan.lr, dcgan.generator_lr, dcgan.image_size) == (2e-4, 2e-4, 28)
    chosen = train_gan.parse_arguments(["--model", "linear", "--lr", "1e-4"])
    assert (chosen.lr, chosen.generator_lr) == (1e-4, 1e-4)
    with pytest.raises(SystemExit):
        train_gan.parse_arguments(["--model", "small", "--image-size", "64"])
    assert "--image-size 64: the small model is for 28 pixels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train_gan.parse_arguments(["--model", "wgan-gp", "--r1", "1"])
    assert "--r1 1: wgan-gp has a gradient penalty of its own" in capsys.readouterr().err


@pytest.fixture(scope="module")
def digits():
    """Images and labels of a training and a test set."""
    return [dataset[np.arange(400)] for dataset in (data.Digits(size=400), data.Digits(train=False, size=400))]


@pytest.mark.parametrize("pair", [*train_gan.WANTED, ("any", "other")], ids="-".join)
def test_collapsed_generators_are_not_good_enough(pair, digits):
    """One image for all codes, whether a good one or the mean; where more is wanted, a class, or one image of each."""
    wanted = train_gan.WANTED.get(pair, train_gan.NOT_COLLAPSED)
    (images, labels), (real, real_labels) = digits
    in_turn = np.arange(len(images))
    collapsed = [images[0 * in_turn], images.mean(0, keepdims=True)[0 * in_turn]]
    if pair in train_gan.WANTED and pair[0] != "linear":
        ones = images[labels == 1]
        collapsed.append(ones[in_turn % len(ones)])
        collapsed.append(np.stack([images[labels == label].mean(0) for label in range(10)])[labels])
    for samples in collapsed:
        with pytest.raises(AssertionError, match="wanted from"):
            assert_within(measured(samples, labels, real, real_labels), wanted)


def measured(samples, labels, real, real_labels):
    agreement = train_gan.agreement(samples, labels, real, real_labels)
    return train_gan.compare(samples, real) | {"agreement": agreement, "d_real": 1, "d_fake": 0}


@pytest.mark.parametrize("pair", [pair for pair in train_gan.WANTED if pair[0] != "linear"], ids="-".join)
def test_real_images_would_be_good_enough(pair, digits):
    (images, labels), real = digits
    assert_within(measured(images, labels, *real), train_gan.WANTED[pair])


def test_a_linear_discriminator_is_content_with_far_less(digits):
    (images, labels), real = digits
    with pytest.raises(AssertionError, match="spread"):
        assert_within(measured(images, labels, *real), train_gan.WANTED["linear", "digits"])
