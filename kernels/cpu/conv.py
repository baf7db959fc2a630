"""Convolution and both its gradients in channels-last memory: gather patches, multiply them by one SIMD tile.

The *patch* of an output pixel is what the kernel sees there: the input elements under it in (row, column, channel)
order, zeros where it hangs over the edge. A block of patches is gathered into a scratch array that stays in cache.

* Forward: patches of the input times the weight, packed in panels of register width.
* Input gradient: input row y receives from the output rows (y + padding - h * dilation) / stride of those kernel rows
  h where that is whole. Input rows with one remainder mod stride have these h in common. So every such *phase* is a
  stride-1 forward pass over grad_output with some of the taps, and nothing is multiplied by inserted zeros.
* Weight gradient: transposed patches of the input times grad_output; the sum runs over pixels.

The order of every sum depends on shapes alone, so results do not depend on the number of threads.
"""

import functools
from typing import NamedTuple

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .copies import copy
from .elementwise import activate
from .emitter import VECTOR_BYTES
from .fork import fork
from .layout import channels_first, channels_last, flat
from .matmul import pack
from .memory import cleared, empty, scratch
from .patches import Patches, following, gather, patches_of, position
from .simd import panel_layout, product, product_fetching
from .vector import lanes, load, store

_PATCHES_BYTES = 1 << 17  # a block of patches: well inside the second-level cache, with the next one
_GRADIENT_BLOCK = 96  # pixels of a block in the weight gradient: their grad_output stays in the first level
_TILE_MULTIPLE = 24  # divisible by every tile's rows
_OUTPUTS = 16  # channels whose sums lie in one line of memory
_PACKED_TOGETHER = 8  # channels whose weights are packed at a time, so that each line of memory is read once


class Pixels(NamedTuple):
    """Which pixels of the target a pass computes: extent[0] x extent[1] of each image."""

    extent: tuple
    origin: tuple
    stride: tuple


@reference.conv2d.implementation("direct")
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    bias = cleared((k,), input.dtype) if bias is None else reference.check_bias(bias, geometry)
    taps = [_forward_taps(geometry, axis) for axis in (0, 1)]
    _correlate(
        channels_last(input), _by_group(weight, groups), bias, taps, geometry.stride, output, (0, 0), (1, 1),
        negative_slope,
    )  # fmt: skip
    return channels_first(output)


@reference.conv2d_input.implementation("direct")
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, c, height, width = geometry.full_input_size
    grad_input = empty((n, height, width, c), weight.dtype)
    source, turned, none = (
        channels_last(grad_output),
        _by_group(weight, groups).swapaxes(1, 2),
        cleared((c,), weight.dtype),
    )
    for y, taps_y in _phases(geometry, 0):
        for x, taps_x in _phases(geometry, 1):
            _correlate(source, turned, none, (taps_y, taps_x), (1, 1), grad_input, (y, x), geometry.stride)
    return channels_first(grad_input)


@reference.conv2d_weight.implementation("direct")
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    k, c, kernel_height, kernel_width = geometry.full_weight_size
    k //= groups
    if not input.size or not grad_output.size or not k:
        return np.zeros(geometry.full_weight_size, input.dtype)
    source, grad = channels_last(input), channels_last(grad_output)
    (_, rows), (_, columns) = (_forward_taps(geometry, axis) for axis in (0, 1))
    patches = patches_of(rows, columns, geometry.stride, source.shape[3], c)
    panels, vectors, width = panel_layout(k, input.dtype)
    depth = kernel_width * c
    rows_at_once = 1 if depth >= _TILE_MULTIPLE else kernel_height
    chunk = _chunk_of_pixels(grad.size // grad.shape[3], groups * kernel_height * depth * k)
    chunks = -(-(grad.size // grad.shape[3]) // chunk)
    partial = empty((chunks, groups, kernel_height // rows_at_once, rows_at_once * depth, panels * width), input.dtype)
    grad_weight = empty(geometry.full_weight_size, input.dtype)
    _weight_gradient(source, *patches, grad, rows_at_once, c, k, vectors, chunk, partial)
    _add_chunks(partial, rows_at_once, grad_weight, tasks_for(len(grad_weight)))
    return grad_weight


def _by_group(weight, groups):
    """(K, C / groups, KH, KW) as (groups, K / groups, C / groups, KH, KW)."""
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def _round_up(value, multiple):
    return -(-value // multiple) * multiple


def _chunk_of_pixels(pixels, weights):
    """Pixels of one partial weight gradient: up to 16 partials, few where the weight is large."""
    chunks = max(1, min(16, pixels // (4 * _GRADIENT_BLOCK), (1 << 22) // weights))
    return _round_up(-(-pixels // chunks), _GRADIENT_BLOCK)


def _forward_taps(geometry, axis):
    """The taps of the kernel's axis, and where they lie relative to output index * stride."""
    taps = range(geometry.kernel_size[axis])
    return tuple(taps), tuple([tap * geometry.dilation[axis] - geometry.padding[axis][0] for tap in taps])


def _phases(geometry, axis):
    """For each phase: its first input index, its kernel taps and where they lie in grad_output, ascending."""
    size, k, s = geometry.input_size[axis], geometry.kernel_size[axis], geometry.stride[axis]
    d, (before, _) = geometry.dilation[axis], geometry.padding[axis]
    for first in range(min(s, size)):
        taps = tuple([h for h in reversed(range(k)) if (first + before - h * d) % s == 0])
        yield first, (taps, tuple([(first + before - h * d) // s for h in taps]))


@functools.lru_cache(1 << 10)
def _places(rows, columns, strides):
    """Where the taps lie in memory, in elements."""
    return np.array([row * strides[0] + column * strides[1] for row in rows for column in columns], np.int64)


def _correlate(source, weight, bias, taps, step, target, origin, stride, negative_slope=1):
    """target[n, origin + stride * m] = bias + weight @ the patch at source[n, step * m + offsets], for all m inside.

    source and target are channels-last, weight is (groups, to, from, rows, columns), taps are for either axis the
    indices of the weight's rows or columns that take part, and their offsets. A negative_slope other than 1, of the
    activation, is for passes that compute all of the target.
    """
    groups, channels_to, channels_from, *_ = weight.shape
    (rows, offsets_y), (columns, offsets_x) = taps
    extent = tuple(-(-(size - first) // s) for size, first, s in zip(target.shape[1:3], origin, stride, strict=True))
    depth = len(rows) * len(columns) * channels_from
    if not depth or not channels_to or not source.size:
        target[:, origin[0] :: stride[0], origin[1] :: stride[1]] = reference.activate(bias, negative_slope)
        return
    panels, vectors, width = panel_layout(channels_to, source.dtype)
    memory, strides = flat(weight)
    packed = empty((groups, panels, depth, width), source.dtype)
    if groups == 1 and weight.shape[3:] == (1, 1):  # a matrix, which is packed twice as fast
        pack(memory, strides[2], strides[1], channels_to, packed[0])
    else:
        places = _places(rows, columns, strides[3:])
        _pack(memory, strides, places, channels_from, channels_to, packed, tasks_for(channels_from))
    starts = cleared((groups, panels * width), source.dtype)
    starts[:, :channels_to] = bias.reshape(groups, channels_to)
    patches = patches_of(offsets_y, offsets_x, step, source.shape[3], channels_from)
    pixels = source.shape[0] * extent[0] * extent[1]
    most = max(1, _PATCHES_BYTES // (depth * source.itemsize) // _TILE_MULTIPLE) * _TILE_MULTIPLE
    blocks = _round_up(-(-pixels // most), tasks_for(pixels))  # as many for each thread
    block = _round_up(-(-pixels // blocks), _TILE_MULTIPLE)
    tasks = tasks_for(-(-pixels // block))
    patches_and_results = scratch(tasks, block * (depth + panels * width), dtype=source.dtype)
    is_source = len(rows) == len(columns) == 1 and extent == source.shape[1:3] and step == (1, 1)
    is_source = is_source and offsets_y[0] == offsets_x[0] == 0
    is_target = extent == target.shape[1:3] and channels_to % (VECTOR_BYTES // source.itemsize) == 0
    _multiply_patches(
        source, *patches, packed, starts, target, extent, origin, stride, channels_to, vectors, block,
        (is_source, is_target), target.dtype.type(negative_slope), patches_and_results, tasks,
    )  # fmt: skip


@entry
def _pack(weight, strides, offsets, channels_from, channels_to, packed, tasks):
    fork(_pack_channels, (weight, strides, offsets, channels_from, channels_to, packed), tasks)


@serial
def _pack_channels(weight, strides, offsets, channels_from, channels_to, packed, tasks, task):
    """packed[group, panel, (tap, from), to] of the task's channels `from`, zeros beyond the last `to`."""
    groups, panels, _, width = packed.shape
    begin, end = portion(channels_from, tasks, task)
    for group in range(groups):
        for panel in range(panels):
            there = min(width, channels_to - panel * width)
            for first in range(begin, end, _PACKED_TOGETHER):
                last = min(first + _PACKED_TOGETHER, end)
                for j in range(there):
                    for c in range(first, last):
                        at = group * strides[0] + (panel * width + j) * strides[1] + c * strides[2]
                        for t in range(len(offsets)):
                            packed[group, panel, t * channels_from + c, j] = weight[at + offsets[t]]
                for t in range(len(offsets)):
                    for c in range(first, last):
                        packed[group, panel, t * channels_from + c, there:] = 0


@entry
def _multiply_patches(
    source, rows, runs, length, step, packed, starts, target, extent, origin, stride, channels, vectors, block,
    straight, slope, scratch, tasks,
):  # fmt: skip
    patches, pixels = Patches(rows, runs, length, step), Pixels(extent, origin, stride)
    fork(
        _multiply_blocks,
        (source, patches, packed, starts, target, pixels, channels, vectors, block, straight, slope, scratch), tasks,
    )  # fmt: skip


@serial
def _multiply_blocks(
    source, patches, packed, starts, target, pixels, channels, vectors, block, straight, slope, scratch, tasks, task
):
    """Compute the task's share of the blocks: `block` pixels each, in the order (n, y, x).

    straight: whether patches can be read where they lie in the source, and results written where they go.
    """
    count = source.shape[0] * pixels.extent[0] * pixels.extent[1]
    begin, end = portion((count + block - 1) // block, tasks, task)
    for first in range(begin * block, min(end * block, count), block):
        size = min(block, count - first)
        for group in range(len(packed)):
            _multiply(
                source, patches, packed, starts, target, pixels, channels, vectors, straight, scratch[task], group,
                first, size,
            )  # fmt: skip
        activate(target.reshape(target.size), first * target.shape[3], size * target.shape[3], slope)


@serial
def _multiply(
    source, patches, packed, starts, target, pixels, channels, vectors, straight, scratch, group, first, size
):
    """`size` pixels from `first` on, of one group."""
    _, panels, depth, width = packed.shape
    from_all, to_all, columns = source.shape[3], target.shape[3], panels * width
    channel = group * (from_all // len(packed))
    a, ai, c, ci = scratch, depth, scratch[size * depth :], columns
    if straight[0]:
        a, ai = source.reshape(source.size)[first * from_all + channel :], from_all
    else:
        gather(scratch, depth, source, patches, channel, pixels.extent, first, size)
    if straight[1]:
        c, ci = target.reshape(target.size)[first * to_all + group * channels :], to_all
    behind, reads, writes = first + size, size * from_all * straight[0], size * to_all * (straight[0] and straight[1])
    soon = source.reshape(source.size), behind * from_all, reads, target.reshape(target.size), behind * to_all, writes
    whole = channels // width if straight[1] else panels
    product_fetching(
        vectors, a, ai, 1, packed[group].reshape(columns * depth), depth * width, width, depth, starts[group], 0, c, ci,
        size, whole, soon,
    )  # fmt: skip
    if whole < panels:  # of the last panel no more registers than there are channels: behind them lies the next pixel
        product(
            (channels - whole * width) // lanes(c), a, ai, 1, packed[group, whole].reshape(width * depth), 0, width,
            depth, starts[group, whole * width :], 0, c[whole * width :], ci, size, 1,
        )  # fmt: skip
    if not straight[1]:
        _put(c, columns, target, pixels, group * channels, channels, first, size)


@serial
def _put(results, columns, target, pixels, channel, channels, first, size):
    """Copy rows of results to the pixels they belong to."""
    flat = target.reshape(target.size)
    n, y, x = position(first, pixels.extent)
    for p in range(size):
        row = n * target.shape[1] + pixels.origin[0] + y * pixels.stride[0]
        column = pixels.origin[1] + x * pixels.stride[1]
        copy(flat, (row * target.shape[2] + column) * target.shape[3] + channel, results, p * columns, channels)
        n, y, x = following(n, y, x, pixels.extent)


@entry
def _weight_gradient(
    source, rows, runs, length, step, grad, rows_at_once, channels_from, channels_to, vectors, chunk, partial
):
    chunks, groups, row_tasks, _, _ = partial.shape
    patches = Patches(rows, runs, length, step)
    fork(
        _weight_gradient_of_chunk,
        (source, patches, grad, rows_at_once, channels_from, channels_to, vectors, chunk, partial),
        chunks * groups * row_tasks,
    )  # fmt: skip


@serial
def _weight_gradient_of_chunk(
    source, patches, grad, rows_at_once, channels_from, channels_to, vectors, chunk, partial, tasks, task
):
    """partial[row, k] = sum over a chunk's pixels of patch[row] * grad[k], `row` being (row, column, channel)."""
    _, groups, row_tasks, rows, columns = partial.shape
    part, group_and_rows = divmod(task, groups * row_tasks)
    group, row_task = divmod(group_and_rows, row_tasks)
    patches = Patches(
        patches.rows[row_task * rows_at_once :][:rows_at_once], patches.runs, patches.length, patches.step
    )
    extent, all_channels = grad.shape[1:3], grad.shape[3]
    width = vectors * VECTOR_BYTES // partial.itemsize
    total = partial[part, group, row_task].reshape(rows * columns)
    total[:] = 0
    flat_grad, straight = grad.reshape(grad.size), columns == channels_to and columns == width
    scratch = np.empty(_GRADIENT_BLOCK * rows + width, source.dtype)  # `gather` goes up to a vector too far
    packed = np.zeros(1 if straight else _GRADIENT_BLOCK * columns, source.dtype)
    begin, end = part * chunk, min((part + 1) * chunk, grad.shape[0] * extent[0] * extent[1])
    for first in range(begin, end, _GRADIENT_BLOCK):
        size = min(_GRADIENT_BLOCK, end - first)
        gather(scratch, rows, source, patches, group * channels_from, extent, first, size)
        start = first * all_channels + group * channels_to
        b, bt, panel_stride = flat_grad[start:], all_channels, width
        if not straight:
            b, bt, panel_stride = packed, width, _GRADIENT_BLOCK * width
            for p in range(size):
                for k in range(0, channels_to, width):
                    at = start + p * all_channels + k
                    copy(packed, k * _GRADIENT_BLOCK + p * width, flat_grad, at, min(width, channels_to - k))
        product(
            vectors, scratch, 1, rows, b, panel_stride, bt, size, total, columns, total, columns, rows, columns // width
        )  # fmt: skip


@entry
def _add_chunks(partial, rows_at_once, weight, tasks):
    fork(_add_to_first, (partial,), tasks)
    fork(_put_channels, (partial[0], rows_at_once, weight), tasks)


@serial
def _add_to_first(partial, tasks, task):
    """partial[0] += partial[1] + partial[2] + ..., in this order, for a share of the elements: whole vectors."""
    flat, size, step = partial.reshape(partial.size), partial.size // len(partial), lanes(partial)
    begin, end = portion(size // step, tasks, task)
    for i in range(begin * step, end * step, step):
        total = load(flat, i)
        for chunk in range(1, len(partial)):
            total = total + load(flat, chunk * size + i)
        store(flat, i, total)


@serial
def _put_channels(sums, rows_at_once, weight, tasks, task):
    """weight[k, c, row, column] = sums[group, rows, (row of these, column, c), k], a line of these at a time."""
    outputs, channels, _, width = weight.shape
    groups, row_tasks, _, _ = sums.shape
    begin, end = portion(outputs // groups, tasks, task)
    for group in range(groups):
        for first in range(begin, end, _OUTPUTS):
            for rows in range(row_tasks):
                for y in range(rows_at_once):
                    for x in range(width):
                        for c in range(channels):
                            row = (y * width + x) * channels + c
                            for k in range(first, min(first + _OUTPUTS, end)):
                                output = group * (outputs // groups) + k
                                weight[output, c, rows * rows_at_once + y, x] = sums[group, rows, row, k]
