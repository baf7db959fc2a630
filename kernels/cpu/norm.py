"""Batch normalisation over channels-last rows: one pass for statistics, one that writes.

A chunk of rows stays in cache while its mean, and then its sum of squared deviations from it, are taken in float64;
chunks are joined by the formula of Chan, Golub and LeVeque (1983). Chunks depend on the shape alone, so results do not
depend on the number of threads. The second pass works in the arrays' own dtype, with the mean in two parts, so that
subtracting it loses nothing.

LLVM makes vector code of a long loop, and few channels make a short one. So a *stretch* of several rows is treated as
one long row, whose per-channel numbers are repeated as often.
"""

import numpy as np

from .. import reference
from ..geometry import same_shapes
from .compile import entry, portion, serial, tasks_for
from .fork import fork
from .layout import channels_first, channels_last
from .memory import empty

_CHUNK_ELEMENTS = 1 << 15
_STRETCH_ELEMENTS = 1 << 9


@reference.batch_norm.implementation("numba")
def batch_norm(input, weight, bias, *, eps):
    reference.check_batch_norm(input.shape, weight=weight.shape, bias=bias.shape)
    rows, chunk = _rows(input)
    means, squares = np.zeros((2, -(-len(rows) // chunk), len(weight)))
    _chunk_moments(rows, chunk, means, squares)
    mean, variance = _join(means, squares, chunk, len(rows))
    invstd = 1 / np.sqrt(variance + eps)
    output = empty(rows.shape, input.dtype)
    _normalise(rows, mean, invstd * weight, bias.astype(float), output, tasks_for(len(rows)))
    return _shaped(output, input), mean.astype(input.dtype), invstd.astype(input.dtype)


@reference.batch_norm_backward.implementation("numba")
def batch_norm_backward(grad_output, input, weight, mean, invstd):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    reference.check_batch_norm(input.shape, weight=weight.shape, mean=mean.shape, invstd=invstd.shape)
    (rows, chunk), (grad_rows, _) = _rows(input), _rows(grad_output)
    mean, invstd, count = mean.astype(float), invstd.astype(float), max(len(rows), 1)
    sums, products = np.zeros((2, -(-len(rows) // chunk), len(weight)))
    _chunk_products(rows, grad_rows, chunk, mean, sums, products)
    grad_bias, grad_weight = sums.sum(axis=0), products.sum(axis=0) * invstd
    slope, shift, scale = -grad_weight * invstd / count, -grad_bias / count, weight * invstd
    grad_input = empty(rows.shape, input.dtype)
    _combine(rows, grad_rows, mean, slope, shift, scale, grad_input, tasks_for(len(rows)))
    return _shaped(grad_input, input), grad_weight.astype(input.dtype), grad_bias.astype(input.dtype)


def _is_large(input):
    return True if input.size > _CHUNK_ELEMENTS else f"up to {_CHUNK_ELEMENTS} elements NumPy is as fast"


@reference.channel_sum.implementation("numba", pays=_is_large)
def channel_sum(input):
    rows, chunk = _rows(input)
    sums = np.zeros((-(-len(rows) // chunk), input.shape[1]))
    _chunk_sums(rows, chunk, sums)
    return sums.sum(axis=0).astype(input.dtype)


@reference.add_bias.implementation("numba", pays=lambda input, bias: _is_large(input))
def add_bias(input, bias):
    same_shapes(channels=input.shape[1:2], bias=bias.shape)
    rows, _ = _rows(input)
    output = empty(rows.shape, input.dtype)
    _add_bias(rows, bias, output, tasks_for(len(rows)))
    return _shaped(output, input)


def _join(means, squares, chunk, count):
    """Mean and variance of all rows from the chunks' means and sums of squared deviations."""
    counts = np.full((len(means), 1), chunk)
    counts[-1:] = count - chunk * (len(means) - 1)
    mean = (counts * means).sum(axis=0) / max(count, 1)
    return mean, (squares + counts * np.square(means - mean)).sum(axis=0) / max(count, 1)


def _rows(array):
    """(N, C, ...) as channels-last rows (M, C), and how many of these make a chunk."""
    channels = max(array.shape[1], 1)
    rows = channels_last(array).reshape(array.size // channels, array.shape[1])
    return rows, max(1, _CHUNK_ELEMENTS // channels)


def _shaped(rows, like):
    """Rows (M, C) in the shape of (N, C, ...)."""
    n, channels, *rest = like.shape
    return channels_first(rows.reshape(n, *rest, channels))


@serial
def _stretch(channels):
    """Elements of a stretch: whole rows, at least one."""
    return max(1, _STRETCH_ELEMENTS // channels) * channels


@serial
def _numbers(rows, count, channels):
    """Room for `count` stretches of rows' dtype, each in two parts."""
    return np.empty((count, 2, _stretch(channels)), rows.dtype)


@serial
def _repeat(values, result):
    """Fill `result`, a stretch, with the channels' values; in a second row with what its dtype cannot hold of them."""
    for i in range(result.shape[1]):
        value = values[i % len(values)]
        result[0, i] = value
        result[1, i] = value - result[0, i]


@serial
def _fold(stretch, result):
    """Sum the numbers of a stretch by channel, into `result`."""
    for start in range(0, len(stretch), len(result)):
        row = stretch[start : start + len(result)]
        for c in range(len(result)):
            result[c] += row[c]


@entry
def _chunk_sums(rows, chunk, sums):
    fork(_sum_chunk, (rows, chunk, sums), len(sums))


@serial
def _sum_chunk(rows, chunk, sums, tasks, task):
    """Add to zeros: the sum of each column of a chunk."""
    rows, length = rows[task * chunk : (task + 1) * chunk], _stretch(sums.shape[1])
    flat, total = rows.reshape(rows.size), np.zeros(length)
    for start in range(0, len(flat), length):
        part = flat[start : start + length]
        for i in range(len(part)):
            total[i] += part[i]
    _fold(total, sums[task])


@entry
def _add_bias(rows, bias, output, tasks):
    """row + bias."""
    fork(_add_bias_to_rows, (rows, bias, output), tasks)


@serial
def _add_bias_to_rows(rows, bias, output, tasks, task):
    begin, end = portion(len(rows), tasks, task)
    length, (numbers,) = _stretch(len(bias)), _numbers(rows, 1, len(bias))
    _repeat(bias, numbers)
    flat, flat_output, repeated = rows.reshape(rows.size), output.reshape(rows.size), numbers[0]
    for start in range(begin * len(bias), end * len(bias), length):
        stop = min(start + length, end * len(bias))
        part, result = flat[start:stop], flat_output[start:stop]
        for i in range(len(part)):
            result[i] = part[i] + repeated[i]


@entry
def _chunk_moments(rows, chunk, means, squares):
    fork(_moments, (rows, chunk, means, squares), len(means))


@serial
def _moments(rows, chunk, means, squares, chunks, k):
    """Add to zeros: mean, and sum of squared deviations from it, of each column of a chunk."""
    rows, mean, square = rows[k * chunk : (k + 1) * chunk], means[k], squares[k]
    length = _stretch(len(mean))
    flat, sums, centre = rows.reshape(rows.size), np.zeros((2, length)), np.empty((2, length))
    for start in range(0, len(flat), length):
        part, total = flat[start : start + length], sums[0]
        for i in range(len(part)):
            total[i] += part[i]
    _fold(sums[0], mean)
    for c in range(len(mean)):
        mean[c] /= len(rows)
    _repeat(mean, centre)
    for start in range(0, len(flat), length):
        part, total, middle = flat[start : start + length], sums[1], centre[0]
        for i in range(len(part)):
            deviation = part[i] - middle[i]
            total[i] += deviation * deviation
    _fold(sums[1], square)


@entry
def _normalise(rows, mean, scale, offset, output, tasks):
    """(row - mean) * scale + offset."""
    fork(_normalise_rows, (rows, mean, scale, offset, output), tasks)


@serial
def _normalise_rows(rows, mean, scale, offset, output, tasks, task):
    begin, end = portion(len(rows), tasks, task)
    length, numbers = _stretch(len(mean)), _numbers(rows, 3, len(mean))
    _repeat(mean, numbers[0])
    _repeat(scale, numbers[1])
    _repeat(offset, numbers[2])
    high, low, scales, offsets = numbers[0, 0], numbers[0, 1], numbers[1, 0], numbers[2, 0]
    flat, flat_output = rows.reshape(rows.size), output.reshape(rows.size)
    for start in range(begin * len(mean), end * len(mean), length):
        stop = min(start + length, end * len(mean))
        part, result = flat[start:stop], flat_output[start:stop]
        for i in range(len(part)):
            result[i] = ((part[i] - high[i]) - low[i]) * scales[i] + offsets[i]


@entry
def _chunk_products(rows, grad, chunk, mean, sums, products):
    fork(_products, (rows, grad, chunk, mean, sums, products), len(sums))


@serial
def _products(rows, grad, chunk, mean, sums, products, chunks, k):
    """Add to zeros: sum of a chunk's gradient, and of gradient times deviation from the mean, of each column."""
    rows, grad, length = rows[k * chunk : (k + 1) * chunk], grad[k * chunk : (k + 1) * chunk], _stretch(len(mean))
    flat, flat_grad = rows.reshape(rows.size), grad.reshape(rows.size)
    totals_and_products, centre, deviation = np.zeros((2, length)), np.empty((2, length)), np.empty(length)
    _repeat(mean, centre)
    for start in range(0, len(flat), length):
        part, gradient = flat[start : start + length], flat_grad[start : start + length]
        total, product, middle = totals_and_products[0], totals_and_products[1], centre[0]
        for i in range(len(part)):  # three loops: of one, over all these arrays, LLVM makes no vector code
            total[i] += gradient[i]
        for i in range(len(part)):
            deviation[i] = part[i] - middle[i]
        for i in range(len(part)):
            product[i] += gradient[i] * deviation[i]
    _fold(totals_and_products[0], sums[k])
    _fold(totals_and_products[1], products[k])


@entry
def _combine(rows, grad, mean, slope, shift, scale, grad_input, tasks):
    """(grad + shift + (row - mean) * slope) * scale."""
    fork(_combine_rows, (rows, grad, mean, slope, shift, scale, grad_input), tasks)


@serial
def _combine_rows(rows, grad, mean, slope, shift, scale, grad_input, tasks, task):
    begin, end = portion(len(rows), tasks, task)
    length, numbers = _stretch(len(mean)), _numbers(rows, 4, len(mean))
    _repeat(mean, numbers[0])
    _repeat(slope, numbers[1])
    _repeat(shift, numbers[2])
    _repeat(scale, numbers[3])
    high, low, slopes, shifts, scales = numbers[0, 0], numbers[0, 1], numbers[1, 0], numbers[2, 0], numbers[3, 0]
    flat, flat_grad, flat_input = rows.reshape(rows.size), grad.reshape(rows.size), grad_input.reshape(rows.size)
    for start in range(begin * len(mean), end * len(mean), length):
        stop = min(start + length, end * len(mean))
        part, gradient, result = flat[start:stop], flat_grad[start:stop], flat_input[start:stop]
        for i in range(len(part)):
            deviation = (part[i] - high[i]) - low[i]
            result[i] = ((gradient[i] + shifts[i]) + deviation * slopes[i]) * scales[i]
