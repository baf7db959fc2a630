"""Optimiser steps, each in one pass over memory: elementwise, in place, on flat arrays."""

from functools import partial

import numpy as np
from numba import carray, prange, types
from numba.extending import intrinsic

from .. import reference
from ..geometry import integers
from .compile import entry, parallel, portion, serial, tasks_for
from .fork import fork
from .layout import copy_back, flattened, update_flat

_ADAM_TASK = 1 << 12  # elements that are worth a thread


@reference.sgd_step_.implementation("numba")
def sgd_step_(param, grad, momentum_buffer, *, lr, momentum, dampening, weight_decay, nesterov, first):
    reference.check_step(param, grad=grad, momentum_buffer=momentum_buffer)
    buffer = _state("momentum_buffer", momentum_buffer, param, momentum != 0, "momentum is not 0")
    numbers = map(param.dtype.type, (lr, momentum, 1 - dampening, weight_decay))
    update_flat(_sgd, [param, buffer], [grad], *numbers, bool(nesterov), bool(first))


@reference.adam_step_.implementation("numba")
def adam_step_(
    param, grad, exp_avg, exp_avg_sq, *, step, lr, beta1, beta2, eps, weight_decay, decoupled, epsilon_hat=False
):
    adam_steps_(
        [param],
        [grad],
        [exp_avg],
        [exp_avg_sq],
        steps=[step],
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled=decoupled,
        epsilon_hat=epsilon_hat,
    )


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
    reference.check_lists(params=params, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, steps=steps)
    steps = integers("step", steps, minimum=1)
    if not params:
        return
    table = np.empty((len(params), 5), np.int64)
    held, copied = [], []  # copies whose addresses stand in the table; what they must be copied back to
    for i, arrays in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)):
        param, grad, exp_avg, exp_avg_sq = arrays
        plain = all(a.flags.carray for a in arrays)
        if not plain or not param.shape == grad.shape == exp_avg.shape == exp_avg_sq.shape:
            reference.check_step(param, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
            (param, exp_avg, exp_avg_sq, grad), copies = flattened([param, exp_avg, exp_avg_sq], [grad])
            held += param, exp_avg, exp_avg_sq, grad
            copied += copies
        _note_addresses(table, i, param, grad, exp_avg, exp_avg_sq)
    decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = {t: _adam_numbers(t, lr, beta1, beta2, eps, epsilon_hat) + decay for t in set(steps)}
    elements = int(table[:, 4].sum())
    _adam(
        table, np.array([numbers[t] for t in steps], params[0].dtype), elements, tasks_for(-(-elements // _ADAM_TASK))
    )
    copy_back(copied)


def _adam_numbers(step, lr, beta1, beta2, eps, epsilon_hat):
    """The scalars of a step, such that param -= scale * m / (sqrt(v) * unbias + eps)."""
    root = (1 - beta2**step) ** 0.5
    scale, eps = lr / (1 - beta1**step), eps / root if epsilon_hat else eps
    return beta1, 1 - beta1, beta2, 1 - beta2, scale, 1 / root, eps


@reference.rmsprop_step_.implementation("numba")
def rmsprop_step_(
    param,
    grad,
    square_avg,
    momentum_buffer,
    grad_avg,
    *,
    lr,
    alpha,
    eps,
    weight_decay,
    momentum,
    centered,
    eps_inside_sqrt=False,
):
    reference.check_step(param, grad=grad, square_avg=square_avg, momentum_buffer=momentum_buffer, grad_avg=grad_avg)
    buffer = _state("momentum_buffer", momentum_buffer, param, momentum != 0, "momentum is not 0")
    average = _state("grad_avg", grad_avg, param, centered, "centered is set")
    inside, outside = (eps, 0) if eps_inside_sqrt else (0, eps)
    numbers = map(param.dtype.type, (lr, alpha, 1 - alpha, inside, outside, weight_decay, momentum))
    update_flat(_rmsprop, [param, square_avg, buffer, average], [grad], *numbers, bool(centered))


def _state(name, array, param, needed, reason):
    """The state array, or where the step does not use it an empty one, since compiled code takes no None."""
    if needed:
        reference.need_state(name, array, reason)
        return array
    return np.empty((0,) * param.ndim, param.dtype)


@parallel
def _sgd(param, buffer, grad, lr, momentum, keep, decay, nesterov, first):
    for i in prange(len(param)):
        step = grad[i]
        if decay != 0:
            step += decay * param[i]
        if momentum != 0:
            velocity = step if first else momentum * buffer[i] + keep * step
            buffer[i] = velocity
            step = step + momentum * velocity if nesterov else velocity
        param[i] -= lr * step


@intrinsic
def _pointer(typing_context, address):
    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


@serial
def _note_addresses(table, i, param, grad, exp_avg, exp_avg_sq):
    """Table rows hold four addresses and a number of elements: compiled code takes no list of arrays."""
    table[i, 0], table[i, 1] = param.ctypes.data, grad.ctypes.data
    table[i, 2], table[i, 3], table[i, 4] = exp_avg.ctypes.data, exp_avg_sq.ctypes.data, param.size


@partial(entry, work=lambda table, numbers, elements, tasks: elements)
def _adam(table, numbers, elements, tasks):
    fork(_adam_share, (table, numbers, elements), tasks)


@serial
def _adam_share(table, numbers, elements, tasks, task):
    """Update a task's share of the elements of all parameters, counted in one line."""
    begin, end = portion(elements, tasks, task)
    first = 0
    for i in range(len(table)):
        low, high = max(begin - first, 0), min(end - first, table[i, 4])
        if low < high:
            param = _elements_at(table[i, 0], low, high, numbers)
            grad = _elements_at(table[i, 1], low, high, numbers)
            exp_avg = _elements_at(table[i, 2], low, high, numbers)
            exp_avg_sq = _elements_at(table[i, 3], low, high, numbers)
            _adam_elements(param, grad, exp_avg, exp_avg_sq, numbers[i])
        first += table[i, 4]


@serial
def _elements_at(address, low, high, like):
    """Elements low ... high - 1 of the array of like's dtype that begins at `address`."""
    return carray(_pointer(address + low * like.itemsize), (high - low,), like.dtype)


@serial
def _adam_elements(param, grad, exp_avg, exp_avg_sq, numbers):
    beta1, rest1, beta2, rest2 = numbers[0], numbers[1], numbers[2], numbers[3]
    scale, unbias, eps, shrink, decay = numbers[4], numbers[5], numbers[6], numbers[7], numbers[8]
    for i in range(len(param)):
        value, g = param[i] * shrink, grad[i]
        if decay != 0:
            g += decay * value
        mean = beta1 * exp_avg[i] + rest1 * g
        square = beta2 * exp_avg_sq[i] + rest2 * g * g
        exp_avg[i], exp_avg_sq[i] = mean, square
        param[i] = value - scale * mean / (np.sqrt(square) * unbias + eps)


@parallel
def _rmsprop(param, square_avg, buffer, grad_avg, grad, lr, alpha, rest, inside, outside, decay, momentum, centered):
    for i in prange(len(param)):
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
