"""Convolution and both its gradients with fewer multiplications: Winograd's F(m, r) on the SIMD tile.

The target is cut in squares of m x m pixels. A square of it needs n x n pixels of the source, n = m + r - 1, and with
the matrices of `cook_toom.py` it takes n^2 products for each pair of channels instead of m^2 r^2:

    forward            Y = A^T [sum over c of (G w G^T) * (B^T x B)] A
    weight gradient   dw = G^T [sum over squares of (B^T x B) * (A dY A^T)] G

The sums are n^2 matrix products, between channels and channels. The input gradient is a forward pass with the weight
turned round. Strides are taken apart into *phases*, each of which has stride 1 (polyphase decomposition): output m of
a convolution with stride s sees the source pixels s m + h - padding, so the taps h of one remainder mod s meet source
pixels of one remainder, and the phases of the source add up like channels; the phases of the input gradient are
targets of their own. A kernel of 4 x 4 with stride 2 is four of 2 x 2.

Winograd's sums are other sums than those of the definition: see README.md for the error. Which they are depends on
shapes and the size of the processor's cache alone. Sources: those of `cook_toom.py`.
"""

import functools
import sys
from typing import NamedTuple

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .cache import second_level_cache
from .compile import tasks_for
from .emitter import lanes, whole_vectors
from .layout import channels_first, channels_last, plain
from .memory import empty
from .squares import Pass, Weight
from .winograd_forward import multiply_panels, multiply_squares
from .winograd_room import FEWEST_SQUARES, room_of_pass, room_of_sums
from .winograd_weight import add_up_pieces, add_up_weight
from .zeros import clear_sums_of_zeros

# r -> the m of F(m, r), the most accurate first: rounding grows with the points, n = m + r - 1. F(4, 4) and F(4, 5) err
# about as much as F(4, 3), and take 0.65 and 0.5 of the time of F(2, 4) and F(2, 5). Else times hardly fall. But maps
# of 7 pixels leave a quarter of their squares of 4 unused, and take half as long with F(7, 2); unless its weight, 64
# numbers a pair of channels, leaves the second-level cache and that of F(4, 2), 25, does not: then they take 1.3 times
# as long. An m of 3 or 5 would save a fifth on a few layers: not worth the 10 s that each F(m, r) takes to compile.
SQUARES = {2: (4, 7), 3: (4,), 4: (4,), 5: (4,)}
_WORTH_ROUNDING = 0.75  # of the cycles of a more accurate F(m, r)
_CACHE = second_level_cache()
_LANES = lanes(np.dtype(np.float32))


class Axis(NamedTuple):
    """One axis of a pass: target[origin + stride * i] = sum over phases and taps of source[step * (i + tap) + phase].

    `taps[phase]` are indices into the kernel's axis, -1 where a phase has fewer than the others.
    """

    phases: list
    taps: list
    step: int
    origin: int
    stride: int
    extent: int


def forward_axis(geometry, axis):
    """The source has one phase for each remainder mod stride, as far as there are taps."""
    k, s, (before, _) = geometry.kernel_size[axis], geometry.stride[axis], geometry.padding[axis]
    taps = [list(range(phase, k, s)) for phase in range(min(k, s))]
    return Axis([phase - before for phase in range(min(k, s))], taps, s, 0, 1, geometry.output_size[axis])


def input_axes(geometry, axis):
    """The target has one phase for each remainder mod stride; grad_output is the source."""
    size, k, s = geometry.input_size[axis], geometry.kernel_size[axis], geometry.stride[axis]
    before, _ = geometry.padding[axis]
    for first in range(min(s, size)):
        taps = [h for h in reversed(range(k)) if (first + before - h) % s == 0]
        yield Axis([(first + before - taps[0]) // s if taps else 0], [taps], 1, first, s, -(-(size - first) // s))


class Plan(NamedTuple):
    """What there is to do; or why it cannot be done, or would not pay."""

    work: Pass | None
    obstacle: str = ""
    doubt: str = ""


@functools.lru_cache(4096)
def _plan(geometry, dtype, to_input=False):
    obstacle = _obstacle(geometry, to_input)
    if obstacle:
        return Plan(None, obstacle)
    ys, xs = ([forward_axis(geometry, axis)] for axis in (0, 1))
    channels = geometry.in_channels, geometry.out_channels
    if to_input:
        ys, xs = (list(input_axes(geometry, axis)) for axis in (0, 1))
        channels = channels[::-1]
    work, *others = (Pass.of(ys, xs, geometry.kernel_size[1], m) for m in SQUARES[_most_taps(geometry)])
    if dtype == np.float64:
        return Plan(work, doubt="float64 is asked for where rounding counts")
    cycles, by_definition = _cycles(work, geometry, channels), _cycles_by_definition(ys, xs, geometry, channels)
    for other in others:
        estimate = _cycles(other, geometry, channels)
        leaves = _stays(work, channels) and not _stays(other, channels)
        if estimate < _WORTH_ROUNDING * cycles and not leaves:
            work, cycles = other, estimate
    if cycles >= by_definition:
        return Plan(work, doubt=f"an estimate of {cycles:.1e} cycles against {by_definition:.1e}")
    saves = _products(work, geometry) <= _products_by_definition(geometry)
    return Plan(work, doubt="" if saves else "maps are so small that it would multiply more often")


def _products(work, geometry):
    """Multiplications for each pair of channels."""
    targets, phases, _ = work.phases.shape
    return targets * phases * geometry.batch * work.grid[0] * work.grid[1] * work.points**2


def _products_by_definition(geometry):
    """The same of the definition, but for those by zeros of the padding: of all three passes."""
    count = geometry.batch
    for size, k, s, out, (before, _) in zip(
        geometry.input_size, geometry.kernel_size, geometry.stride, geometry.output_size, geometry.padding, strict=True
    ):
        count *= sum(0 <= s * i + tap - before < size for i in range(out) for tap in range(k))
    return count


def _most_taps(geometry):
    """r: of a phase of the kernel, along the longer axis."""
    return max(-(-k // s) for k, s in zip(geometry.kernel_size, geometry.stride, strict=True))


def _obstacle(geometry, to_input):
    taps = _most_taps(geometry)
    if geometry.groups != 1 or geometry.dilation != (1, 1):
        return "groups and dilation must be 1"
    if taps == 1:
        return "a kernel no larger than its stride leaves nothing to save"
    if taps not in SQUARES:
        return f"{taps} taps for each phase of the stride, of at most {max(SQUARES)}, take too many points"
    if to_input and any(k < s for k, s in zip(geometry.kernel_size, geometry.stride, strict=True)):
        return "the stride skips pixels"
    sizes = (*geometry.full_input_size, *geometry.full_weight_size, *geometry.full_output_size)
    return "" if all(sizes) else "there is nothing to multiply"


def _plan_forward(input, weight, bias=None, *, negative_slope=1, **options):
    return _plan(Conv2dGeometry.of(input.shape, weight.shape, **options), input.dtype)


def _plan_input(input_size, weight, grad_output, **options):
    return _plan(Conv2dGeometry.of(input_size, weight.shape, grad_output.shape, **options), weight.dtype, to_input=True)


def _plan_weight(input, weight_size, grad_output, **options):
    return _plan(Conv2dGeometry.of(input.shape, weight_size, grad_output.shape, **options), input.dtype)


def _with_plan(plan):
    """How an implementation with such a plan is registered."""
    return {
        "supports": lambda *args, **options: plan(*args, **options).obstacle or True,
        "pays": lambda *args, **options: plan(*args, **options).doubt or True,
    }


def _cycles(work, geometry, channels):
    """The cycles that a pass is estimated to take in float32.

    The factors are measured, for one core: a vector of products takes one cycle, transforms 12 (of the source), 6 (of
    the target) for each of their n^2 vectors, a weight 8 for each of its taps and 14 for each of its points. Pixels
    whose channels do not fill vectors are copied before, in 75.
    """
    vectors_from, vectors_to = (-(-c // _LANES) for c in channels)
    targets, phases, _ = work.phases.shape
    squares, depth = geometry.batch * work.grid[0] * work.grid[1], phases * vectors_from
    each = depth * _LANES * vectors_to + 12 * depth + 6 * vectors_to + 75 * phases * (channels[0] % _LANES > 0)
    weight = depth * _LANES * vectors_to * (8 * len(work.taps) ** 2 + 14 * work.points**2)
    return targets * (squares * work.points**2 * each + weight)


def _stays(work, channels):
    """Whether a float32 weight and the fewest squares stay in the second-level cache while the others go by."""
    channels_from, channels_to = (whole_vectors(c, np.dtype(np.float32)) for c in channels)
    targets, phases, _ = work.phases.shape
    depth = phases * channels_from
    numbers = targets * depth * channels_to + FEWEST_SQUARES * (depth + channels_to)
    return 4 * work.points**2 * numbers <= _CACHE


def _cycles_by_definition(ys, xs, geometry, channels):
    """The same of the direct way, where a weight takes 108 for each of its taps."""
    cycles = 0
    for y, x in ((y, x) for y in ys for x in xs):
        taps = sum(len(h) * len(w) for h in y.taps for w in x.taps)
        each = geometry.batch * y.extent * x.extent / 0.85 + 108
        cycles += each * taps * channels[0] * -(-channels[1] // _LANES)
    return cycles


@reference.conv2d.implementation("winograd", **_with_plan(_plan_forward))
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    work = _plan(geometry, input.dtype).work
    bias = 0 if bias is None else reference.check_bias(bias, geometry)
    _correlate(work, channels_last(input), weight, bias, output, negative_slope)
    return channels_first(output)


@reference.conv2d_input.implementation("winograd", **_with_plan(_plan_input))
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, c, height, width = geometry.full_input_size
    grad_input = empty((n, height, width, c), weight.dtype)
    work = _plan(geometry, weight.dtype, to_input=True).work
    _correlate(work, channels_last(grad_output), weight, 0, grad_input, to_input=True)
    return channels_first(grad_input)


@reference.conv2d_weight.implementation("winograd", **_with_plan(_plan_weight))
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    source, grad = channels_last(input), channels_last(grad_output)
    work = _plan(geometry, input.dtype).work
    grad_weight = empty(geometry.full_weight_size, source.dtype)
    _add_up(work, source, grad, grad_weight)
    clear_sums_of_zeros(grad_weight, source, grad, geometry)
    return grad_weight


def _correlate(work, source, weight, bias, target, negative_slope=1, to_input=False):
    """One pass with a weight (K, C, KH, KW), from C to K channels or, to_input, from K to C."""
    weight = _weight(plain(weight), to_input)
    c, k, squares = weight.channels_from, weight.channels_to, source.shape[0] * work.grid[0] * work.grid[1]
    room = room_of_pass(work.points, work.phases.shape[:2], squares, c, k, source.dtype, tasks_for(sys.maxsize))
    packed, starts, left, right, patches = [empty(shape, source.dtype) for shape in room.memory]
    if room.channels > c and not room.panel_by_panel:
        packed.fill(0)
    starts.fill(0)
    starts[1, :k] = bias
    run = multiply_panels if room.panel_by_panel else multiply_squares
    run(
        *work, *weight, source, room.channels, packed, starts, target, room.vectors, room.block,
        target.dtype.type(negative_slope), left, right, patches, room.tasks,
    )  # fmt: skip


def _add_up(work, source, grad, grad_weight):
    """The weight gradient (K, C, KH, KW), but for its sums of zeros."""
    k, c, _, _ = grad_weight.shape
    squares, threads = source.shape[0] * work.grid[0] * work.grid[1], tasks_for(sys.maxsize)
    room = room_of_sums(work.points, work.phases.shape[1], squares, c, k, source.dtype, threads)
    memory = [empty(shape, source.dtype) for shape in room.memory]
    target = *work, *_weight(grad_weight)
    if room.in_pieces:
        add_up_pieces(*target, source, grad, room.vectors, squares, *memory)
    else:
        left, right, patches, sums = memory
        add_up_weight(
            *target, source, grad, room.vectors, room.chunk, room.slab, squares, room.share, left, right, sums, patches
        )


def _weight(weight, to_input=False):
    """A contiguous weight (K, C, KH, KW), as memory."""
    k, c, kernel_height, kernel_width = weight.shape
    size = kernel_height * kernel_width
    strides, channels = (c * size, size), (c, k)
    return Weight(weight.reshape(-1), strides[:: -1 if to_input else 1], size, *channels[:: -1 if to_input else 1])
