"""Accuracy and the confusion matrix."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.metrics import accuracy, confusion_matrix

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
LABELS = np.array([1, 2, 2, 1])


def test_accuracy():
    assert accuracy(SCORES, LABELS) == 0.5
    assert accuracy(SCORES, LABELS, topk=2) == 1.0
    assert accuracy(SCORES.argmax(axis=1), LABELS) == 0.5
    assert accuracy(sn.Tensor(SCORES.astype(np.float32), requires_grad=True), sn.Tensor(LABELS)) == 0.5


@pytest.mark.parametrize("topk", [1, 2, 3, 5])
def test_accuracy_is_that_of_a_stable_sort(topk):
    rng = np.random.default_rng(topk)
    scores, labels = rng.integers(0, 4, (200, 5)).astype(float), rng.integers(0, 5, 200)  # with many ties
    best = np.argsort(-scores, axis=1, kind="stable")[:, :topk]
    assert accuracy(scores, labels, topk) == np.mean([label in row for label, row in zip(labels, best, strict=True)])


def test_equal_scores_do_not_count_for_every_class():
    assert accuracy(np.zeros((10, 10)), np.arange(10)) == 0.1
    assert accuracy(np.zeros((10, 10)), np.arange(10), topk=3) == 0.3


def test_confusion_matrix():
    matrix = confusion_matrix(SCORES.argmax(axis=1), LABELS, 3)
    assert matrix.tolist() == [[0, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert matrix.dtype == np.int64
    assert np.array_equal(confusion_matrix(sn.Tensor(SCORES), sn.Tensor(LABELS)), matrix)
    assert confusion_matrix(np.uint8([18]), np.uint8([19]), 20)[19, 18] == 1  # 19 * 20 is no uint8
    assert confusion_matrix(np.array([], int), np.array([], int), 2).tolist() == [[0, 0], [0, 0]]


REFUSALS = {
    "nothing": (lambda: accuracy(np.zeros((0, 3)), np.zeros(0, int)), ValueError, "there are no samples"),
    "lengths": (lambda: accuracy(SCORES, LABELS[:3]), ValueError, r"labels must have shape \(4,\).* got \(3,\)"),
    "one-hot": (lambda: accuracy(SCORES, SCORES), ValueError, "labels must have shape"),
    "images": (lambda: accuracy(np.zeros((1, 2, 3)), LABELS[:1]), ValueError, r"got \(1, 2, 3\)"),
    "float labels": (lambda: accuracy(SCORES, LABELS * 1.0), TypeError, "labels must be integers, got float64"),
    "float classes": (lambda: accuracy(LABELS * 1.0, LABELS), TypeError, "predictions must be integers"),
    "label": (lambda: accuracy(SCORES, LABELS + 1), ValueError, "labels must lie between 0 and 2, found 2 to 3"),
    "topk": (lambda: accuracy(SCORES, LABELS, topk=4), ValueError, "between 1 and the 3 classes, got 4"),
    "topk of classes": (lambda: accuracy(LABELS, LABELS, topk=2), ValueError, "needs scores"),
    "NaN": (lambda: accuracy(SCORES * np.nan, LABELS), ValueError, "NaN"),
    "matrix of NaN": (lambda: confusion_matrix(SCORES * np.nan, LABELS), ValueError, "NaN"),
    "no classes": (lambda: confusion_matrix(LABELS, LABELS), ValueError, "num_classes must be at least 1, got None"),
    "class": (lambda: confusion_matrix(LABELS - 2, LABELS, 3), ValueError, "predictions must lie between 0 and 2"),
    "matrix lengths": (lambda: confusion_matrix(LABELS[:2], LABELS, 3), ValueError, "labels must have shape"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()
