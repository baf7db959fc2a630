"""Conv2d and ConvTranspose2d."""

import math

from scratchnet.creation import empty
from scratchnet.nn import checks, init
from scratchnet.nn import functional as F
from scratchnet.nn.functional.conv import padding_sides, transposed_padding
from scratchnet.nn.module import Module, Parameter


class _Conv(Module):
    """What both have: the options, the parameters and their initial values."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups):
        super().__init__()
        name = type(self).__name__
        checks.size(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups must divide in_channels {in_channels} and out_channels {out_channels}, got {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = checks.pair(name, "kernel_size", kernel_size)
        self.stride = checks.pair(name, "stride", stride)
        self.dilation = checks.pair(name, "dilation", dilation)
        if padding not in ("same", "valid"):
            sides = padding_sides(name, padding)
            symmetric = all(before == after for before, after in sides)
            padding = tuple(before for before, _ in sides) if symmetric else sides
        self.padding = padding

    def _add_parameters(self, weight_shape, bias, device, dtype) -> None:
        device = device or "cpu"
        self.weight = Parameter(empty(weight_shape, dtype=dtype, device=device))
        self.bias = Parameter(empty(self.out_channels, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight and bias uniform in +-1 / sqrt(fan_in), fan_in being weight.shape[1] kH kW."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        defaults = {"padding": (0, 0), "dilation": (1, 1), "output_padding": (0, 0), "groups": 1}
        for name, default in defaults.items():
            value = getattr(self, name, default)
            if value != default:
                parts.append(f"{name}={value}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv2d(_Conv):
    """Cross-correlation of (N, in_channels, H, W) with a learned kernel, plus a bias; see ``functional.conv2d``.

    Args:
        kernel_size, stride, dilation: ints or pairs.
        padding: an int, a pair, ((top, bottom), (left, right)), "valid", or "same" for ceil(size / stride): with a
            stride of 1 as PyTorch, above 1 (which PyTorch refuses) as TensorFlow.
        groups: connect each of so many parts of the channels to its own part only.
        padding_mode: "zeros", "reflect", "replicate" or "circular".

    weight is (out_channels, in_channels / groups, kH, kW), bias (out_channels,).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"Conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got {padding_mode!r}"
            )
        self.padding_mode = padding_mode
        self._add_parameters((out_channels, in_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, input, negative_slope: float = 1.0):
        """``negative_slope`` is that of a leaky ReLU behind, see ``functional.conv2d``; ``Sequential`` gives it."""
        padding = self.padding
        if self.padding_mode != "zeros":
            checks.shape("conv2d", input, "N", self.in_channels, "H", "W")
            input, padding = self._padded(input), 0
        options = self.stride, padding, self.dilation, self.groups, negative_slope
        return F.conv2d(input, self.weight, self.bias, *options)

    def _padded(self, input):
        if self.padding == "same":
            rows, columns = F.same_padding(input.shape[2:], self.kernel_size, self.stride, self.dilation)
        else:
            rows, columns = padding_sides("Conv2d", 0 if self.padding == "valid" else self.padding)
        return F.pad(input, (*columns, *rows), mode=self.padding_mode)


class ConvTranspose2d(_Conv):
    """The transpose of Conv2d: (N, in_channels, H, W) to (N, out_channels, (H - 1) s - 2 p + d (kH - 1) + op + 1, ...).

    Args:
        kernel_size, stride, dilation: ints or pairs.
        padding: as in Conv2d. "same" gives (H s, W s), as Keras' Conv2DTranspose does.
        output_padding: rows and columns added at the end, fewer than max(stride, dilation).

    weight is (in_channels, out_channels / groups, kH, kW), bias (out_channels,).
    """

    padding_mode = "zeros"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups: int = 1,
        bias: bool = True,
        dilation=1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        if padding_mode != "zeros":
            raise ValueError(f"ConvTranspose2d: padding_mode must be 'zeros', got {padding_mode!r}")
        self.output_padding = transposed_padding("ConvTranspose2d", output_padding, self.stride, self.dilation)
        self._add_parameters((in_channels, out_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, input, output_size=None):
        """``output_size`` (H, W) picks one of the sizes that ``output_padding`` allows."""
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _output_padding(self, input, output_size):
        checks.shape("conv_transpose2d", input, "N", self.in_channels, "H", "W")
        if self.padding == "same":
            raise ValueError("conv_transpose2d: output_size is fixed by padding='same'")
        sides = padding_sides("conv_transpose2d", 0 if self.padding == "valid" else self.padding)
        smallest = [
            (n - 1) * s - sum(p) + d * (k - 1) + 1
            for n, s, p, d, k in zip(input.shape[2:], self.stride, sides, self.dilation, self.kernel_size, strict=True)
        ]
        extra = tuple(wanted - n for wanted, n in zip(tuple(output_size)[-2:], smallest, strict=True))
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation, strict=True)):
            largest = [n + max(s, d) - 1 for n, s, d in zip(smallest, self.stride, self.dilation, strict=True)]
            raise ValueError(
                f"conv_transpose2d: output_size must lie between {tuple(smallest)} and {tuple(largest)} "
                f"for an input of size {input.shape[2:]}, got {tuple(output_size)}"
            )
        return extra
