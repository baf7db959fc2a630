"""Weights on their way into Winograd's products, and gradients on their way out: G g G^T and G^T (...) G.

In memory the taps of a pair of channels lie together; products want vectors of channels `to`. So a panel of taps is
transposed first; then it is transformed, a phase of the stride at a time.
"""

from .compile import serial
from .copies import clear, copy, transpose
from .squares import points_of
from .transform import taps_from_products, taps_to_products


@serial
def read_taps(weight, start, first, last, turned, width):
    """turned[((c - first) * size + tap) * width + j] = weight[start + j, c, tap] for first <= c < last, j < width.

    Zeros stand for channels `to` that the weight does not have.
    """
    (to, step), size = weight.strides, weight.size
    rows, at = min(weight.channels_to - start, width), start * to + first * step
    if rows < width:
        turned[: (last - first) * size * width] = 0
    if step == size:
        transpose(weight.memory, at, to, rows, (last - first) * size, turned, 0, width)
    else:
        for c in range(last - first):
            transpose(weight.memory, at + c * step, to, rows, size, turned, c * size * width, width)


@serial
def write_taps(turned, width, weight, start, first, last):
    """weight[start + j, c, tap] = turned[((c - first) * size + tap) * width + j]: read_taps, backwards."""
    (to, step), columns = weight.strides, min(weight.channels_to - start, width)
    transpose(turned, 0, width, (last - first) * weight.size, columns, weight.memory, start * to + first * step, to)


@serial
def taps_into_products(work, f, p, turned, size, channels, squares, packed, place, plane, width):
    """packed[place + c * width + xi * plane] = xi of G g G^T, a row of `width`, for c < channels, of one phase."""
    r, n, offsets = len(work.taps), points_of(work), work.offsets[f, p]
    for c in range(channels):
        for t in range(r * r):
            if offsets[t] < 0:
                clear(squares, t * width, width)
            else:
                copy(squares, t * width, turned, (c * size + offsets[t]) * width, width)
        taps_to_products(
            work.outputs, work.taps, squares, 0, r * width, width, packed, place + c * width, n * plane, plane, width
        )


@serial
def taps_out_of_products(work, p, sums, place, step, plane, squares, channels, turned, size, width):
    """turned[...] = G^T (...) G of sums, whose rows are `step` apart."""
    r, n, offsets = len(work.taps), points_of(work), work.offsets[0, p]
    for c in range(channels):
        taps_from_products(
            work.outputs, work.taps, sums, place + c * step, n * plane, plane, squares, 0, r * width, width, width
        )
        for t in range(r * r):
            if offsets[t] >= 0:
                copy(turned, (c * size + offsets[t]) * width, squares, t * width, width)
