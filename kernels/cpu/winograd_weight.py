"""Winograd's weight gradient, compiled: products of squares of the input and of grad_output, added up over squares.

As in winograd_forward.py, sums that fit the cache are kept while the squares go by, a slab at a time: `add_up_weight`.
Of a larger weight the squares are kept, and pieces of the sums go by: `add_up_pieces`.
"""

import numpy as np

from .compile import entry, portion, serial
from .fork import fork
from .simd import VECTOR_BYTES, product, tile_height
from .squares import Pass, Weight, points_of, read_outputs, read_squares
from .taps import taps_out_of_products, write_taps
from .winograd_forward import PASSING

_UNPACKED_TOGETHER = 16  # channels


@entry
def add_up_weight(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, grad, vectors, slab, squares, depth, left, right, sums, patches,
):  # fmt: skip
    """sums[xi] = sum over squares of left[xi]^T right[xi], a slab of squares at a time, and from them the gradient."""
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    width = vectors * VECTOR_BYTES // grad.itemsize
    panels = (channels_to + width - 1) // width
    for first in range(0, squares, slab):
        count = min(slab, squares - first)
        fork(_read_slab, (work, source, grad, first, count, depth, left, right, panels * width, patches), len(patches))
        fork(_add_products, (vectors, first, count, depth, left, right, sums), len(sums) * panels)
    fork(_unpack_channels, (work, weight, depth // phases.shape[1], sums, width), len(patches))


@entry
def add_up_pieces(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, grad, vectors, squares, depth, left, right, patches,
):  # fmt: skip
    """The same with all squares in one slab, a piece of the weight at a time."""
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    width = vectors * VECTOR_BYTES // grad.itemsize
    panels, pieces = (channels_to + width - 1) // width, (channels_from + PASSING - 1) // PASSING
    fork(_read_slab, (work, source, grad, 0, squares, depth, left, right, panels * width, patches), len(patches))
    fork(_add_piece, (work, weight, vectors, squares, depth, left, right), panels * pieces)


@serial
def _read_slab(work, source, grad, first, size, depth, left, right, columns, patches, tasks, task):
    begin, end = portion(size, tasks, task)
    flat_left, flat_right = left.reshape(left.size)[begin * depth :], right.reshape(right.size)[begin * columns :]
    first, size = first + begin, end - begin
    read_squares(work, 0, source, first, size, flat_left, depth, left.shape[1], patches[task])
    read_outputs(work, grad, first, size, flat_right, columns, right.shape[1], patches[task])


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
def _unpack_channels(work, weight, channels, sums, width, tasks, task):
    begin, end = portion(weight.channels_from, tasks, task)
    phases, size, (_, padded, columns) = work.offsets.shape[1], weight.size, sums.shape
    flat, plane = sums.reshape(sums.size), padded * columns
    turned = np.empty(_UNPACKED_TOGETHER * size * width, sums.dtype)
    squares = np.empty(len(work.taps) ** 2 * width, sums.dtype)
    for first in range(begin, end, _UNPACKED_TOGETHER):
        last = min(first + _UNPACKED_TOGETHER, end)
        for start in range(0, columns, width):
            for p in range(phases):
                place = (p * channels + first) * columns + start
                taps_out_of_products(
                    work, p, flat, place, columns, plane, squares, last - first, turned, size, width
                )  # fmt: skip
            write_taps(turned, width, weight, start, first, last)


@serial
def _add_piece(work, weight, vectors, squares, depth, left, right, tasks, task):
    """The gradient for PASSING channels `from` and a panel of channels `to`."""
    n, size, width = points_of(work), weight.size, vectors * VECTOR_BYTES // left.itemsize
    phases, panels = work.offsets.shape[1], (weight.channels_to + width - 1) // width
    channels = depth // phases
    piece, panel = divmod(task, panels)
    first, start = piece * PASSING, panel * width
    last = min(first + PASSING, weight.channels_from)
    plane = (PASSING + tile_height(vectors)) * width + VECTOR_BYTES // left.itemsize
    none, sums = np.zeros(width, left.dtype), np.empty(n * n * plane, left.dtype)
    turned = np.empty(PASSING * size * width, left.dtype)
    square = np.empty(len(work.taps) ** 2 * width, left.dtype)
    for p in range(phases):
        for xi in range(n * n):
            product(
                vectors, left[xi, p * channels + first :], 1, depth, right[xi, start:], 0, panels * width, squares,
                none, 0, sums[xi * plane :], width, last - first, 1,
            )  # fmt: skip
        taps_out_of_products(work, p, sums, 0, width, plane, square, last - first, turned, size, width)
    write_taps(turned, width, weight, start, first, last)
