"""Resizing and warping of image batches, in NumPy: a triangle filter and bilinear sampling."""

import numpy as np


def resize_weights(size_in: int, size_out: int) -> np.ndarray:
    """The matrix (size_out, size_in) that resizes one axis: rows are antialiased bilinear filters.

    A triangle filter as wide as one output pixel where the image shrinks, and as one input pixel where it grows; what
    reaches over the border is cut off and the row normalised. This is what Pillow's BILINEAR does.
    """
    scale = size_in / size_out
    centre = (np.arange(size_out) + 0.5) * scale
    distance = np.abs(np.arange(size_in) + 0.5 - centre[:, None])
    weights = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (..., H, W) to (..., size[0], size[1]), antialiased, as two matrix products; the dtype is kept.

    Integers are rounded to nearest, floating images are filtered in their own precision.
    """
    if min(*size, *images.shape[-2:]) < 1:
        raise ValueError(f"resize: sizes must be at least 1, got {images.shape[-2:]} to {tuple(size)}")
    floating = np.issubdtype(images.dtype, np.floating)
    dtype = images.dtype if floating else np.float32
    rows = resize_weights(images.shape[-2], size[0]).astype(dtype)
    columns = resize_weights(images.shape[-1], size[1]).astype(dtype)
    out = rows @ (images.astype(dtype, copy=False) @ columns.T)
    # Rounded weights may sum to a little more than one: the filter must not leave the range of the image.
    if out.size:
        out = np.clip(out, images.min(), images.max())
    return out.astype(images.dtype, copy=False) if floating else np.rint(out).astype(images.dtype)


def affine_coordinates(shape: tuple[int, int], matrix: np.ndarray, shift: np.ndarray):
    """Where each output pixel of an affine map about the image centre comes from.

    Args:
        shape: (H, W) of the output.
        matrix: (N, 2, 2), takes an (x, y) offset from the centre of the output to one in the source.
        shift: (N, 2), the (x, y) shift of the content in output pixels.

    Returns:
        x and y, float64 (N, H, W): offsets from the centre of the source, in pixels.
    """
    height, width = shape
    x = np.arange(width) - (width - 1) / 2 - shift[:, 0, None]
    y = np.arange(height) - (height - 1) / 2 - shift[:, 1, None]
    x, y = x[:, None, :], y[:, :, None]
    m = matrix[:, :, :, None, None]
    return m[:, 0, 0] * x + m[:, 0, 1] * y, m[:, 1, 0] * x + m[:, 1, 1] * y


def sample_bilinear(images: np.ndarray, x: np.ndarray, y: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Sample (N, C, H, W) at pixel coordinates x, y of shape (N, P, Q), giving (N, C, P, Q) of the same dtype.

    Pixel (0, 0) has its centre at x = y = 0. Outside the image lies `fill`, and the border pixels fade into it.
    """
    n, channels, height, width = images.shape
    # One flat table a channel, with a border of `fill`: the four neighbours of a place have one index for all of them.
    table = np.full((channels, n, height + 2, width + 2), fill, dtype=images.dtype)
    table[:, :, 1:-1, 1:-1] = images.swapaxes(0, 1)
    x = np.clip(x, -1.0, width) + 1
    y = np.clip(y, -1.0, height) + 1
    left = np.minimum(np.floor(x), width).astype(np.intp)
    top = np.minimum(np.floor(y), height).astype(np.intp)
    tx = (x - left).astype(images.dtype)
    ty = (y - top).astype(images.dtype)

    row = width + 2
    corner = (np.arange(n)[:, None, None] * (height + 2) + top) * row + left
    table = table.reshape(channels, -1)

    def pixels(offset: int) -> np.ndarray:
        return np.take(table, corner + offset, axis=1)

    upper = pixels(0) * (1 - tx) + pixels(1) * tx
    lower = pixels(row) * (1 - tx) + pixels(row + 1) * tx
    out = upper * (1 - ty) + lower * ty
    if out.size:
        # A convex combination, but for rounding.
        np.clip(out, table.min(), table.max(), out=out)
    return np.ascontiguousarray(out.swapaxes(0, 1))
