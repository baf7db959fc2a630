"""Optimiser steps for lists of parameters: elementwise, in place, in one pass over memory and one launch for up to 64.

The table of the parameters' addresses is an argument of the launch, so nothing is copied to the GPU beforehand.
Parameters whose numbers differ, since some took fewer steps, are launched apart.
"""

import functools

import numpy as np

from .. import reference
from ..geometry import integers
from .layout import TYPES, contiguous, ctype, memory_order
from .module import blocks, launch

_THREADS, _EACH, _TENSORS = 256, 4, 64  # of a block; of a thread and of a launch: optim.cu says the same
_STATES = {"Sgd": 1, "Adam": 2, "RmsProp": 3}

INSTANCES = {"optim.cu": {f"steps<{rule}<{t}>>": 0 for rule in _STATES for t in TYPES}}


@reference.sgd_steps_.implementation("cuda", device="gpu")
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
    _update("Sgd", rows, [(*shared, bool(first)) for first in firsts])


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
    steps = integers("steps", steps, minimum=1)
    rows = reference.step_rows(params, grads, {"steps": steps}, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    shared = (beta1, 1 - beta1, beta2, 1 - beta2, *decay)
    rates = {step: reference.adam_rates(step, lr, beta1, beta2, eps, epsilon_hat) for step in set(steps)}
    _update("Adam", rows, [(*shared, *rates[step]) for step in steps])


@reference.rmsprop_steps_.implementation("cuda", device="gpu")
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
    _update("RmsProp", rows, [shared] * len(rows))


def _update(rule, rows, numbers):
    """Launch a rule of optim.cu for rows (param, grad, *states), each with its numbers in the order of the rule's."""
    alike, copied = {}, []
    for row, own in zip(rows, numbers, strict=True):
        if row[0].size:
            dense, copies = _dense(row)
            alike.setdefault(own, []).append(dense)
            copied += copies
    for own, dense in alike.items():
        for start in range(0, len(dense), _TENSORS):
            _launch(rule, dense[start : start + _TENSORS], own)
    for view, copy in copied:
        view[...] = copy


def _launch(rule, rows, numbers):
    dtype = rows[0][0].dtype
    table = np.zeros(1, _table_type(rule, dtype, len(numbers)))
    for i, row in enumerate(rows):
        table["arrays"][0, : len(row), i] = [0 if array is None else array.data.ptr for array in row]
    counts = [row[0].size for row in rows]
    ends = np.cumsum([blocks(count, _THREADS * _EACH) for count in counts])
    table["count"][0, : len(rows)], table["end"][0, : len(rows)], table["rule"] = counts, ends, numbers
    launch("optim.cu", f"steps<{rule}<{ctype(dtype)}>>", (int(ends[-1]),), (_THREADS,), (table,))


@functools.cache
def _table_type(rule, dtype, numbers):
    """Table of optim.cu: its addresses of params, grads and states are `arrays` here."""
    fields = [("arrays", np.uint64, (2 + _STATES[rule], _TENSORS)), ("count", np.int64, _TENSORS)]
    return np.dtype([*fields, ("end", np.int32, _TENSORS), ("rule", dtype, numbers)], align=True)


def _dense(row):
    """The arrays without gaps, all in the memory order of the first; (view, copy) where a written one was copied."""
    if all(array is None or array.flags.c_contiguous for array in row):
        return row, []
    order, _ = memory_order(row[0])
    views = [array if array is None else array.transpose(order) for array in row]
    dense = [view if view is None else contiguous(view) for view in views]
    copied = [pair for i, pair in enumerate(zip(views, dense, strict=True)) if i != 1 and pair[0] is not pair[1]]
    return dense, copied
