"""Exact tail probabilities of the binomial and the chi-square law.

Each function returns both tails. A small one is never computed as 1 minus the other, so that probabilities of 1e-300
are as accurate as those of 0.1.
"""

import math
from itertools import count


def binomial_tails(successes: int, trials: int, p: float) -> tuple[float, float]:
    """P(X <= successes) and P(X >= successes) for X binomial(trials, p).

    The tail away from the mean is summed term by term, each from the one before; relative error about
    1e-16 log(trials!).
    """
    if not 0 <= p <= 1:
        raise ValueError(f"binomial_tails: p must lie between 0 and 1, got {p}")
    if not 0 <= successes <= trials:
        raise ValueError(f"binomial_tails: expected 0 to {trials} successes, got {successes}")
    here = _binomial_probability(successes, trials, p)
    if successes > trials * p:
        upper = _upper_sum(successes, trials, p, here)
        return 1 - upper + here, upper
    lower = _upper_sum(trials - successes, trials, 1 - p, here)  # the same tail, counted in failures
    return lower, 1 - lower + here


def _binomial_probability(k: int, n: int, p: float) -> float:
    if p in (0, 1):
        return float(k == n * p)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def _upper_sum(k: int, n: int, p: float, term: float) -> float:
    """P(X >= k) from the term P(X = k), for k not below the mean, where terms fall."""
    total = term
    for j in range(k, n):
        term *= (n - j) / (j + 1) * (p / (1 - p))
        total += term
        if term <= 1e-17 * total:
            break
    return total


def chi_square_tails(x: float, degrees: float) -> tuple[float, float]:
    """P(X <= x) and P(X >= x) for X chi-square with that many degrees of freedom.

    The regularised incomplete gamma functions P(a, y) and Q(a, y) at a = degrees / 2 and y = x / 2 (Abramowitz and
    Stegun 26.4.19): the series 6.5.29 below the mean, the continued fraction (the even part of 6.5.31) above.
    """
    if not (x >= 0 and degrees > 0):
        raise ValueError(f"chi_square_tails: expected x >= 0 and degrees > 0, got {x} and {degrees}")
    a, y = degrees / 2, x / 2
    if y in (0, math.inf):
        return (0.0, 1.0) if y == 0 else (1.0, 0.0)
    factor = math.exp(a * math.log(y) - y - math.lgamma(a))
    if y < a + 1:
        lower = factor * _gamma_series(a, y)
        return lower, 1 - lower
    upper = factor * _gamma_fraction(a, y)
    return 1 - upper, upper


def _gamma_series(a: float, y: float) -> float:
    """1/a + y / (a (a+1)) + y^2 / (a (a+1) (a+2)) + ..."""
    total = term = 1 / a
    for n in count(1):
        term *= y / (a + n)
        total += term
        if term <= 1e-17 * total:
            return total


def _gamma_fraction(a: float, y: float) -> float:
    """1 / (y+1-a - 1(1-a) / (y+3-a - 2(2-a) / (y+5-a - ...))), from the front by Lentz's method."""
    b = y + 1 - a
    c, d = math.inf, 1 / b
    value = d
    for n in count(1):
        b += 2
        numerator = n * (a - n)
        d = 1 / (b + numerator * d)
        c = b + numerator / c
        value *= c * d
        if abs(c * d - 1) < 1e-16:
            return value
