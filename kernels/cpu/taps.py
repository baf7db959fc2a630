"""Weights on their way into Winograd's products, and gradients on their way out: G g G^T and G^T (...) G.

In memory the taps of a pair of channels lie together; products want vectors of channels `to`. So a panel of taps is
transposed first; then it is transformed, a phase of the stride at a time.
"""

from .compile import serial
from .simd import clear, copy, transpose
from .transform import taps_from_products, taps_to_products


@serial
def read_taps(weight, strides, size, start, there, first, last, turned, width):
    """turned[((c - first) * size + tap) * width + j] = weight[start + j, c, tap] for first <= c < last.

    `weight` is memory in which channels `to` and `from` are strides[0] and strides[1] apart and taps lie side by side;
    j < width, and zeros stand for channels from `there` on.
    """
    rows, at = min(there, width), start * strides[0] + first * strides[1]
    if rows < width:
        turned[: (last - first) * size * width] = 0
    if strides[1] == size:
        transpose(weight, at, strides[0], rows, (last - first) * size, turned, 0, width)
    else:
        for c in range(last - first):
            transpose(weight, at + c * strides[1], strides[0], rows, size, turned, c * size * width, width)


@serial
def write_taps(turned, width, size, weight, strides, start, there, first, last):
    """weight[start + j, c, tap] = turned[((c - first) * size + tap) * width + j]: read_taps, backwards."""
    at, columns = start * strides[0] + first * strides[1], min(there, width)
    transpose(turned, 0, width, (last - first) * size, columns, weight, at, strides[0])


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
