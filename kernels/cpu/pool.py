"""Pooling, and gathering from image planes, in channels-last memory: the inner loop runs over channels.

Every output row is computed by one thread, taps in row-major order: results are those of the reference, bit for bit.
"""

import numpy as np
from numba import prange

from .. import reference
from ..geometry import Pool2dGeometry, same_shapes
from .compile import parallel, portion, serial, tasks_for
from .layout import channels_first, channels_last
from .memory import empty


@reference.max_pool2d.implementation("numba")
def max_pool2d(input, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    output, indices = (_channels_last_empty(geometry.full_output_size, t) for t in (input.dtype, np.int64))
    rows = geometry.batch * geometry.output_size[0]
    _max_pool(channels_last(input), *_windows(geometry), geometry.dilation, output, indices, tasks_for(rows))
    return channels_first(output), channels_first(indices)


@reference.gather2d.implementation("numba")
def gather2d(input, indices):
    n, c, plane = reference.check_gather(input.shape, indices.shape)
    output = _channels_last_empty(indices.shape, input.dtype)
    outside = np.zeros(n, np.bool_)
    _gather(_pixels(input), _pixels(indices), output.reshape(n, output.shape[1] * output.shape[2], c), outside)
    if outside.any():
        raise IndexError(reference.index_message(plane))
    return channels_first(output)


@reference.gather2d_input.implementation("numba")
def gather2d_input(input_size, indices, grad_output):
    n, c, plane = reference.check_gather(input_size, indices.shape)
    same_shapes(indices=indices.shape, grad_output=grad_output.shape)
    grad_input = np.zeros((n, plane, c), grad_output.dtype)
    outside = np.zeros(n, np.bool_)
    _scatter(_pixels(grad_output), _pixels(indices), grad_input, outside)
    if outside.any():
        raise IndexError(reference.index_message(plane))
    return channels_first(grad_input.reshape(n, *input_size[2:], c))


@reference.avg_pool2d.implementation("numba")
def avg_pool2d(
    input, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    divisor = reference.pool_divisor(geometry, count_include_pad, divisor_override, input.dtype)
    output = _channels_last_empty(geometry.full_output_size, input.dtype)
    rows = geometry.batch * geometry.output_size[0]
    _avg_pool(channels_last(input), *_windows(geometry), divisor, output, tasks_for(rows))
    return channels_first(output)


@reference.avg_pool2d_input.implementation("numba")
def avg_pool2d_input(
    input_size,
    grad_output,
    *,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    geometry = Pool2dGeometry.of(
        input_size, grad_output.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    divisor = reference.pool_divisor(geometry, count_include_pad, divisor_override, grad_output.dtype)
    share = np.divide(np.moveaxis(grad_output, 1, -1), divisor[:, :, None], order="C")
    grad_input = _channels_last_empty(geometry.full_input_size, grad_output.dtype)
    rows = geometry.batch * geometry.input_size[0]
    _avg_pool_input(share, *_windows(geometry), grad_input, tasks_for(rows))
    return channels_first(grad_input)


def _channels_last_empty(size, dtype):
    n, c, height, width = size
    return empty((n, height, width, c), dtype)


def _pixels(array):
    """(N, C, H, W) as a channels-last (N, H * W, C)."""
    n, c, height, width = array.shape
    return channels_last(array).reshape(n, height * width, c)


def _windows(geometry):
    """(kernel size, stride, padding before)."""
    (top, _), (left, _) = geometry.padding
    return geometry.kernel_size, geometry.stride, (top, left)


@parallel
def _max_pool(source, kernel, stride, before, dilation, output, indices, tasks):
    for task in prange(tasks):
        begin, end = portion(output.shape[0] * output.shape[1], tasks, task)
        _max_pool_rows(source, kernel, stride, before, dilation, output, indices, begin, end)


@serial
def _max_pool_rows(source, kernel, stride, before, dilation, output, indices, begin, end):
    _, height, width, _ = source.shape
    for row in range(begin, end):
        n, y = divmod(row, output.shape[1])
        for x in range(output.shape[2]):
            best, where, first = output[n, y, x], indices[n, y, x], True
            for h in range(kernel[0]):
                i = y * stride[0] - before[0] + h * dilation[0]
                if not 0 <= i < height:
                    continue
                for w in range(kernel[1]):
                    j = x * stride[1] - before[1] + w * dilation[1]
                    if 0 <= j < width:
                        _take_larger(best, where, source[n, i, j], i * width + j, first)
                        first = False


@serial
def _take_larger(best, where, values, place, first):
    for c in range(len(best)):
        value, old = values[c], best[c]
        larger = first | (value > old) | ((value != value) & (old == old))
        best[c] = value if larger else old
        where[c] = place if larger else where[c]


@parallel
def _gather(source, indices, output, outside):
    for n in prange(len(source)):
        plane, channels = source[n].shape
        for pixel in range(indices.shape[1]):
            for c in range(channels):
                index = indices[n, pixel, c]
                if 0 <= index < plane:
                    output[n, pixel, c] = source[n, index, c]
                else:
                    outside[n] = True


@parallel
def _scatter(grad_output, indices, grad_input, outside):
    for n in prange(len(grad_input)):
        plane, channels = grad_input[n].shape
        for pixel in range(indices.shape[1]):
            for c in range(channels):
                index = indices[n, pixel, c]
                if 0 <= index < plane:
                    grad_input[n, index, c] += grad_output[n, pixel, c]
                else:
                    outside[n] = True


@parallel
def _avg_pool(source, kernel, stride, before, divisor, output, tasks):
    for task in prange(tasks):
        begin, end = portion(output.shape[0] * output.shape[1], tasks, task)
        _avg_pool_rows(source, kernel, stride, before, divisor, output, begin, end)


@serial
def _avg_pool_rows(source, kernel, stride, before, divisor, output, begin, end):
    _, height, width, channels = source.shape
    for row in range(begin, end):
        n, y = divmod(row, output.shape[1])
        for x in range(output.shape[2]):
            total = output[n, y, x]
            for c in range(channels):
                total[c] = 0
            top, left = y * stride[0] - before[0], x * stride[1] - before[1]
            for i in range(max(top, 0), min(top + kernel[0], height)):
                for j in range(max(left, 0), min(left + kernel[1], width)):
                    _add(total, source[n, i, j])
            for c in range(channels):
                total[c] /= divisor[y, x]


@parallel
def _avg_pool_input(share, kernel, stride, before, grad_input, tasks):
    for task in prange(tasks):
        begin, end = portion(grad_input.shape[0] * grad_input.shape[1], tasks, task)
        _avg_pool_input_rows(share, kernel, stride, before, grad_input, begin, end)


@serial
def _avg_pool_input_rows(share, kernel, stride, before, grad_input, begin, end):
    """Each input pixel sums the shares of the windows that hold it."""
    _, out_height, out_width, channels = share.shape
    for row in range(begin, end):
        n, i = divmod(row, grad_input.shape[1])
        for j in range(grad_input.shape[2]):
            total = grad_input[n, i, j]
            for c in range(channels):
                total[c] = 0
            for h in range(kernel[0]):
                y, rest = divmod(i + before[0] - h, stride[0])
                if rest or not 0 <= y < out_height:
                    continue
                for w in range(kernel[1]):
                    x, rest = divmod(j + before[1] - w, stride[1])
                    if not rest and 0 <= x < out_width:
                        _add(total, share[n, y, x])


@serial
def _add(total, values):
    for c in range(len(total)):
        total[c] += values[c]
