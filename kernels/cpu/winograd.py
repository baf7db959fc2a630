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
from .layout import channels_first, channels_last, plain
from .memory import empty
from .patches import following, position
from .simd import VECTOR_BYTES, clear, copy, lanes, panel_layout, product, tile_height, tile_rows
from .taps import read_taps, taps_into_products, taps_out_of_products, write_taps
from .transform import from_products, outputs_to_products, to_products
from .zeros import clear_sums_of_zeros

MOST_POINTS = 6  # rounding grows with the points, and time hardly falls: F(4, 3), F(5, 2)
_PACKED_TOGETHER = 16  # channels of the weight
_PASSING = 64  # channels of a weight that is too large to be kept
_FEWEST_SQUARES = 24  # multiplied at a time, a multiple of every tile's height
_L2_BYTES = 1 << 19  # products of a block of squares: half of the second-level cache
_SLAB_BYTES = 1 << 22  # products of a slab of squares, whose sums are added up: a share of the last-level cache
_L3_BYTES = 1 << 24  # half of it. A transformed weight that is larger is not kept


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
    """Convolutions of stride 1, F for the target's phases, each over P of the source's, and the F(m, r) to use.

    Tuples of m and r zeros carry these sizes in their types, so that compiled code knows them.
    """

    outputs: tuple
    taps: tuple
    grid: tuple  # rows and columns of squares
    phases: np.ndarray  # (F, P, 2): where the source's phases begin
    step: tuple
    origin: np.ndarray  # (F, 2): where the target's phases begin
    stride: tuple
    extent: np.ndarray  # (F, 2)
    offsets: np.ndarray  # (F, P, r r): indices into the kernel's taps, -1 for none

    @classmethod
    def of(cls, ys, xs, kernel_width, outputs):
        """ys and xs: an Axis for each phase of the target."""
        r = max(2, *(len(taps) for axis in (*ys, *xs) for taps in axis.taps))
        both = [(y, x) for y in ys for x in xs]
        phases = [[(top, left) for top in y.phases for left in x.phases] for y, x in both]
        offsets = [[_taps_of(h, w, r, kernel_width) for h in y.taps for w in x.taps] for y, x in both]
        origin, extent = ([(getattr(y, name), getattr(x, name)) for y, x in both] for name in ("origin", "extent"))
        grid = tuple(-(-size // outputs) for size in np.max(extent, axis=0).tolist())
        (y, x), *_ = both
        arrays = np.array(phases), (y.step, x.step), np.array(origin), (y.stride, x.stride), np.array(extent)
        return cls((0,) * outputs, (0,) * r, grid, *arrays, np.array(offsets, np.int64))

    @property
    def points(self):
        """n of F(m, r)."""
        return len(self.outputs) + len(self.taps) - 1


def _taps_of(rows, columns, r, kernel_width):
    """Indices into the kernel's taps of r rows and r columns, -1 where there are fewer."""
    rows, columns = ([*places, *[-1] * (r - len(places))] for places in (rows, columns))
    return [-1 if min(h, w) < 0 else h * kernel_width + w for h in rows for w in columns]


def _geometry(input_size, weight_size, output_size=None, stride=1, padding=0, dilation=1, groups=1):
    return Conv2dGeometry.of(
        input_size, weight_size, output_size, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


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
    work, cycles, by_definition = _best_pass(ys, xs, geometry, channels, dtype)
    if dtype == np.float64:
        return Plan(work, doubt="float64 is asked for where rounding counts")
    doubt = f"an estimate of {cycles:.1e} cycles against {by_definition:.1e}"
    return Plan(work, doubt="" if cycles < by_definition else doubt)


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


def _best_pass(ys, xs, geometry, channels, dtype):
    """(pass, its estimated cycles, those of the definition): the number of outputs that takes the least time.

    The factors are measured, for one core: a vector of products takes one cycle, transforms 12 (of the source), 6 (of
    the target) for each of their n^2 vectors, a weight 108 for each of its taps and 10 for each of its points.
    """
    vectors_from, vectors_to = (-(-c // lanes(dtype)) for c in channels)
    by_definition = 0
    for y, x in ((y, x) for y in ys for x in xs):
        taps = sum(len(h) * len(w) for h in y.taps for w in x.taps)
        each = geometry.batch * y.extent * x.extent / 0.85 + 108
        by_definition += each * taps * channels[0] * vectors_to
    best = None
    for outputs in range(2, MOST_POINTS):
        work = Pass.of(ys, xs, geometry.kernel_size[1], outputs)
        if work.points > MOST_POINTS:
            break
        targets, phases, _ = work.phases.shape
        squares, depth = geometry.batch * work.grid[0] * work.grid[1], phases * vectors_from
        each = depth * lanes(dtype) * vectors_to + 12 * depth + 6 * vectors_to
        weight = depth * lanes(dtype) * vectors_to * (108 * len(work.taps) ** 2 + 10 * work.points**2)
        cycles = targets * (squares * work.points**2 * each + weight)
        if best is None or cycles < best[1]:
            best = work, cycles, by_definition
    return best


@reference.conv2d.implementation("winograd", **_with_plan(_plan_forward))
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    work = _plan(geometry, input.dtype).work
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
    source, none = channels_last(grad_output), np.zeros(c, weight.dtype)
    work = _plan(geometry, weight.dtype, to_input=True).work
    _correlate(work, source, weight, none, grad_input, to_input=True)
    return channels_first(grad_input)


@reference.conv2d_weight.implementation("winograd", **_with_plan(_plan_weight))
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    source, grad = channels_last(input), channels_last(grad_output)
    k, c, _, _ = geometry.full_weight_size
    work = _plan(geometry, input.dtype).work
    squares, products = source.shape[0] * work.grid[0] * work.grid[1], work.points**2
    depth = work.phases.shape[1] * _whole_vectors(c, source.dtype)
    panels, vectors, width = panel_layout(k, source.dtype)
    columns = panels * width
    slab = min(squares, max(64, _SLAB_BYTES // (products * (depth + columns) * source.itemsize)))
    left = _planes((products,), slab * depth, source.dtype)
    right = _planes((products,), slab * columns, source.dtype)
    tasks = tasks_for(slab)
    patches = np.zeros((tasks, products * max(depth, columns)), source.dtype)
    grad_weight = empty(geometry.full_weight_size, source.dtype)
    memory, (strides, size) = grad_weight.reshape(-1), _strides(grad_weight.shape)
    pass_by = slab == squares and products * depth * columns * source.itemsize > _L3_BYTES
    padded = -(-depth // tile_rows(vectors)) * tile_rows(vectors)
    sums = empty((0 if pass_by else products, padded, columns), source.dtype)
    _add_up_weight(
        work.outputs, work.taps, work.grid, source, work.phases[0], work.step, grad, vectors, slab, depth, left, right,
        sums, patches, squares, tasks, memory, strides, size, work.offsets[0], c, k,
    )  # fmt: skip
    clear_sums_of_zeros(grad_weight, source, grad, geometry)
    return grad_weight


def _whole_vectors(channels, dtype):
    return -(-channels // lanes(dtype)) * lanes(dtype)


def _correlate(work, source, weight, bias, target, negative_slope=1, to_input=False):
    """One pass with a weight (K, C, KH, KW), from C to K channels or, to_input, from K to C."""
    weight, (strides, size) = plain(weight), _strides(weight.shape, to_input)
    k, c = weight.shape[:2] if not to_input else weight.shape[1::-1]
    targets, phases, _ = work.phases.shape
    squares, products = source.shape[0] * work.grid[0] * work.grid[1], work.points**2
    panels, vectors, width = panel_layout(k, source.dtype)
    channels, height, itemsize = _whole_vectors(c, source.dtype), tile_rows(vectors), source.itemsize
    depth, columns = phases * channels, panels * width
    weight_bytes = products * depth * columns * itemsize
    pass_by = weight_bytes > max(_L3_BYTES, products * depth * squares * itemsize)
    if pass_by:
        run, block, wide, tasks = _multiply_panels, -(-squares // height) * height, width, tasks_for(targets * panels)
        packed = _planes((tasks, products), _PASSING * width, source.dtype)
        left = _planes((targets, products), block * depth, source.dtype)
    else:
        block = _block(squares, targets, products * (depth + columns) * itemsize, height)
        run, wide, tasks = _multiply_squares, columns, tasks_for(targets * -(-squares // block))
        make = empty if channels == c else np.zeros
        packed = make((targets * products, panels, depth, width), source.dtype)
        left = _planes((tasks, products), block * depth, source.dtype)
    right = _planes((tasks, products), block * wide, source.dtype)
    patches = np.zeros((max(tasks, tasks_for(squares)), products * max(channels, wide)), source.dtype)
    starts = np.zeros((2, columns), source.dtype)
    starts[1, :k] = bias
    run(
        work.outputs, work.taps, work.grid, source, work.phases, work.step, weight.reshape(-1), strides, size,
        work.offsets, c, k, channels, packed, starts, target, work.origin, work.stride, work.extent, vectors, block,
        target.dtype.type(negative_slope), left, right, patches, tasks,
    )  # fmt: skip


def _strides(weight_size, to_input=False):
    """How far the channels `to` and `from` of a weight (K, C, KH, KW) are apart in memory, and its number of taps."""
    _, c, kernel_height, kernel_width = weight_size
    size = kernel_height * kernel_width
    return ((size, c * size) if to_input else (c * size, size)), size


def _block(squares, targets, bytes_of_square, height):
    """How many squares to multiply at a time, a multiple of the tile's height, few enough for all threads to have some.

    Few leave their products in the second-level cache. That beats reading the weight less often: by 5 to 20 %.
    """
    share = -(-squares // (-(-tasks_for(squares) // targets) * height)) * height
    return min(share, max(_FEWEST_SQUARES, _L2_BYTES // bytes_of_square // height * height))


def _planes(shape, size, dtype):
    """Scratch for planes of `size` elements. A vector more between them keeps the elements at one place of all planes
    out of the same set of the first-level cache: 30 % of the time of a 64-channel layer.
    """
    return empty((*shape, size + lanes(dtype)), dtype)


@serial
def _pack_channels(
    outputs, taps, weight, strides, size, offsets, channels_from, channels_to, channels, packed, tasks, task
):
    """packed[(target, xi), panel, (phase, from), to]: G w G^T of the task's channels `from`."""
    begin, end = portion(channels_from, tasks, task)
    targets, phases, _ = offsets.shape
    _, panels, depth, width = packed.shape
    flat, plane = packed.reshape(packed.size), panels * depth * width
    turned = np.empty(_PACKED_TOGETHER * size * width, packed.dtype)
    squares = np.empty(len(taps) ** 2 * width, packed.dtype)
    for panel in range(panels):
        for first in range(begin, end, _PACKED_TOGETHER):
            last = min(first + _PACKED_TOGETHER, end)
            start = panel * width
            read_taps(weight, strides, size, start, channels_to - start, first, last, turned, width)
            for f in range(targets):
                for p in range(phases):
                    place = f * (packed.size // targets) + (panel * depth + p * channels + first) * width
                    taps_into_products(
                        outputs, taps, turned, size, offsets[f, p], last - first, squares, flat, place, width, plane,
                        width,
                    )  # fmt: skip


@entry
def _multiply_squares(
    outputs, taps, grid, source, phases, step, weight, strides, size, offsets, channels_from, channels_to, channels,
    packed, starts, target, origin, stride, extent, vectors, block, slope, left, right, patches, tasks,
):  # fmt: skip
    """Transform the whole weight, then take blocks of squares, each for all channels."""
    fork(
        _pack_channels,
        (outputs, taps, weight, strides, size, offsets, channels_from, channels_to, channels, packed), len(patches),
    )  # fmt: skip
    fork(
        _multiply_blocks,
        (
            outputs, taps, grid, source, phases, step, packed, starts, target, origin, stride, extent, vectors, block,
            slope, left, right, patches,
        ),
        tasks,
    )  # fmt: skip


@entry
def _multiply_panels(
    outputs, taps, grid, source, phases, step, weight, strides, size, offsets, channels_from, channels_to, channels,
    packed, starts, target, origin, stride, extent, vectors, block, slope, left, right, patches, tasks,
):  # fmt: skip
    """Transform all squares, then let the weight pass by: a panel of it is transformed, used, and forgotten."""
    fork(
        _read_all, (outputs, taps, grid, source, phases, step, phases.shape[1] * channels, left, patches), len(patches)
    )
    fork(
        _multiply_panel,
        (
            outputs, taps, grid, source.shape[0], weight, strides, size, offsets, channels_from, channels_to, channels,
            packed, starts, target, origin, stride, extent, vectors, slope, left, right, patches,
        ),
        tasks,
    )  # fmt: skip


@serial
def _read_all(outputs, taps, grid, source, phases, step, depth, left, patches, tasks, task):
    begin, end = portion(source.shape[0] * grid[0] * grid[1], tasks, task)
    for f in range(len(phases)):
        there = left[f].reshape(left[f].size)[begin * depth :]
        _read_squares(
            outputs, taps, source, phases[f], step, grid, begin, end - begin, there, depth, left.shape[2], patches[task]
        )


@serial
def _multiply_panel(
    outputs, taps, grid, images, weight, strides, size, offsets, channels_from, channels_to, channels, packed, starts,
    target, origin, stride, extent, vectors, slope, lefts, rights, patches, tasks, task,
):  # fmt: skip
    width, n = vectors * VECTOR_BYTES // packed.itemsize, len(outputs) + len(taps) - 1
    targets, phases, _ = offsets.shape
    count, plane, right = images * grid[0] * grid[1], packed.shape[2], rights[task]
    panel_weight, flat_right = packed[task].reshape(packed[task].size), right.reshape(right.size)
    turned = np.empty(_PASSING * size * width, packed.dtype)
    squares = np.empty(len(taps) ** 2 * width, packed.dtype)
    panels = (channels_to + width - 1) // width
    begin, end = portion(targets * panels, tasks, task)
    for work in range(begin, end):
        panel, f = divmod(work, targets)
        start, left = panel * width, lefts[f]
        for first in range(0, channels_from, _PASSING):
            last = min(first + _PASSING, channels_from)
            read_taps(weight, strides, size, start, channels_to - start, first, last, turned, width)
            for p in range(phases):
                taps_into_products(
                    outputs, taps, turned, size, offsets[f, p], last - first, squares, panel_weight, 0, width, plane,
                    width,
                )  # fmt: skip
                for xi in range(n * n):
                    sums = flat_right[xi * right.shape[1] :]
                    constant = starts[1 if xi == n + 1 else 0][start:]
                    begun = first + p > 0
                    product(
                        vectors, left[xi, p * channels + first :], phases * channels, 1, panel_weight[xi * plane :], 0,
                        width, last - first, sums if begun else constant, width if begun else 0, sums, width, count, 1,
                    )  # fmt: skip
        _write_squares(
            outputs, taps, flat_right, width, right.shape[1], target, start, origin[f], stride, extent[f], grid, 0,
            count, slope, patches[task],
        )  # fmt: skip


@serial
def _multiply_blocks(
    outputs, taps, grid, source, phases, step, packed, starts, target, origin, stride, extent, vectors, block, slope,
    lefts, rights, patches, tasks, task,
):  # fmt: skip
    left, right, patch = lefts[task], rights[task], patches[task]
    n, (_, panels, depth, width) = len(outputs) + len(taps) - 1, packed.shape
    columns, flat_packed = panels * width, packed.reshape(packed.size)
    flat_left, flat_right = left.reshape(left.size), right.reshape(right.size)
    squares = source.shape[0] * grid[0] * grid[1]
    blocks = (squares + block - 1) // block
    begin, end = portion(len(phases) * blocks, tasks, task)
    for work in range(begin, end):
        f, first = work // blocks, work % blocks * block
        size = min(block, squares - first)
        _read_squares(outputs, taps, source, phases[f], step, grid, first, size, flat_left, depth, left.shape[1], patch)
        for xi in range(n * n):
            start = starts[1 if xi == n + 1 else 0]  # A^T's column of the point 1 is all ones: a constant is itself
            product(
                vectors, left[xi], depth, 1, flat_packed[(f * n * n + xi) * columns * depth :], depth * width, width,
                depth, start, 0, right[xi], columns, size, panels,
            )  # fmt: skip
        _write_squares(
            outputs, taps, flat_right, columns, right.shape[1], target, 0, origin[f], stride, extent[f], grid, first,
            size, slope, patch,
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
    outputs, taps, right, columns, plane, target, start, origin, stride, extent, grid, first, size, slope, patch
):
    """A^T (...) A of squares, where the target has the pixel, then the activation, for which the stride must be 1.

    right has `columns` channels, of which the first is the target's channel `start`.
    """
    m = len(outputs)
    n = m + len(taps) - 1
    _, height, width, channels = target.shape
    flat, there = target.reshape(target.size), min(columns, channels - start)
    rows, row = stride[0] * width * channels, stride[1] * channels
    image, y, x = position(first, grid)
    for i in range(size):
        top, left = origin[0] + y * m * stride[0], origin[1] + x * m * stride[1]
        corner = ((image * height + top) * width + left) * channels + start
        tall, wide = min(m, extent[0] - y * m), min(m, extent[1] - x * m)
        if tall == m and wide == m and columns == there:
            from_products(outputs, taps, right, i * columns, n * plane, plane, flat, corner, rows, row, columns)
        else:
            from_products(outputs, taps, right, i * columns, n * plane, plane, patch, 0, m * columns, columns, columns)
            for a in range(tall):
                for b in range(wide):
                    copy(flat, corner + a * rows + b * row, patch, (a * m + b) * columns, there)
        for a in range(tall):
            if there == channels:
                activate(flat, corner + a * rows, wide * channels, slope)
            else:
                for b in range(wide):
                    activate(flat, corner + a * rows + b * row, there, slope)
        image, y, x = following(image, y, x, grid)


@entry
def _add_up_weight(
    outputs, taps, grid, source, phases, step, grad, vectors, slab, depth, left, right, sums, patches, squares, tasks,
    weight, strides, size, offsets, channels_from, channels_to,
):  # fmt: skip
    """sums[xi] = sum over squares of left[xi]^T right[xi], a slab of squares at a time, and from them the gradient.

    Without memory for sums there is one slab, and sums of a block of channels pass by, as in _multiply_panels.
    """
    width = vectors * VECTOR_BYTES // grad.itemsize
    panels = (channels_to + width - 1) // width
    for first in range(0, squares, slab):
        count = min(slab, squares - first)
        fork(
            _read_slab,
            (
                outputs,
                taps,
                grid,
                source,
                phases,
                step,
                grad,
                first,
                count,
                depth,
                left,
                right,
                panels * width,
                patches,
            ),
            tasks,
        )
        fork(_add_products, (vectors, first, count, depth, left, right, sums), len(sums) * panels)
    channels = depth // len(offsets)
    if len(sums) > 0:
        fork(
            _unpack_channels,
            (outputs, taps, sums, width, weight, strides, size, offsets, channels_from, channels_to, channels),
            len(patches),
        )
    else:
        fork(
            _add_block,
            (
                outputs, taps, vectors, squares, depth, left, right, weight, strides, size, offsets, channels_from,
                channels_to, channels,
            ),
            panels * ((channels_from + _PASSING - 1) // _PASSING),
        )  # fmt: skip


@serial
def _read_slab(
    outputs, taps, grid, source, phases, step, grad, first, size, depth, left, right, columns, patches, tasks, task
):
    begin, end = portion(size, tasks, task)
    flat_left, flat_right = left.reshape(left.size)[begin * depth :], right.reshape(right.size)[begin * columns :]
    first, size = first + begin, end - begin
    _read_squares(
        outputs, taps, source, phases, step, grid, first, size, flat_left, depth, left.shape[1], patches[task]
    )
    _read_outputs(outputs, taps, grad, grid, first, size, flat_right, columns, right.shape[1], patches[task])


@serial
def _add_products(vectors, first, size, depth, left, right, sums, tasks, task):
    products, padded, columns = sums.shape
    panels, width = tasks // products, vectors * VECTOR_BYTES // sums.itemsize
    xi, panel = divmod(task, panels)
    total = sums.reshape(sums.size)[xi * padded * columns + panel * width :]
    start, si = (total, columns) if first > 0 else (np.zeros(width, sums.dtype), 0)
    product(
        vectors, left[xi], 1, depth, right[xi, panel * width :], 0, columns, size, start, si, total, columns, depth, 1
    )


@serial
def _add_block(
    outputs, taps, vectors, squares, depth, left, right, weight, strides, size, offsets, channels_from, channels_to,
    channels, tasks, task,
):  # fmt: skip
    """The gradient for _PASSING channels `from` and a panel of channels `to`."""
    n, width = len(outputs) + len(taps) - 1, vectors * VECTOR_BYTES // weight.itemsize
    panels = (channels_to + width - 1) // width
    block, panel = divmod(task, panels)
    first, start = block * _PASSING, panel * width
    last = min(first + _PASSING, channels_from)
    plane = (_PASSING + tile_height(vectors)) * width + VECTOR_BYTES // weight.itemsize
    none, sums = np.zeros(width, weight.dtype), np.empty(n * n * plane, weight.dtype)
    turned = np.empty(_PASSING * size * width, weight.dtype)
    square = np.empty(len(taps) ** 2 * width, weight.dtype)
    for p in range(len(offsets)):
        for xi in range(n * n):
            product(
                vectors, left[xi, p * channels + first :], 1, depth, right[xi, start:], 0, panels * width, squares,
                none, 0, sums[xi * plane :], width, last - first, 1,
            )  # fmt: skip
        taps_out_of_products(
            outputs, taps, sums, 0, width, plane, square, offsets[p], last - first, turned, size, width
        )
    write_taps(turned, width, size, weight, strides, start, channels_to - start, first, last)


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


@serial
def _unpack_channels(
    outputs, taps, sums, width, weight, strides, size, offsets, channels_from, channels_to, channels, tasks, task
):
    """The way back of _pack_channels, by the same steps."""
    begin, end = portion(channels_from, tasks, task)
    _, depth, columns = sums.shape
    flat, plane = sums.reshape(sums.size), depth * columns
    turned = np.empty(_PACKED_TOGETHER * size * width, sums.dtype)
    squares = np.empty(len(taps) ** 2 * width, sums.dtype)
    for first in range(begin, end, _PACKED_TOGETHER):
        last = min(first + _PACKED_TOGETHER, end)
        for start in range(0, columns, width):
            for p in range(len(offsets)):
                place = (p * channels + first) * columns + start
                taps_out_of_products(
                    outputs, taps, flat, place, columns, plane, squares, offsets[p], last - first, turned, size, width
                )
            write_taps(turned, width, size, weight, strides, start, channels_to - start, first, last)
