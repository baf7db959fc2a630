"""The kernel distance between two sets of features."""

import numpy as np

from scratchnet.metrics.features import FeatureDistance, Features, check_same_network
from scratchnet.metrics.inputs import whole
from scratchnet.random import chosen


def kernel_distance(
    first: Features, second: Features, subsets: int = 10, generator: np.random.Generator | None = None
) -> FeatureDistance:
    """The squared maximum mean discrepancy under the cubic kernel k(x, y) = (x·y / D + 1)³, with a standard error.

    Both sets are cut at random into disjoint subsets of n samples, n the smaller set's size // ``subsets``. The value
    is the mean over subsets of the unbiased estimate

        (Σ_{i≠j} k(x_i, x_j) + Σ_{i≠j} k(y_i, y_j)) / (n (n - 1)) - 2 Σ_{ij} k(x_i, y_j) / n²

    which may be negative where the sets are alike; its standard error is the subsets' standard deviation / √subsets.
    Disjoint subsets are independent, so that the error is an honest one; overlapping ones, as in common use, make it
    look smaller. The expectation does not depend on the number of samples. Gretton et al. 2012, "A kernel two-sample
    test", lemma 6; the kernel is that of Bińkowski et al. 2018, the network is not theirs.

    Raises:
        TypeError: an argument is not ``Features``, or ``generator`` is none.
        ValueError: the features are of two networks, ``subsets`` is below 2, or a subset would have 1 sample or none.
    """
    check_same_network("kernel_distance", first, second)
    subsets = whole("kernel_distance", "subsets", subsets, 2)
    sizes = len(first.values), len(second.values)
    size = min(sizes) // subsets
    if size < 2:
        raise ValueError(
            f"kernel_distance: {subsets} subsets of at least 2 samples do not fit into {min(sizes)} samples"
        )
    generator = chosen(generator)
    x, y = (f.values[generator.permutation(len(f.values))[: subsets * size]] for f in (first, second))
    estimates = [_unbiased(a, b) for a, b in zip(np.split(x, subsets), np.split(y, subsets), strict=True)]
    error = float(np.std(estimates, ddof=1) / np.sqrt(subsets))
    return FeatureDistance(float(np.mean(estimates)), "Kernel distance", first.network, sizes, error)


def _unbiased(x: np.ndarray, y: np.ndarray) -> float:
    n, features = x.shape
    xx, yy, xy = ((a @ b.T / features + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return within / (n * (n - 1)) - 2 * xy.mean()
