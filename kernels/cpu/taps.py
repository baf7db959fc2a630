"""Weights on their way into Winograd's products, and gradients on their way out: G g G^T and G^T (...) G.

In memory the taps of a pair of channels lie together; products want vectors of channels `to`. So a panel of taps is
transposed first, in registers, a square of lanes x lanes at a time: element by element it took a quarter of the time of
a layer of 512 channels. Then it is transformed, a phase of the stride at a time.
"""

from .compile import serial
from .simd import VECTOR_BYTES, clear, copy, turn
from .transform import taps_from_products, taps_to_products


@serial
def read_taps(weight, strides, size, start, there, first, last, turned, width):
    """turned[((c - first) * size + tap) * width + j] = weight[start + j, c, tap] for first <= c < last.

    `weight` is memory in which channels `to` and `from` are strides[0] and strides[1] apart and taps lie side by side;
    j < width, and zeros stand for channels from `there` on.
    """
    lanes = VECTOR_BYTES // turned.itemsize
    for v in range(0, width, lanes):
        rows = min(max(there - v, 0), lanes)
        at = (start + v) * strides[0] + first * strides[1]
        if strides[1] == size:
            _read_rows(weight, at, strides[0], rows, (last - first) * size, turned, v, width)
        else:
            for c in range(last - first):
                _read_rows(weight, at + c * strides[1], strides[0], rows, size, turned, c * size * width + v, width)


@serial
def _read_rows(source, at, step, rows, columns, target, to, width):
    """target[to + j * width + i] = source[at + i * step + j] for i < rows and j < columns, else 0."""
    lanes = VECTOR_BYTES // target.itemsize
    for j in range(0, columns, lanes):
        count = min(lanes, columns - j)
        if rows == lanes and at + j + (lanes - 1) * step + lanes <= source.size:
            turn(source, at + j, step, target, to + j * width, width, count)
        else:
            for k in range(j, j + count):
                for i in range(rows):
                    target[to + k * width + i] = source[at + i * step + k]
                clear(target, to + k * width + rows, lanes - rows)


@serial
def write_taps(turned, width, size, weight, strides, start, there, first, last):
    """weight[start + j, c, tap] = turned[((c - first) * size + tap) * width + j]: read_taps, backwards."""
    lanes, columns = VECTOR_BYTES // turned.itemsize, (last - first) * size
    for v in range(0, min(width, there), lanes):
        rows, at = min(there - v, lanes), (start + v) * strides[0] + first * strides[1]
        whole = columns // lanes * lanes
        for j in range(0, whole, lanes):
            turn(turned, j * width + v, width, weight, at + j, strides[0], rows)
        for i in range(rows):
            for j in range(whole, columns):
                weight[at + i * strides[0] + j] = turned[j * width + v + i]


@serial
def taps_into_products(outputs, taps, turned, size, offsets, channels, squares, packed, place, step, plane, width):
    """packed[place + c * step + xi * plane] = xi of G g G^T, a row of `width`, for c < channels, of one phase."""
    r, n = len(taps), len(outputs) + len(taps) - 1
    for c in range(channels):
        for t in range(r * r):
            if offsets[t] < 0:
                clear(squares, t * width, width)
            else:
                copy(squares, t * width, turned, (c * size + offsets[t]) * width, width)
        taps_to_products(outputs, taps, squares, 0, r * width, width, packed, place + c * step, n * plane, plane, width)


@serial
def taps_out_of_products(outputs, taps, sums, place, step, plane, squares, offsets, channels, turned, size, width):
    """turned[...] = G^T (...) G of sums that lie as in taps_into_products."""
    r, n = len(taps), len(outputs) + len(taps) - 1
    for c in range(channels):
        taps_from_products(outputs, taps, sums, place + c * step, n * plane, plane, squares, 0, r * width, width, width)
        for t in range(r * r):
            if offsets[t] >= 0:
                copy(turned, (c * size + offsets[t]) * width, squares, t * width, width)
