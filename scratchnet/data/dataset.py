"""Datasets: anything with a length that answers an index, or an array of indices, with a tuple of arrays."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from scratchnet.random import chosen
from scratchnet.tensor import Tensor


class Dataset:
    """The protocol that DataLoader relies on.

    `dataset[i]` is one sample, a tuple of arrays and numbers such as (image, label). `dataset[indices]`, for an integer
    array of shape (N,), is the same tuple with a batch axis in front of every member: fetching a whole batch with one
    array index is what keeps the loader fast. A dataset that can only take one index at a time works too, if the
    loader is given `collate_fn=default_collate`.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")


class TensorDataset(Dataset):
    """Arrays or tensors of equal length, indexed together along their first axis.

    Raises:
        ValueError: no arrays, an array without axes, or lengths that differ.
    """

    def __init__(self, *arrays) -> None:
        try:
            self.arrays = tuple(_host_array("TensorDataset", a) for a in arrays)
        except ValueError:
            raise ValueError("TensorDataset: an array's rows are of unequal length") from None
        if not arrays or any(a.ndim == 0 for a in self.arrays):
            raise ValueError("TensorDataset: expected one or more arrays with a sample axis in front")
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"TensorDataset: the arrays must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index) -> tuple:
        index = check_index(index, len(self))
        return tuple(a[index] for a in self.arrays)


class ImageDataset(Dataset):
    """Labelled images held in memory.

    Args:
        images: uint8 (N, C, H, W).
        labels: integers (N,), each an index into `classes`.
        classes: the names of the classes.
        transform: applied to the float32 images, one (C, H, W) or a batch (N, C, H, W).

    A sample is (image, label): float32 in [0, 1] after `transform`, and int64.
    """

    def __init__(self, images, labels, classes: Sequence[str], transform: Callable | None = None) -> None:
        self.images, labels = np.asarray(images), np.asarray(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels: expected integers, got {labels.dtype}")
        self.labels = labels.astype(np.int64)
        self.classes = list(classes)
        self.transform = transform
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                f"images: expected uint8 of shape (N, C, H, W), got {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels: expected shape {self.images.shape[:1]}, got {self.labels.shape}")
        check_labels(self.labels, len(self.classes), type(self).__name__)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> tuple[np.ndarray, np.ndarray]:
        index = check_index(index, len(self))
        image = np.divide(self.images[index], np.float32(255), dtype=np.float32)
        return (image if self.transform is None else self.transform(image)), self.labels[index]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"{type(self).__name__}({len(self)} images of {shape}, {len(self.classes)} classes)"


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset, indices) -> None:
        self.dataset = dataset
        self.indices = np.asarray(check_index(np.asarray(indices), len(dataset)), dtype=np.intp).reshape(-1)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index):
        index = self.indices[check_index(index, len(self))]
        return self.dataset[int(index) if index.ndim == 0 else index]


def random_split(dataset, lengths: Sequence[float], generator: np.random.Generator | None = None) -> list[Subset]:
    """Split a dataset at random into disjoint parts.

    Args:
        lengths: sizes that sum to len(dataset), or fractions that sum to 1; what rounding down leaves over is dealt
            out one sample a part, from the first part on.
        generator: where the permutation comes from; by default the library's generator.

    Raises:
        ValueError: the lengths do not add up.
        TypeError: generator is none.
    """
    n = len(dataset)
    sizes = list(lengths)
    if any(not isinstance(size, int | np.integer) for size in sizes):
        if not math.isclose(sum(sizes), 1):
            raise ValueError(f"lengths: fractions must sum to 1, got {sizes}")
        sizes = [math.floor(n * fraction) for fraction in sizes]
        left = n - sum(sizes)
        sizes = [size + (i < left) for i, size in enumerate(sizes)]
    if sum(sizes) != n or min(sizes, default=0) < 0:
        raise ValueError(f"lengths: must be 0 or more and sum to the {n} samples of the dataset, got {sizes}")
    order = chosen(generator).permutation(n)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def default_collate(samples: Sequence) -> tuple[np.ndarray, ...]:
    """Stack samples, each a tuple of arrays and numbers, into one tuple of batches.

    Python floats become float32 and integers int64; arrays keep their dtype.

    Raises:
        ValueError: samples of different shapes or lengths.
    """
    rows = [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"default_collate: samples have {sorted({len(row) for row in rows})} members; expected one number"
        )
    return tuple(_stack(column) for column in zip(*rows, strict=True))


def _host_array(owner: str, value) -> np.ndarray:
    if isinstance(value, Tensor):
        if value.device != "cpu":
            raise TypeError(f"{owner}: data are on the CPU, got a tensor on {value.device}; move batches, with .to()")
        value = value.data
    return np.asarray(value)


def _stack(values: tuple) -> np.ndarray:
    arrays = [_host_array("default_collate", v) for v in values]
    shapes = {a.shape for a in arrays}
    if len(shapes) > 1:
        raise ValueError(f"default_collate: samples must have one shape to form a batch, got {sorted(shapes)}")
    dtype = np.float32 if type(values[0]) is float else None
    return np.stack(arrays, dtype=dtype)


def check_index(index, length: int):
    """An index as something every array takes: an int, or an intp array made from a slice, list or mask.

    Raises:
        IndexError: out of range.
        TypeError: not an integer, slice, integer array or boolean mask.
    """
    if isinstance(index, slice):
        return np.arange(*index.indices(length))
    i = np.asarray(index)
    if i.dtype == bool and i.shape == (length,):
        return np.flatnonzero(i)
    if i.size == 0:
        return i.astype(np.intp)
    if not np.issubdtype(i.dtype, np.integer) or i.ndim > 1:
        raise TypeError(f"index: expected an integer, a slice or a 1-d integer array, got {i.dtype} of shape {i.shape}")
    if i.min() < -length or i.max() >= length:
        bad = i.min() if i.min() < -length else i.max()
        raise IndexError(f"index: {bad} is out of range for {length} samples")
    return int(i) if i.ndim == 0 else i.astype(np.intp, copy=False)


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """Refuse labels outside 0 .. classes - 1, naming `name` and the first bad sample."""
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        i = bad[0]
        raise ValueError(f"{name}: label {labels[i]} of sample {i} is not in 0..{classes - 1}")
