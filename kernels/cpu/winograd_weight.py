"""Winograd's weight gradient, compiled: products of squares of the input and of grad_output, added up over squares.

As in winograd_forward.py, sums that fit the cache are kept while the squares go by, a slab at a time: `add_up_weight`.
Of a larger weight the squares are kept, and pieces of the sums go by: `add_up_pieces`.

Where cores share no cache, what one has written is dear to another: a 64-channel layer took 8.9 ms where two cores
wrote a slab together and then shared out its products, and 4.6 ms where they happened to have a cache in common. So a
thread has chunks of squares to itself, and what it adds up meets the others' sums only once.
"""

import numpy as np

from .compile import entry, portion, serial
from .emitter import VECTOR_BYTES
from .fork import fork
from .simd import product
from .squares import Pass, Weight, points_of, read_outputs, read_squares
from .taps import taps_out_of_products, write_taps
from .winograd_forward import PASSING

UNPACKED_TOGETHER = 16  # channels


@entry
def add_up_weight(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, grad, vectors, chunk, slab, squares, share, left, right, sums, patches,
):  # fmt: skip
    """sums[chunk, part, xi] = sum over the chunk's squares of left[xi]^T right[xi], and from them the gradient."""
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    fork(
        _add_up_chunks, (work, source, grad, vectors, chunk, slab, squares, share, left, right, sums, patches),
        len(patches),
    )  # fmt: skip
    fork(_unpack_channels, (work, weight, share, sums, vectors), len(patches))


@entry
def add_up_pieces(
    outputs, taps, grid, phases, step, origin, stride, extent, offsets, memory, strides, size, channels_from,
    channels_to, source, grad, vectors, squares, left, right, patches,
):  # fmt: skip
    """The same with all squares in one slab, a piece of the weight at a time."""
    work = Pass(outputs, taps, grid, phases, step, origin, stride, extent, offsets)
    weight = Weight(memory, strides, size, channels_from, channels_to)
    fork(_read_slab, (work, source, grad, squares, left, right, vectors, patches), len(patches))
    fork(_add_piece, (work, weight, vectors, squares, left, right), len(left) * len(right))


@serial
def _read_slab(work, source, grad, squares, left, right, vectors, patches, tasks, task):
    """left[piece, xi] and right[panel, xi] hold what a product reads, of all squares, side by side."""
    begin, end = portion(squares, tasks, task)
    size, patch, width = end - begin, patches[task], vectors * VECTOR_BYTES // grad.itemsize
    for piece in range(len(left)):
        there = left[piece].reshape(left[piece].size)[begin * PASSING :]
        read_squares(
            work, 0, source, piece * PASSING, PASSING, begin, size, there, PASSING, squares * PASSING, left.shape[2],
            patch,
        )  # fmt: skip
    for panel in range(len(right)):
        there = right[panel].reshape(right[panel].size)[begin * width :]
        read_outputs(work, grad, panel * width, width, begin, size, there, right.shape[2], patch)


@serial
def _add_up_chunks(work, source, grad, vectors, chunk, slab, squares, share, lefts, rights, sums, patches, tasks, task):
    """The task's chunks of squares and parts of the channels `from`, `share` each."""
    left, right, patch = lefts[task], rights[task], patches[task]
    chunks, parts, products, depth, columns = sums.shape
    width = vectors * VECTOR_BYTES // sums.itemsize
    flat_left, flat_right, none = left.reshape(left.size), right.reshape(right.size), np.zeros(columns, sums.dtype)
    begin, end = portion(chunks * parts, tasks, task)
    for number in range(begin, end):
        k, part = divmod(number, parts)
        last = min((k + 1) * chunk, squares)
        for first in range(k * chunk, last, slab):
            size = min(slab, last - first)
            read_squares(
                work, 0, source, part * share, share, first, size, flat_left, depth, share, left.shape[1], patch
            )
            read_outputs(work, grad, 0, columns, first, size, flat_right, right.shape[1], patch)
            for xi in range(products):
                total = sums[k, part, xi].reshape(depth * columns)
                start, si = (total, columns) if first > k * chunk else (none, 0)
                product(
                    vectors, left[xi], 1, depth, right[xi], width, columns, size, start, si, total, columns, depth,
                    columns // width,
                )  # fmt: skip


@serial
def _unpack_channels(work, weight, share, sums, vectors, tasks, task):
    """The gradient of the task's channels `from`, out of the sums of all chunks, which are added to the first's."""
    begin, end = portion((weight.channels_from + UNPACKED_TOGETHER - 1) // UNPACKED_TOGETHER, tasks, task)
    chunks, _, products, depth, columns = sums.shape
    phases, size, width = work.offsets.shape[1], weight.size, vectors * VECTOR_BYTES // sums.itemsize
    flat, plane = sums.reshape(sums.size), depth * columns
    turned = np.empty(UNPACKED_TOGETHER * size * width, sums.dtype)
    squares = np.empty(len(work.taps) ** 2 * width, sums.dtype)
    for first in range(begin * UNPACKED_TOGETHER, end * UNPACKED_TOGETHER, UNPACKED_TOGETHER):
        last = min(first + UNPACKED_TOGETHER, weight.channels_from)
        part, row = divmod(first, share)
        corner, step = part * products * plane + row * columns, share * columns
        for p in range(phases):
            for xi in range(products):
                _add_runs(flat, corner + p * step + xi * plane, (last - first) * columns, flat.size // chunks)
        for start in range(0, columns, width):
            for p in range(phases):
                place = corner + p * step + start
                taps_out_of_products(
                    work, p, flat, place, columns, plane, squares, last - first, turned, size, width
                )  # fmt: skip
            write_taps(turned, width, weight, start, first, last)


@serial
def _add_runs(flat, at, count, step):
    """Add to `count` numbers those that lie `step`, 2 `step`, ... further on."""
    total = flat[at : at + count]
    for start in range(at + step, len(flat), step):
        run = flat[start : start + count]
        for i in range(count):
            total[i] += run[i]


@serial
def _add_piece(work, weight, vectors, squares, left, right, tasks, task):
    """The gradient for PASSING channels `from` and a panel of channels `to`."""
    n, size, width = points_of(work), weight.size, vectors * VECTOR_BYTES // left.itemsize
    phases = work.offsets.shape[1]
    piece, panel = divmod(task, len(right))
    first, start = piece * PASSING, panel * width
    last = min(first + PASSING, weight.channels_from)
    plane = PASSING * width + VECTOR_BYTES // left.itemsize
    none, sums = np.zeros(width, left.dtype), np.empty(n * n * plane, left.dtype)
    turned = np.empty(PASSING * size * width, left.dtype)
    square = np.empty(len(work.taps) ** 2 * width, left.dtype)
    for p in range(phases):
        for xi in range(n * n):
            product(
                vectors, left[piece, xi, p * squares * PASSING :], 1, PASSING, right[panel, xi], 0, width, squares,
                none, 0, sums[xi * plane :], width, last - first, 1,
            )  # fmt: skip
        taps_out_of_products(work, p, sums, 0, width, plane, square, last - first, turned, size, width)
    write_taps(turned, width, weight, start, first, last)
