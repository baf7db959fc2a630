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

Winograd's sums are other sums than those of the definition: see README.md for the error. Their order depends on shapes
alone. Sources: those of `cook_toom.py`.
"""

import functools
from typing import NamedTuple

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .elementwise import activate
from .fork import fork
from .layout import channels_first, channels_last, flat
from .memory import empty
from .patches import following, position
from .simd import VECTOR_BYTES, clear, copy, lanes, panel_layout, product, tile_rows
from .transform import from_products, outputs_to_products, taps_from_products, taps_to_products, to_products
from .zeros import clear_sums_of_zeros

MOST_POINTS = 6  # rounding grows with the points, and time hardly falls: F(4, 3), F(5, 2)
_PACKED_TOGETHER = 8  # channels of the weight
_L2_BYTES = 1 << 19  # products of a block of squares: half of the second-level cache
_L3_BYTES = 1 << 23  # and of the last level, a thread's share


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


class Pass(NamedTuple):
    """A convolution of stride 1 over phases, and the F(m, r) to do it with. Tuples of m and r zeros carry these sizes
    in their types, so that compiled code knows them.
    """

    outputs: tuple
    taps: tuple
    phases: np.ndarray  # (P, 2): where the source's phases begin
    step: tuple
    origin: tuple
    stride: tuple
    extent: tuple
    kernel_taps: np.ndarray  # (P, 2, r): indices into the kernel's axes, -1 for none

    @classmethod
    def of(cls, y, x, outputs):
        r = max(2, *map(len, y.taps + x.taps))
        taps = [[h + [-1] * (r - len(h)), w + [-1] * (r - len(w))] for h in y.taps for w in x.taps]
        phases = [[top, left] for top in y.phases for left in x.phases]
        steps = ((y.step, x.step), (y.origin, x.origin), (y.stride, x.stride), (y.extent, x.extent))
        return cls((0,) * outputs, (0,) * r, np.array(phases), *steps, np.array(taps, np.int64))

    @property
    def points(self):
        """n of F(m, r)."""
        return len(self.outputs) + len(self.taps) - 1

    def grid(self):
        """Rows and columns of squares."""
        return tuple(-(-e // len(self.outputs)) for e in self.extent)


def _geometry(input_size, weight_size, output_size=None, stride=1, padding=0, dilation=1, groups=1):
    return Conv2dGeometry.of(
        input_size, weight_size, output_size, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


class Plan(NamedTuple):
    """What there is to do, one pass for each phase of the target; or why it cannot be done, or would not pay."""

    passes: list
    obstacle: str = ""
    doubt: str = ""


@functools.lru_cache(4096)
def _plan(geometry, dtype, to_input=False):
    obstacle = _obstacle(geometry, to_input)
    if obstacle:
        return Plan([], obstacle)
    axes = [(forward_axis(geometry, 0), forward_axis(geometry, 1))]
    channels = geometry.in_channels, geometry.out_channels
    if to_input:
        axes = [(y, x) for y in input_axes(geometry, 0) for x in input_axes(geometry, 1)]
        channels = channels[::-1]
    passes, cycles, by_definition = zip(
        *(_best_pass(y, x, geometry.batch, *channels, dtype) for y, x in axes), strict=True
    )
    if dtype == np.float64:
        return Plan(passes, doubt="float64 is asked for where rounding counts")
    doubt = f"an estimate of {sum(cycles):.1e} cycles against {sum(by_definition):.1e}"
    return Plan(passes, doubt="" if sum(cycles) < sum(by_definition) else doubt)


def _obstacle(geometry, to_input):
    taps = max(-(-k // s) for k, s in zip(geometry.kernel_size, geometry.stride, strict=True))
    if geometry.groups != 1 or geometry.dilation != (1, 1):
        return "groups and dilation must be 1"
    if taps == 1:
        return "a kernel no larger than its stride leaves nothing to save"
    if taps + 1 > MOST_POINTS:
        return f"{taps} taps for each phase of the stride take more than {MOST_POINTS} points"
    if to_input and any(k < s for k, s in zip(geometry.kernel_size, geometry.stride, strict=True)):
        return "the stride skips pixels"
    sizes = (*geometry.full_input_size, *geometry.full_weight_size, *geometry.full_output_size)
    return "" if all(sizes) else "there is nothing to multiply"


def _plan_forward(input, weight, bias=None, *, negative_slope=1, **options):
    return _plan(_geometry(input.shape, weight.shape, **options), input.dtype)


def _plan_input(input_size, weight, grad_output, **options):
    return _plan(_geometry(input_size, weight.shape, grad_output.shape, **options), weight.dtype, to_input=True)


def _plan_weight(input, weight_size, grad_output, **options):
    return _plan(_geometry(input.shape, weight_size, grad_output.shape, **options), input.dtype)


def _with_plan(plan):
    """How an implementation with such a plan is registered."""
    return {
        "supports": lambda *args, **options: plan(*args, **options).obstacle or True,
        "pays": lambda *args, **options: plan(*args, **options).doubt or True,
    }


def _best_pass(y, x, batch, channels_from, channels_to, dtype):
    """(pass, its estimated cycles, those of the definition): the number of outputs that takes the least time.

    The factors are measured, for one core: a vector of products takes one cycle, transforms 12 (of the source), 6 (of
    the target) for each of their n^2 vectors, a weight 108 for each of its taps and 10 for each of its points.
    """
    vectors_from, vectors_to = (-(-c // lanes(dtype)) for c in (channels_from, channels_to))
    taps = sum(len(h) * len(w) for h in y.taps for w in x.taps)
    direct = batch * y.extent * x.extent * taps * channels_from * vectors_to / 0.85
    direct += taps * channels_from * vectors_to * 108
    best = None
    for outputs in range(2, MOST_POINTS):
        work = Pass.of(y, x, outputs)
        if work.points > MOST_POINTS:
            break
        rows, columns = work.grid()
        squares, depth = batch * rows * columns, len(work.phases) * vectors_from
        each = depth * lanes(dtype) * vectors_to + 12 * depth + 6 * vectors_to
        weight = depth * lanes(dtype) * vectors_to * (108 * len(work.taps) ** 2 + 10 * work.points**2)
        cycles = squares * work.points**2 * each + weight
        if best is None or cycles < best[1]:
            best = work, cycles, direct
    return best


@reference.conv2d.implementation("winograd", **_with_plan(_plan_forward))
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    (work,) = _plan(geometry, input.dtype).passes
    bias = np.zeros(k, input.dtype) if bias is None else reference.check_bias(bias, geometry)
    _correlate(work, channels_last(input), weight, bias, output, negative_slope)
    return channels_first(output)


@reference.conv2d_input.implementation("winograd", **_with_plan(_plan_input))
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, c, height, width = geometry.full_input_size
    grad_input = empty((n, height, width, c), weight.dtype)
    source, turned, none = channels_last(grad_output), weight.swapaxes(0, 1), np.zeros(c, weight.dtype)
    for work in _plan(geometry, weight.dtype, to_input=True).passes:
        _correlate(work, source, turned, none, grad_input)
    return channels_first(grad_input)


@reference.conv2d_weight.implementation("winograd", **_with_plan(_plan_weight))
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    source, grad = channels_last(input), channels_last(grad_output)
    k, c, _, _ = geometry.full_weight_size
    (work,) = _plan(geometry, input.dtype).passes
    rows, columns = work.grid()
    squares, products = source.shape[0] * rows * columns, work.points**2
    depth = len(work.phases) * _whole_vectors(c, source.dtype)
    panels, vectors, width = panel_layout(k, source.dtype)
    slab = max(64, _L3_BYTES // (products * (depth + panels * width) * source.itemsize))
    slab = min(slab, squares)
    padded = -(-depth // tile_rows(vectors)) * tile_rows(vectors)
    left = _planes((products,), slab * depth, source.dtype)
    right = _planes((products,), slab * panels * width, source.dtype)
    sums = empty((products, padded, panels * width), source.dtype)
    tasks = tasks_for(slab)
    patches = np.zeros((tasks, products * max(depth, panels * width)), source.dtype)
    none = np.zeros(width, source.dtype)
    _weight_sums(
        work.outputs, work.taps, source, work.phases, work.step, grad, vectors, slab, depth, left, right, sums, none,
        patches, squares, tasks,
    )  # fmt: skip
    grad_weight = empty(geometry.full_weight_size, source.dtype)
    memory, strides = flat(grad_weight)
    _unpack_weight(
        work.outputs, work.taps, sums, width, memory, strides, _offsets(work, strides), c, k, depth // len(work.phases),
        tasks_for(c),
    )  # fmt: skip
    clear_sums_of_zeros(grad_weight, source, grad, geometry)
    return grad_weight


def _whole_vectors(channels, dtype):
    return -(-channels // lanes(dtype)) * lanes(dtype)


def _correlate(work, source, weight, bias, target, negative_slope=1):
    """One pass: weight (to, from, KH, KW) may be a transposed view of contiguous memory."""
    k, c = weight.shape[:2]
    rows, columns = work.grid()
    squares, products = source.shape[0] * rows * columns, work.points**2
    packed, vectors = _pack(work, weight, source.dtype)
    _, panels, depth, width = packed.shape
    block = _block(squares, products * (depth + panels * width) * source.itemsize, packed.nbytes, tile_rows(vectors))
    tasks = tasks_for(-(-squares // block))
    left = _planes((tasks, products), block * depth, source.dtype)
    right = _planes((tasks, products), block * panels * width, source.dtype)
    patches = np.zeros((tasks, products * max(_whole_vectors(c, source.dtype), panels * width)), source.dtype)
    starts = np.zeros((2, panels * width), source.dtype)
    starts[1, :k] = bias
    _multiply_squares(
        work.outputs, work.taps, source, work.phases, work.step, packed, starts, target, work.origin, work.stride,
        work.extent, vectors, block, target.dtype.type(negative_slope), left, right, patches, tasks,
    )  # fmt: skip


def _offsets(work, strides):
    """For each phase and each of its r x r taps, where it lies in the weight's memory; -1 where there is none."""
    rows, columns = work.kernel_taps[:, 0, :, None], work.kernel_taps[:, 1, None, :]
    return np.where((rows < 0) | (columns < 0), -1, rows * strides[2] + columns * strides[3]).reshape(-1)


def _block(squares, bytes_of_square, bytes_of_weight, height):
    """How many squares to multiply at a time, a multiple of the tile's height, few enough for all threads to have some.

    Few squares leave their products in the second-level cache; many read the weight less often. The better one is
    where less is moved.
    """
    share = -(-squares // (tasks_for(squares) * height)) * height
    small = min(share, max(1, _L2_BYTES // (bytes_of_square * height)) * height)
    large = min(share, max(1, _L3_BYTES // (bytes_of_square * height)) * height)
    moved_if_small = bytes_of_weight * -(-share // small)
    moved_if_large = bytes_of_weight * -(-share // large) + 3 * bytes_of_square * share
    return small if moved_if_small <= moved_if_large else large


def _planes(shape, size, dtype):
    """Scratch for planes of `size` elements. A vector more between them keeps the elements at one place of all planes
    out of the same set of the first-level cache: 30 % of the time of a 64-channel layer.
    """
    return empty((*shape, size + lanes(dtype)), dtype)


def _pack(work, weight, dtype):
    """G w G^T for all channels, as (n^2, panels, depth, width); depth counts phases and channels."""
    k, c = weight.shape[:2]
    panels, vectors, width = panel_layout(k, dtype)
    channels = _whole_vectors(c, dtype)
    make = empty if channels == c else np.zeros
    packed = make((work.points**2, panels, len(work.phases) * channels, width), dtype)
    memory, strides = flat(weight)
    _pack_weight(
        work.outputs, work.taps, memory, strides, _offsets(work, strides), c, k, channels, packed, tasks_for(c)
    )
    return packed, vectors


@entry
def _pack_weight(outputs, taps, weight, strides, offsets, channels_from, channels_to, channels, packed, tasks):
    fork(_pack_channels, (outputs, taps, weight, strides, offsets, channels_from, channels_to, channels, packed), tasks)


@serial
def _pack_channels(outputs, taps, weight, strides, offsets, channels_from, channels_to, channels, packed, tasks, task):
    """Few channels and one panel at a time, so that the taps of a pair of channels are read once and stay in cache."""
    begin, end = portion(channels_from, tasks, task)
    r, n = len(taps), len(outputs) + len(taps) - 1
    _, panels, depth, width = packed.shape
    flat, plane, size = packed.reshape(packed.size), panels * depth * width, len(offsets) * width
    squares = np.zeros(_PACKED_TOGETHER * size, packed.dtype)
    for panel in range(panels):
        there = min(width, channels_to - panel * width)
        squares[:] = 0
        for first in range(begin, end, _PACKED_TOGETHER):
            last = min(first + _PACKED_TOGETHER, end)
            for k in range(there):
                for c in range(first, last):
                    at, to = (panel * width + k) * strides[0] + c * strides[1], (c - first) * size + k
                    for t in range(len(offsets)):
                        if offsets[t] >= 0:
                            squares[to + t * width] = weight[at + offsets[t]]
            for c in range(first, last):
                for p in range(len(offsets) // (r * r)):
                    taps_to_products(
                        outputs, taps, squares, (c - first) * size + p * r * r * width, r * width, width,
                        flat, (panel * depth + p * channels + c) * width, n * plane, plane, width,
                    )  # fmt: skip


@entry
def _multiply_squares(
    outputs, taps, source, phases, step, packed, starts, target, origin, stride, extent, vectors, block, slope, left,
    right, patches, tasks,
):  # fmt: skip
    fork(
        _multiply_blocks,
        (
            outputs, taps, source, phases, step, packed, starts, target, origin, stride, extent, vectors, block, slope,
            left, right, patches,
        ),
        tasks,
    )  # fmt: skip


@serial
def _multiply_blocks(
    outputs, taps, source, phases, step, packed, starts, target, origin, stride, extent, vectors, block, slope, lefts,
    rights, patches, tasks, task,
):  # fmt: skip
    left, right, patch = lefts[task], rights[task], patches[task]
    m = len(outputs)
    n = m + len(taps) - 1
    products, panels, depth, width = packed.shape
    columns, flat_packed = panels * width, packed.reshape(packed.size)
    flat_left, flat_right = left.reshape(left.size), right.reshape(right.size)
    grid = ((extent[0] + m - 1) // m, (extent[1] + m - 1) // m)
    squares = source.shape[0] * grid[0] * grid[1]
    begin, end = portion((squares + block - 1) // block, tasks, task)
    for first in range(begin * block, min(end * block, squares), block):
        size = min(block, squares - first)
        _read_squares(outputs, taps, source, phases, step, grid, first, size, flat_left, depth, left.shape[1], patch)
        for xi in range(products):
            start = starts[1 if xi == n + 1 else 0]  # A^T's column of the point 1 is all ones: a constant is itself
            product(
                vectors, left[xi], depth, 1, flat_packed[xi * columns * depth :], depth * width,
                width, depth, start, 0, right[xi], columns, size, panels,
            )  # fmt: skip
        _write_squares(
            outputs, taps, flat_right, columns, right.shape[1], target, origin, stride, extent, grid, first, size,
            slope, patch,
        )  # fmt: skip


@serial
def _read_squares(outputs, taps, source, phases, step, grid, first, size, left, depth, plane, patch):
    """B^T x B of `size` squares: xi of square i and phase p lies at xi * plane + i * depth + p * C."""
    m = len(outputs)
    n = m + len(taps) - 1
    _, height, width, channels = source.shape
    flat, padded = source.reshape(source.size), depth // len(phases)
    reach = ((n - 1) * step[0], (n - 1) * step[1])
    image, y, x = position(first, grid)
    for i in range(size):
        for p in range(len(phases)):
            top, left_edge = y * m * step[0] + phases[p, 0], x * m * step[1] + phases[p, 1]
            at = i * depth + p * padded
            corner = ((image * height + top) * width + left_edge) * channels
            inside = top >= 0 and top + reach[0] < height and left_edge >= 0 and left_edge + reach[1] < width
            if inside and padded == channels:
                rows, row = step[0] * width * channels, step[1] * channels
                to_products(outputs, taps, flat, corner, rows, row, left, at, n * plane, plane, channels)
                continue
            for a in range(n):
                for b in range(n):
                    yy, xx = top + a * step[0], left_edge + b * step[1]
                    to = (a * n + b) * padded
                    if 0 <= yy < height and 0 <= xx < width:
                        copy(patch, to, flat, ((image * height + yy) * width + xx) * channels, channels)
                        clear(patch, to + channels, padded - channels)
                    else:
                        clear(patch, to, padded)
            to_products(outputs, taps, patch, 0, n * padded, padded, left, at, n * plane, plane, padded)
        image, y, x = following(image, y, x, grid)


@serial
def _write_squares(
    outputs, taps, right, columns, plane, target, origin, stride, extent, grid, first, size, slope, patch
):
    """A^T (...) A of squares, where the target has the pixel, then the activation, for which the stride must be 1."""
    m = len(outputs)
    n = m + len(taps) - 1
    _, height, width, channels = target.shape
    flat = target.reshape(target.size)
    rows, row = stride[0] * width * channels, stride[1] * channels
    image, y, x = position(first, grid)
    for i in range(size):
        top, left = origin[0] + y * m * stride[0], origin[1] + x * m * stride[1]
        corner = ((image * height + top) * width + left) * channels
        tall, wide = min(m, extent[0] - y * m), min(m, extent[1] - x * m)
        if tall == m and wide == m and columns == channels:
            from_products(outputs, taps, right, i * columns, n * plane, plane, flat, corner, rows, row, channels)
        else:
            from_products(outputs, taps, right, i * columns, n * plane, plane, patch, 0, m * columns, columns, columns)
            for a in range(tall):
                for b in range(wide):
                    copy(flat, corner + a * rows + b * row, patch, (a * m + b) * columns, channels)
        for a in range(tall):
            activate(flat, corner + a * rows, wide * channels, slope)
        image, y, x = following(image, y, x, grid)


@entry
def _weight_sums(
    outputs, taps, source, phases, step, grad, vectors, slab, depth, left, right, sums, none, patches, squares, tasks
):
    """sums[xi] = sum over squares of left[xi]^T right[xi], a slab of squares at a time."""
    panels = sums.shape[2] * sums.itemsize // (vectors * VECTOR_BYTES)
    for first in range(0, squares, slab):
        size = min(slab, squares - first)
        fork(
            _read_slab,
            (outputs, taps, source, phases, step, grad, first, size, depth, left, right, sums.shape[2], patches),
            tasks,
        )
        fork(_add_products, (vectors, first, size, depth, left, right, sums, none), len(sums) * panels)


@serial
def _read_slab(
    outputs, taps, source, phases, step, grad, first, size, depth, left, right, columns, patches, tasks, task
):
    m = len(outputs)
    grid = ((grad.shape[1] + m - 1) // m, (grad.shape[2] + m - 1) // m)
    begin, end = portion(size, tasks, task)
    flat_left, flat_right = left.reshape(left.size)[begin * depth :], right.reshape(right.size)[begin * columns :]
    first, size = first + begin, end - begin
    _read_squares(
        outputs, taps, source, phases, step, grid, first, size, flat_left, depth, left.shape[1], patches[task]
    )
    _read_outputs(outputs, taps, grad, grid, first, size, flat_right, columns, right.shape[1], patches[task])


@serial
def _add_products(vectors, first, size, depth, left, right, sums, none, tasks, task):
    products, padded, columns = sums.shape
    panels = tasks // products
    xi, panel = divmod(task, panels)
    column = panel * (columns // panels)
    total = sums.reshape(sums.size)[xi * padded * columns + column :]
    start, si = (total, columns) if first > 0 else (none, 0)
    product(
        vectors, left[xi], 1, depth, right[xi, column:], 0, columns, size, start, si, total, columns, depth, 1
    )  # fmt: skip


@serial
def _read_outputs(outputs, taps, grad, grid, first, size, right, columns, plane, patch):
    """A dY A^T of squares, zeros where dY ends."""
    m = len(outputs)
    n = m + len(taps) - 1
    _, height, width, channels = grad.shape
    flat = grad.reshape(grad.size)
    image, y, x = position(first, grid)
    for i in range(size):
        corner = ((image * height + y * m) * width + x * m) * channels
        if y * m + m <= height and x * m + m <= width and columns == channels:
            outputs_to_products(
                outputs, taps, flat, corner, width * channels, channels, right, i * columns, n * plane, plane, columns
            )
        else:
            for a in range(m):
                for b in range(m):
                    to = (a * m + b) * columns
                    if y * m + a < height and x * m + b < width:
                        copy(patch, to, flat, corner + (a * width + b) * channels, channels)
                        clear(patch, to + channels, columns - channels)
                    else:
                        clear(patch, to, columns)
            outputs_to_products(
                outputs, taps, patch, 0, m * columns, columns, right, i * columns, n * plane, plane, columns
            )
        image, y, x = following(image, y, x, grid)


@entry
def _unpack_weight(outputs, taps, sums, width, weight, strides, offsets, channels_from, channels_to, channels, tasks):
    fork(
        _unpack_channels,
        (outputs, taps, sums, width, weight, strides, offsets, channels_from, channels_to, channels), tasks,
    )  # fmt: skip


@serial
def _unpack_channels(
    outputs, taps, sums, width, weight, strides, offsets, channels_from, channels_to, channels, tasks, task
):
    """The way back of _pack_channels, by the same steps."""
    begin, end = portion(channels_from, tasks, task)
    r, n = len(taps), len(outputs) + len(taps) - 1
    _, depth, columns = sums.shape
    flat, plane, size = sums.reshape(sums.size), depth * columns, len(offsets) * width
    squares = np.empty(_PACKED_TOGETHER * size, sums.dtype)
    for first in range(begin, end, _PACKED_TOGETHER):
        last = min(first + _PACKED_TOGETHER, end)
        for start in range(0, columns, width):
            for c in range(first, last):
                for p in range(len(offsets) // (r * r)):
                    taps_from_products(
                        outputs, taps, flat, (p * channels + c) * columns + start, n * plane, plane,
                        squares, (c - first) * size + p * r * r * width, r * width, width, width,
                    )  # fmt: skip
            for k in range(min(width, channels_to - start)):
                for c in range(first, last):
                    to, at = (start + k) * strides[0] + c * strides[1], (c - first) * size + k
                    for t in range(len(offsets)):
                        if offsets[t] >= 0:
                            weight[to + offsets[t]] = squares[at + t * width]
