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

from typing import NamedTuple

import numpy as np
from numba import prange

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import parallel, portion, serial, tasks_for
from .layout import channels_first, channels_last
from .patches import Patches, following, gather, patches_of, position
from .simd import VECTOR_BYTES, copy, panel_layout, product, tile_rows

_PATCHES_BYTES = 1 << 18  # a block of patches: well inside the second-level cache
_GRADIENT_BLOCK = 96  # pixels of a block in the weight gradient: their grad_output stays in the first level
_TILE_MULTIPLE = 24  # divisible by every tile's rows


class Pixels(NamedTuple):
    """Which pixels of the target a pass computes: extent[0] x extent[1] of each image."""

    extent: tuple
    origin: tuple
    stride: tuple


@reference.conv2d.implementation("direct")
def conv2d(input, weight, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = np.empty((n, height, width, k), input.dtype)
    matrix = _by_group(weight, groups).transpose(0, 3, 4, 2, 1)
    _correlate(channels_last(input), matrix, _forward_taps(geometry), geometry.stride, output, (0, 0), (1, 1))
    return channels_first(output)


@reference.conv2d_input.implementation("direct")
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, c, height, width = geometry.full_input_size
    grad_input = np.empty((n, height, width, c), weight.dtype)
    source, weight = channels_last(grad_output), _by_group(weight, groups)
    for y, taps_y, offsets_y in _phases(geometry, 0):
        for x, taps_x, offsets_x in _phases(geometry, 1):
            matrix = weight[:, :, :, taps_y][..., taps_x].transpose(0, 3, 4, 1, 2)
            _correlate(source, matrix, (offsets_y, offsets_x), (1, 1), grad_input, (y, x), geometry.stride)
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
    patches = patches_of(*_forward_taps(geometry), geometry.stride, source.shape[3], c)
    panels, vectors, panel_width = panel_layout(k, input.dtype)
    depth = kernel_width * c
    rows_at_once = 1 if depth >= _TILE_MULTIPLE else kernel_height
    padded = _round_up(rows_at_once * depth, tile_rows(vectors))
    chunk = _chunk_of_pixels(grad.size // grad.shape[3], groups * kernel_height * depth * k)
    chunks = -(-(grad.size // grad.shape[3]) // chunk)
    partial = np.empty((chunks, groups, kernel_height // rows_at_once, padded, panels * panel_width), input.dtype)
    _weight_gradient(source, *patches, grad, rows_at_once, c, k, vectors, chunk, partial)
    total = partial.sum(axis=0)[:, :, : rows_at_once * depth, :k]
    total = total.reshape(groups, kernel_height, kernel_width, c, k).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(total).reshape(geometry.full_weight_size)


def _by_group(weight, groups):
    """(K, C / groups, KH, KW) as (groups, K / groups, C / groups, KH, KW)."""
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def _round_up(value, multiple):
    return -(-value // multiple) * multiple


def _chunk_of_pixels(pixels, weights):
    """Pixels of one partial weight gradient: up to 16 partials, few where the weight is large."""
    chunks = max(1, min(16, pixels // (4 * _GRADIENT_BLOCK), (1 << 22) // weights))
    return _round_up(-(-pixels // chunks), _GRADIENT_BLOCK)


def _forward_taps(geometry):
    """For each axis, where the kernel's taps lie relative to output index * stride."""
    return tuple(
        np.arange(k) * d - before
        for k, d, (before, _) in zip(geometry.kernel_size, geometry.dilation, geometry.padding, strict=True)
    )


def _phases(geometry, axis):
    """For each phase: its first input index, its kernel taps and where they lie in grad_output, ascending."""
    size, k, s = geometry.input_size[axis], geometry.kernel_size[axis], geometry.stride[axis]
    d, (before, _) = geometry.dilation[axis], geometry.padding[axis]
    for first in range(min(s, size)):
        taps = [h for h in reversed(range(k)) if (first + before - h * d) % s == 0]
        yield first, taps, np.array([(first + before - h * d) // s for h in taps], np.int64)


def _correlate(source, matrix, taps, step, target, origin, stride):
    """target[n, origin + stride * m] = matrix @ the patch at source[n, step * m + taps], for all m inside.

    source and target are channels-last, matrix is (groups, rows, columns, from, to), taps are two index arrays.
    """
    groups, *_, channels_from, channels_to = matrix.shape
    extent = tuple(-(-(size - first) // s) for size, first, s in zip(target.shape[1:3], origin, stride, strict=True))
    if not matrix.size or not source.size:
        target[:, origin[0] :: stride[0], origin[1] :: stride[1]] = 0
        return
    panels, vectors, width = panel_layout(channels_to, source.dtype)
    matrix = matrix.reshape(groups, -1, channels_to)
    depth = matrix.shape[1]
    packed = np.zeros((groups, panels, depth, width), source.dtype)
    for panel in range(panels):
        columns = matrix[:, :, panel * width : (panel + 1) * width]
        packed[:, panel, :, : columns.shape[2]] = columns
    patches = patches_of(*taps, step, source.shape[3], channels_from)
    pixels = source.shape[0] * extent[0] * extent[1]
    block = max(1, _PATCHES_BYTES // (depth * source.itemsize) // _TILE_MULTIPLE) * _TILE_MULTIPLE
    block = min(block, _round_up(-(-pixels // tasks_for(pixels)), _TILE_MULTIPLE))  # no thread goes without
    tasks = tasks_for(-(-pixels // block))
    _multiply_patches(source, *patches, packed, target, extent, origin, stride, channels_to, vectors, block, tasks)


@parallel
def _multiply_patches(
    source, rows, runs, length, step, packed, target, extent, origin, stride, channels, vectors, block, tasks
):
    for task in prange(tasks):  # an entry point takes no named tuples: parallel loops of Numba do not
        patches, pixels = Patches(rows, runs, length, step), Pixels(extent, origin, stride)
        _multiply_blocks(source, patches, packed, target, pixels, channels, vectors, block, tasks, task)


@serial
def _multiply_blocks(source, patches, packed, target, pixels, channels, vectors, block, tasks, task):
    """Compute the task's share of the blocks: `block` pixels each, in the order (n, y, x)."""
    groups, panels, depth, width = packed.shape
    flat_packed, flat_target = packed.reshape(packed.size), target.reshape(target.size)
    scratch = np.empty(block * depth, source.dtype)
    results = np.empty(block * panels * width, source.dtype)
    count = source.shape[0] * pixels.extent[0] * pixels.extent[1]
    begin, end = portion(-(-count // block), tasks, task)
    for first in range(begin * block, end * block, block):
        size = min(block, count - first)
        for group in range(groups):
            gather(scratch, depth, source, patches, group * (source.shape[3] // groups), pixels.extent, first, size)
            weights = flat_packed[group * panels * depth * width :]
            product(
                vectors, scratch, depth, 1, weights, depth * width, width, depth, results, panels * width, size,
                panels, False,
            )  # fmt: skip
            n, y, x = position(first, pixels.extent)
            for p in range(size):
                row = n * target.shape[1] + pixels.origin[0] + y * pixels.stride[0]
                column = pixels.origin[1] + x * pixels.stride[1]
                start = (row * target.shape[2] + column) * target.shape[3] + group * channels
                copy(flat_target, start, results, p * panels * width, channels)
                n, y, x = following(n, y, x, pixels.extent)


@parallel
def _weight_gradient(
    source, rows, runs, length, step, grad, rows_at_once, channels_from, channels_to, vectors, chunk, partial
):
    chunks, groups, row_tasks, _, _ = partial.shape
    for task in prange(chunks * groups * row_tasks):
        chunk_and_group, row_task = divmod(np.int64(task), row_tasks)
        part, group = divmod(chunk_and_group, groups)
        patches = Patches(rows[row_task * rows_at_once :][:rows_at_once], runs, length, step)
        _weight_gradient_of_chunk(
            source, patches, grad, group, channels_from, channels_to, vectors, part * chunk, chunk,
            partial[part, group, row_task],
        )  # fmt: skip


@serial
def _weight_gradient_of_chunk(source, patches, grad, group, channels_from, channels_to, vectors, begin, chunk, partial):
    """partial[row, k] = sum over the chunk's pixels of patch[row] * grad[k], `row` being (row, column, channel)."""
    rows, columns = partial.shape
    extent = grad.shape[1:3]
    width = vectors * VECTOR_BYTES // partial.itemsize
    flat_grad, flat_partial = grad.reshape(grad.size), partial.reshape(partial.size)
    scratch = np.zeros(_GRADIENT_BLOCK * rows, source.dtype)
    packed = np.zeros(_GRADIENT_BLOCK * columns, source.dtype)
    end = min(begin + chunk, grad.shape[0] * extent[0] * extent[1])
    for first in range(begin, end, _GRADIENT_BLOCK):
        size = min(_GRADIENT_BLOCK, end - first)
        gather(scratch, rows, source, patches, group * channels_from, extent, first, size)
        for p in range(size):
            start = (first + p) * grad.shape[3] + group * channels_to
            for k in range(0, channels_to, width):
                at = (k // width * _GRADIENT_BLOCK + p) * width
                copy(packed, at, flat_grad, start + k, min(width, channels_to - k))
        product(
            vectors, scratch, 1, rows, packed, _GRADIENT_BLOCK * width, width, size, flat_partial, columns, rows,
            columns // width, first > begin,
        )  # fmt: skip
