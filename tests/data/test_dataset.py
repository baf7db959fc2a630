"""Datasets answer an index and an array of indices alike, and refuse what they cannot answer."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.data import ImageDataset, Subset, TensorDataset, default_collate, random_split
from scratchnet.tensor import Tensor

IMAGES = np.arange(5 * 1 * 2 * 3, dtype=np.uint8).reshape(5, 1, 2, 3)
LABELS = np.array([0, 1, 2, 1, 0])
CLASSES = ("a", "b", "c")


def test_import_is_cheap():
    code = "import sys, scratchnet.data; print({'PIL', 'tqdm', 'ssl', 'numba', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    "dataset",
    [
        TensorDataset(IMAGES, LABELS),
        TensorDataset(Tensor(IMAGES), LABELS.tolist()),
        ImageDataset(IMAGES, LABELS, CLASSES),
        Subset(TensorDataset(IMAGES, LABELS), [4, 0, 2]),
    ],
)
def test_an_array_of_indices_is_a_batch(dataset):
    indices = np.array([2, 0, -1, 2])
    for batch, *rows in zip(dataset[indices], *(dataset[int(i)] for i in indices), strict=True):
        np.testing.assert_array_equal(batch, np.stack(rows), strict=True)
    n = len(dataset)
    for other in (slice(1, None), list(range(1, n)), np.arange(n) > 0):
        for batch, rows in zip(dataset[other], dataset[np.arange(1, n)], strict=True):
            np.testing.assert_array_equal(batch, rows, strict=True)
    assert [len(member) for member in dataset[np.array([], dtype=int)]] == [0, 0]


@pytest.mark.parametrize("index", [5, -6, [0, 5], np.array([-6])])
def test_indices_out_of_range(index):
    for dataset in (TensorDataset(IMAGES), ImageDataset(IMAGES, LABELS, CLASSES), Subset(LABELS, range(5))):
        with pytest.raises(IndexError, match="is out of range for 5 samples"):
            dataset[index]


@pytest.mark.parametrize("index", [1.0, "0", None, np.zeros((2, 2), dtype=int), np.ones(3, dtype=bool)])
def test_things_that_are_no_index(index):
    with pytest.raises(TypeError, match="index: expected an integer"):
        TensorDataset(IMAGES)[index]


def test_images_become_floats_between_0_and_1_and_labels_stay():
    dataset = ImageDataset(IMAGES + np.uint8(226), LABELS, CLASSES, transform=lambda x: 1 - x)
    images, labels = dataset[np.arange(5)]
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == np.float32(1) - np.float32(226 / 255)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES.astype(np.float32), LABELS, CLASSES), "images: expected uint8 .* got float32"),
        ((IMAGES[0], LABELS, CLASSES), "images: expected uint8 of shape"),
        ((IMAGES, LABELS[:4], CLASSES), r"labels: expected shape \(5,\), got \(4,\)"),
        ((IMAGES, LABELS, CLASSES[:2]), "label 2 of sample 2 is not in 0..1"),
        ((IMAGES, LABELS - 1, CLASSES), "label -1 of sample 0 is not in 0..2"),
    ],
)
def test_images_and_labels_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageDataset(*arguments)


def test_tensor_dataset_refuses_unequal_lengths():
    with pytest.raises(ValueError, match=r"must have one length, got \[5, 4\]"):
        TensorDataset(IMAGES, LABELS[:4])
    for bad in ((), (np.float32(1),)):
        with pytest.raises(ValueError, match="one or more arrays with a sample axis"):
            TensorDataset(*bad)


@given(n=st.integers(1, 50), parts=st.integers(1, 6), seed=st.integers(0, 9), fractions=st.booleans())
def test_random_split_deals_every_sample_once(n, parts, seed, fractions):
    dataset = TensorDataset(np.arange(n))
    lengths = [1 / parts] * parts if fractions else [n // parts + (i < n % parts) for i in range(parts)]
    split = random_split(dataset, lengths, np.random.default_rng(seed))
    again = random_split(dataset, lengths, np.random.default_rng(seed))
    assert [len(part) for part in split] == [n // parts + (i < n % parts) for i in range(parts)]
    assert sorted(np.concatenate([part.indices for part in split])) == list(range(n))
    assert all(np.array_equal(a.indices, b.indices) for a, b in zip(split, again, strict=True))


@pytest.mark.parametrize("lengths", [[3, 3], [-1, 6], [0.5, 0.6], [], [2.0, 3.0]])
def test_random_split_refuses_lengths_that_do_not_add_up(lengths):
    with pytest.raises(ValueError, match="lengths: "):
        random_split(TensorDataset(LABELS), lengths)


def test_default_collate():
    image, label, weight = default_collate(
        [(np.zeros((2, 3), np.float32), 1, 0.5), (np.ones((2, 3), np.float32), 2, 1.5)]
    )
    assert (image.shape, image.dtype) == ((2, 2, 3), np.float32)
    np.testing.assert_array_equal(label, np.array([1, 2]), strict=True)
    np.testing.assert_array_equal(weight, np.array([0.5, 1.5], dtype=np.float32), strict=True)
    with pytest.raises(ValueError, match=r"must have one shape to form a batch, got \[\(2,\), \(3,\)\]"):
        default_collate([(np.zeros(2),), (np.zeros(3),)])
    with pytest.raises(ValueError, match=r"samples have \[1, 2\] members"):
        default_collate([(1,), (1, 2)])
