"""Convolution and its transpose, with PyTorch's options and TensorFlow's "same"."""

from scratchnet import ops
from scratchnet.creation import zeros
from scratchnet.nn import checks
from scratchnet.tensor import Tensor

Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | str


def same_padding(input_size, kernel_size, stride, dilation) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) such that a convolution gives ceil(size / stride) in both directions.

    For each axis total = max((ceil(n / s) - 1) s + d (k - 1) + 1 - n, 0), the odd one at the end: TensorFlow's rule,
    and at stride 1 PyTorch's.
    """
    totals = [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(input_size, kernel_size, stride, dilation, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


def padding_sides(owner: str, padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """An int, a pair (h, w) or ((top, bottom), (left, right)) as the last; raises TypeError or ValueError."""
    if isinstance(padding, str):
        raise ValueError(f"{owner}: padding must be 'same', 'valid' or numbers, got {padding!r}")
    rows, columns = padding if isinstance(padding, (tuple, list)) and len(padding) == 2 else (padding, padding)
    return checks.pair(owner, "padding", rows, 0), checks.pair(owner, "padding", columns, 0)


def _add_bias(owner, out: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return out
    checks.shape(owner, bias, out.shape[1], name="bias")
    return ops.add_bias(out, bias)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride=1,
    padding: Padding = 0,
    dilation=1,
    groups: int = 1,
    negative_slope: float = 1.0,
) -> Tensor:
    """Cross-correlation: out[n,k,i,j] = bias[k] + sum input[n, c, i s - p + a d, j s - p + b d] weight[k,c,a,b].

    Args:
        input: (N, C, H, W).
        weight: (K, C / groups, kH, kW).
        bias: (K,).
        padding: an int, a pair, ((top, bottom), (left, right)), "valid" (none) or "same" (see ``same_padding``).
        negative_slope: of a leaky ReLU in the same pass over the output; 0 is a ReLU, 1 none, below 0 refused.

    Returns:
        (N, K, oH, oW) with oH = floor((H + p_top + p_bottom - d (kH - 1) - 1) / s) + 1.

    Raises:
        ValueError, TypeError: a shape, dtype or option does not fit.
    """
    checks.floating("conv2d", input=input, weight=weight, bias=bias)
    checks.shape("conv2d", weight, "K", "C / groups", "kH", "kW", name="weight")
    checks.shape("conv2d", input, "N", weight.shape[1] * groups, "H", "W")
    if padding == "same":
        stride, dilation = checks.pair("conv2d", "stride", stride), checks.pair("conv2d", "dilation", dilation)
        padding = same_padding(input.shape[2:], weight.shape[2:], stride, dilation)
    padding = padding_sides("conv2d", 0 if padding == "valid" else padding)
    if bias is not None:
        checks.shape("conv2d", bias, weight.shape[0], name="bias")
    if negative_slope != 1:
        bias = zeros(weight.shape[0], dtype=weight.dtype, device=weight.device) if bias is None else bias
        return ops.conv2d_leaky_relu(input, weight, bias, negative_slope, stride, padding, dilation, groups)
    if bias is None:
        return ops.conv2d(input, weight, stride, padding, dilation, groups)
    return ops.conv2d_bias(input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride=1,
    padding: Padding = 0,
    output_padding=0,
    groups: int = 1,
    dilation=1,
) -> Tensor:
    """The transpose (adjoint) of conv2d with the same weight and options, plus a bias.

    Args:
        input: (N, C, H, W).
        weight: (C, K / groups, kH, kW).
        bias: (K,).
        padding: as in ``conv2d``. "same" gives (H s, W s): the transpose of TensorFlow's "same" convolution.
        output_padding: rows and columns added at the end, fewer than max(stride, dilation).

    Returns:
        (N, K, oH, oW) with oH = (H - 1) s - p_top - p_bottom + d (kH - 1) + output_padding + 1.

    Raises:
        ValueError, TypeError: a shape, dtype or option does not fit.
    """
    owner = "conv_transpose2d"
    checks.floating(owner, input=input, weight=weight, bias=bias)
    checks.shape(owner, weight, "C", "K / groups", "kH", "kW", name="weight")
    checks.shape(owner, input, "N", weight.shape[0], "H", "W")
    stride, dilation = checks.pair(owner, "stride", stride), checks.pair(owner, "dilation", dilation)
    extra = transposed_padding(owner, output_padding, stride, dilation)
    if padding == "same":
        if any(extra):
            raise ValueError(f"{owner}: padding 'same' fixes the output size, output_padding must be 0, got {extra}")
        target = [n * s for n, s in zip(input.shape[2:], stride, strict=True)]
        padding = same_padding(target, weight.shape[2:], stride, dilation)
    else:
        padding = padding_sides(owner, 0 if padding == "valid" else padding)
        target = [
            (n - 1) * s - before - after + d * (k - 1) + 1 + e
            for n, s, (before, after), d, k, e in zip(
                input.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True
            )
        ]
    if min(target) < 1:
        raise ValueError(f"{owner}: padding {padding} leaves nothing of input {input.shape}: size {tuple(target)}")
    return _add_bias(owner, _transpose(input, weight, target, extra, stride, padding, dilation, groups), bias)


def transposed_padding(owner: str, output_padding, stride, dilation) -> tuple[int, int]:
    """``output_padding`` as a pair; raises ValueError where it reaches max(stride, dilation)."""
    extra = checks.pair(owner, "output_padding", output_padding, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"{owner}: output_padding must be smaller than stride or dilation, "
            f"got {extra} with stride {stride} and dilation {dilation}"
        )
    return extra


def _transpose(input, weight, target, extra, stride, padding, dilation, groups) -> Tensor:
    """conv2d_input of the target size. Output padding of a whole stride takes zero rows joined to the input."""
    beyond = [e // s for e, s in zip(extra, stride, strict=True)]
    if any(beyond):
        input = ops.pad(input, (0, beyond[1], 0, beyond[0]))
    size = (input.shape[0], weight.shape[1] * groups, *target)
    return ops.conv2d_input(weight, input, size, stride, padding, dilation, groups)
