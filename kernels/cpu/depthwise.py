"""Depthwise convolution, each input channel a group of its own: few multiplications for a number read.

There is no sum over channels, so nothing here is a matrix product. Channels lie side by side in memory, and a vector
of them goes through the convolution together: see depthwise_tile.py. The input gradient is, as in conv.py, one
stride-1 correlation over grad_output for each remainder of the input's coordinates mod stride.

A task owns rows of the output, or a chunk of them whose sums are added in the end; the chunks depend on shapes alone.
"""

import math

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .depthwise_tile import PIXELS, UNROLLED, at, correlate, multiply
from .elementwise import activate
from .emitter import lanes
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import cleared, empty

_CHUNKS = 16  # partial sums of a weight gradient: few enough to add, enough to share out


def _is_depthwise(size, groups):
    if isinstance(size, (tuple, list)) and len(size) == 4 and size[1] == groups > 1:
        return True
    return "it wants as many groups as input channels, and more than one"


def _supports_conv2d(input, weight, bias=None, *, groups=1, **options):
    return _is_depthwise(input.shape, groups)


def _supports_conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    return _is_depthwise(input_size, groups)


def _supports_conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    return _is_depthwise(input.shape, groups)


@reference.conv2d.implementation("depthwise", supports=_supports_conv2d)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, *extent = geometry.full_output_size
    source, factors = _vectors(_per_output(channels_last(input), k)), _vectors(weight.transpose(1, 2, 3, 0)[0])
    output = empty((n, *extent, factors.shape[2]), input.dtype)
    bias = cleared((0,), input.dtype) if bias is None else _vectors(reference.check_bias(bias, geometry))
    _correlate(source, factors, _windows(geometry), output, (0, 0), (1, 1), bias, negative_slope)
    return channels_first(_without_padding(output, k))


@reference.conv2d_input.implementation("depthwise", supports=_supports_conv2d_input)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    (n, c, *extent), k = geometry.full_input_size, geometry.out_channels
    source, factors = _vectors(channels_last(grad_output)), _vectors(weight.transpose(1, 2, 3, 0)[0])
    per_output, none = empty((n, *extent, factors.shape[2]), weight.dtype), cleared((0,), weight.dtype)
    for y, taps_y, rows in _phases(geometry, 0):
        for x, taps_x, columns in _phases(geometry, 1):
            phase = plain(factors[taps_y, taps_x])
            _correlate(source, phase, (rows, columns), per_output, (y, x), geometry.stride, none)
    per_output = _without_padding(per_output, k)
    return channels_first(per_output if k == c else per_output.reshape(n, *extent, c, k // c).sum(axis=4))


@reference.conv2d_weight.implementation("depthwise", supports=_supports_conv2d_weight)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    k, _, *kernel = geometry.full_weight_size
    source, grad = _vectors(_per_output(channels_last(input), k)), _vectors(channels_last(grad_output))
    if not source.size or not grad.size:
        return np.zeros(geometry.full_weight_size, input.dtype)
    width, channels = lanes(source.dtype), source.shape[3]
    vectors = -(-channels // width)
    chunks = min(_CHUNKS, grad.shape[0] * grad.shape[1])
    partial = cleared((chunks, *kernel, vectors, width), source.dtype)
    _sum_over_pixels(source, grad, *_windows(geometry), partial)
    sums = _joined(partial.sum(axis=0), channels)
    return plain(sums[:, :, :k].transpose(2, 0, 1)).reshape(geometry.full_weight_size)


def _joined(vectors, channels):
    """(KH, KW, vectors, lanes) as (KH, KW, channels). The last vector begins with channels of the one before."""
    *kernel, count, width = vectors.shape
    if count * width == channels:
        return vectors.reshape(*kernel, channels)
    begin = (count - 1) * width
    joined = empty((*kernel, channels), vectors.dtype)
    joined[:, :, :begin] = vectors[:, :, :-1].reshape(*kernel, begin)
    joined[:, :, begin:] = vectors[:, :, -1, begin - channels :]
    return joined


def _per_output(source, channels):
    """Channels-last `source` with each channel repeated for all the outputs that read it."""
    multiplier = channels // source.shape[3]
    if multiplier == 1:
        return source
    repeated = empty((*source.shape, multiplier), source.dtype)
    repeated[...] = source[..., None]
    return repeated.reshape(*source.shape[:3], channels)


def _vectors(array):
    """The array, contiguous, with zeros behind its channels (the last axis) where they do not fill one vector."""
    if array.shape[-1] >= lanes(array.dtype):
        return plain(array)
    padded = cleared((*array.shape[:-1], lanes(array.dtype)), array.dtype)
    padded[..., : array.shape[-1]] = array
    return padded


def _without_padding(array, channels):
    return array if array.shape[-1] == channels else plain(array[..., :channels])


def _windows(geometry):
    """For rows and for columns: (first tap of output 0, from tap to tap, number of taps, from output to output)."""
    top, left = geometry.corner
    return tuple(zip((-top, -left), geometry.dilation, geometry.kernel_size, geometry.stride, strict=True))


def _phases(geometry, axis):
    """The stride-1 convolutions over grad_output that make up the input gradient: their windows along one axis.

    Input index i receives from output index (i + padding - h * dilation) / stride of those taps h where that is whole.
    Indices with one remainder mod stride have these h in common. They are every step-th, counted down, so that output
    indices go up. Yields the phase's first input index, a slice of its taps, and its window.
    """
    size, k, s = geometry.input_size[axis], geometry.kernel_size[axis], geometry.stride[axis]
    d, (before, _) = geometry.dilation[axis], geometry.padding[axis]
    step = s // math.gcd(s, d)
    for first in range(min(s, size)):
        last = max((h for h in range(k) if (first + before - h * d) % s == 0), default=-1)
        taps = slice(last, None, -step) if last >= 0 else slice(0)
        yield first, taps, ((first + before - last * d) // s, step * d // s, last // step + 1, 1)


def _correlate(source, weight, windows, target, origin, stride, bias, negative_slope=1):
    """target[n, origin + stride * m] = sum over taps of weight[tap] * what output m's window has there, for all m.

    A bias that is not empty, and the activation by negative_slope, are for a stride of 1.
    """
    if not weight.size or not source.size:
        constant = reference.activate(bias, negative_slope) if bias.size else 0
        target[:, origin[0] :: stride[0], origin[1] :: stride[1]] = constant
        return
    extent = tuple(-(-(size - first) // s) for size, first, s in zip(target.shape[1:3], origin, stride, strict=True))
    tasks = tasks_for(source.shape[0] * extent[0])
    slope = target.dtype.type(negative_slope)
    _correlate_rows(source, weight, *windows, target, extent, origin, stride, bias, slope, tasks)


@entry
def _correlate_rows(source, weight, rows, columns, target, extent, origin, stride, bias, slope, tasks):
    fork(_correlate_share, (source, weight, rows, columns, target, extent, origin, stride, bias, slope), tasks)


@serial
def _correlate_share(source, weight, rows, columns, target, extent, origin, stride, bias, slope, tasks, task):
    flat = target.reshape(target.size)
    begin, end = portion(source.shape[0] * extent[0], tasks, task)
    for row in range(begin, end):
        n, m = divmod(row, extent[0])
        to = ((n * target.shape[1] + origin[0] + m * stride[0]) * target.shape[2] + origin[1]) * target.shape[3]
        _correlate_row(source, n, m, weight, rows, columns, target, to, extent[1], stride[1])
        if bias.size:
            _add_bias(flat, to, extent[1], bias)
        activate(flat, to, extent[1] * target.shape[3], slope)


@serial
def _add_bias(target, first, pixels, bias):
    for pixel in range(pixels):
        at = first + pixel * bias.size
        run = target[at : at + bias.size]
        for i in range(bias.size):
            run[i] += bias[i]


@serial
def _correlate_row(source, n, m, weight, rows, columns, target, first, extent, stride):
    """Output row m of image n, PIXELS at a time: extent pixels at target[first :], stride apart."""
    _, height, width, channels = source.shape
    left, tap_step, taps, step = columns
    top, bottom = _inside(rows, m, height)
    start = (n * height + rows[0] + rows[1] * top + m * rows[3]) * width
    row_step, target_step, factors = rows[1] * width * channels, stride * channels, at(weight, top * taps * channels)
    low, high = _interior(columns, width, extent)
    for x in range(0, extent, PIXELS):
        column, to = left + x * step, at(target, first + x * target_step)
        window, edge = at(source, (start + column) * channels), x < low or x + PIXELS > high
        correlate(
            step == 1 and tap_step == 1, taps, source.dtype, to, target_step, extent - x, window, row_step, column,
            width, step, tap_step, factors, bottom - top, taps, channels, edge,
        )  # fmt: skip


@entry
def _sum_over_pixels(source, grad, rows, columns, partial):
    fork(_add_chunk_of_rows, (source, grad, rows, columns, partial), len(partial))


@serial
def _add_chunk_of_rows(source, grad, rows, columns, partial, chunks, chunk):
    begin, end = portion(grad.shape[0] * grad.shape[1], chunks, chunk)
    for row in range(begin, end):
        _add_row(source, grad, row, rows, columns, partial[chunk])


@serial
def _add_row(source, grad, row, rows, columns, partial):
    """partial[tap] += sum over a row of grad_output of what the tap meets times grad_output."""
    _, height, width, channels = source.shape
    left, tap_step, taps, step = columns
    n, m = divmod(row, grad.shape[1])
    top, bottom = _inside(rows, m, height)
    window = at(source, ((n * height + rows[0] + rows[1] * top + m * rows[3]) * width + left) * channels)
    factors, sums = at(grad, row * grad.shape[2] * channels), at(partial, top * partial[0].size)
    row_step, count = rows[1] * width * channels, grad.shape[2]
    low, high = _interior(columns, width, count)
    high -= (high - low) % UNROLLED
    multiply(
        step == 1 and tap_step == 1, taps, source.dtype, sums, window, row_step, left, width, step, tap_step, factors,
        bottom - top, taps, channels, count, low, high,
    )  # fmt: skip


@serial
def _inside(axis, m, size):
    """(first, end) of the taps that output m has inside of the source."""
    first, tap_step, taps, step = axis
    start = first + m * step
    low = min(max(-(start // tap_step), 0), taps)
    return low, max(low, min((size - 1 - start) // tap_step + 1, taps))


@serial
def _interior(axis, size, count):
    """(first, end) of the outputs m < count that have all their taps inside of the source."""
    first, tap_step, taps, step = axis
    low = min(max(-(first // step), 0), count)
    return low, max(low, min((size - 1 - first - (taps - 1) * tap_step) // step + 1, count))
