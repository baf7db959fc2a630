"""Distances rank what is plainly better and worse: fresh images, a little blur, noise, and half of the digits gone.

How blur ranks against noise depends on their strengths; these are chosen so that a person would rank them so.
"""

import itertools

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.metrics import FeatureNetwork, Features, class_coverage, frechet_distance, kernel_distance

N = 2000


@pytest.fixture(scope="module")
def ladder(digits):
    """Sets of N images each, from best to worst."""
    images, labels = digits[1]
    fresh = images[:N]
    blurred = sum(weight * np.roll(fresh, step, 2) for step, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    blurred = sum(weight * np.roll(blurred, step, 3) for step, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    noise = np.random.default_rng(0).standard_normal(fresh.shape, np.float32)
    return {
        "fresh": fresh,
        "blur": blurred,
        "noise": np.clip(fresh + 0.15 * noise, 0, 1),
        "half of the digits": images[labels < 5][:N],
        "one image": fresh[:1].repeat(N, axis=0),
    }


@pytest.fixture(scope="module")
def judged(digits, model, ladder):
    judge = FeatureNetwork(model, "small-cnn", "6")
    return judge(digits[0][0][:N]), {name: judge(images) for name, images in ladder.items()}


def test_frechet_distances_rise_from_rung_to_rung(judged):
    train, rungs = judged
    found = [frechet_distance(train, rung).value for rung in rungs.values()]
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(found)), found


def test_kernel_distances_rise_where_their_error_lets_them(judged):
    train, rungs = judged
    found = [kernel_distance(train, rung, generator=np.random.default_rng(0)) for rung in rungs.values()]
    fresh, _, _, half, one = found  # blur and noise lie within a few standard errors of each other
    assert abs(fresh.value) < 4 * fresh.standard_error
    assert fresh.value < half.value < one.value
    assert all(worse.value > 4 * worse.standard_error for worse in (half, one))


def test_more_dropped_digits_are_worse(digits, judged):
    train, rungs = judged
    labels = digits[1][1][:N]
    kept = [Features(rungs["fresh"].values[labels < count][:400], train.network) for count in (10, 8, 5, 2)]
    found = [frechet_distance(train, features).value for features in kept]
    assert found == sorted(found), found


def test_a_collapsed_generator_fails_what_real_images_pass(model, ladder):
    coverage = {name: class_coverage(sn.softmax(model(sn.Tensor(ladder[name])), 1)) for name in ("fresh", "one image")}
    assert coverage["fresh"].entropy > 2.2 and coverage["fresh"].smallest_share > 0.04
    assert coverage["one image"].entropy == 0 and coverage["one image"].smallest_share == 0
