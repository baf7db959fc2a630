"""Optimiser steps, each in one pass over memory: elementwise, in place, on flat arrays."""

import numpy as np
from numba import prange

from .. import reference
from ..geometry import integers
from .compile import parallel
from .layout import update_flat


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
    reference.check_step(param, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
    (step,) = integers("step", (step,), minimum=1)
    root = (1 - beta2**step) ** 0.5
    eps = eps / root if epsilon_hat else eps
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = (beta1, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1**step), root, eps, shrink, decay)
    update_flat(_adam, [param, exp_avg, exp_avg_sq], [grad], *map(param.dtype.type, numbers))


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


@parallel
def _adam(param, exp_avg, exp_avg_sq, grad, beta1, rest1, beta2, rest2, scale, root, eps, shrink, decay):
    for i in prange(len(param)):
        value, g = param[i] * shrink, grad[i]
        if decay != 0:
            g += decay * value
        mean = beta1 * exp_avg[i] + rest1 * g
        square = beta2 * exp_avg_sq[i] + rest2 * g * g
        exp_avg[i], exp_avg_sq[i] = mean, square
        param[i] = value - scale * mean / (np.sqrt(square) / root + eps)


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
