"""Winograd's squares: what a pass consists of, and the way of pixels into products and back."""

from typing import NamedTuple

import numpy as np

from .compile import serial
from .copies import clear, copy
from .elementwise import activate
from .patches import following, position
from .transform import from_products, outputs_to_products, to_products
from .vector import lanes


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


class Weight(NamedTuple):
    """Memory in which the taps of a pair of channels lie side by side."""

    memory: np.ndarray
    strides: tuple  # how far the channels `to` are apart, and the channels `from`
    size: int  # taps of a pair
    channels_from: int
    channels_to: int


@serial
def points_of(work):
    return len(work.outputs) + len(work.taps) - 1


@serial
def squares_of(work, images):
    return images * work.grid[0] * work.grid[1]


@serial
def read_squares(work, f, source, channel, count, first, size, left, square, phase, plane, patch):
    """B^T x B of `size` squares, of `count` channels from `channel` on, zeros up to whole vectors and behind the last.

    xi of square i and phase p of the source lies at xi * plane + i * square + p * phase.
    """
    m, n, phases, step = len(work.outputs), points_of(work), work.phases[f], work.step
    _, height, width, channels = source.shape
    flat, there = source.reshape(source.size), min(count, channels - channel)
    padded = (count + lanes(left) - 1) // lanes(left) * lanes(left)
    reach = ((n - 1) * step[0], (n - 1) * step[1])
    image, y, x = position(first, work.grid)
    for i in range(size):
        for p in range(len(phases)):
            top, left_edge = y * m * step[0] + phases[p, 0], x * m * step[1] + phases[p, 1]
            at = i * square + p * phase
            corner = ((image * height + top) * width + left_edge) * channels + channel
            inside = top >= 0 and top + reach[0] < height and left_edge >= 0 and left_edge + reach[1] < width
            if inside and padded == there:
                rows, row = step[0] * width * channels, step[1] * channels
                to_products(work.outputs, work.taps, flat, corner, rows, row, left, at, n * plane, plane, padded)
                continue
            for a in range(n):
                for b in range(n):
                    yy, xx = top + a * step[0], left_edge + b * step[1]
                    to = (a * n + b) * padded
                    if 0 <= yy < height and 0 <= xx < width:
                        copy(patch, to, flat, ((image * height + yy) * width + xx) * channels + channel, there)
                        clear(patch, to + there, padded - there)
                    else:
                        clear(patch, to, padded)
            to_products(work.outputs, work.taps, patch, 0, n * padded, padded, left, at, n * plane, plane, padded)
        image, y, x = following(image, y, x, work.grid)


@serial
def write_squares(work, f, right, columns, plane, target, start, first, size, slope, patch):
    """A^T (...) A of squares, where the target has the pixel, then the activation, for which the stride must be 1.

    right has `columns` channels, of which the first is the target's channel `start`.
    """
    m, n, extent = len(work.outputs), points_of(work), work.extent[f]
    _, height, width, channels = target.shape
    flat, there = target.reshape(target.size), min(columns, channels - start)
    rows, row = work.stride[0] * width * channels, work.stride[1] * channels
    image, y, x = position(first, work.grid)
    for i in range(size):
        top, left = work.origin[f, 0] + y * m * work.stride[0], work.origin[f, 1] + x * m * work.stride[1]
        corner = ((image * height + top) * width + left) * channels + start
        tall, wide, at = min(m, extent[0] - y * m), min(m, extent[1] - x * m), i * columns
        if tall == m and wide == m and columns == there:
            from_products(
                work.outputs, work.taps, right, at, n * plane, plane, flat, corner, rows, row, columns
            )  # fmt: skip
        else:
            from_products(
                work.outputs, work.taps, right, at, n * plane, plane, patch, 0, m * columns, columns, columns
            )  # fmt: skip
            for a in range(tall):
                for b in range(wide):
                    copy(flat, corner + a * rows + b * row, patch, (a * m + b) * columns, there)
        for a in range(tall):
            if there == channels:
                activate(flat, corner + a * rows, wide * channels, slope)
            else:
                for b in range(wide):
                    activate(flat, corner + a * rows + b * row, there, slope)
        image, y, x = following(image, y, x, work.grid)


@serial
def read_outputs(work, grad, channel, columns, first, size, right, plane, patch):
    """A dY A^T of `size` squares, of `columns` channels from `channel` on, zeros where dY ends."""
    m, n = len(work.outputs), points_of(work)
    _, height, width, channels = grad.shape
    flat, there = grad.reshape(grad.size), min(columns, channels - channel)
    image, y, x = position(first, work.grid)
    for i in range(size):
        corner, at = ((image * height + y * m) * width + x * m) * channels + channel, i * columns
        if y * m + m <= height and x * m + m <= width and columns == there:
            outputs_to_products(
                work.outputs, work.taps, flat, corner, width * channels, channels, right, at, n * plane, plane, columns
            )
        else:
            for a in range(m):
                for b in range(m):
                    to = (a * m + b) * columns
                    if y * m + a < height and x * m + b < width:
                        copy(patch, to, flat, corner + (a * width + b) * channels, there)
                        clear(patch, to + there, columns - there)
                    else:
                        clear(patch, to, columns)
            outputs_to_products(
                work.outputs, work.taps, patch, 0, m * columns, columns, right, at, n * plane, plane, columns
            )
        image, y, x = following(image, y, x, work.grid)
