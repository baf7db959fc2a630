"""Activations and arithmetic: symmetries, and Euler's theorem for what grows in proportion."""

import numpy as np
import pytest
from hypothesis import given

from scratchnet import ops
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import arrays, broadcastable_shapes, dtypes, integral, normal, seeds, shapes

drawn = given(arrays(shapes(max_dims=3), dtypes()))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "softplus", "silu", "gelu"])
@drawn
def test_the_odd_part_of_a_rectifier_is_linear(name, x):
    """f(x) - f(-x) = x for softplus and for x P(x) with P(x) + P(-x) = 1; leaky_relu's slopes add up to 1.01."""
    function = getattr(F, name)
    difference = laws.value(function, x).astype(np.float64) - laws.value(function, -x)
    slope = 1.01 if name == "leaky_relu" else 1.0
    laws.agree("odd part", difference, slope * x, laws.gamma(32, x.dtype) * (1 + np.abs(x)))


@pytest.mark.parametrize("name", ["tanh", "sin", "erf", "neg", "hardtanh"])
@drawn
def test_odd_functions_are_odd(name, x):
    laws.commutes(getattr(ops, name), np.negative, np.negative, x)


@pytest.mark.parametrize(("name", "degree"), [("relu", 1), ("leaky_relu", 1), ("abs", 1), ("neg", 1), ("square", 2)])
@drawn
def test_functions_that_grow_in_proportion_obey_euler(name, degree, x):
    [g] = normal(7, x.shape, dtype=x.dtype)
    laws.homogeneous(getattr(ops, name), x, g, degree, terms=4)


@given(broadcastable_shapes(2), seeds(), dtypes())
def test_gradients_of_broadcast_arithmetic_are_adjoints(pair, seed, dtype):
    (a, b), shape = integral(seed, *pair, dtype=dtype), np.broadcast_shapes(*pair)
    [g] = integral(seed + 1, shape, dtype=dtype)
    for function in (
        lambda t: t * Tensor(b),
        lambda t: Tensor(b) * t,
        lambda t: (t + Tensor(b)) - Tensor(b),
        lambda t: ops.where(Tensor(b > 0), t, -t),
        lambda t: ops.expand(t, shape),
    ):
        laws.adjoint(function, a, g, terms=0, absolute=lambda t: t * 3 + Tensor(np.zeros(shape, dtype)))


@given(broadcastable_shapes(2), seeds(), dtypes())
def test_larger_and_smaller_add_up(pair, seed, dtype):
    a, b = map(Tensor, integral(seed, *pair, dtype=dtype))
    laws.agree("max + min = a + b", ops.maximum(a, b) + ops.minimum(a, b), a + b)
    laws.agree("|a - b|", ops.maximum(a, b) - ops.minimum(a, b), ops.abs(a - b))
