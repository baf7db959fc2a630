"""Sizes, pairs and paddings of convolution and pooling: integers only, shared by every implementation.

Each implementation first builds a `Conv2dGeometry` or `Pool2dGeometry` from shapes and options. Building
one is the argument check: whatever is wrong raises a ValueError or TypeError that names the argument,
what was given and what was wanted. After it, sizes agree and loops may trust them.
"""

import functools
import marshal
import operator
from typing import NamedTuple


def integers(name, value, count=None, minimum=0):
    """`value` as a tuple of `count` ints (any number if None), each at least `minimum`."""
    try:
        result = tuple(map(operator.index, value))
    except TypeError:
        raise TypeError(f"{name} must be a tuple of ints, given {value!r}") from None
    if count is not None and len(result) != count:
        raise ValueError(f"{name} must hold {count} ints, given {value!r}")
    if min(result, default=minimum) < minimum:
        raise ValueError(f"{name} must hold ints of at least {minimum}, given {value!r}")
    return result


def pair(name, value, minimum=1):
    """`value`, an int or a pair (h, w), as a pair of ints of at least `minimum`."""
    if type(value) is int and value >= minimum:  # the usual cases
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int and min(value) >= minimum:
        return value
    return integers(name, value if isinstance(value, (tuple, list)) else (value, value), 2, minimum)


def padding_pairs(name, value):
    """`value`, an int, (h, w) or ((top, bottom), (left, right)), as ((top, bottom), (left, right))."""
    rows, columns = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
    return pair(name, rows, minimum=0), pair(name, columns, minimum=0)


def same_shapes(**shapes):
    """Raise ValueError unless all named shapes are equal to the first."""
    (first, wanted), *rest = shapes.items()
    for name, shape in rest:
        if tuple(shape) != tuple(wanted):
            raise ValueError(f"{name} must have the shape of {first}, {tuple(wanted)}, given {tuple(shape)}")


def conv_output_size(input_size, kernel_size, *, stride=1, padding=0, dilation=1):
    """(OH, OW) of a convolution of an (H, W) plane.

    OH = floor((H + padding - dilation * (KH - 1) - 1) / stride) + 1, padding being both sides together.
    """
    input_size, kernel_size = integers("input size", input_size, 2), pair("kernel_size", kernel_size)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    padding = padding_pairs("padding", padding)
    return _conv_output_size(input_size, kernel_size, stride, padding, dilation)


def _conv_output_size(input_size, kernel_size, stride, padding, dilation):
    """The same of pairs that have been checked."""
    sizes = []
    for size, k, s, p, d in zip(input_size, kernel_size, stride, padding, dilation, strict=True):
        room = size + sum(p) - (d * (k - 1) + 1)
        if room < 0:
            raise ValueError(
                f"the kernel must fit in the padded input: kernel_size {kernel_size} with dilation "
                f"{dilation} is too large for input size {input_size} with padding {padding}"
            )
        sizes.append(room // s + 1)
    return tuple(sizes)


def pool_output_size(input_size, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False):
    """(OH, OW) of pooling an (H, W) plane; stride None means kernel_size.

    With `ceil_mode` the division rounds up, except that the last window must start inside the input or
    the padding before it (PyTorch's rule). Every window must hold at least one input element.
    """
    geometry = Pool2dGeometry.of(
        (1, 1, *integers("input size", input_size, 2)),
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return geometry.output_size


_MOST_REMEMBERED = 4096


def _remembered(of):
    """`of` with a memory of plain ints and tuples of them: a training step asks for the same few, 20 us each."""
    known = {}

    @functools.wraps(of)
    def remember(cls, *sizes, **options):
        try:
            call = marshal.dumps((sizes, options), 2)  # unlike ==, it tells 1 from 1.0, which is refused
        except ValueError:
            return of(cls, *sizes, **options)
        if call not in known:
            if len(known) == _MOST_REMEMBERED:
                known.clear()
            known[call] = of(cls, *sizes, **options)
        return known[call]

    return remember


class Conv2dGeometry(NamedTuple):
    """All integers of one convolution. Sizes are (h, w); padding is ((top, bottom), (left, right))."""

    batch: int
    in_channels: int
    out_channels: int
    input_size: tuple
    output_size: tuple
    kernel_size: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int

    @classmethod
    @_remembered
    def of(cls, input_size, weight_size, grad_output_size=None, *, stride=1, padding=0, dilation=1, groups=1):
        """Check (N, C, H, W), (K, C / groups, KH, KW) and, where given, the (N, K, OH, OW) they lead to."""
        n, c, *plane = integers("input size (N, C, H, W)", input_size, 4)
        k, c_per_group, *kernel = integers("weight size (K, C / groups, KH, KW)", weight_size, 4)
        stride, dilation = pair("stride", stride), pair("dilation", dilation)
        padding, (groups,) = padding_pairs("padding", padding), integers("groups", (groups,), minimum=1)
        if c % groups or k % groups:
            raise ValueError(f"groups must divide input channels {c} and output channels {k}, given {groups}")
        if c_per_group * groups != c:
            raise ValueError(
                f"weight must have input channels / groups = {c // groups} on axis 1, given {c_per_group} "
                f"(input size {tuple(input_size)}, weight size {tuple(weight_size)}, groups {groups})"
            )
        kernel = pair("kernel_size", tuple(kernel))
        output = _conv_output_size(tuple(plane), kernel, stride, padding, dilation)
        if grad_output_size is not None and tuple(grad_output_size) != (n, k, *output):
            raise ValueError(
                f"grad_output must have the convolution's output size {(n, k, *output)}, "
                f"given {tuple(grad_output_size)}"
            )
        return cls(n, c, k, tuple(plane), output, kernel, stride, padding, dilation, groups)

    @property
    def full_input_size(self):
        """(N, C, H, W)."""
        return (self.batch, self.in_channels, *self.input_size)

    @property
    def full_weight_size(self):
        """(K, C / groups, KH, KW)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def full_output_size(self):
        """(N, K, OH, OW)."""
        return (self.batch, self.out_channels, *self.output_size)

    @property
    def corner(self):
        """(rows, columns) of padding before the image."""
        (top, _), (left, _) = self.padding
        return top, left


class Pool2dGeometry(NamedTuple):
    """All integers of one pooling. Sizes are (h, w); padding is ((top, bottom), (left, right))."""

    batch: int
    channels: int
    input_size: tuple
    output_size: tuple
    kernel_size: tuple
    stride: tuple
    padding: tuple
    dilation: tuple

    @classmethod
    @_remembered
    def of(cls, input_size, grad_output_size=None, *, kernel_size, stride, padding, dilation=1, ceil_mode=False):
        """Check (N, C, H, W), the options and, where given, the (N, C, OH, OW) they must lead to."""
        n, c, *plane = integers("input size (N, C, H, W)", input_size, 4)
        kernel = pair("kernel_size", kernel_size)
        stride = kernel if stride is None else pair("stride", stride)
        padding, dilation = padding_pairs("padding", padding), pair("dilation", dilation)
        axes = tuple(zip(plane, kernel, stride, padding, dilation, strict=True))
        if any(max(p) > k // 2 for _, k, _, p, _ in axes):
            raise ValueError(f"padding must be at most half of kernel_size {kernel}, given {padding}")
        output = tuple(_pool_axis(*axis, ceil_mode) for axis in axes)
        if any(not _holds_input(out, *axis) for out, axis in zip(output, axes, strict=True)):
            raise ValueError(
                f"every window must hold an input element: input size {tuple(plane)} is too small for "
                f"kernel_size {kernel} with stride {stride}, padding {padding}, dilation {dilation}"
            )
        if grad_output_size is not None and tuple(grad_output_size) != (n, c, *output):
            raise ValueError(
                f"grad_output must have the pooling's output size {(n, c, *output)}, given {tuple(grad_output_size)}"
            )
        return cls(n, c, tuple(plane), output, kernel, stride, padding, dilation)

    @property
    def full_input_size(self):
        """(N, C, H, W)."""
        return (self.batch, self.channels, *self.input_size)

    @property
    def full_output_size(self):
        """(N, C, OH, OW)."""
        return (self.batch, self.channels, *self.output_size)

    def window_lengths(self, count_include_pad):
        """For each axis, how many elements each window holds, its parts beyond the padding never counted."""
        lengths = []
        for size, out, k, s, (before, after) in zip(
            self.input_size, self.output_size, self.kernel_size, self.stride, self.padding, strict=True
        ):
            low, high = (-before, size + after) if count_include_pad else (0, size)
            starts = [i * s - before for i in range(out)]
            lengths.append([min(start + k, high) - max(start, low) for start in starts])
        return lengths


def _pool_axis(size, k, s, p, d, ceil_mode):
    room = size + sum(p) - (d * (k - 1) + 1)
    out = (-(-room // s) if ceil_mode else room // s) + 1
    return out - 1 if ceil_mode and (out - 1) * s >= size + p[0] else out


def _holds_input(out, size, k, s, p, d):
    """Whether there is a window, and each holds an input element: asked of the last, and of those that begin early."""
    early = range(-p[0], min(0, out * s - p[0]), s)
    last = (out - 1) * s - p[0]
    return out > 0 and last < size and all(any(0 <= start + t * d < size for t in range(k)) for start in early)
