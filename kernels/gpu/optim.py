"""Optimiser steps, each in one pass over memory, in place; Adam for a list of parameters in one launch.

The table of the parameters' addresses is an argument of the launch, so nothing is copied to the GPU beforehand.
"""

import numpy as np

from .. import reference
from ..geometry import integers
from .layout import TYPES, contiguous, ctype, memory_order
from .module import blocks, launch

_THREADS = 256
_TENSORS, _ELEMENTS = 56, 1024  # of a launch of `adam`, and of a block of it: optim.cu says the same
_POINTERS = ("param", "exp_avg", "exp_avg_sq", "grad")
_OWN = ("scale", "unbias", "eps")  # numbers of each parameter, by its step
_SHARED = ("beta1", "rest1", "beta2", "rest2", "shrink", "decay")

INSTANCES = {"optim.cu": {f"{kernel}<{t}>": 0 for kernel in ("adam", "sgd", "rmsprop") for t in TYPES}}


@reference.sgd_step_.implementation("cuda", device="gpu")
def sgd_step_(param, grad, momentum_buffer, *, lr, momentum, dampening, weight_decay, nesterov, first):
    reference.check_step(param, grad=grad, momentum_buffer=momentum_buffer)
    if momentum != 0:
        reference.need_state("momentum_buffer", momentum_buffer, "momentum is not 0")
    buffer = momentum_buffer if momentum != 0 else None
    numbers = map(param.dtype.type, (lr, momentum, 1 - dampening, weight_decay))
    _update("sgd", [param, buffer], grad, *numbers, np.int32(nesterov), np.int32(first))


@reference.rmsprop_step_.implementation("cuda", device="gpu")
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
    if momentum != 0:
        reference.need_state("momentum_buffer", momentum_buffer, "momentum is not 0")
    if centered:
        reference.need_state("grad_avg", grad_avg, "centered is set")
    states = square_avg, momentum_buffer if momentum != 0 else None, grad_avg if centered else None
    inside, outside = (eps, 0) if eps_inside_sqrt else (0, eps)
    numbers = map(param.dtype.type, (lr, alpha, 1 - alpha, inside, outside, weight_decay, momentum))
    _update("rmsprop", [param, *states], grad, *numbers, np.int32(centered))


@reference.adam_step_.implementation("cuda", device="gpu")
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


@reference.adam_steps_.implementation("cuda", device="gpu")
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
    rows, copied = [], []
    for param, grad, exp_avg, exp_avg_sq, step in zip(params, grads, exp_avgs, exp_avg_sqs, steps, strict=True):
        reference.check_step(param, grad=grad, exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)
        arrays, copies = _dense([param, exp_avg, exp_avg_sq], grad)
        copied += copies
        if param.size:
            rows.append((*arrays, _adam_numbers(step, lr, beta1, beta2, eps, epsilon_hat)))
    decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    shared = dict(zip(_SHARED, (beta1, 1 - beta1, beta2, 1 - beta2, *decay), strict=True))
    for start in range(0, len(rows), _TENSORS):
        _launch_adam(rows[start : start + _TENSORS], shared)
    _copy_back(copied)


def _adam_numbers(step, lr, beta1, beta2, eps, epsilon_hat):
    """The scalars of a step, such that param -= scale * m / (sqrt(v) * unbias + eps)."""
    root = (1 - beta2**step) ** 0.5
    return lr / (1 - beta1**step), 1 / root, eps / root if epsilon_hat else eps


def _table_type(dtype):
    """AdamTable of optim.cu."""
    fields = [(name, np.uint64, _TENSORS) for name in _POINTERS] + [("count", np.int64, _TENSORS)]
    fields += [(name, dtype, _TENSORS) for name in _OWN] + [("end", np.int32, _TENSORS)]
    return np.dtype(fields + [(name, dtype) for name in _SHARED], align=True)


_TABLE_TYPES = {dtype: _table_type(dtype) for dtype in map(np.dtype, ("float32", "float64"))}


def _launch_adam(rows, shared):
    """One launch for up to _TENSORS rows of (param, exp_avg, exp_avg_sq, grad, numbers)."""
    *columns, numbers = zip(*rows, strict=True)
    dtype, used = columns[0][0].dtype, slice(0, len(rows))
    table = np.zeros(1, _TABLE_TYPES[dtype])
    for name, arrays in zip(_POINTERS, columns, strict=True):
        table[name][0, used] = [array.data.ptr for array in arrays]
    for name, values in zip(_OWN, zip(*numbers, strict=True), strict=True):
        table[name][0, used] = values
    for name, value in shared.items():
        table[name] = value
    counts = [array.size for array in columns[0]]
    ends = np.cumsum([blocks(count, _ELEMENTS) for count in counts])
    table["count"][0, used], table["end"][0, used] = counts, ends
    launch("optim.cu", f"adam<{ctype(dtype)}>", (int(ends[-1]),), (_THREADS,), (table,))


def _update(kernel, written, grad, *numbers):
    """Launch kernel(param, grad, *states, *numbers, count) over dense memory; written = [param, *states]."""
    present = [array for array in written if array is not None]
    dense, copied = _dense(present, grad)
    *arrays, grad = dense
    param, count = arrays[0], np.int64(arrays[0].size)
    states = [None if array is None else arrays.pop(1) for array in written[1:]]
    if count:
        name, grid = f"{kernel}<{ctype(param.dtype)}>", (blocks(param.size, _THREADS),)
        launch("optim.cu", name, grid, (_THREADS,), (param, grad, *states, *numbers, count))
    _copy_back(copied)


def _dense(written, grad):
    """The arrays without gaps, all in the memory order of written[0]; (view, copy) where a written one was copied."""
    arrays = [*written, grad]
    if all(array.flags.c_contiguous for array in arrays):
        return arrays, []
    order, _ = memory_order(written[0])
    views = [array.transpose(order) for array in arrays]
    dense = [contiguous(view) for view in views]
    return dense, [(view, copy) for view, copy in zip(views[:-1], dense, strict=False) if copy is not view]


def _copy_back(copied):
    for view, copy in copied:
        view[...] = copy
