"""How near images are to their references, pixel by pixel (PSNR) and window by window (SSIM)."""

import numbers

import numpy as np

from scratchnet.metrics.inputs import real
from scratchnet.tensor import Tensor

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def psnr(images: Tensor | np.ndarray, references: Tensor | np.ndarray, *, data_range: float) -> np.ndarray:
    """Peak signal-to-noise ratio of every image in dB: 10 log10(data_range² / mean squared error).

    Infinite where an image equals its reference. The mean over a set is the mean of these values, not the value at
    the mean error.

    Args:
        images: (N, ...) of any real type; computed in float64.
        references: of the same shape.
        data_range: the largest value a pixel may have less the smallest: 255 for bytes, 1 for [0, 1], 2 for [-1, 1].

    Returns:
        float64 (N,).

    Raises:
        ValueError: shapes differ or are empty, a value is not finite, ``data_range`` is not positive, or the
            references span more than it.
        TypeError: the images are no real numbers.
    """
    images, references = _pair("psnr", images, references, data_range, "(N, ...)")
    error = np.mean((images - references) ** 2, axis=tuple(range(1, images.ndim)))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / error)


def ssim(images: Tensor | np.ndarray, references: Tensor | np.ndarray, *, data_range: float) -> np.ndarray:
    """Structural similarity of every image, at most 1, the mean over all windows and channels of

        (2 μx μy + C1) (2 σxy + C2) / ((μx² + μy² + C1) (σx² + σy² + C2)),   C1 = (0.01 R)², C2 = (0.03 R)²

    with R = ``data_range`` and moments under a Gaussian window of 11x11 pixels and standard deviation 1.5 that lies
    wholly inside the image (Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment", section III). Channels
    are taken one by one and large images are not reduced first.

    Args:
        images: (N, C, H, W) of any real type, H and W at least 11; computed in float64.
        references: of the same shape.
        data_range: as for ``psnr``.

    Returns:
        float64 (N,).

    Raises:
        ValueError: as for ``psnr``, and for images smaller than the window.
        TypeError: the images are no real numbers.
    """
    x, y = _pair("ssim", images, references, data_range, "(N, C, H, W)", 4)
    if min(x.shape[2:]) < WINDOW:
        raise ValueError(f"ssim: images must be at least {WINDOW}x{WINDOW} pixels, got {x.shape[2]}x{x.shape[3]}")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return similarity.mean(axis=(1, 2, 3))


def _blur(images: np.ndarray) -> np.ndarray:
    """Weighted means over all windows that lie inside the image; the Gaussian is the product of a column and a row."""
    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    weights /= weights.sum()
    height, width = images.shape[2] - WINDOW + 1, images.shape[3] - WINDOW + 1
    rows = sum(weight * images[:, :, i : i + height] for i, weight in enumerate(weights))
    return sum(weight * rows[:, :, :, i : i + width] for i, weight in enumerate(weights))


def _pair(caller, images, references, data_range, shape, ndim=None):
    images, references = (
        real(caller, "images", images, shape, ndim),
        real(caller, "references", references, shape, ndim),
    )
    if images.shape != references.shape:
        raise ValueError(
            f"{caller}: images of shape {images.shape} need references of the same, got {references.shape}"
        )
    if not isinstance(data_range, numbers.Real) or not 0 < data_range < np.inf:
        raise ValueError(f"{caller}: data_range must be a positive number, got {data_range!r:.80}")
    span = np.ptp(references)
    if span > data_range * (1 + 1e-6):
        raise ValueError(f"{caller}: references span {span:.6g}, more than the data_range of {data_range:.6g}")
    return images, references
