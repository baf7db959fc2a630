"""Whether generated samples look like something, and like every class in turn."""

import numbers
from dataclasses import dataclass

import numpy as np

from scratchnet.metrics.inputs import real
from scratchnet.tensor import Tensor


@dataclass(frozen=True)
class ClassCoverage:
    """What a judge says of samples.

    Attributes:
        confident: the share of samples whose top probability exceeds the threshold.
        entropy: -Σ s log s of the class shares s, in nats: log C where all classes have one share, 0 for one class.
        smallest_share: the share of the rarest class.
        shares: (C,) float64, the share of samples that the judge gives to each class.
    """

    confident: float
    entropy: float
    smallest_share: float
    shares: np.ndarray


def class_coverage(probabilities: Tensor | np.ndarray, threshold: float = 0.9) -> ClassCoverage:
    """Judge samples by the class probabilities that a classifier gives them.

    A sample counts for its class of highest probability, the first of equal ones. Neither number alone is enough: a
    generator of one good image is confident, one of noise may reach every class. The entropy is that of the counted
    classes, not the mean of the probabilities, and has a bias of about -(C - 1) / 2N.

    Args:
        probabilities: (N, C), non-negative, every row summing to 1 within 1e-3: the judge's softmax, not its logits.
        threshold: in [0, 1).

    Raises:
        ValueError: shapes do not fit, rows are no probabilities, or ``threshold`` is out of range.
        TypeError: the probabilities are no real numbers.
    """
    probabilities = real("class_coverage", "probabilities", probabilities, "(N, C)", 2)
    if not isinstance(threshold, numbers.Real) or not 0 <= threshold < 1:
        raise ValueError(f"class_coverage: threshold must lie in [0, 1), got {threshold!r:.80}")
    sums = probabilities.sum(axis=1)
    wrong = np.flatnonzero((np.abs(sums - 1) > 1e-3) | (probabilities.min(axis=1) < 0))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"class_coverage: probabilities must be at least 0 and sum to 1 in every row, got row {row} with the sum "
            f"{sums[row]:.6g} and the smallest value {probabilities[row].min():.6g}; logits need a softmax first"
        )
    classes = probabilities.shape[1]
    shares = np.bincount(probabilities.argmax(axis=1), minlength=classes) / len(probabilities)
    present = shares[shares > 0]
    return ClassCoverage(
        confident=float(np.mean(probabilities.max(axis=1) > threshold)),
        entropy=float(np.sum(present * np.log(1 / present))),
        smallest_share=float(shares.min()),
        shares=shares,
    )
