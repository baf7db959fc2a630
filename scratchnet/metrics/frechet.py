"""The Fréchet distance between Gaussians, and between the Gaussians that fit two sets of features."""

import numpy as np

from scratchnet.metrics.features import FeatureDistance, Features, check_same_network
from scratchnet.metrics.inputs import real


def frechet_distance(first: Features, second: Features) -> FeatureDistance:
    """The Fréchet distance of two sets of features: that of the Gaussians with their means and unbiased covariances.

    It is biased upwards, the more so the fewer samples there are (Bińkowski et al. 2018, "Demystifying MMD GANs"):
    compare numbers of equal ``samples`` only. The idea is that of Heusel et al. 2017, the network is not theirs.

    Raises:
        TypeError: an argument is not ``Features``.
        ValueError: the features are of two networks.
    """
    check_same_network("frechet_distance", first, second)
    moments = [(f.values.mean(axis=0), np.atleast_2d(np.cov(f.values, rowvar=False))) for f in (first, second)]
    value = frechet_gaussians(*moments[0], *moments[1])
    return FeatureDistance(value, "Fréchet distance", first.network, (len(first.values), len(second.values)))


def frechet_gaussians(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """|μ1 - μ2|² + tr(Σ1 + Σ2 - 2 (Σ1^½ Σ2 Σ1^½)^½), the squared 2-Wasserstein distance of two Gaussians.

    The trace of the root is computed as the sum of the singular values of Σ1^½ Σ2^½, with the square roots from
    eigenvalues. Eigenvalues below D ε times the largest, which rounding cannot tell from 0, count as 0: the covariances
    may be singular. Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions".

    Args:
        mean1, mean2: (D,).
        cov1, cov2: (D, D), symmetric and positive semi-definite. All are computed in float64.

    Raises:
        ValueError: shapes do not fit, a value is not finite, a matrix is not symmetric or has a negative eigenvalue.
        TypeError: an argument is not of real numbers.
    """
    mean1, mean2 = (real("frechet_gaussians", n, m, "(D,)", 1) for n, m in (("mean1", mean1), ("mean2", mean2)))
    if mean1.shape != mean2.shape:
        raise ValueError(f"frechet_gaussians: mean2 must have the shape of mean1, {mean1.shape}, got {mean2.shape}")
    root1, root2 = _root("cov1", cov1, len(mean1)), _root("cov2", cov2, len(mean1))
    overlap = np.linalg.svd(root1.T @ root2, compute_uv=False).sum()
    traces = np.sum(root1**2) + np.sum(root2**2)
    return float(np.sum((mean1 - mean2) ** 2) + max(traces - 2 * overlap, 0.0))


def _root(name: str, covariance, size: int) -> np.ndarray:
    """R with R Rᵀ = Σ: the eigenvectors times the roots of their eigenvalues.

    The symmetric root is R Vᵀ, and the rotation V changes no singular value of a product.
    """
    covariance = real("frechet_gaussians", name, covariance, "(D, D)", 2)
    if covariance.shape != (size, size):
        raise ValueError(f"frechet_gaussians: {name} must have shape ({size}, {size}), got {covariance.shape}")
    if not np.allclose(covariance, covariance.T, rtol=0, atol=1e-8 * np.abs(covariance).max()):
        raise ValueError(f"frechet_gaussians: {name} must be symmetric")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    largest = np.abs(values).max()
    if values.min() < -1e-8 * largest:
        raise ValueError(
            f"frechet_gaussians: {name} must be positive semi-definite, it has the eigenvalue {values.min():.3g}"
        )
    values = np.where(values > size * np.finfo(np.float64).eps * largest, values, 0)
    return vectors * np.sqrt(values)
