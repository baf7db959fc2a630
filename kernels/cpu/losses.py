"""Softmax and cross entropy together, a row of logits at a time while it is in the first-level cache.

Sums and maxima go through vector registers: LLVM may not reorder them by itself. Lanes are joined in one order, so
results depend on the number of classes and on nothing else.
"""

import numpy as np

from .. import reference
from .compile import entry, portion, serial, tasks_for
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import empty
from .special import exp
from .vector import choose, exceeds, lanes, largest, load, total, use_whole_registers, zeros


@reference.cross_entropy.implementation("numba")
def cross_entropy(input, target):
    reference.check_classes(input.shape, target=target.shape)
    rows = _rows(input)
    loss, log_sum = empty(target.shape, input.dtype), empty(target.shape, input.dtype)
    _losses(rows, plain(target).reshape(-1), loss.reshape(-1), log_sum.reshape(-1), tasks_for(len(rows)))
    return loss, log_sum


@reference.cross_entropy_backward.implementation("numba")
def cross_entropy_backward(grad_output, input, target, log_sum):
    reference.check_classes(input.shape, target=target.shape, grad_output=grad_output.shape, log_sum=log_sum.shape)
    rows = _rows(input)
    grad_input = empty(rows.shape, input.dtype)
    flat = [plain(a).reshape(-1) for a in (target, grad_output, log_sum)]
    _gradients(rows, *flat, grad_input, tasks_for(len(rows)))
    n, classes, *rest = input.shape
    return channels_first(grad_input.reshape(n, *rest, classes))


def _rows(array):
    """(N, C, ...) as channels-last rows (M, C)."""
    return channels_last(array).reshape(array.size // array.shape[1], array.shape[1])


@entry
def _losses(rows, labels, loss, log_sum, tasks):
    fork(_losses_of_rows, (rows, labels, loss, log_sum), tasks)


@serial
def _losses_of_rows(rows, labels, loss, log_sum, tasks, task):
    use_whole_registers()
    classes = rows.shape[1]
    powers = np.empty(classes, rows.dtype)
    for m in range(*portion(len(rows), tasks, task)):
        row = rows[m]
        highest = _maximum(row)
        for c in range(classes):
            powers[c] = exp(row[c] - highest)
        log_sum[m] = np.log(_sum(powers))
        known = 0 <= labels[m] < classes
        loss[m] = log_sum[m] - (row[labels[m]] - highest) if known else rows.dtype.type(0)


@entry
def _gradients(rows, labels, grad, log_sum, grad_input, tasks):
    fork(_gradients_of_rows, (rows, labels, grad, log_sum, grad_input), tasks)


@serial
def _gradients_of_rows(rows, labels, grad, log_sum, grad_input, tasks, task):
    use_whole_registers()
    classes = rows.shape[1]
    for m in range(*portion(len(rows), tasks, task)):
        row, result = rows[m], grad_input[m]
        if not 0 <= labels[m] < classes:
            for c in range(classes):
                result[c] = 0
            continue
        highest, rest, scale = _maximum(row), log_sum[m], grad[m]
        for c in range(classes):
            result[c] = exp((row[c] - highest) - rest) * scale
        result[labels[m]] -= scale


@serial
def _maximum(row):
    best, whole = row[0], len(row) - len(row) % lanes(row)
    if whole:
        widest = load(row, 0)
        for c in range(0, whole, lanes(row)):
            value = load(row, c)
            widest = choose(exceeds(value, widest), value, widest)
        best = largest(widest)
    for c in range(whole, len(row)):
        best = row[c] if row[c] > best or row[c] != row[c] else best
    return best


@serial
def _sum(row):
    sums, whole = zeros(row), len(row) - len(row) % lanes(row)
    for c in range(0, whole, lanes(row)):
        sums = sums + load(row, c)
    result = total(sums)
    for c in range(whole, len(row)):
        result += row[c]
    return result
