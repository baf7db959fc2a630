"""Gathering patches: for each output pixel, what the kernel sees there, as one run of numbers.

A patch holds the input elements under the kernel in (row, column, channel) order, zeros where it hangs over the edge.
In channels-last memory a kernel row reads one contiguous run, unless dilation or groups cut it up.
"""

import functools
from typing import NamedTuple

import numpy as np

from .compile import serial
from .copies import clear, copy, copy_whole
from .emitter import VECTOR_BYTES


class Patches(NamedTuple):
    """Where patches lie in a channels-last source."""

    rows: np.ndarray  # kernel rows, relative to the pixel's row
    runs: np.ndarray  # first elements of what a kernel row reads contiguously, relative to the pixel's first element
    length: int  # elements of a run
    step: tuple  # source rows and columns from one output pixel to the next


@functools.lru_cache(1 << 10)
def patches_of(taps_y, taps_x, step, channels, channels_of_group):
    """The Patches of these taps, two tuples. Adjacent columns with all their channels are one run, or else each is."""
    rows, columns = np.array(taps_y, np.int64), np.array(taps_x, np.int64)
    if channels_of_group == channels and np.all(np.diff(columns) == 1):
        return Patches(rows, columns[:1] * channels, len(columns) * channels, step)
    return Patches(rows, columns * channels, channels_of_group, step)


@serial
def gather(scratch, stride, source, patches, channel, extent, first, count):
    """scratch[p * stride :] = the patch of pixel first + p, its runs starting at `channel`, for all p < count.

    What follows a patch, up to a vector, is overwritten as well: runs inside the image are copied in whole vectors, and
    what they bring too much is overwritten by the next run. With runs of 21 numbers, those of a first layer of 7 x 7,
    that takes 0.7 times as long as copying them exactly.
    """
    _, height, width, channels = source.shape
    flat, end, length = source.reshape(source.size), width * channels, patches.length
    last_whole = source.size - (length + VECTOR_BYTES // source.itemsize - 1)
    n, y, x = position(first, extent)
    for p in range(count):
        at, corner = p * stride, x * patches.step[1] * channels + channel
        for tap in patches.rows:
            row = y * patches.step[0] + tap
            inside = 0 <= row < height
            for run in patches.runs:
                start = corner + run
                begin = (n * height + row) * end + start
                if inside and 0 <= start <= end - length and begin <= last_whole:
                    copy_whole(scratch, at, flat, begin, length)
                    at += length
                    continue
                low = min(max(-start, 0), length) if inside else length
                high = max(min(end - start, length), low)
                if low > 0:
                    clear(scratch, at, low)
                copy(scratch, at + low, flat, begin + low, high - low)
                if high < length:
                    clear(scratch, at + high, length - high)
                at += length
        n, y, x = following(n, y, x, extent)


@serial
def position(pixel, extent):
    """(n, y, x) of a pixel counted in that order."""
    row, x = divmod(pixel, extent[1])
    n, y = divmod(row, extent[0])
    return n, y, x


@serial
def following(n, y, x, extent):
    if x + 1 < extent[1]:
        return n, y, x + 1
    if y + 1 < extent[0]:
        return n, y + 1, 0
    return n + 1, 0, 0
