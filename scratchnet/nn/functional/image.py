"""Functions that move or resample the pixels of (N, C, H, W) images."""

from scratchnet import ops
from scratchnet.nn import checks
from scratchnet.tensor import Tensor


def pad(input: Tensor, pad, mode: str = "constant", value: float | None = None) -> Tensor:
    """Grow the last axes by (before, after) pairs, last axis first: (left, right, top, bottom) for images.

    ``mode`` is "constant" (with ``value``; negative padding crops), "reflect", "replicate" or "circular".
    Raises ValueError where mode or padding does not fit.
    """
    checks.tensors("pad", input=input)
    return ops.pad(input, pad, mode, 0.0 if value is None else value)


def interpolate(
    input: Tensor, size=None, scale_factor=None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """Resize (N, C, H, W) to ``size`` or by ``scale_factor``; mode "nearest" or "bilinear", without antialiasing.

    Bilinear places have half-pixel centres, or with ``align_corners`` corner pixels map onto corner pixels.
    Raises ValueError where an option does not fit.
    """
    checks.shape("interpolate", input, "N", "C", "H", "W")
    return ops.interpolate(input, size, scale_factor, mode, bool(align_corners))


def unfold(input: Tensor, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """im2col: every patch of (N, C, H, W) as a column, (N, C kH kW, patches); patches in row-major order.

    Raises ValueError where no patch fits.
    """
    checks.shape("unfold", input, "N", "C", "H", "W")
    return ops.unfold(input, kernel_size, dilation, padding, stride)


def fold(input: Tensor, output_size, kernel_size, dilation=1, padding=0, stride=1) -> Tensor:
    """col2im: the adjoint of ``unfold``. (N, C kH kW, patches) to (N, C, *output_size), overlaps added up.

    Raises ValueError where the number of columns does not fit.
    """
    checks.shape("fold", input, "N", "C kH kW", "patches")
    return ops.fold(input, output_size, kernel_size, dilation, padding, stride)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(N, C r^2, H, W) to (N, C, H r, W r) (Shi et al. 2016). Raises ValueError where r^2 does not divide."""
    checks.shape("pixel_shuffle", input, "N", "C r^2", "H", "W")
    checks.size("pixel_shuffle", upscale_factor=upscale_factor)
    return ops.pixel_shuffle(input, upscale_factor)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(N, C, H r, W r) to (N, C r^2, H, W): the inverse of ``pixel_shuffle``; same errors."""
    checks.shape("pixel_unshuffle", input, "N", "C", "H r", "W r")
    checks.size("pixel_unshuffle", downscale_factor=downscale_factor)
    return ops.pixel_unshuffle(input, downscale_factor)
