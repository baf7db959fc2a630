"""What is wanted of a generator of digits: good samples reach all of it, collapsed ones miss it one by one."""

import numpy as np
import pytest

from judge import Judge, as_seen, judge_samples
from scratchnet.data.resample import resize
from scratchnet.metrics import accuracy

N = 2000
EVERYTHING = {"confident", "entropy", "smallest", "ratio", "agreement"}


@pytest.fixture(scope="module")
def judge(model):
    return Judge(model, "small-cnn", "6")


@pytest.fixture(scope="module")
def verdict_on(digits, judge):
    """Judges samples that were asked to be 0, 1, ... 9 in turn, like the test images, against half of these."""
    images, labels = digits[1]
    real = judge.features(images[:N])
    return lambda samples: judge_samples(judge, samples, real, labels[N:])


@pytest.fixture(scope="module")
def twin(digits, verdict_on):
    """The distance of an honest generator: real images with a little noise."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((N, 1, 28, 28), np.float32)
    return verdict_on(as_seen(digits[1][0][N:] + noise)).distance.value


def test_real_images_reach_everything(digits, judge, verdict_on, twin):
    images, labels = digits[1]
    found = verdict_on(images[N:])
    assert found.missed(twin) == {}
    assert found.agreement == accuracy(judge.probabilities(images[N:]), labels[N:]) > 0.95


def collapsed(images, labels, judge):
    """Generators that have collapsed, and what the judge may still think of their samples."""
    certain = judge.probabilities(images).max(axis=1)
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    threes = images[labels == 3]
    yield "one doubtful image", images[certain.argmin()], EVERYTHING
    yield "one clear image", images[certain.argmax()], EVERYTHING - {"confident"}
    yield "one class", threes[np.arange(len(images)) % len(threes)], EVERYTHING - {"confident"}
    yield "noise", as_seen(images.mean() + images.std() * noise), EVERYTHING


@pytest.mark.parametrize("number", range(4), ids=["doubtful", "clear", "class", "noise"])
def test_collapsed_generators_miss_everything(number, digits, judge, verdict_on, twin):
    """All but this: clear images are clear, however few there are."""
    images, labels = digits[1][0][N:], digits[1][1][N:]
    name, samples, expected = list(collapsed(images, labels, judge))[number]
    missed = verdict_on(np.broadcast_to(samples, images.shape)).missed(twin)
    assert missed.keys() >= expected, f"{name} misses only {missed}"


def test_words_and_bounds(verdict_on, digits, twin):
    found = verdict_on(np.broadcast_to(digits[1][0][:1], (N, 1, 28, 28)))
    words = found.missed(twin)
    assert words["entropy"] == "the classes' entropy is 0.000 nats"
    assert words["smallest"] == "the rarest class has 0.0%"
    assert words["agreement"] == "10.0% are judged to be as asked"
    assert "ratio" not in found.missed() and "ratio" not in found.missed(found.distance.value / 1.49)
    assert "1.51 times" in found.missed(found.distance.value / 1.51)["ratio"]


def test_a_judge_sees_bytes_of_its_own_size(digits):
    images = digits[1][0][:100]
    assert np.array_equal(as_seen(images), images)  # bit for bit, as in training
    wide = as_seen(resize(images, (64, 64)))
    assert wide.shape == images.shape and wide.dtype == np.float32
    steps = 255 * wide
    assert np.array_equal(steps, np.rint(steps)) and wide.min() >= 0 and wide.max() <= 1
    assert 0.005 < np.abs(wide - images).mean() < 0.03  # two filters blur: real images must pass through them too
    assert as_seen(np.full((1, 1, 28, 28), 1.2)).max() == 1 and as_seen(np.full((1, 1, 28, 28), -0.1)).min() == 0
