"""How often predicted classes are right."""

import numpy as np

from scratchnet.metrics.inputs import on_host
from scratchnet.tensor import Tensor


def accuracy(predictions: Tensor | np.ndarray, labels: Tensor | np.ndarray, topk: int = 1) -> float:
    """The share of samples, from 0 to 1, whose label is among the ``topk`` classes of highest score.

    Args:
        predictions: (N, C) scores, of which equal ones rank by class number, as for argmax; or (N,) classes, with
            ``topk=1``.
        labels: (N,) integers.

    Raises:
        ValueError: shapes do not fit, N is 0, a score is NaN, a label or ``topk`` is out of range.
        TypeError: labels or classes are not integers.
    """
    predictions, labels = on_host(predictions), on_host(labels)
    if predictions.ndim not in (1, 2):
        raise ValueError(f"accuracy: predictions must have shape (N,) or (N, C), got {predictions.shape}")
    _check_labels("accuracy", predictions, labels)
    if len(labels) == 0:
        raise ValueError("accuracy: there are no samples")
    if predictions.ndim == 1:
        if topk != 1:
            raise ValueError(f"accuracy: topk={topk} needs scores of shape (N, C), got classes")
        _check_classes("accuracy", "predictions", predictions)
        return float(np.mean(predictions == labels))
    classes = predictions.shape[1]
    _check_classes("accuracy", "labels", labels, classes)
    if not 1 <= topk <= classes:
        raise ValueError(f"accuracy: topk must lie between 1 and the {classes} classes, got {topk}")
    if np.isnan(predictions).any():
        raise ValueError("accuracy: predictions contain NaN")
    own = np.take_along_axis(predictions, labels[:, None], axis=1)
    earlier = np.arange(classes) < labels[:, None]
    rank = np.sum((predictions > own) | ((predictions == own) & earlier), axis=1)
    return float(np.mean(rank < topk))


def confusion_matrix(
    predictions: Tensor | np.ndarray, labels: Tensor | np.ndarray, num_classes: int | None = None
) -> np.ndarray:
    """Counts, an int64 array of shape (num_classes, num_classes): rows are labels, columns predictions.

    Args:
        predictions: (N,) classes, or (N, C) scores, whose argmax is taken.
        labels: (N,) integers.
        num_classes: may be left out where ``predictions`` are scores.

    Raises:
        ValueError: shapes do not fit, a score is NaN, or a class is out of range.
        TypeError: labels or classes are not integers.
    """
    predictions, labels = on_host(predictions), on_host(labels)
    if predictions.ndim == 2:
        if np.isnan(predictions).any():
            raise ValueError("confusion_matrix: predictions contain NaN")
        num_classes = predictions.shape[1] if num_classes is None else num_classes
        predictions = predictions.argmax(axis=1)
    if num_classes is None or num_classes < 1:
        raise ValueError(f"confusion_matrix: num_classes must be at least 1, got {num_classes}")
    if predictions.ndim != 1:
        raise ValueError(f"confusion_matrix: predictions must have shape (N,) or (N, C), got {predictions.shape}")
    _check_labels("confusion_matrix", predictions, labels)
    for name, values in (("labels", labels), ("predictions", predictions)):
        _check_classes("confusion_matrix", name, values, num_classes)
    cells = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_labels(caller: str, predictions: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or len(labels) != len(predictions):
        raise ValueError(
            f"{caller}: labels must have shape ({len(predictions)},), one a prediction, got {labels.shape}"
        )
    _check_classes(caller, "labels", labels)


def _check_classes(caller: str, name: str, values: np.ndarray, num_classes: int | None = None) -> None:
    if values.dtype.kind not in "iu":
        raise TypeError(f"{caller}: {name} must be integers, got {values.dtype}")
    if num_classes is not None and values.size and not (values.min() >= 0 and values.max() < num_classes):
        raise ValueError(
            f"{caller}: {name} must lie between 0 and {num_classes - 1}, found {values.min()} to {values.max()}"
        )
