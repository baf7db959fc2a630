"""Pooling of (N, C, H, W) images."""

from scratchnet import ops
from scratchnet.nn import checks
from scratchnet.tensor import Tensor


def max_pool2d(
    input: Tensor,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    relu: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value in each window; padding never wins. Of ties the first in row-major order gets the gradient.

    Args:
        stride: default kernel_size.
        ceil_mode: round the output size up, where the last window starts inside the input.
        return_indices: also return each maximum's place in its flattened plane, as int64.
        relu: do the ReLU behind it in the same pass. Where no value is above 0 the place is -1.

    Raises:
        ValueError, TypeError: a shape or option does not fit.
    """
    checks.shape("max_pool2d", input, "N", "C", "H", "W")
    pool = ops.max_pool2d_relu if relu else ops.max_pool2d
    out, (indices,) = pool.with_aux(input, kernel_size, stride, padding, dilation, ceil_mode)
    return (out, Tensor(indices)) if return_indices else out


def max_unpool2d(input: Tensor, indices: Tensor, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """Put each value back to the place ``indices`` that max_pool2d found it at, zeros elsewhere.

    Values with the same place (of overlapping windows) are added up. ``output_size`` is (H, W) or a full shape;
    default (oH - 1) stride - 2 padding + kernel_size. Raises ValueError or IndexError where something does not fit.
    """
    owner = "max_unpool2d"
    checks.shape(owner, input, "N", "C", "H", "W")
    checks.tensors(owner, indices=indices)
    checks.shape(owner, indices, *input.shape, name="indices")
    kernel = checks.pair(owner, "kernel_size", kernel_size)
    stride = kernel if stride is None else checks.pair(owner, "stride", stride)
    padding = checks.pair(owner, "padding", padding, 0)
    if output_size is None:
        output_size = [
            (n - 1) * s - 2 * p + k for n, s, p, k in zip(input.shape[2:], stride, padding, kernel, strict=True)
        ]
    return ops.gather2d_input(input, indices, (*input.shape[:2], *output_size[-2:]))


def avg_pool2d(
    input: Tensor,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window; padding counts as zeros unless ``count_include_pad`` is False.

    ``divisor_override`` replaces the number of elements. Raises ValueError or TypeError where something does not fit.
    """
    checks.shape("avg_pool2d", input, "N", "C", "H", "W")
    return ops.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool2d(input: Tensor, output_size) -> Tensor:
    """The means of the cells that divide (H, W) into ``output_size`` parts.

    Cell i of n spans floor(i H / n) to ceil((i + 1) H / n). None keeps a size. Raises ValueError or TypeError.
    """
    return ops.adaptive_avg_pool2d(input, _output_size("adaptive_avg_pool2d", input, output_size))


def adaptive_max_pool2d(input: Tensor, output_size) -> Tensor:
    """The largest values of the cells of ``adaptive_avg_pool2d``; same errors."""
    return ops.adaptive_max_pool2d(input, _output_size("adaptive_max_pool2d", input, output_size))


def _output_size(owner, input, output_size) -> tuple[int, int]:
    checks.shape(owner, input, "N", "C", "H", "W")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(sizes) == 2:
        sizes = [n if wanted is None else wanted for wanted, n in zip(sizes, input.shape[2:], strict=True)]
    return checks.pair(owner, "output_size", tuple(sizes))
