"""Winograd's forward pass, compiled: squares of the source times the weight give squares of the target.

Which operand stays in cache? A weight that fits is transformed whole, and blocks of squares go by, each for all
channels: `multiply_squares`. Of a larger one a panel is transformed, used, and forgotten, for all squares:
`multiply_panels`.
"""

import numpy as np

from .compile import entry, portion, serial
from .fork import fork
from .simd import VECTOR_BYTES, product, tile_height
from .squares import Pass, Weight, points_of, read_squares, squares_of, write_squares
from .taps import read_taps, taps_into_products

PASSING = 64  # channels of a piece of a weight that is too large to be kept
_PACKED_TOGETHER = 16  # channels of one that is kept


@entry
def multiply_squares(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, channels, packed, starts, target, vectors, block, slope, left, right, patches, tasks,
):  # fmt: skip
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    fork(_pack_channels, (work, weight, channels, packed), len(patches))
    fork(
        _multiply_blocks, (work, source, packed, starts, target, vectors, block, slope, left, right, patches), tasks
    )  # fmt: skip


@serial
def _pack_channels(work, weight, channels, packed, tasks, task):
    """packed[(target, xi), panel, (phase, from), to]: G w G^T of the task's channels `from`."""
    begin, end = portion(weight.channels_from, tasks, task)
    targets, phases, _ = work.offsets.shape
    _, panels, depth, width = packed.shape
    flat, plane, size = packed.reshape(packed.size), panels * depth * width, weight.size
    turned = np.empty(_PACKED_TOGETHER * size * width, packed.dtype)
    squares = np.empty(len(work.taps) ** 2 * width, packed.dtype)
    for panel in range(panels):
        for first in range(begin, end, _PACKED_TOGETHER):
            last = min(first + _PACKED_TOGETHER, end)
            read_taps(weight, panel * width, first, last, turned, width)
            for f in range(targets):
                for p in range(phases):
                    place = f * (packed.size // targets) + (panel * depth + p * channels + first) * width
                    taps_into_products(work, f, p, turned, size, last - first, squares, flat, place, plane, width)


@serial
def _multiply_blocks(work, source, packed, starts, target, vectors, block, slope, lefts, rights, patches, tasks, task):
    left, right, patch = lefts[task], rights[task], patches[task]
    n, (_, panels, depth, width) = points_of(work), packed.shape
    columns, flat_packed = panels * width, packed.reshape(packed.size)
    flat_left, flat_right = left.reshape(left.size), right.reshape(right.size)
    squares, height = squares_of(work, source.shape[0]), tile_height(vectors)
    begin, end = portion((squares + height - 1) // height, tasks, task)
    blocks = (end - begin + block // height - 1) // (block // height)
    for number in range(len(work.phases) * blocks):
        f, first = number // blocks, begin * height + number % blocks * block
        size = min(block, min(end * height, squares) - first)
        read_squares(work, f, source, 0, source.shape[3], first, size, flat_left, depth, left.shape[1], patch)
        for xi in range(n * n):
            start = starts[1 if xi == n + 1 else 0]  # A^T's column of the point 1 is all ones: a constant is itself
            product(
                vectors, left[xi], depth, 1, flat_packed[(f * n * n + xi) * columns * depth :], depth * width, width,
                depth, start, 0, right[xi], columns, size, panels,
            )  # fmt: skip
        write_squares(work, f, flat_right, columns, right.shape[1], target, 0, first, size, slope, patch)


@entry
def multiply_panels(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, channels, packed, starts, target, vectors, block, slope, left, right, patches, tasks,
):  # fmt: skip
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    fork(_read_all, (work, source, phases.shape[1] * channels, left, patches), len(patches))
    count = squares_of(work, source.shape[0])
    fork(
        _multiply_panel, (work, weight, count, channels, packed, starts, target, vectors, slope, left, right, patches),
        tasks,
    )  # fmt: skip


@serial
def _read_all(work, source, depth, left, patches, tasks, task):
    begin, end = portion(squares_of(work, source.shape[0]), tasks, task)
    for f in range(len(work.phases)):
        there = left[f].reshape(left[f].size)[begin * depth :]
        read_squares(
            work, f, source, 0, source.shape[3], begin, end - begin, there, depth, left.shape[2], patches[task]
        )


@serial
def _multiply_panel(
    work, weight, count, channels, packed, starts, target, vectors, slope, lefts, rights, patches, tasks, task
):
    """All squares, for the task's phases of the target and panels of its channels."""
    n, width, right, size = points_of(work), vectors * VECTOR_BYTES // packed.itemsize, rights[task], weight.size
    targets, phases, _ = work.offsets.shape
    piece, flat_right, plane = packed[task].reshape(packed[task].size), right.reshape(right.size), packed.shape[2]
    turned = np.empty(PASSING * size * width, packed.dtype)
    squares = np.empty(len(work.taps) ** 2 * width, packed.dtype)
    begin, end = portion(targets * ((weight.channels_to + width - 1) // width), tasks, task)
    for number in range(begin, end):
        panel, f = divmod(number, targets)
        start, left = panel * width, lefts[f]
        for first in range(0, weight.channels_from, PASSING):
            last = min(first + PASSING, weight.channels_from)
            read_taps(weight, start, first, last, turned, width)
            for p in range(phases):
                taps_into_products(work, f, p, turned, size, last - first, squares, piece, 0, plane, width)
                for xi in range(n * n):
                    sums, begun = flat_right[xi * right.shape[1] :], first + p > 0
                    constant = starts[1 if xi == n + 1 else 0][start:]
                    product(
                        vectors, left[xi, p * channels + first :], phases * channels, 1, piece[xi * plane :], 0, width,
                        last - first, sums if begun else constant, width if begun else 0, sums, width, count, 1,
                    )  # fmt: skip
        write_squares(work, f, flat_right, width, right.shape[1], target, start, 0, count, slope, patches[task])
