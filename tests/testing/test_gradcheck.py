"""The checkers are judged by what must turn them red."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.ops import OPS
from scratchnet.ops.registry import S, op
from scratchnet.tensor import Tensor
from scratchnet.testing import GradientError, derivative, gradcheck, gradgradcheck

X = np.random.default_rng(3).standard_normal((3, 4))


@pytest.fixture
def declare():
    """Declare ops that leave the registry again after the test."""
    before = set(OPS)
    yield lambda vjp: op(vjp=vjp, samples=lambda r: [S(X)], reference=np.sin)
    for name in set(OPS) - before:
        del OPS[name]


def broken_sin(declare, vjp):
    @declare({"x": vjp})
    def broken(x, /):
        """sin with a gradient of the test's choice."""
        return np.sin(x)

    return broken


def test_right_gradients_pass(declare):
    good = broken_sin(declare, lambda g, x: g * sn.cos(x))
    assert gradcheck(good, [X])
    assert gradgradcheck(good, [X])


def one_entry_off(g, x, by):
    factor = np.ones_like(x.data)
    factor[1, 2] += by
    return g * sn.cos(x) * factor


@pytest.mark.parametrize(
    "vjp",
    [
        lambda g, x: g * sn.cos(x) * 1.001,
        lambda g, x: -(g * sn.cos(x)),
        lambda g, x: one_entry_off(g, x, 0.001),
        lambda g, x: one_entry_off(g, x, 1e-5),
        lambda g, x: g * sn.cos(x).float().double(),
        lambda g, x: g * 0.0,
    ],
    ids=["all 0.1 % off", "sign", "one entry 0.1 % off", "one entry 1e-5 off", "rounded to float32", "zero"],
)
def test_wrong_first_order_is_found(declare, vjp):
    with pytest.raises(GradientError, match=r"FAIL: broken, order 1, float64\. Input 0 \(x\)"):
        gradcheck(broken_sin(declare, vjp), [X])


def test_the_wrong_entry_is_named(declare):
    with pytest.raises(GradientError, match=r"Input 0 \(x\) at \[1, 2\]: gradient .*Wrong entries: 1 of 12"):
        gradcheck(broken_sin(declare, lambda g, x: one_entry_off(g, x, 0.05)), [X])


def test_error_that_a_cotangent_of_ones_would_hide_is_found(declare):
    """The deviation sums to zero over the cotangent's mean, as a wrong batch-norm gradient's does."""
    broken = broken_sin(declare, lambda g, x: g * sn.cos(x) + (g - g.mean()) * 0.1)
    with pytest.raises(GradientError):
        gradcheck(broken, [X])


@pytest.mark.parametrize(
    "vjp",
    [
        lambda g, x: g * sn.cos(x.detach()),
        lambda g, x: g * sn.cos(x.detach()) * 0.999 + g * sn.cos(x) * 0.001,
        lambda g, x: g.detach() * sn.cos(x),
    ],
    ids=["saved array used raw", "0.1 % of it differentiable", "cotangent used raw"],
)
def test_wrong_second_order_is_found(declare, vjp):
    broken = broken_sin(declare, vjp)
    assert gradcheck(broken, [X])
    with pytest.raises((GradientError, RuntimeError)):
        gradgradcheck(broken, [X])


def test_a_gradient_that_never_arrives_is_found():
    with pytest.raises(GradientError):
        gradcheck(lambda x, y: x * y.detach(), [X, X + 1.0])


@pytest.mark.parametrize(
    "inputs",
    [[X.astype(np.float16)], [X, X.astype(np.float32)], [np.arange(3)], []],
    ids=["float16", "mixed", "integers", "none"],
)
def test_inputs_of_other_dtypes_are_refused(inputs):
    with pytest.raises(TypeError, match="all float64 or all float32, got"):
        gradcheck(lambda *xs: sn.sin(xs[0]), inputs)


@pytest.mark.parametrize(
    ("function", "value"),
    [(math.sin, 1.0), (lambda t: math.exp(3 * t), 3.0), (lambda t: 1 / (1 - t), 1.0), (lambda t: t**5 + 2 * t, 2.0)],
)
def test_numeric_derivative_and_its_error_estimate(function, value):
    estimate, error = derivative(function)
    assert abs(estimate - value) <= max(4 * error, 1e-13)
    assert error < 1e-8


def test_integer_inputs_are_left_alone():
    index = np.array([2, 0])
    assert gradcheck(lambda x, i: sn.getitem(x, index=i.data), [X, index])


def test_shared_input_is_differentiated_once_for_each_use():
    assert gradcheck(lambda x: x * x + Tensor(X), [X])
