"""Resizing. Linear interpolation is a product with a matrix along each axis, so its adjoint needs no code."""

import math

import numpy as np

from scratchnet.device import to_device
from scratchnet.ops.indexing import getitem
from scratchnet.ops.linalg import matmul
from scratchnet.ops.registry import Bad, S, op
from scratchnet.ops.shape import transpose
from scratchnet.recording import constant
from scratchnet.tensor import Tensor


def _target_size(input, size, scale_factor):
    """(H, W) of the result and the scale that maps its places back, as PyTorch computes both."""
    if input.ndim != 4:
        raise ValueError(f"interpolate: expected a 4-d input (N, C, H, W), got shape {input.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: exactly one of size and scale_factor is needed")
    if size is not None:
        target = (size, size) if isinstance(size, int) else tuple(size)
        if not all(isinstance(n, (int, np.integer)) for n in target):
            raise TypeError(f"interpolate: size must be an int or two, got {size}")
        scales = [n / t if t > 0 else 0.0 for n, t in zip(input.shape[2:], target, strict=True)]
    else:
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
        target = tuple(math.floor(n * f) for n, f in zip(input.shape[2:], factors, strict=True))
        scales = [1 / f if f > 0 else 0.0 for f in factors]
    if min(target) < 1 or 0 in input.shape[2:]:
        raise ValueError(f"interpolate: cannot resize {input.shape[2:]} to {target}")
    return target, scales


def _source_places(size, target, scale, align_corners):
    """For every target place, its coordinate in the source: half-pixel centres, or corners onto corners."""
    places = np.arange(target)
    if align_corners:
        return places * ((size - 1) / (target - 1) if target > 1 else 0.0)
    return np.clip((places + 0.5) * scale - 0.5, 0, None)


def _linear_matrix(size, target, scale, align_corners, like):
    """(target, size): each row holds the two weights of its source neighbours. In like's dtype and on its device."""
    source = _source_places(size, target, scale, align_corners)
    low = np.minimum(np.floor(source).astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    matrix = np.zeros((target, size))
    rows = np.arange(target)
    matrix[rows, low] += 1 - (source - low)
    matrix[rows, high] += source - low
    return Tensor(constant(to_device(matrix.astype(like.dtype), like.device)))


def _by_loops(input, size=None, scale_factor=None, mode="nearest", align_corners=False):
    target, scales = _target_size(input, size, scale_factor)
    out = np.zeros(input.shape[:2] + target)
    for i, j in np.ndindex(target):
        if mode == "nearest":
            y, x = (min(int(p * s), n - 1) for p, s, n in zip((i, j), scales, input.shape[2:], strict=True))
            out[:, :, i, j] = input[:, :, y, x]
            continue
        parts = []
        for p, n, t, s in zip((i, j), input.shape[2:], target, scales, strict=True):
            source = (
                p * (n - 1) / (t - 1)
                if align_corners and t > 1
                else 0
                if align_corners
                else max((p + 0.5) * s - 0.5, 0)
            )
            low = min(int(source), n - 1)
            parts.append([(low, 1 - (source - low)), (min(low + 1, n - 1), source - low)])
        out[:, :, i, j] = sum(a * b * input[:, :, y, x] for y, a in parts[0] for x, b in parts[1])
    return out


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(2, 3, 4, 5), scale_factor=2),
        S(r.normal(1, 2, 4, 5), size=(3, 8)),
        S(r.normal(2, 2, 4, 5), size=(7, 3), mode="bilinear"),
        S(r.normal(2, 2, 4, 5), scale_factor=(1.5, 2), mode="bilinear"),
        S(r.normal(1, 2, 4, 5), size=(7, 9), mode="bilinear", align_corners=True),
        S(r.normal(1, 2, 4, 5), size=(1, 2), mode="bilinear", align_corners=True),
    ],
    reference=_by_loops,
    errors=lambda r: [
        Bad(ValueError, "mode.*cubic", S(r.normal(1, 1, 2, 2), size=4, mode="cubic")),
        Bad(ValueError, "exactly one", S(r.normal(1, 1, 2, 2))),
        Bad(ValueError, "4-d", S(r.normal(2, 2), size=4)),
        Bad(ValueError, "align_corners", S(r.normal(1, 1, 2, 2), size=4, align_corners=True)),
    ],
    degree=1,
)
def interpolate(input, /, size=None, scale_factor=None, mode="nearest", align_corners=False):
    """Resize (N, C, H, W) to ``size`` or by ``scale_factor``, mode "nearest" or "bilinear", without antialiasing.

    Bilinear places have half-pixel centres, or with ``align_corners`` corner pixels map onto corner pixels.
    """
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"interpolate: mode must be 'nearest' or 'bilinear', got {mode!r}")
    if align_corners and mode == "nearest":
        raise ValueError("interpolate: align_corners has a meaning for mode 'bilinear' only")
    target, scales = _target_size(input, size, scale_factor)
    sizes = input.shape[2:]
    if mode == "nearest":
        rows, columns = (
            np.minimum((np.arange(t) * s).astype(int), n - 1) for t, s, n in zip(target, scales, sizes, strict=True)
        )
        return getitem(input, index=(slice(None), slice(None), constant(rows[:, None]), constant(columns)))
    rows, columns = (
        _linear_matrix(n, t, s, align_corners, input) for n, t, s in zip(sizes, target, scales, strict=True)
    )
    return matmul(matmul(rows, input), transpose(columns, 0, 1))


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(2, 8, 2, 3), upscale_factor=2)],
    reference=lambda x, upscale_factor: np.array(
        [
            x[
                n,
                (c * upscale_factor + i % upscale_factor) * upscale_factor + j % upscale_factor,
                i // upscale_factor,
                j // upscale_factor,
            ]
            for n, c, i, j in np.ndindex(2, 2, 4, 6)
        ]
    ).reshape(2, 2, 4, 6),
    errors=lambda r: [Bad(ValueError, "6 channels.*4", S(r.normal(1, 6, 2, 2), upscale_factor=2))],
    degree=1,
)
def pixel_shuffle(x, /, upscale_factor):
    """(N, C r^2, H, W) to (N, C, H r, W r) (Shi et al. 2016)."""
    r = upscale_factor
    n, c, h, w = x.shape
    if c % (r * r):
        raise ValueError(f"pixel_shuffle: {c} channels are no multiple of upscale_factor^2 = {r * r}")
    return x.reshape((n, c // (r * r), r, r, h, w)).permute((0, 1, 4, 2, 5, 3)).reshape((n, c // (r * r), h * r, w * r))


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(2, 2, 4, 6), downscale_factor=2)],
    reference=lambda x, downscale_factor: np.stack(
        [x[:, c, a::2, b::2] for c in range(2) for a in range(2) for b in range(2)], axis=1
    ),
    errors=lambda r: [Bad(ValueError, r"\(5, 4\).*2", S(r.normal(1, 1, 5, 4), downscale_factor=2))],
    degree=1,
)
def pixel_unshuffle(x, /, downscale_factor):
    """(N, C, H r, W r) to (N, C r^2, H, W): the inverse of ``pixel_shuffle``."""
    r = downscale_factor
    n, c, h, w = x.shape
    if h % r or w % r:
        raise ValueError(f"pixel_unshuffle: size {(h, w)} is no multiple of downscale_factor {r}")
    return x.reshape((n, c, h // r, r, w // r, r)).permute((0, 1, 3, 5, 2, 4)).reshape((n, c * r * r, h // r, w // r))
