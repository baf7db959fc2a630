"""Layers that move or resample pixels: upsampling, padding, patches, shuffles. See ``functional``."""

from scratchnet.nn import checks
from scratchnet.nn import functional as F
from scratchnet.nn.module import Module


class Upsample(Module):
    """Resize (N, C, H, W) to ``size`` or by ``scale_factor``, mode "nearest" or "bilinear"."""

    def __init__(self, size=None, scale_factor=None, mode: str = "nearest", align_corners: bool | None = None):
        super().__init__()
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: exactly one of size and scale_factor is needed")
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"Upsample: mode must be 'nearest' or 'bilinear', got {mode!r}")
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, input):
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self):
        target = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{target}, mode={self.mode!r}"


class Unfold(Module):
    """im2col: (N, C, H, W) to (N, C kH kW, patches)."""

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        _check_patches("Unfold", kernel_size, dilation, padding, stride)
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Unfold):
    """col2im: (N, C kH kW, patches) to (N, C, *output_size), overlaps added up."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__(kernel_size, dilation, padding, stride)
        checks.pair("Fold", "output_size", output_size)
        self.output_size = output_size

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"output_size={self.output_size}, {super().extra_repr()}"


def _check_patches(name, kernel_size, dilation, padding, stride) -> None:
    checks.pair(name, "kernel_size", kernel_size)
    checks.pair(name, "dilation", dilation)
    checks.pair(name, "padding", padding, 0)
    checks.pair(name, "stride", stride)


class PixelShuffle(Module):
    """(N, C r^2, H, W) to (N, C, H r, W r) (Shi et al. 2016)."""

    def __init__(self, upscale_factor: int):
        super().__init__()
        checks.size("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(N, C, H r, W r) to (N, C r^2, H, W)."""

    def __init__(self, downscale_factor: int):
        super().__init__()
        checks.size("PixelUnshuffle", downscale_factor=downscale_factor)
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return f"downscale_factor={self.downscale_factor}"


class _Pad2d(Module):
    mode: str

    def __init__(self, padding):
        super().__init__()
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * 4
        if len(sides) != 4 or not all(isinstance(n, int) for n in sides):
            raise ValueError(f"{type(self).__name__}: padding must be an int or 4 ints, got {padding!r}")
        self.padding = sides

    def forward(self, input):
        checks.shape("pad", input, "N", "C", "H", "W")
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self):
        return str(self.padding)


class ZeroPad2d(_Pad2d):
    """Zeros around (N, C, H, W): the same number on all sides or (left, right, top, bottom); negative ones crop."""

    mode = "constant"


class ReflectionPad2d(_Pad2d):
    """The image mirrored at its outermost pixels; padding as ZeroPad2d."""

    mode = "reflect"


class ReplicationPad2d(_Pad2d):
    """The outermost pixels repeated; padding as ZeroPad2d."""

    mode = "replicate"
