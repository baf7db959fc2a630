"""Batch normalisation over channels-last rows: statistics in fixed chunks, then one pass that writes.

A chunk of rows stays in cache while its mean and its sum of squared deviations are taken; chunks are joined by the
formula of Chan, Golub and LeVeque (1983). Chunks depend on the shape alone, so results do not depend on the number of
threads. Arithmetic inside is float64: the loops wait for memory anyway.
"""

import numpy as np
from numba import prange

from .. import reference
from ..geometry import same_shapes
from .compile import parallel, portion, serial, tasks_for
from .layout import channels_first, channels_last
from .memory import empty

_CHUNK_ELEMENTS = 1 << 15


@reference.batch_norm.implementation("numba")
def batch_norm(input, weight, bias, *, eps):
    reference.check_batch_norm(input.shape, weight=weight.shape, bias=bias.shape)
    rows, starts = _rows(input)
    means, squares = np.zeros((2, len(starts) - 1, rows.shape[1]))
    _chunk_moments(rows, starts, means, squares)
    counts, count = np.diff(starts)[:, None], max(len(rows), 1)
    mean = (counts * means).sum(axis=0) / count
    variance = (squares.sum(axis=0) + (counts * np.square(means - mean)).sum(axis=0)) / count
    invstd = 1 / np.sqrt(variance + eps)
    output = empty(rows.shape, input.dtype)
    _scale(rows, mean, invstd * weight, bias.astype(np.float64), output, tasks_for(len(rows)))
    return _shaped(output, input), mean.astype(input.dtype), invstd.astype(input.dtype)


@reference.batch_norm_backward.implementation("numba")
def batch_norm_backward(grad_output, input, weight, mean, invstd):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    reference.check_batch_norm(input.shape, weight=weight.shape, mean=mean.shape, invstd=invstd.shape)
    (rows, starts), (grad_rows, _) = _rows(input), _rows(grad_output)
    mean, invstd = mean.astype(np.float64), invstd.astype(np.float64)
    sums, products = np.zeros((2, len(starts) - 1, rows.shape[1]))
    _chunk_products(rows, grad_rows, starts, mean, sums, products)
    grad_bias, grad_weight = sums.sum(axis=0), products.sum(axis=0) * invstd
    scale, count = invstd * weight, max(len(rows), 1)
    slope, shift = -scale * invstd * grad_weight / count, -scale * grad_bias / count
    grad_input = empty(rows.shape, input.dtype)
    _combine(rows, grad_rows, mean, scale, slope, shift, grad_input, tasks_for(len(rows)))
    return _shaped(grad_input, input), grad_weight.astype(input.dtype), grad_bias.astype(input.dtype)


def _rows(array):
    """(N, C, ...) as channels-last rows (M, C), and where its chunks of rows start and end."""
    channels = array.shape[1]
    count = array.size // max(channels, 1)
    step = max(1, _CHUNK_ELEMENTS // max(channels, 1))
    return channels_last(array).reshape(count, channels), np.append(np.arange(0, count, step), count)


def _shaped(rows, like):
    """Rows (M, C) in the shape of (N, C, ...)."""
    n, channels, *rest = like.shape
    return channels_first(rows.reshape(n, *rest, channels))


@parallel
def _chunk_moments(rows, starts, means, squares):
    for chunk in prange(len(means)):
        _moments(rows[starts[chunk] : starts[chunk + 1]], means[chunk], squares[chunk])


@serial
def _moments(rows, mean, square):
    """Add up mean and sum of squared deviations from it, for each column."""
    for row in rows:
        for c in range(len(mean)):
            mean[c] += row[c]
    for c in range(len(mean)):
        mean[c] /= len(rows)
    for row in rows:
        for c in range(len(mean)):
            deviation = row[c] - mean[c]
            square[c] += deviation * deviation


@parallel
def _scale(rows, mean, scale, bias, output, tasks):
    for task in prange(tasks):
        begin, end = portion(len(rows), tasks, task)
        for m in range(begin, end):
            for c in range(rows.shape[1]):
                output[m, c] = (rows[m, c] - mean[c]) * scale[c] + bias[c]


@parallel
def _chunk_products(rows, grad_rows, starts, mean, sums, products):
    for chunk in prange(len(sums)):
        begin, end = starts[chunk], starts[chunk + 1]
        _products(rows[begin:end], grad_rows[begin:end], mean, sums[chunk], products[chunk])


@serial
def _products(rows, grad_rows, mean, total, product):
    """Add up grad, and grad times deviation from the mean, for each column."""
    for m in range(len(rows)):
        row, grad = rows[m], grad_rows[m]
        for c in range(len(mean)):
            total[c] += grad[c]
            product[c] += grad[c] * (row[c] - mean[c])


@parallel
def _combine(rows, grad_rows, mean, scale, slope, shift, grad_input, tasks):
    for task in prange(tasks):
        begin, end = portion(len(rows), tasks, task)
        for m in range(begin, end):
            for c in range(rows.shape[1]):
                grad_input[m, c] = scale[c] * grad_rows[m, c] + slope[c] * (rows[m, c] - mean[c]) + shift[c]
