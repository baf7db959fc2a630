"""Pooling layers; see ``functional`` for what each computes."""

from scratchnet.nn import checks
from scratchnet.nn import functional as F
from scratchnet.nn.module import Module


class MaxPool2d(Module):
    """The largest value in each window of (N, C, H, W); ``stride`` is ``kernel_size`` by default."""

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices: bool = False, ceil_mode: bool = False
    ):
        super().__init__()
        _check_window("MaxPool2d", kernel_size, stride, padding)
        checks.pair("MaxPool2d", "dilation", dilation)
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, input, relu: bool = False):
        """``relu`` is that behind it, see ``functional.max_pool2d``; ``Sequential`` gives it."""
        options = self.padding, self.dilation, self.ceil_mode, self.return_indices, relu
        return F.max_pool2d(input, self.kernel_size, self.stride, *options)

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window of (N, C, H, W); ``stride`` is ``kernel_size`` by default."""

    def __init__(
        self,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        _check_window("AvgPool2d", kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _check_window(name, kernel_size, stride, padding) -> None:
    kernel = checks.pair(name, "kernel_size", kernel_size)
    checks.pair(name, "stride", kernel if stride is None else stride)
    sides = checks.pair(name, "padding", padding, 0)
    if any(p > k // 2 for p, k in zip(sides, kernel, strict=True)):
        raise ValueError(f"{name}: padding must be at most half of kernel_size {kernel_size}, got {padding}")


class _AdaptivePool(Module):
    def __init__(self, output_size):
        super().__init__()
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        checks.pair(type(self).__name__, "output_size", tuple(1 if n is None else n for n in sizes))
        self.output_size = output_size

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of the cells that divide (H, W) into ``output_size`` parts; None keeps a size."""

    def forward(self, input):
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest values of the cells that divide (H, W) into ``output_size`` parts; None keeps a size."""

    def forward(self, input):
        return F.adaptive_max_pool2d(input, self.output_size)
