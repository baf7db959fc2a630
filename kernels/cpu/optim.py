"""Optimiser steps for lists of parameters: elementwise, in place, in one pass over memory and one fork for all."""

import ctypes

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .. import reference
from ..geometry import integers
from .compile import entry, portion, serial, tasks_for
from .fork import fork
from .layout import copy_back, flattened

_TASK = 1 << 12  # elements that are worth a thread
_ARRAYS = 5  # of a row, at most: param, grad and three states
_SIZE, _FIRST = _ARRAYS, _ARRAYS + 1  # columns after their addresses: elements, and those of all rows before


@reference.sgd_steps_.implementation("numba")
def sgd_steps_(
    params,
    grads,
    momentum_buffers,
    *,
    firsts,
    lr,
    momentum,
    dampening,
    weight_decay,
    nesterov,
):
    momentum_buffers = reference.state("momentum_buffers", momentum_buffers, momentum != 0, "momentum is not 0")
    rows = reference.step_rows(params, grads, {"firsts": firsts}, momentum_buffers=momentum_buffers)
    shared = (lr, momentum, 1 - dampening, weight_decay, nesterov)
    _update(_sgd, rows, [(*shared, bool(first)) for first in firsts])


@reference.adam_steps_.implementation("numba")
def adam_steps_(
    params,
    grads,
    exp_avgs,
    exp_avg_sqs,
    *,
    steps,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    epsilon_hat=False,
):
    steps = integers("steps", steps, minimum=1)
    rows = reference.step_rows(params, grads, {"steps": steps}, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    shared = (beta1, 1 - beta1, beta2, 1 - beta2, *decay)
    rates = {step: reference.adam_rates(step, lr, beta1, beta2, eps, epsilon_hat) for step in set(steps)}
    _update(_adam, rows, [(*shared, *rates[step]) for step in steps])


@reference.rmsprop_steps_.implementation("numba")
def rmsprop_steps_(
    params,
    grads,
    square_avgs,
    momentum_buffers,
    grad_avgs,
    *,
    lr,
    alpha,
    eps,
    weight_decay,
    momentum,
    centered,
    eps_inside_sqrt=False,
):
    momentum_buffers = reference.state("momentum_buffers", momentum_buffers, momentum != 0, "momentum is not 0")
    grad_avgs = reference.state("grad_avgs", grad_avgs, centered, "centered is set")
    states = dict(square_avgs=square_avgs, momentum_buffers=momentum_buffers, grad_avgs=grad_avgs)
    rows = reference.step_rows(params, grads, {}, **states)
    inside, outside = (eps, 0) if eps_inside_sqrt else (0, eps)
    shared = (lr, alpha, 1 - alpha, inside, outside, weight_decay, momentum, bool(centered))
    _update(_rmsprop, rows, [shared] * len(rows))


def _update(core, rows, numbers):
    """Call `core` on all rows (param, grad, *states), each with its numbers; a state that is None is not followed.

    It gets a table of addresses and sizes, since compiled code takes no list of arrays.
    """
    if not rows:
        return
    table, elements = [], 0
    held, copied = [], []  # copies whose addresses stand in the table; what they must be copied back to
    unused = [0] * (_ARRAYS - len(rows[0]))
    for row in rows:
        addresses = list(map(_address, row))
        if None in addresses:
            row, copies = _copied(row)
            held += row
            copied += copies
            addresses = list(map(_address, row))
        table.append([*addresses, *unused, row[0].size, elements])
        elements += row[0].size
    numbers = np.array(numbers, rows[0][0].dtype)
    core(np.array(table, np.int64), numbers, elements, tasks_for(-(-elements // _TASK)))
    copy_back(copied)


def _address(array):
    """Of an array that loops can have as it is; None of another. 0.9 us, where NumPy's own ways take 2.5 to 4."""
    if array is None or not array.size:
        return 0
    return ctypes.addressof(ctypes.c_byte.from_buffer(array)) if array.flags.carray else None


def _copied(row):
    """A row with flat copies in place of arrays that are in another memory order, or have gaps; what to copy back."""
    param, grad, *states = row
    there = [array for array in states if array is not None]
    (param, *flat, grad), copies = flattened([param, *there], [grad])
    flat = iter(flat)
    return [param, grad, *[None if array is None else next(flat) for array in states]], copies


@intrinsic
def _pointer(typing_context, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@serial
def _elements_at(address, low, high, like):
    """Elements low ... high - 1 of the array of like's dtype that begins at `address`."""
    return carray(_pointer(address + low * like.itemsize), (high - low,), like.dtype)


@serial
def _part(row, like, elements, tasks, task):
    """(param, grad, *states) of one row, as far as they are in a task's share of the elements of all rows in one line.

    Not a generator of all parts: Numba never lets go of a generator's arguments, 1.3 KB a training step.
    """
    begin, end = portion(elements, tasks, task)
    low = max(begin - row[_FIRST], 0)
    high = max(low, min(end - row[_FIRST], row[_SIZE]))
    param, grad = _elements_at(row[0], low, high, like), _elements_at(row[1], low, high, like)
    a, b = _elements_at(row[2], low, high, like), _elements_at(row[3], low, high, like)
    return param, grad, a, b, _elements_at(row[4], low, high, like)


def _in_shares(step):
    """Decorator: the entry point f(table, numbers, elements, tasks) that makes the step of all rows, in shares."""
    name = step.__qualname__
    step.__qualname__ = f"{name}.step"
    step = serial(step)

    def share(table, numbers, elements, tasks, task):
        for i in range(len(table)):
            step(numbers[i], *_part(table[i], numbers, elements, tasks, task))

    share.__qualname__ = f"{name}.share"
    share = serial(share)

    def run(table, numbers, elements, tasks):
        fork(share, (table, numbers, elements), tasks)

    run.__qualname__ = name
    return entry(run, is_small=lambda table, numbers, elements, tasks: tasks == 1)


@_in_shares
def _sgd(numbers, param, grad, buffer, _a, _b):
    lr, momentum, keep, decay = numbers[0], numbers[1], numbers[2], numbers[3]
    nesterov, first = numbers[4] != 0, numbers[5] != 0
    for i in range(len(param)):
        step = grad[i]
        if decay != 0:
            step += decay * param[i]
        if momentum != 0:
            velocity = step if first else momentum * buffer[i] + keep * step
            buffer[i] = velocity
            step = step + momentum * velocity if nesterov else velocity
        param[i] -= lr * step


@_in_shares
def _adam(numbers, param, grad, exp_avg, exp_avg_sq, _):
    beta1, rest1, beta2, rest2, shrink, decay = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    scale, unbias, eps = numbers[6], numbers[7], numbers[8]
    for i in range(len(param)):
        value, g = param[i] * shrink, grad[i]
        if decay != 0:
            g += decay * value
        mean = beta1 * exp_avg[i] + rest1 * g
        square = beta2 * exp_avg_sq[i] + rest2 * g * g
        exp_avg[i], exp_avg_sq[i] = mean, square
        param[i] = value - scale * mean / (np.sqrt(square) * unbias + eps)


@_in_shares
def _rmsprop(numbers, param, grad, square_avg, buffer, grad_avg):
    lr, alpha, rest, inside, outside, decay = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    momentum, centered = numbers[6], numbers[7] != 0
    for i in range(len(param)):
        g = grad[i]
        if decay != 0:
            g += decay * param[i]
        variance = alpha * square_avg[i] + rest * g * g
        square_avg[i] = variance
        if centered:
            mean = alpha * grad_avg[i] + rest * g
            grad_avg[i] = mean
            variance -= mean * mean
            if variance < 0:
                variance = param.dtype.type(0)  # rounding must not make it negative
        step = g / (np.sqrt(variance + inside) + outside)
        if momentum != 0:
            step += momentum * buffer[i]
            buffer[i] = step
        param[i] -= lr * step
