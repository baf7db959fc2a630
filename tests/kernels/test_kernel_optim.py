"""Optimiser steps: PyTorch's trajectories, Keras's variants, compiled against reference, and in-place manners."""

import json
from itertools import chain
from pathlib import Path

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

GOLDEN = json.loads((Path(__file__).parent / "golden" / "optim.json").read_text())
SGD = dict(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)
ADAM = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.0, decoupled=False)
RMSPROP = dict(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0.0, momentum=0.0, centered=False)
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", ["reference", "numba"])


def step_like(name, options):
    """A function (param, grad, state, t) that makes step t as the golden optimiser `name` does."""
    options = dict(options)
    if name.startswith("sgd"):
        options = SGD | options
        return lambda p, g, s, t: kernels.sgd_step_(p, g, s[0], **options, first=t == 1)
    if name.startswith("adam"):
        beta1, beta2 = options.pop("betas")
        options |= dict(beta1=beta1, beta2=beta2, decoupled=name == "adamw")
        return lambda p, g, s, t: kernels.adam_step_(p, g, s[0], s[1], step=t, **options)
    options = RMSPROP | options
    return lambda p, g, s, t: kernels.rmsprop_step_(p, g, *s, **options)


@IMPLEMENTATIONS
@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "torch"])
def test_follows_pytorch(name, implementation):
    golden = GOLDEN[name]
    step = step_like(name, golden["options"])
    param = np.array(golden["start"])
    state = np.zeros((3, *param.shape))
    with kernels.use(implementation):
        for t, (grad, expected) in enumerate(zip(golden["grads"], golden["params"], strict=True), start=1):
            step(param, np.array(grad), state, t)
            np.testing.assert_allclose(param, expected, rtol=1e-13, atol=1e-14)


@IMPLEMENTATIONS
def test_keras_places_for_epsilon(implementation):
    grad, eps, lr = 0.5, 0.25, 0.1
    with kernels.use(implementation):
        param, m, v = np.ones(1), np.zeros(1), np.zeros(1)
        kernels.adam_step_(param, np.full(1, grad), m, v, step=1, **ADAM | dict(eps=eps), epsilon_hat=True)
        rate = lr * (1 - 0.99) ** 0.5 / (1 - 0.9)
        assert param[0] == pytest.approx(1 - rate * (0.1 * grad) / ((0.01 * grad**2) ** 0.5 + eps), rel=1e-14)
        param, v = np.ones(1), np.zeros(1)
        options = RMSPROP | dict(eps=eps)
        kernels.rmsprop_step_(param, np.full(1, grad), v, None, None, **options, eps_inside_sqrt=True)
        assert param[0] == pytest.approx(1 - lr * grad / (0.1 * grad**2 + eps) ** 0.5, rel=1e-14)


@st.composite
def steps(draw):
    """(step function, arrays): a compiled and a reference run must leave the same in all arrays."""
    flag, decay = st.booleans(), draw(st.sampled_from((0.0, 0.1)))
    momentum, centered = draw(st.sampled_from((0.0, 0.9))), draw(flag)
    kind = draw(st.sampled_from(("sgd", "adam", "rmsprop")))
    if kind == "sgd":
        options = SGD | dict(
            momentum=momentum, dampening=0.2, weight_decay=decay, nesterov=draw(flag), first=draw(flag)
        )
        return lambda p, g, a, b, c: kernels.sgd_step_(p, g, a if momentum else None, **options)
    if kind == "adam":
        options = ADAM | dict(
            weight_decay=decay, decoupled=draw(flag), epsilon_hat=draw(flag), step=draw(st.integers(1, 9))
        )
        return lambda p, g, a, b, c: kernels.adam_step_(p, g, a, b, **options)
    options = RMSPROP | dict(weight_decay=decay, momentum=momentum, centered=centered, eps_inside_sqrt=draw(flag))
    return lambda p, g, a, b, c: kernels.rmsprop_step_(
        p, g, b, a if momentum else None, c if centered else None, **options
    )


@settings(max_examples=80)
@given(
    steps(),
    st.one_of(st.just(()), st.tuples(st.integers(0, 40)), st.tuples(*[st.integers(0, 5)] * 4)),
    cases.dtypes,
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    cases.seeds,
)
def test_equals_the_reference_in_any_memory_order(step, shape, dtype, orders, seed):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(5, *shape))).astype(dtype)
    values[4] = 0  # the average of gradients, whose square may not exceed the average of squares

    def arrays():
        return [in_memory_order(values[i, ...], order) for i, order in enumerate(orders)]

    compiled, expected = arrays(), arrays()
    step(*compiled)
    cases.reference(lambda *a: step(*a), *expected)
    for a, b in zip(compiled, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=16 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(compiled[1], values[1])


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([(), (0,), (3,), (5000,), (4, 3, 2, 5), (70, 90)]), max_size=6),
    cases.dtypes,
    st.lists(st.integers(0, 3), min_size=24, max_size=24),
    st.lists(st.integers(1, 5), min_size=6, max_size=6),
    st.booleans(),
    cases.seeds,
)
def test_adam_of_many_parameters_is_adam_of_each(shapes, dtype, orders, steps, decoupled, seed):
    rng = np.random.default_rng(seed)
    values = [[np.array(np.abs(rng.normal(size=shape)), dtype) for shape in shapes] for _ in range(4)]
    options = ADAM | dict(weight_decay=0.1, decoupled=decoupled)

    def arrays():
        order = iter(orders)
        return [[in_memory_order(value[...], next(order)) for value in column] for column in values]

    together, alone, expected = arrays(), arrays(), arrays()
    kernels.adam_steps_(*together, steps=steps[: len(shapes)], **options)
    for *one, step in zip(*alone, steps, strict=False):
        kernels.adam_step_(*one, step=step, **options)
    cases.reference(kernels.adam_steps_, *expected, steps=steps[: len(shapes)], **options)
    tolerance = {"rtol": 16 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    for a, b, c in zip(*map(chain.from_iterable, (together, alone, expected)), strict=True):
        assert cases.same_bits(a, b)
        np.testing.assert_allclose(a, c, **tolerance)
    for grad, before in zip(together[1], values[1], strict=True):
        np.testing.assert_array_equal(grad, before)


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
def test_adam_does_not_depend_on_how_work_is_cut(monkeypatch, tasks):
    rng = np.random.default_rng(0)
    arrays = [[np.abs(rng.normal(size=size)).astype("float32") for size in (9000, 1, 70_000, 33)] for _ in range(4)]
    expected = [[a.copy() for a in column] for column in arrays]
    for *one, step in zip(*expected, (1, 2, 3, 4), strict=True):
        kernels.adam_step_(*one, step=step, **ADAM)
    monkeypatch.setattr("kernels.cpu.optim.tasks_for", lambda items: tasks)
    kernels.adam_steps_(*arrays, steps=[1, 2, 3, 4], **ADAM)
    assert all(map(cases.same_bits, chain(*arrays), chain(*expected)))


@IMPLEMENTATIONS
def test_bad_lists_are_refused(implementation):
    ones = [np.ones(3) for _ in range(4)]
    lists = [[a] for a in ones]
    with kernels.use(implementation):
        with pytest.raises(ValueError, match="all lists must have one length, given params 1, grads 1, exp_avgs 0"):
            kernels.adam_steps_(lists[0], lists[1], [], lists[3], steps=[1], **ADAM)
        with pytest.raises(
            TypeError, match=r"all arrays must share one dtype, given params\[0\] float64, grads\[0\] float32"
        ):
            kernels.adam_steps_(lists[0], [np.ones(3, "float32")], lists[2], lists[3], steps=[1], **ADAM)
        with pytest.raises(TypeError, match=r"grads\[1\] must be a NumPy or CuPy array, given list"):
            kernels.adam_steps_(ones[:2], [ones[2], [1, 2, 3]], ones[:2], ones[:2], steps=[1, 1], **ADAM)
        with pytest.raises(ValueError, match=r"grad must have the shape of param, \(3,\), given \(2,\)"):
            kernels.adam_steps_(lists[0], [np.ones(2)], lists[2], lists[3], steps=[1], **ADAM)
    assert ones[0].tolist() == [1, 1, 1]


def in_memory_order(value, order):
    """A copy of `value`: C order, reversed axes, with gaps, or with negative strides."""
    if order == 1:
        return value.T.copy().T
    if order == 2 and value.ndim:
        return np.repeat(value, 2, axis=-1)[..., ::2]
    if order == 3 and value.ndim:
        return value[::-1].copy()[::-1]
    return value.copy()


@IMPLEMENTATIONS
def test_unused_state_stays_as_it_is(implementation):
    param, grad, buffer = np.ones(3), np.ones(3), np.full(3, np.nan)
    with kernels.use(implementation):
        kernels.sgd_step_(param, grad, buffer, **SGD, first=False)
        assert np.isnan(buffer).all()
        kernels.sgd_step_(param, grad, buffer, **SGD | dict(momentum=0.9), first=True)
    assert buffer.tolist() == [1, 1, 1]
    np.testing.assert_allclose(param, 0.8)


@IMPLEMENTATIONS
def test_a_constant_gradient_never_makes_the_centred_variance_negative(implementation):
    param, grad = np.zeros(4, "float32"), np.array([0.1, 0.3, 0.7, 1e-3], "float32")
    state = np.zeros((2, 4), "float32")
    with kernels.use(implementation):
        for _ in range(200):
            kernels.rmsprop_step_(param, grad, state[0], None, state[1], **RMSPROP | dict(centered=True, alpha=0.5))
    assert np.isfinite(param).all()


@IMPLEMENTATIONS
def test_bad_arrays_are_refused(implementation):
    ones = np.ones(3)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with kernels.use(implementation):
        with pytest.raises(ValueError, match=r"grad must have the shape of param, \(3,\), given \(2,\)"):
            kernels.sgd_step_(ones, np.ones(2), None, **SGD, first=True)
        with pytest.raises(ValueError, match="param is changed in place, but the array given is read-only"):
            kernels.sgd_step_(frozen, ones, None, **SGD, first=True)
        with pytest.raises(ValueError, match="momentum_buffer must be an array where momentum is not 0, given None"):
            kernels.sgd_step_(ones, ones, None, **SGD | dict(momentum=0.9), first=True)
        with pytest.raises(ValueError, match="grad_avg must be an array where centered is set, given None"):
            kernels.rmsprop_step_(ones, ones, ones.copy(), None, None, **RMSPROP | dict(centered=True))
        with pytest.raises(ValueError, match="step must hold ints of at least 1"):
            kernels.adam_step_(ones, ones, ones.copy(), ones.copy(), step=0, **ADAM)
        kernels.sgd_step_(ones, frozen, None, **SGD, first=True)
    np.testing.assert_allclose(ones, 0.9)
