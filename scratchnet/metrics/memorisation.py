"""Whether samples are copies of training images."""

from dataclasses import dataclass

import numpy as np

from scratchnet.metrics.inputs import real, whole
from scratchnet.random import chosen
from scratchnet.tensor import Tensor

CHUNK = 256


@dataclass(frozen=True)
class MemorisationAudit:
    """How near samples lie to the training images and to held-out ones.

    Attributes:
        p_value: of the hypothesis that the samples were made without a look at which images are for training.
        train_distances: (S,) float64, Euclidean, of each sample to the nearest training image.
        heldout_distances: (S,) float64, to the nearest held-out image.
        nearest: (S,) int64, the number of the nearest training image.
    """

    p_value: float
    train_distances: np.ndarray
    heldout_distances: np.ndarray
    nearest: np.ndarray

    def suspects(self, count: int) -> np.ndarray:
        """The numbers of the ``count`` samples with the least train / held-out distance, the most suspect first."""
        count = whole("suspects", "count", count, 1)
        ratios = self.train_distances / np.maximum(self.heldout_distances, np.finfo(np.float64).tiny)
        return np.argsort(ratios, kind="stable")[:count]


def audit_memorisation(
    samples: Tensor | np.ndarray,
    train: Tensor | np.ndarray,
    heldout: Tensor | np.ndarray,
    permutations: int = 9_999,
    generator: np.random.Generator | None = None,
) -> MemorisationAudit:
    """Compare every sample's nearest training image with its nearest held-out image.

    The test: in the pool of training and held-out images, a sample at distance d1 from the nearest image and d2 from
    the next is a copy to the degree (1 - d1/d2)², from 0 (no nearer than the next) to 1 (exact); the square keeps the
    many small degrees of an honest generator from drowning a few copies. The statistic is the sum of the degrees of
    those samples whose nearest image is for training. A generator that knew nothing of the split would score as well
    had the split been drawn otherwise, so the p-value is the share of random splits of the pool, the actual one among
    them, that score at least as high: a one-sided permutation test (Phipson and Smyth 2010), exact for every number of
    samples, also for samples that resemble each other. This needs training and held-out images that are draws from one
    law.

    Power: with m copies of different images the p-value is seldom below π^m, π being the share of training images in
    the pool. So hold out at least as many images as were trained on, or take many samples. An image that is in the pool
    twice hides its copies from the test.

    Args:
        samples: (S, ...) images or features, of any real type; computed in float64.
        train: (N, ...) training images, N at least 2.
        heldout: (M, ...) images of the same kind that were not used for training, M at least 2.
        permutations: random splits; the p-value is at least 1 / (permutations + 1).

    Raises:
        ValueError: shapes do not fit, a value is not finite, or ``permutations`` is below 1.
        TypeError: the images are no real numbers, or ``generator`` is none.
    """
    named = {"samples": samples, "train": train, "heldout": heldout}
    named = {name: real("audit_memorisation", name, images, "(N, ...)") for name, images in named.items()}
    for name in ("train", "heldout"):
        if named[name].shape[1:] != named["samples"].shape[1:] or len(named[name]) < 2:
            raise ValueError(
                f"audit_memorisation: {name} must be at least 2 images of the samples' shape "
                f"{named['samples'].shape[1:]}, got shape {named[name].shape}"
            )
    permutations = whole("audit_memorisation", "permutations", permutations, 1)
    samples, train, heldout = (images.reshape(len(images), -1) for images in named.values())

    to_train, train_distances = _two_nearest(samples, train)
    to_heldout, heldout_distances = _two_nearest(samples, heldout)
    degrees = _degrees(np.concatenate([train_distances, heldout_distances], axis=1))
    from_train = train_distances[:, 0] < heldout_distances[:, 0]
    images = np.where(from_train, to_train[:, 0], len(train) + to_heldout[:, 0])
    images, of_sample = np.unique(images, return_inverse=True)
    weights = np.bincount(of_sample, weights=degrees)
    scores = _scores_of_random_splits(weights, len(train), len(heldout), permutations, chosen(generator))
    score = weights[images < len(train)].sum()
    reached = np.count_nonzero(scores >= score - 1e-9 * weights.sum())
    return MemorisationAudit(
        p_value=float((1 + reached) / (1 + permutations)),
        train_distances=train_distances[:, 0],
        heldout_distances=heldout_distances[:, 0],
        nearest=to_train[:, 0],
    )


def _two_nearest(samples: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the two nearest images of every sample, and their distances, (S, 2) both, the nearer one first.

    They are found by |x|² - 2 x·y, and measured by |x - y|, which does not cancel: the distance of a copy is 0.
    """
    center = images.mean(axis=0)
    centered = images - center
    squares = np.sum(centered**2, axis=1)
    numbers, distances = [], []
    for i in range(0, len(samples), CHUNK):
        chunk = samples[i : i + CHUNK]
        near = np.argpartition(squares - 2 * (chunk - center) @ centered.T, 1, axis=1)[:, :2]
        apart = np.linalg.norm(chunk[:, None] - images[near], axis=2)
        order = np.argsort(apart, axis=1, kind="stable")
        numbers.append(np.take_along_axis(near, order, axis=1))
        distances.append(np.take_along_axis(apart, order, axis=1))
    return np.concatenate(numbers), np.concatenate(distances)


def _degrees(distances: np.ndarray) -> np.ndarray:
    """How much nearer the nearest image is than the next; 0 where both are copies."""
    first, second = np.sort(distances, axis=1)[:, :2].T
    return np.where(second > 0, 1 - first / np.where(second > 0, second, 1), 0) ** 2


def _scores_of_random_splits(weights, train: int, heldout: int, count: int, generator) -> np.ndarray:
    """The scores of ``count`` random splits; ``weights`` are those of the images that are the nearest of a sample.

    How many of these are for training is hypergeometric, and which ones is a random subset of that size.
    """
    scores = np.empty(count)
    numbers = generator.hypergeometric(train, heldout, len(weights), size=count)
    for i, number in enumerate(numbers):
        scores[i] = generator.permutation(weights)[:number].sum()
    return scores
