"""The memorisation audit: it finds copies, and does not cry wolf."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import data
from scratchnet.metrics import audit_memorisation
from scratchnet.testing.statistics import check_bernoulli_rate


@pytest.fixture(scope="module")
def digits():
    """2,000 samples of the same law as 2,000 images for training and 2,000 held out."""
    sets = data.Digits(True, 2000, seed=5), data.Digits(True, 2000), data.Digits(False, 2000)
    return [images.images.astype(np.float32) / 255 for images in sets]


def test_clean_samples_pass(digits):
    assert audit_memorisation(*digits, permutations=999, generator=np.random.default_rng(0)).p_value > 0.05


@pytest.mark.parametrize(("count", "noise", "p_value"), [(2000, 0, 1e-3), (2000, 0.05, 1e-3), (1000, 0, 0.01)])
def test_copies_of_one_percent_are_found(digits, count, noise, p_value):
    samples, train, heldout = digits
    rng = np.random.default_rng(1)
    planted = count // 100
    rows, copied = rng.choice(count, planted, replace=False), rng.choice(2000, planted, replace=False)
    samples = samples[:count].copy()
    samples[rows] = train[copied] + noise * rng.standard_normal((planted, 1, 28, 28), np.float32)
    audit = audit_memorisation(samples, train, heldout, generator=rng)
    assert audit.p_value < p_value
    assert set(audit.suspects(planted)) == set(rows)
    assert np.array_equal(audit.nearest[rows], copied)
    if noise == 0:
        assert not audit.train_distances[rows].any()


def test_copies_of_heldout_images_are_no_memory_of_the_training(digits):
    samples, train, heldout = digits
    samples = np.concatenate([samples[:200], heldout[:20]])
    assert audit_memorisation(samples, train, heldout, 999, np.random.default_rng(0)).p_value > 0.5


def test_distances_by_hand():
    audit = audit_memorisation([[0.0], [10.0]], [[3.0], [14.0], [1.0]], [[-5.0], [12.0]], 9)
    assert audit.train_distances.tolist() == [1, 4]
    assert audit.heldout_distances.tolist() == [5, 2]
    assert audit.nearest.tolist() == [2, 1]
    assert audit.suspects(1).tolist() == [0]


def test_p_value_by_hand():
    # One exact copy of a training image: the share of splits in which that image is for training, 1 in 4.
    train, heldout = [[0.0], [9.0]], [[20.0], [30.0], [40.0], [50.0], [60.0], [70.0]]
    audit = audit_memorisation([[0.0]], train, heldout, 20_000, np.random.default_rng(0))
    assert abs(audit.p_value - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 20_000)
    assert audit_memorisation([[20.0]], train, heldout, 99).p_value == 1


def false_alarms(seeds, make):
    """Whether p-values of clean samples are at most 0.05, one for each seed; 80 images train and 40 are held out."""
    alarms = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        pool = rng.standard_normal((120, 4))
        alarms.append(audit_memorisation(make(rng), pool[:80], pool[80:], 99, rng).p_value <= 0.05)
    return np.array(alarms)


def test_false_alarms_come_at_their_declared_rate():
    check_bernoulli_rate(false_alarms(400, lambda rng: rng.standard_normal((100, 4))), 0.05)


def test_a_collapsed_generator_is_no_false_alarm():
    # A hundred like samples have one nearest image: a test that took them for independent would often be sure.
    alarms = false_alarms(200, lambda rng: rng.standard_normal((2, 4)).repeat(50, axis=0))
    assert not alarms.any()  # two images cannot give a p-value below (80 / 120)²


X = np.zeros((3, 2))
REFUSALS = {
    "shapes": (
        lambda: audit_memorisation(X, X[:, :1], X),
        ValueError,
        r"train must be .* shape \(2,\), got shape \(3, 1",
    ),
    "one image": (lambda: audit_memorisation(X, X, X[:1]), ValueError, "heldout must be at least 2 images"),
    "nothing": (lambda: audit_memorisation(X[:0], X, X), ValueError, "samples must have shape"),
    "NaN": (lambda: audit_memorisation(X, X * np.nan, X), ValueError, "train contain NaN"),
    "text": (lambda: audit_memorisation([["a", "b"]], X, X), TypeError, "samples must be real numbers"),
    "permutations": (
        lambda: audit_memorisation(X, X, X, 0),
        ValueError,
        "permutations must be an integer of at least 1",
    ),
    "generator": (lambda: audit_memorisation(X, X, X, 9, 0), TypeError, "generator"),
    "suspects": (
        lambda: audit_memorisation(X, X, X, 9).suspects(0),
        ValueError,
        "count must be an integer of at least 1",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()


def test_tensors_and_bytes_are_taken(digits):
    images = [np.rint(255 * x[:50]).astype(np.uint8) for x in digits]
    first = audit_memorisation(*images, 99, np.random.default_rng(0))
    second = audit_memorisation(*map(sn.Tensor, images), 99, np.random.default_rng(0))
    assert first.p_value == second.p_value and np.array_equal(first.train_distances, second.train_distances)
