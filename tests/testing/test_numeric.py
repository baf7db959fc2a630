"""Numeric derivatives are as good as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.testing import derivative
from scratchnet.testing.numeric import moves, noise, sides, slope

FUNCTIONS = [
    (math.sin, math.cos),
    (math.exp, math.exp),
    (lambda t: 1 / (1.5 - t), lambda t: 1 / (1.5 - t) ** 2),
    (lambda t: t**5 + 2 * t, lambda t: 5 * t**4 + 2),
    (math.atan, lambda t: 1 / (1 + t * t)),
    (lambda t: math.sin(300 * t), lambda t: 300 * math.cos(300 * t)),
    (lambda t: 1e6 + math.tanh(t), lambda t: 1 - math.tanh(t) ** 2),
    (lambda t: abs(t - 1.0), lambda t: math.copysign(1.0, t - 1.0)),
]


@given(st.sampled_from(FUNCTIONS), st.floats(-1, 0.99))
def test_error_bar_holds_the_error(pair, x):
    function, true = pair
    value, error = derivative(lambda t: function(x + t))
    assert abs(value - true(x)) <= error
    assert error <= 1e-8 * max(abs(true(x)), 1) or function(0) == 1e6


@pytest.mark.parametrize(
    ("function", "value"),
    [(math.sin, 1.0), (lambda t: math.exp(3 * t), 3.0), (lambda t: 1 / (1 - t), 1.0), (lambda t: t**5 + 2 * t, 2.0)],
)
def test_twelve_digits_of_smooth_functions(function, value):
    estimate, error = derivative(function)
    assert abs(estimate - value) <= error < 1e-10


def test_elements_have_bars_of_their_own():
    """The rounding of 1e6 is not in the derivative of what stands beside it."""
    found = slope(lambda t: np.array([1e6 + t, 1e-6 * t, 5.0]))
    np.testing.assert_allclose(found.value, [1, 1e-6, 0], rtol=1e-7)
    assert 1e-10 < found.error[0] < 1e-6
    assert 0 < found.error[1] < 1e-18
    assert found.error[2] == 0


def test_step_shrinks_until_it_sees_the_structure():
    value, error = derivative(lambda t: math.sin(1e5 * t))
    assert abs(value - 1e5) <= error < 1


def test_step_shrinks_into_the_domain():
    def log(t):
        if t <= -1e-5:
            raise ValueError
        return math.log(1e-5 + t)

    value, error = derivative(log)
    assert abs(value - 1e5) <= error < 1


def test_no_values_around_the_point_no_derivative():
    assert derivative(lambda t: 0.0 if t == 0 else math.nan)[1] == math.inf


def test_linear_functions_take_three_values():
    calls = []
    found = slope(lambda t: calls.append(t) or np.array([3 * t + 1]), linear=True)
    assert sorted(calls) == [-1, 0, 1]
    assert abs(found.value[0] - 3) <= found.error[0] < 1e-13


@pytest.mark.parametrize("function", [np.sin, np.exp, lambda t: t**4, lambda t: np.sqrt(1e-4 + t * t)])
def test_smooth_functions_do_not_bend(function):
    assert not slope(lambda t: function(np.array([t]))).bends()
    assert sides(lambda t: function(np.array([t])), 2.0**-22) is None


@pytest.mark.parametrize("gap", [2.0, 1e-3, 1e-5])
def test_kink_bends_by_the_gap(gap):
    found = slope(lambda t: np.array([np.sin(t) + gap / 2 * abs(t), 1.0]))
    assert found.bends()
    assert abs(found.bend[0] - gap) <= 1e-9
    one = sides(lambda t: np.array([np.sin(t) + gap / 2 * abs(t), 1.0]), 2.0**-22)
    assert one.right[0] - one.left[0] == pytest.approx(gap, rel=1e-2)
    assert not one.diverge


@pytest.mark.parametrize("function", [np.sign, np.cbrt, lambda t: np.sqrt(np.abs(t)), lambda t: (t > 0) * 1.0])
def test_jumps_and_infinite_slopes_diverge(function):
    assert sides(lambda t: function(np.array([t])), 2.0**-22).diverge


def test_end_of_the_domain_has_one_side():
    found = sides(lambda t: np.array([t * np.sqrt(t) if t >= 0 else np.nan]), 2.0**-22)
    assert found.left is None
    assert found.right is not None


@pytest.mark.parametrize("level", [1e-12, 1e-9, 1e-6])
def test_noise_is_measured(level):
    generator = np.random.default_rng(0)
    estimates = [
        noise(lambda t: np.array([math.sin(t) + level * generator.standard_normal(), t]), 2.0**-16) for _ in range(50)
    ]
    assert 0.3 * level < np.median(estimates, axis=0)[0] < 2 * level
    assert np.max(estimates, axis=0)[1] < 1e-15


def test_noise_is_not_mistaken_for_a_kink_or_a_jump():
    assert noise(lambda t: np.array([abs(t)]), 2.0**-16) < 1e-15
    assert noise(lambda t: np.sign(np.array([t])), 2.0**-16) < 1e-15


def test_what_is_flat_nearby_only_moves_all_the_same():
    found = moves(lambda t: np.array([max(t - 0.5, 0.0), 1.0, math.tanh(40 + 30 * t)]))
    np.testing.assert_array_equal(found, [True, False, True])
