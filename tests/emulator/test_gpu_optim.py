"""Optimiser steps on the device: the reference's, whatever lies around the arrays and however many there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases

ADAM = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1)
SGD = dict(lr=0.1, dampening=0.25)
RMSPROP = dict(lr=0.1, alpha=0.9, eps=1e-3)
shapes = st.sampled_from([(), (0,), (1,), (7, 5), (3, 2, 2, 2), (1023,), (1025,), (5, 419)])
flags = st.booleans()
MARGIN = 2048  # elements on either side: adam gets addresses, around which the emulator has no unreadable pages


class Step:
    """Equal arrays for two runs of a step. The device's lie in larger ones, which nobody may write."""

    def __init__(self, rng, dtype, shape, order):
        self.values = [np.array(np.abs(rng.normal(size=shape)), dtype) for _ in range(5)]
        self.rooms = [np.full(value.size + 2 * MARGIN, 77, dtype) for value in self.values]
        self.arrays = [
            room[MARGIN:-MARGIN].reshape(value.shape) for room, value in zip(self.rooms, self.values, strict=True)
        ]
        if order and shape:  # reversed axes in memory for the parameter, and for all of its arrays or none
            views = [room[MARGIN:-MARGIN].reshape(shape[::-1]).T for room in self.rooms]
            self.arrays = views if order == 1 else [views[0], *self.arrays[1:]]
        for array, value in zip(self.arrays, self.values, strict=True):
            array[...] = value

    def check(self, dtype, used):
        """The arrays at `used` are what the reference made of the values; the others are as they were."""
        for room in self.rooms:
            assert (room[:MARGIN] == 77).all() and (room[-MARGIN:] == 77).all()
        for i, (array, value) in enumerate(zip(self.arrays, self.values, strict=True)):
            tiny = 16 * np.finfo(dtype).eps if i in used else 0
            np.testing.assert_allclose(array, value, rtol=tiny, atol=tiny)


@settings(max_examples=40)
@given(
    st.lists(shapes, max_size=5), st.lists(st.integers(1, 5), min_size=5, max_size=5),
    st.lists(st.integers(0, 2), min_size=5, max_size=5), flags, flags, cases.dtypes, cases.seeds, orders,
)  # fmt: skip
def test_adam(sizes, steps, memory, decoupled, epsilon_hat, dtype, seed, order):
    rng = np.random.default_rng(seed)
    held = [Step(rng, dtype, size, m) for size, m in zip(sizes, memory, strict=False)]
    options = ADAM | dict(steps=steps[: len(sizes)], decoupled=decoupled, epsilon_hat=epsilon_hat)
    run(kernels.adam_steps_, *[[step.arrays[i] for step in held] for i in range(4)], order=order, **options)
    reference(kernels.adam_steps_, *[[step.values[i] for step in held] for i in range(4)], **options)
    for step in held:
        step.check(dtype, used=(0, 2, 3))


@settings(max_examples=40)
@given(shapes, st.integers(0, 2), st.sampled_from([0, 0.9]), st.sampled_from([0, 0.1]), flags, flags, cases.dtypes,
       cases.seeds, orders)  # fmt: skip
def test_sgd(size, memory, momentum, decay, nesterov, first, dtype, seed, order):
    step = Step(np.random.default_rng(seed), dtype, size, memory)
    options = SGD | dict(momentum=momentum, weight_decay=decay, nesterov=nesterov, first=first)
    run(kernels.sgd_step_, *step.arrays[:3], order=order, **options)
    reference(kernels.sgd_step_, *step.values[:3], **options)
    step.check(dtype, used=(0, 2) if momentum else (0,))


@settings(max_examples=40)
@given(shapes, st.integers(0, 2), st.sampled_from([0, 0.9]), st.sampled_from([0, 0.1]), flags, flags, cases.dtypes,
       cases.seeds, orders)  # fmt: skip
def test_rmsprop(size, memory, momentum, decay, centered, inside, dtype, seed, order):
    step = Step(np.random.default_rng(seed), dtype, size, memory)
    step.values[4][...] *= 0.1  # the mean of the gradient, whose square is below the mean of its square
    step.values[2][...] += 1
    step.arrays[4][...] *= 0.1
    step.arrays[2][...] += 1
    options = RMSPROP | dict(momentum=momentum, weight_decay=decay, centered=centered, eps_inside_sqrt=inside)
    run(kernels.rmsprop_step_, *step.arrays, order=order, **options)
    reference(kernels.rmsprop_step_, *step.values, **options)
    step.check(dtype, used=(0, 2, *([3] if momentum else []), *([4] if centered else [])))


@pytest.mark.parametrize("count", [56, 57, 113])
def test_adam_of_more_parameters_than_a_launch_takes(count):
    rng = np.random.default_rng(0)
    arrays = [[np.abs(rng.normal(size=1 + i % 7)) for i in range(count)] for _ in range(4)]
    expected = [[a.copy() for a in column] for column in arrays]
    options = ADAM | dict(steps=[1 + i % 5 for i in range(count)], decoupled=True)
    run(kernels.adam_steps_, *arrays, **options)
    reference(kernels.adam_steps_, *expected, **options)
    for column, wanted in zip(arrays, expected, strict=True):
        for a, b in zip(column, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_adam_of_one_parameter_is_adam_of_a_list_of_one():
    rng = np.random.default_rng(0)
    arrays = [np.abs(rng.normal(size=(3, 5))) for _ in range(4)]
    expected = [a.copy() for a in arrays]
    run(kernels.adam_step_, *arrays, step=2, decoupled=False, **ADAM)
    reference(kernels.adam_step_, *expected, step=2, decoupled=False, **ADAM)
    np.testing.assert_allclose(arrays, expected, rtol=1e-13, atol=1e-15)


def test_a_constant_gradient_never_makes_the_centred_variance_negative():
    param, grad = np.zeros(4, "float32"), np.array([0.1, 0.3, 0.7, 1e-3], "float32")
    square, mean = np.zeros((2, 4), "float32")
    options = RMSPROP | dict(alpha=0.5, momentum=0, weight_decay=0, centered=True)
    for _ in range(60):
        run(kernels.rmsprop_step_, param, grad, square, None, mean, **options)
    assert np.isfinite(param).all()


def test_missing_state_is_refused():
    ones = np.ones(3)
    with pytest.raises(ValueError, match="momentum_buffer must be an array where momentum is not 0, given None"):
        run(kernels.sgd_step_, ones, ones.copy(), None, momentum=0.9, weight_decay=0, nesterov=False, first=True, **SGD)
    with pytest.raises(ValueError, match="grad_avg must be an array where centered is set, given None"):
        options = RMSPROP | dict(momentum=0, weight_decay=0, centered=True)
        run(kernels.rmsprop_step_, ones, ones.copy(), ones.copy(), None, None, **options)
