"""Winograd's forward pass, compiled: squares of the source times the weight give squares of the target.

Which operand stays in cache? A weight that fits is transformed whole, and blocks of squares go by, each for all
channels: `multiply_squares`. Of a larger one a panel is transformed, used, and forgotten, for all squares:
`multiply_panels`.
"""

import numpy as np

from .compile import entry, portion, serial
from .emitter import VECTOR_BYTES
from .fork import fork
from .simd import product, tile_height
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
    n, phases, (_, panels, depth, width) = points_of(work), work.phases.shape[1], packed.shape
    columns, flat_packed = panels * width, packed.reshape(packed.size)
    flat_left, flat_right = left.reshape(left.size), right.reshape(right.size)
    squares, height = squares_of(work, source.shape[0]), tile_height(vectors)
    begin, end = portion((squares + height - 1) // height, tasks, task)
    blocks = (end - begin + block // height - 1) // (block // height)
    for number in range(len(work.phases) * blocks):
        f, first = number // blocks, begin * height + number % blocks * block
        size = min(block, min(end * height, squares) - first)
        read_squares(
            work, f, source, 0, source.shape[3], first, size, flat_left, depth, depth // phases, left.shape[1], patch
        )
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
    fork(_read_all, (work, source, left, patches), len(patches))
    count = squares_of(work, source.shape[0])
    fork(
        _multiply_panel, (work, weight, count, packed, starts, target, vectors, slope, left, right, patches), tasks
    )  # fmt: skip


@serial
def _read_all(work, source, left, patches, tasks, task):
    """left[f, piece, xi] holds PASSING channels `from` of all squares, side by side, one phase behind the other."""
    count = squares_of(work, source.shape[0])
    begin, end = portion(count, tasks, task)
    targets, pieces, _, plane = left.shape
    for f in range(targets):
        for piece in range(pieces):
            there = left[f, piece].reshape(left[f, piece].size)[begin * PASSING :]
            read_squares(
                work, f, source, piece * PASSING, PASSING, begin, end - begin, there, PASSING, count * PASSING, plane,
                patches[task],
            )  # fmt: skip


@serial
def _multiply_panel(
    work, weight, count, packed, starts, target, vectors, slope, lefts, rights, patches, tasks, task
):  # fmt: skip
    """All squares, for the task's panels of the target's channels and phases of the target."""
    n, width, right, size = points_of(work), vectors * VECTOR_BYTES // packed.itemsize, rights[task], weight.size
    targets, phases, _ = work.offsets.shape
    piece, flat_right, plane = packed[task].reshape(packed[task].size), right.reshape(right.size), packed.shape[2]
    turned = np.empty(PASSING * size * width, packed.dtype)
    squares = np.empty(len(work.taps) ** 2 * width, packed.dtype)
    number, end = portion(targets * ((weight.channels_to + width - 1) // width), tasks, task)
    while number < end:
        panel, begin = divmod(number, targets)
        start, behind = panel * width, min(targets, begin + end - number)
        for first in range(0, weight.channels_from, PASSING):
            last = min(first + PASSING, weight.channels_from)
            read_taps(weight, start, first, last, turned, width)
            for f in range(begin, behind):
                for p in range(phases):
                    taps_into_products(work, f, p, turned, size, last - first, squares, piece, 0, plane, width)
                    sums = flat_right[f * n * n * right.shape[1] :]
                    _add_products(
                        vectors, lefts[f, first // PASSING], p * count * PASSING, piece, plane, last - first,
                        first + p == 0, starts[:, start:], n, sums, right.shape[1], width, count,
                    )  # fmt: skip
        for f in range(begin, behind):
            sums = flat_right[f * n * n * right.shape[1] :]
            write_squares(work, f, sums, width, right.shape[1], target, start, 0, count, slope, patches[task])
        number += behind - begin


@serial
def _add_products(vectors, left, at, piece, plane, channels, fresh, starts, n, sums, step, width, count):
    """Add to the sums of `count` squares, or begin them, the products of `channels` channels `from`."""
    for xi in range(n * n):
        there, constant = sums[xi * step :], starts[1 if xi == n + 1 else 0]
        product(
            vectors, left[xi, at:], PASSING, 1, piece[xi * plane :], 0, width, channels, constant if fresh else there,
            0 if fresh else width, there, width, count, 1,
        )  # fmt: skip
