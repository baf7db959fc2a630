"""What a judge's probabilities say of samples."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.metrics import class_coverage

GOOD = np.eye(10).repeat(10, axis=0) * 0.95 + 0.005


def test_by_hand():
    found = class_coverage([[0.95, 0.05, 0], [0.9, 0.1, 0], [0.2, 0.8, 0], [1, 0, 0]])
    assert found.confident == 0.5  # 0.9 is not above 0.9
    assert found.shares.tolist() == [0.75, 0.25, 0]
    assert found.smallest_share == 0
    assert math.isclose(found.entropy, 0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel_tol=1e-12)


def test_a_good_generator_reaches_every_mark():
    found = class_coverage(sn.Tensor(GOOD.astype(np.float32)))
    assert (found.confident, found.smallest_share) == (1, 0.1)
    assert math.isclose(found.entropy, math.log(10), rel_tol=1e-12)


def test_a_collapsed_generator_fails_entropy_and_smallest_share():
    found = class_coverage(GOOD[:1].repeat(100, axis=0))
    assert found.confident == 1  # so confidence alone says nothing
    assert found.entropy == 0 and found.smallest_share == 0


def test_a_dropped_class_fails_the_smallest_share():
    found = class_coverage(GOOD[10:])
    assert found.smallest_share == 0
    assert math.isclose(found.entropy, math.log(9), rel_tol=1e-12)  # 2.197: below 2.2


def test_noise_fails_confidence():
    assert class_coverage(np.full((100, 10), 0.1)).confident == 0


REFUSALS = {
    "logits": (lambda: class_coverage(GOOD * 7), ValueError, "row 0 with the sum 7 .*need a softmax"),
    "negative": (lambda: class_coverage([[0.5, 0.5], [1.5, -0.5]]), ValueError, "row 1 .* smallest value -0.5"),
    "flat": (lambda: class_coverage(GOOD[0]), ValueError, r"probabilities must have shape \(N, C\).*got \(10,\)"),
    "nothing": (lambda: class_coverage(GOOD[:0]), ValueError, "none of them 0"),
    "NaN": (lambda: class_coverage(GOOD * np.nan), ValueError, "NaN"),
    "threshold": (lambda: class_coverage(GOOD, 1), ValueError, r"threshold must lie in \[0, 1\), got 1"),
    "threshold text": (lambda: class_coverage(GOOD, "0.9"), ValueError, "threshold must lie"),
    "complex": (lambda: class_coverage(GOOD * 1j), TypeError, "must be real numbers, got complex128"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()
