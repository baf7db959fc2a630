"""Tail probabilities against exact sums."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.testing.tails import binomial_tails, chi_square_tails


def binomial_sums(k, n, p):
    p = Fraction(p)
    terms = [math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(n + 1)]
    return float(sum(terms[: k + 1])), float(sum(terms[k:]))


@given(data=st.data(), n=st.integers(1, 60), p=st.sampled_from([0.0, 1e-6, 0.01, 0.25, 0.5, 0.9, 1 - 2**-40, 1.0]))
def test_binomial(data, n, p):
    k = data.draw(st.integers(0, n))
    assert binomial_tails(k, n, p) == pytest.approx(binomial_sums(k, n, p), rel=1e-12, abs=1e-290)


def test_binomial_of_a_million():
    """Around the mean both tails are (1 + P(X = mean)) / 2; Stirling gives P(X = mean) to 1e-12."""
    n = 1_000_000
    middle = math.sqrt(2 / (math.pi * n)) * (1 - 1 / (4 * n))
    assert binomial_tails(n // 2, n, 0.5) == pytest.approx(((1 + middle) / 2,) * 2, rel=1e-8)
    assert binomial_tails(0, n, 0.5)[0] == 0 and binomial_tails(0, n, 0.5)[1] == pytest.approx(1)


def poisson_sums(x, half):
    """Chi-square with 2 m degrees: P(X >= x) is the chance of fewer than m Poisson events at rate x / 2."""
    terms = [math.exp(-x / 2 + j * math.log(x / 2) - math.lgamma(j + 1)) for j in range(half + 2000)]
    return math.fsum(terms[half:]), math.fsum(terms[:half])


@given(x=st.floats(1e-3, 700), half=st.integers(1, 200))
def test_chi_square_of_even_degrees(x, half):
    assert chi_square_tails(x, 2 * half) == pytest.approx(poisson_sums(x, half), rel=1e-11, abs=1e-290)


@given(x=st.floats(1e-6, 600))
def test_chi_square_of_one_degree_is_a_squared_normal(x):
    z = math.sqrt(x / 2)
    assert chi_square_tails(x, 1) == pytest.approx((math.erf(z), math.erfc(z)), rel=1e-12)


def test_chi_square_of_a_million():
    """Wilson and Hilferty's (1931) cube root is normal, to 1e-6 here."""
    n = 1_000_000
    for x in (n - 5000.0, n + 0.0, n + 5000.0):
        z = ((x / n) ** (1 / 3) - (1 - 2 / (9 * n))) / math.sqrt(2 / (9 * n))
        assert chi_square_tails(x, n)[1] == pytest.approx(math.erfc(z / math.sqrt(2)) / 2, rel=1e-4)


def test_ends_and_wrong_use():
    assert chi_square_tails(0, 3) == (0, 1) and chi_square_tails(math.inf, 3) == (1, 0)
    for call in (
        lambda: binomial_tails(3, 2, 0.5),
        lambda: binomial_tails(1, 2, -0.1),
        lambda: chi_square_tails(-1, 2),
        lambda: chi_square_tails(math.nan, 2),
        lambda: chi_square_tails(1, 0),
    ):
        with pytest.raises(ValueError):
            call()
