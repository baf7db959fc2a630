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
        return lambda p, g, s, t: kernels.sgd_steps_([p], [g], [s[0]], **options, firsts=[t == 1])
    if name.startswith("adam"):
        beta1, beta2 = options.pop("betas")
        options |= dict(beta1=beta1, beta2=beta2, decoupled=name == "adamw")
        return lambda p, g, s, t: kernels.adam_steps_([p], [g], [s[0]], [s[1]], steps=[t], **options)
    options = RMSPROP | options
    return lambda p, g, s, t: kernels.rmsprop_steps_([p], [g], *([a] for a in s), **options)


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
        options = ADAM | dict(eps=eps, steps=[1], epsilon_hat=True)
        kernels.adam_steps_([param], [np.full(1, grad)], [m], [v], **options)
        rate = lr * (1 - 0.99) ** 0.5 / (1 - 0.9)
        assert param[0] == pytest.approx(1 - rate * (0.1 * grad) / ((0.01 * grad**2) ** 0.5 + eps), rel=1e-14)
        param, v = np.ones(1), np.zeros(1)
        options = RMSPROP | dict(eps=eps, eps_inside_sqrt=True)
        kernels.rmsprop_steps_([param], [np.full(1, grad)], [v], None, None, **options)
        assert param[0] == pytest.approx(1 - lr * grad / (0.1 * grad**2 + eps) ** 0.5, rel=1e-14)


@st.composite
def steps(draw):
    """(kernel, places, options, {name: list}): a step on the arrays at `places`, with a number for each parameter."""
    flag, decay = st.booleans(), draw(st.sampled_from((0.0, 0.1)))
    momentum, centered = draw(st.sampled_from((0.0, 0.9))), draw(flag)
    kind = draw(st.sampled_from(("sgd", "adam", "rmsprop")))
    counts = draw(st.lists(st.integers(1, 5), min_size=5, max_size=5))
    if kind == "sgd":
        options = SGD | dict(momentum=momentum, dampening=0.2, weight_decay=decay, nesterov=draw(flag))
        firsts = [count == 1 for count in counts]
        return kernels.sgd_steps_, (0, 1, 2 if momentum else None), options, {"firsts": firsts}
    if kind == "adam":
        options = ADAM | dict(weight_decay=decay, decoupled=draw(flag), epsilon_hat=draw(flag))
        return kernels.adam_steps_, (0, 1, 4, 3), options, {"steps": counts}
    options = RMSPROP | dict(weight_decay=decay, momentum=momentum, centered=centered, eps_inside_sqrt=draw(flag))
    return kernels.rmsprop_steps_, (0, 1, 3, 2 if momentum else None, 4 if centered else None), options, {}


sizes = st.one_of(
    st.sampled_from([(), (0,), (5000,), (70, 90)]), st.tuples(st.integers(0, 40)), st.tuples(*[st.integers(0, 5)] * 4)
)


@settings(max_examples=100)
@given(
    steps(),
    st.lists(sizes, max_size=5),
    cases.dtypes,
    st.lists(st.integers(0, 3), min_size=25, max_size=25),
    cases.seeds,
)
def test_steps_of_many_parameters_are_those_of_each_and_the_references(step, shapes, dtype, orders, seed):
    kernel, places, options, numbers = step
    rng = np.random.default_rng(seed)
    values = [[np.array(np.abs(rng.normal(size=shape)), dtype) for shape in shapes] for _ in range(5)]
    for mean in values[4]:  # the average of gradients, whose square may not exceed the average of squares
        mean[...] = 0
    numbers = {name: given[: len(shapes)] for name, given in numbers.items()}

    def arrays():
        order = iter(orders)
        return [[in_memory_order(value[...], next(order)) for value in column] for column in values]

    def lists_of(columns, of=slice(None)):
        return [None if place is None else columns[place][of] for place in places]

    together, alone, expected = arrays(), arrays(), arrays()
    kernel(*lists_of(together), **numbers, **options)
    for i in range(len(shapes)):
        one = slice(i, i + 1)
        kernel(*lists_of(alone, one), **{name: given[one] for name, given in numbers.items()}, **options)
    cases.reference(kernel, *lists_of(expected), **numbers, **options)
    tolerance = {"rtol": 16 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    for a, b, c in zip(*map(chain.from_iterable, (together, alone, expected)), strict=True):
        assert cases.same_bits(a, b)
        np.testing.assert_allclose(a, c, **tolerance)
    untouched = {1, 2, 3, 4} - set(places[2:]) if shapes else ()
    for place in untouched:
        assert all(map(np.array_equal, together[place], values[place]))


@pytest.mark.parametrize("tasks", [1, 2, 3, 7])
@pytest.mark.parametrize("kernel", cases.STEPS, ids=lambda kernel: kernel.name)
def test_steps_do_not_depend_on_how_work_is_cut(monkeypatch, kernel, tasks):
    count, options, numbers = cases.STEPS[kernel]
    rng = np.random.default_rng(0)
    arrays = [[np.abs(rng.normal(size=size)).astype("float32") for size in (9000, 1, 70_000, 33)] for _ in range(count)]
    expected = [[a.copy() for a in column] for column in arrays]
    unused = [None] * (len(kernel.arrays) - count)
    for i in range(4):
        own = {name: given[i : i + 1] for name, given in numbers.items()}
        kernel(*([column[i]] for column in expected), *unused, **own, **options)
    monkeypatch.setattr("kernels.cpu.optim.tasks_for", lambda items: tasks)
    kernel(*arrays, *unused, **numbers, **options)
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
        with pytest.raises(ValueError, match=r"grads\[0\] must have the shape of params\[0\], \(3,\), given \(2,\)"):
            kernels.adam_steps_(lists[0], [np.ones(2)], lists[2], lists[3], steps=[1], **ADAM)
        mixed = np.ones(3), np.ones(3, "float32")
        kernels.adam_steps_(*((np.ones(3),) for _ in range(4)), steps=[1], **ADAM)
        with pytest.raises(TypeError, match="all arrays must share one dtype"):
            kernels.adam_steps_(mixed, mixed, mixed, mixed, steps=[1, 1], **ADAM)
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
        kernels.sgd_steps_([param], [grad], [buffer], **SGD, firsts=[False])
        assert np.isnan(buffer).all()
        kernels.sgd_steps_([param], [grad], [buffer], **SGD | dict(momentum=0.9), firsts=[True])
    assert buffer.tolist() == [1, 1, 1]
    np.testing.assert_allclose(param, 0.8)


@IMPLEMENTATIONS
def test_a_constant_gradient_never_makes_the_centred_variance_negative(implementation):
    param, grad = np.zeros(4, "float32"), np.array([0.1, 0.3, 0.7, 1e-3], "float32")
    square, mean = np.zeros((2, 4), "float32")
    options = RMSPROP | dict(centered=True, alpha=0.5)
    with kernels.use(implementation):
        for _ in range(200):
            kernels.rmsprop_steps_([param], [grad], [square], None, [mean], **options)
    assert np.isfinite(param).all()


@IMPLEMENTATIONS
def test_bad_arrays_are_refused(implementation):
    ones, others = [np.ones(3)], [np.ones(3)]
    frozen = [np.ones(3)]
    frozen[0].flags.writeable = False
    first = dict(firsts=[True])
    with kernels.use(implementation):
        with pytest.raises(ValueError, match=r"grads\[1\] must have the shape of params\[1\], \(2,\), given \(3,\)"):
            kernels.sgd_steps_([*ones, np.ones(2)], [*others, *others], None, **SGD, firsts=[True, True])
        with pytest.raises(ValueError, match=r"params\[0\] is changed in place, but the array given is read-only"):
            kernels.sgd_steps_(frozen, ones, None, **SGD, **first)
        with pytest.raises(
            ValueError, match="momentum_buffers must be a list of arrays where momentum is not 0, given"
        ):
            kernels.sgd_steps_(ones, ones, None, **SGD | dict(momentum=0.9), **first)
        with pytest.raises(ValueError, match="grad_avgs must be a list of arrays where centered is set, given None"):
            kernels.rmsprop_steps_(ones, others, others, None, None, **RMSPROP | dict(centered=True))
        with pytest.raises(ValueError, match="steps must hold ints of at least 1"):
            kernels.adam_steps_(ones, others, others, others, steps=[0], **ADAM)
        assert ones[0].tolist() == [1, 1, 1]
        kernels.sgd_steps_(ones, frozen, None, **SGD, **first)
    np.testing.assert_allclose(ones[0], 0.9)
