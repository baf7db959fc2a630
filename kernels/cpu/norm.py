"""Batch normalisation over channels-last rows: one pass for statistics, one that writes.

A chunk of rows stays in cache while its mean, and then its sum of squared deviations from it, are taken in float64;
chunks are joined by the formula of Chan, Golub and LeVeque (1983). Chunks depend on the shape alone, so results do not
depend on the number of threads. The second pass works in the arrays' own dtype, with the mean in two parts, so that
subtracting it loses nothing.

LLVM makes vector code of a long loop, and few channels make a short one. So a *stretch* of several rows is treated as
one long row, whose per-channel numbers are repeated as often. Sums stay in a register while it goes down the rows: a
few in the arrays' own dtype, and then on to float64.
"""

import math

import numpy as np

from .. import reference
from ..geometry import same_shapes
from .compile import entry, inlined, portion, serial, tasks_for
from .emitter import lanes
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import empty, over
from .vector import lanes as lanes_of
from .vector import load, load_one, store, zeros, zeros_one

_CHUNK_ELEMENTS = 1 << 15
_STRETCH_ELEMENTS = 1 << 9
_ADDED_TOGETHER = 32  # numbers
_GROUP = 64  # stretches that are written in order, see `_last_first`
_SIDE_BY_SIDE = 4  # vectors that go down the rows together: memory is read in order


@reference.batch_norm.implementation("numba")
def batch_norm(input, weight, bias, *, eps):
    reference.check_batch_norm(input.shape, weight=weight.shape, bias=bias.shape)
    rows, chunk = _rows(input)
    output = empty(rows.shape, input.dtype)
    mean, invstd = empty(weight.shape, input.dtype), empty(weight.shape, input.dtype)
    _batch_norm(
        rows, chunk, _whole(input), plain(weight), plain(bias), float(eps), output, mean, invstd, tasks_for(len(rows))
    )  # fmt: skip
    return _shaped(output, input), mean, invstd


@reference.batch_norm_backward.implementation("numba")
def batch_norm_backward(grad_output, input, weight, mean, invstd):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    reference.check_batch_norm(input.shape, weight=weight.shape, mean=mean.shape, invstd=invstd.shape)
    (rows, chunk), (grad_rows, _) = _rows(input), _rows(grad_output)
    grad_input = over(grad_rows, besides=[rows, weight, mean, invstd])
    grad_weight, grad_bias = empty(weight.shape, input.dtype), empty(weight.shape, input.dtype)
    _batch_norm_backward(
        rows, grad_rows, chunk, _whole(input), plain(weight), plain(mean), plain(invstd), grad_input, grad_weight,
        grad_bias, tasks_for(len(rows)),
    )  # fmt: skip
    return _shaped(grad_input, input), grad_weight, grad_bias


def _is_large(input):
    return True if input.size > _CHUNK_ELEMENTS else f"up to {_CHUNK_ELEMENTS} elements NumPy is as fast"


@reference.channel_sum.implementation("numba", pays=_is_large)
def channel_sum(input):
    rows, chunk = _rows(input)
    result = empty(input.shape[1:2], input.dtype)
    _channel_sum(rows, chunk, _whole(input), result)
    return result


@reference.add_bias.implementation("numba", pays=lambda input, bias: _is_large(input))
def add_bias(input, bias):
    same_shapes(channels=input.shape[1:2], bias=bias.shape)
    rows, _ = _rows(input)
    output = over(rows, besides=[bias])
    _add_bias(rows, bias, output, tasks_for(len(rows)))
    return _shaped(output, input)


def _rows(array):
    """(N, C, ...) as channels-last rows (M, C), and how many of these make a chunk."""
    channels = max(array.shape[1], 1)
    rows = channels_last(array).reshape(array.size // channels, array.shape[1])
    together = _whole(array) // channels
    return rows, max(1, _CHUNK_ELEMENTS // channels // together) * together


def _whole(array):
    """Elements of the fewest rows that are a whole number of vectors, and of fours of them."""
    return math.lcm(max(array.shape[1], 1), _SIDE_BY_SIDE * lanes(array.dtype))


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


def _make_column_sums(name, term):
    """The function that adds term(number of a, number of b, mean's two parts) to `result`, channel by channel."""

    def column_sums(a, b, middle, length, result):
        high, low, width, sums = middle[0], middle[1], lanes_of(a), np.empty(length, a.dtype)
        whole = len(a) // length * length
        for begin in range(0, whole, length * _ADDED_TOGETHER):
            end = min(begin + length * _ADDED_TOGETHER, whole)
            for j in range(0, length, _SIDE_BY_SIDE * width):
                t, u, v, w = zeros(a), zeros(a), zeros(a), zeros(a)
                for row in range(begin + j, end, length):
                    i, k = row, j
                    t = t + term(load(a, i), load(b, i), load(high, k), load(low, k))
                    i, k = i + width, k + width
                    u = u + term(load(a, i), load(b, i), load(high, k), load(low, k))
                    i, k = i + width, k + width
                    v = v + term(load(a, i), load(b, i), load(high, k), load(low, k))
                    i, k = i + width, k + width
                    w = w + term(load(a, i), load(b, i), load(high, k), load(low, k))
                store(sums, j, t)
                store(sums, j + width, u)
                store(sums, j + 2 * width, v)
                store(sums, j + 3 * width, w)
            for row in range(0, length, len(result)):
                for c in range(len(result)):
                    result[c] += sums[row + c]
        for i in range(whole, len(a)):
            total = zeros_one(a) + term(
                load_one(a, i), load_one(b, i), load_one(high, i - whole), load_one(low, i - whole)
            )
            store(sums, 0, total)
            result[(i - whole) % len(result)] += sums[0]

    column_sums.__qualname__ = name
    return serial(column_sums)


@inlined
def _itself(a, b, high, low):
    return a


@inlined
def _squared_deviation(a, b, high, low):
    deviation = (a - high) - low
    return deviation * deviation


@inlined
def _deviation_times(a, b, high, low):
    return ((a - high) - low) * b


_column_sums = _make_column_sums("_column_sums", _itself)
_column_squares = _make_column_sums("_column_squares", _squared_deviation)
_column_products = _make_column_sums("_column_products", _deviation_times)


@serial
def _chunks(rows, chunk, channels):
    """Zeros for each chunk and channel."""
    return np.zeros(((len(rows) + chunk - 1) // chunk, channels))


@serial
def _add_up(chunks):
    """The sum of all chunks."""
    total = np.zeros(chunks.shape[1])
    for k in range(len(chunks)):
        for c in range(len(total)):
            total[c] += chunks[k, c]
    return total


@entry
def _channel_sum(rows, chunk, length, result):
    sums = _chunks(rows, chunk, len(result))
    fork(_sum_chunk, (rows, chunk, length, sums), len(sums))
    total = _add_up(sums)
    for c in range(len(total)):
        result[c] = total[c]


@serial
def _sum_chunk(rows, chunk, length, sums, tasks, task):
    """Add to zeros: the sum of each column of a chunk."""
    rows = rows[task * chunk : (task + 1) * chunk]
    flat = rows.reshape(rows.size)
    _column_sums(flat, flat, np.zeros((2, length), flat.dtype), length, sums[task])


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
        whole = len(part) - len(part) % lanes_of(part)
        for i in range(0, whole, lanes_of(part)):
            store(result, i, load(part, i) + load(repeated, i))
        for i in range(whole, len(part)):
            result[i] = part[i] + repeated[i]


@entry
def _batch_norm(rows, chunk, length, weight, bias, eps, output, mean, invstd, tasks):
    means, squares = _chunks(rows, chunk, len(weight)), _chunks(rows, chunk, len(weight))
    fork(_moments, (rows, chunk, length, means, squares), len(means))
    centre, variance = _join(means, squares, chunk, len(rows))
    scale, offset = np.empty_like(centre), np.empty_like(centre)
    for c in range(len(centre)):
        slope = 1 / np.sqrt(variance[c] + eps)
        mean[c], invstd[c], scale[c], offset[c] = centre[c], slope, slope * weight[c], bias[c]
    fork(_normalise_rows, (rows, centre, scale, offset, output), tasks)


@serial
def _join(means, squares, chunk, count):
    """Mean and variance of all rows from the chunks' means and sums of squared deviations."""
    mean, variance, count_or_1 = np.zeros(means.shape[1]), np.zeros(means.shape[1]), max(count, 1)
    for k in range(len(means)):
        size = min(chunk, count - k * chunk)
        for c in range(len(mean)):
            mean[c] += size * means[k, c]
    for c in range(len(mean)):
        mean[c] /= count_or_1
    for k in range(len(means)):
        size = min(chunk, count - k * chunk)
        for c in range(len(mean)):
            deviation = means[k, c] - mean[c]
            variance[c] += squares[k, c] + size * (deviation * deviation)
    for c in range(len(mean)):
        variance[c] /= count_or_1
    return mean, variance


@serial
def _moments(rows, chunk, length, means, squares, chunks, k):
    """Add to zeros: mean, and sum of squared deviations from it, of each column of a chunk."""
    rows, mean = rows[k * chunk : (k + 1) * chunk], means[k]
    flat, middle = rows.reshape(rows.size), np.zeros((2, length), rows.dtype)
    _column_sums(flat, flat, middle, length, mean)
    for c in range(len(mean)):
        mean[c] /= len(rows)
    _repeat(mean, middle)
    _column_squares(flat, flat, middle, length, squares[k])


@inlined
def _last_first(first, last, group):
    """Where groups of elements begin, the last group first: the statistics have read it last, and it may be in cache.

    Small maps take 0.9 of the time.
    """
    return range(first + (last - first - 1) // group * group, first - 1, -group)


@serial
def _normalise_rows(rows, mean, scale, offset, output, tasks, task):
    """(row - mean) * scale + offset."""
    begin, end = portion(len(rows), tasks, task)
    length, numbers = _stretch(len(mean)), _numbers(rows, 3, len(mean))
    _repeat(mean, numbers[0])
    _repeat(scale, numbers[1])
    _repeat(offset, numbers[2])
    high, low, scales, offsets = numbers[0, 0], numbers[0, 1], numbers[1, 0], numbers[2, 0]
    flat, flat_output = rows.reshape(rows.size), output.reshape(rows.size)
    first, last, group = begin * len(mean), end * len(mean), length * _GROUP
    for corner in _last_first(first, last, group):
        for start in range(corner, min(corner + group, last), length):
            stop = min(start + length, last)
            part, result = flat[start:stop], flat_output[start:stop]
            for i in range(len(part)):
                result[i] = ((part[i] - high[i]) - low[i]) * scales[i] + offsets[i]


@entry
def _batch_norm_backward(
    rows, grad, chunk, length, weight, mean, invstd, grad_input, grad_weight, grad_bias, tasks
):  # fmt: skip
    centre, count = mean.astype(np.float64), max(len(rows), 1)
    sums, products = _chunks(rows, chunk, len(weight)), _chunks(rows, chunk, len(weight))
    fork(_products, (rows, grad, chunk, length, centre, sums, products), len(sums))
    shift, slope, scale = _add_up(sums), _add_up(products), np.empty_like(centre)
    for c in range(len(centre)):
        spread = np.float64(invstd[c])
        of_weight, of_bias = slope[c] * spread, shift[c]
        grad_weight[c], grad_bias[c] = of_weight, of_bias
        slope[c], shift[c], scale[c] = -of_weight * spread / count, -of_bias / count, weight[c] * spread
    fork(_combine_rows, (rows, grad, centre, slope, shift, scale, grad_input), tasks)


@serial
def _products(rows, grad, chunk, length, mean, sums, products, chunks, k):
    """Add to zeros: sum of a chunk's gradient, and of gradient times deviation from the mean, of each column."""
    rows, grad = rows[k * chunk : (k + 1) * chunk], grad[k * chunk : (k + 1) * chunk]
    flat, flat_grad, middle = rows.reshape(rows.size), grad.reshape(rows.size), np.empty((2, length), rows.dtype)
    _repeat(mean, middle)
    _column_sums(flat_grad, flat_grad, middle, length, sums[k])
    _column_products(flat, flat_grad, middle, length, products[k])


@serial
def _combine_rows(rows, grad, mean, slope, shift, scale, grad_input, tasks, task):
    """(grad + shift + (row - mean) * slope) * scale."""
    begin, end = portion(len(rows), tasks, task)
    length, numbers = _stretch(len(mean)), _numbers(rows, 4, len(mean))
    _repeat(mean, numbers[0])
    _repeat(slope, numbers[1])
    _repeat(shift, numbers[2])
    _repeat(scale, numbers[3])
    high, low, slopes, shifts, scales = numbers[0, 0], numbers[0, 1], numbers[1, 0], numbers[2, 0], numbers[3, 0]
    flat, flat_grad, flat_input = rows.reshape(rows.size), grad.reshape(rows.size), grad_input.reshape(rows.size)
    first, last, group = begin * len(mean), end * len(mean), length * _GROUP
    for corner in _last_first(first, last, group):
        for start in range(corner, min(corner + group, last), length):
            stop = min(start + length, last)
            part, gradient, result = flat[start:stop], flat_grad[start:stop], flat_input[start:stop]
            whole = len(part) - len(part) % lanes_of(part)
            for i in range(0, whole, lanes_of(part)):
                deviation = (load(part, i) - load(high, i)) - load(low, i)
                moved = (load(gradient, i) + load(shifts, i)) + deviation * load(slopes, i)
                store(result, i, moved * load(scales, i))
            for i in range(whole, len(part)):
                deviation = (part[i] - high[i]) - low[i]
                result[i] = ((gradient[i] + shifts[i]) + deviation * slopes[i]) * scales[i]
