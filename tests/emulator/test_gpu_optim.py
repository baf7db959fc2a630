"""Optimiser steps on the device: the reference's, whatever lies around the arrays and however many there are."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels.gpu import optim
from tests.emulator import emulate
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases

SGD = dict(lr=0.1, dampening=0.25)
ADAM = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3)
RMSPROP = dict(lr=0.1, alpha=0.9, eps=1e-3)
shapes = st.sampled_from([(), (0,), (1,), (7, 5), (3, 2, 2, 2), (1023,), (1025,), (5, 419)])
flags, momenta, decays = st.booleans(), st.sampled_from([0, 0.9]), st.sampled_from([0, 0.1])
counts = st.lists(st.integers(1, 3), min_size=5, max_size=5)  # the number of each parameter's step


class Guarded:
    """A copy of an array that ends where an unreadable page begins: kernels get addresses, which nobody else guards."""

    def __init__(self, value):
        room = np.empty(value.nbytes + 16, np.uint8)
        start = -(room.ctypes.data + value.nbytes) % 16  # the memory keeps the alignment, and now its end has 16
        self.memory = emulate._Guarded(room[start : start + value.nbytes])
        there = (ctypes.c_char * value.nbytes).from_address(self.memory.address)
        self.array = np.ndarray(value.shape, value.dtype, there)
        self.array[...] = value


class Step:
    """Equal arrays for two runs of a step, param, grad and three of state; the device's are guarded."""

    def __init__(self, rng, dtype, shape, order):
        self.values = [np.array(np.abs(rng.normal(size=shape)), dtype) for _ in range(5)]
        self.values[2] += 1  # the mean of squares: no less than
        self.values[4] *= 0.1  # the square of a mean
        turned = {0: [], 1: range(5), 2: [0]}[order]  # whose axes are reversed in memory: all, or the parameter's
        self.guarded = [Guarded(value.T if i in turned else value) for i, value in enumerate(self.values)]
        self.arrays = [kept.array.T if i in turned else kept.array for i, kept in enumerate(self.guarded)]

    def check(self, dtype, written):
        """The arrays at `written` are what the reference made of the values; the others are as they were."""
        for i, (array, value) in enumerate(zip(self.arrays, self.values, strict=True)):
            tiny = 16 * np.finfo(dtype).eps if i in written else 0
            np.testing.assert_allclose(array, value, rtol=tiny, atol=tiny)
        for kept in self.guarded:
            kept.memory.check_edges()
            kept.memory.release()


class Steps:
    """Up to five of them, which a call of the kernel takes together."""

    def __init__(self, sizes, memory, dtype, seed):
        rng = np.random.default_rng(seed)
        self.dtype = dtype
        self.held = [Step(rng, dtype, size, m) for size, m in zip(sizes, memory, strict=False)]

    def check(self, kernel, places, order, **options):
        """Both runs of the kernel with the lists at `places` (None: no list) leave the same."""
        for runner, which in ((run, "arrays"), (reference, "values")):
            lists = [None if i is None else [getattr(step, which)[i] for step in self.held] for i in places]
            runner(kernel, *lists, **({"order": order} if runner is run else {}), **options)
        for step in self.held:
            step.check(self.dtype, {0, *places[2:]} - {None})


several = st.builds(
    Steps, st.lists(shapes, max_size=5), st.lists(st.integers(0, 2), min_size=5, max_size=5), cases.dtypes, cases.seeds
)


@settings(max_examples=40)
@given(several, counts, decays, flags, flags, orders)
def test_adam(steps, counts, decay, decoupled, epsilon_hat, order):
    options = ADAM | dict(steps=counts[: len(steps.held)], weight_decay=decay)
    steps.check(kernels.adam_steps_, (0, 1, 3, 2), order, decoupled=decoupled, epsilon_hat=epsilon_hat, **options)


@settings(max_examples=40)
@given(several, counts, momenta, decays, flags, orders)
def test_sgd(steps, counts, momentum, decay, nesterov, order):
    options = SGD | dict(momentum=momentum, weight_decay=decay, firsts=[t == 1 for t in counts[: len(steps.held)]])
    steps.check(kernels.sgd_steps_, (0, 1, 2 if momentum else None), order, nesterov=nesterov, **options)


@settings(max_examples=40)
@given(several, momenta, decays, flags, flags, orders)
def test_rmsprop(steps, momentum, decay, centered, inside, order):
    options = RMSPROP | dict(momentum=momentum, weight_decay=decay, centered=centered, eps_inside_sqrt=inside)
    places = (0, 1, 2, 3 if momentum else None, 4 if centered else None)
    steps.check(kernels.rmsprop_steps_, places, order, **options)


@pytest.mark.parametrize("count", [64, 65, 129])
def test_more_parameters_than_a_launch_takes(count, monkeypatch):
    launched, launch = [], optim.launch
    monkeypatch.setattr(optim, "launch", lambda *given: launched.append(given) or launch(*given))
    rng = np.random.default_rng(0)
    arrays = [[np.abs(rng.normal(size=1 + i % 7)) for i in range(count)] for _ in range(4)]
    expected = [[a.copy() for a in column] for column in arrays]
    options = ADAM | dict(steps=[3] * count, decoupled=True, weight_decay=0.1)
    run(kernels.adam_steps_, *arrays, **options)
    reference(kernels.adam_steps_, *expected, **options)
    assert len(launched) == -(-count // 64)
    for column, wanted in zip(arrays, expected, strict=True):
        for a, b in zip(column, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_the_largest_table_is_no_larger_than_an_argument_may_be():
    kinds = (("Sgd", 6), ("Adam", 9), ("RmsProp", 8))
    assert max(optim._table_type(rule, np.dtype("float64"), numbers).itemsize for rule, numbers in kinds) <= 4096


def test_a_constant_gradient_never_makes_the_centred_variance_negative():
    param, grad = np.zeros(4, "float32"), np.array([0.1, 0.3, 0.7, 1e-3], "float32")
    square, mean = np.zeros((2, 4), "float32")
    options = RMSPROP | dict(alpha=0.5, momentum=0, weight_decay=0, centered=True)
    for _ in range(60):
        run(kernels.rmsprop_steps_, [param], [grad], [square], None, [mean], **options)
    assert np.isfinite(param).all()


def test_missing_state_is_refused():
    ones = [np.ones(3)]
    options = dict(momentum=0.9, weight_decay=0, nesterov=False, firsts=[True])
    with pytest.raises(
        ValueError, match="momentum_buffers must be a list of arrays where momentum is not 0, given None"
    ):
        run(kernels.sgd_steps_, ones, ones, None, **SGD | options)
    options = RMSPROP | dict(momentum=0, weight_decay=0, centered=True)
    with pytest.raises(ValueError, match="grad_avgs must be a list of arrays where centered is set, given None"):
        run(kernels.rmsprop_steps_, ones, ones, ones, None, None, **options)
