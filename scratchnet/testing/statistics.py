"""Statistical tests of random code, with a declared rate of false alarms.

    mask = F.dropout(sn.ones(100_000), 0.25, generator=generator).data == 0
    check_bernoulli_rate(mask, 0.25)

Every check is given independent draws and the law they should follow. It computes a p-value: an upper bound, valid for
every number of samples, on the probability that draws from that law lie at least as far off. It raises StatisticalError
where the p-value is below ``alpha``, and returns it otherwise. Right code therefore fails at most once in 1 / alpha
seeds: a million, by default. ``python -m scratchnet.testing.false_alarms`` measures that.

Samples are arrays or tensors of any shape, taken as one list of independent draws.
"""

import math

import numpy as np

from scratchnet.tensor import Tensor
from scratchnet.testing.tails import binomial_tails, chi_square_tails

FALSE_ALARM = 1e-6
"""Default probability, at most, with which right code fails a check."""


class StatisticalError(AssertionError):
    """Samples are so far from their declared law that chance is no explanation."""


def check_bernoulli_rate(outcomes, p: float, *, alpha: float = FALSE_ALARM) -> float:
    """Booleans (or zeros and ones) that are true with probability ``p``.

    Two-sided and exact: twice the smaller binomial tail (Clopper and Pearson 1934).
    """
    hits = _values(outcomes).ravel()
    if not np.isin(hits, (0, 1)).all():
        raise ValueError("check_bernoulli_rate: outcomes must be booleans, or zeros and ones")
    found = int(hits.sum())
    return _decide(
        _two_sided(binomial_tails(found, hits.size, p)),
        alpha,
        f"{found} of {hits.size} outcomes are true, p is {p:.6g}",
    )


def check_frequencies(labels, probabilities, *, alpha: float = FALSE_ALARM) -> float:
    """Integers that are i with probability ``probabilities[i]``.

    Each label's count is binomial: the smallest of their exact p-values, times the number of labels (Bonferroni).
    """
    labels, probabilities = _values(labels).ravel(), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 1 or abs(probabilities.sum() - 1) > 1e-9:
        raise ValueError(f"check_frequencies: probabilities must be a list with sum 1, got {probabilities}")
    strange = labels[~np.isin(labels, np.arange(len(probabilities)))]
    if strange.size:
        raise StatisticalError(f"label {strange[0]} is none of 0 to {len(probabilities) - 1}")
    counts = np.bincount(labels.astype(np.intp), minlength=len(probabilities))
    pvalues = [
        _two_sided(binomial_tails(int(c), labels.size, float(p))) for c, p in zip(counts, probabilities, strict=True)
    ]
    worst = int(np.argmin(pvalues))
    what = f"label {worst} occurs {counts[worst]} times in {labels.size}, its probability is {probabilities[worst]:.6g}"
    return _decide(len(pvalues) * pvalues[worst], alpha, what)


def check_mean(
    samples,
    mean: float,
    *,
    std: float | None = None,
    bounds: tuple[float, float] | None = None,
    alpha: float = FALSE_ALARM,
) -> float:
    """Draws of expectation ``mean``, from a law of which either is known:

    std: the law is normal, uniform, or otherwise sub-Gaussian with this parameter: 2 exp(-n d^2 / (2 std^2)) for a
        sample mean that is d off (Chernoff).
    bounds: (low, high), between which all draws lie: 2 exp(-2 n d^2 / (high - low)^2) (Hoeffding 1963).
    both: any law within these bounds with at most this standard deviation. The smaller of Hoeffding's bound and
        Bernstein's, 2 exp(-n d^2 / (2 std^2 + 2/3 m d)), m being the farthest that a draw can lie from the mean.
    """
    if std is None and bounds is None:
        raise ValueError("check_mean: needs std, bounds or both")
    x = _values(samples)
    if bounds is not None:
        _check_within(samples, x, *bounds)
    what = f"the mean of {x.size} samples is {x.mean():.6g}, its expectation {mean:.6g}"
    return _decide(_mean_pvalue(x, mean, std, bounds), alpha, what)


def _mean_pvalue(x, mean, std, bounds) -> float:
    off = abs(float(x.mean()) - mean)
    rates = []
    if bounds is not None:
        rates.append(_ratio(2 * off**2, (bounds[1] - bounds[0]) ** 2))
    if std is not None:
        reach = 0 if bounds is None else max(bounds[1] - mean, mean - bounds[0])
        rates.append(_ratio(off**2, 2 * std**2 + 2 / 3 * reach * off))
    return 2 * math.exp(-x.size * max(rates))


def check_variance(
    samples,
    variance: float,
    *,
    mean: float | None = None,
    bounds: tuple[float, float] | None = None,
    alpha: float = FALSE_ALARM,
) -> float:
    """Draws of that variance, from a normal law, or from any law between ``bounds`` = (low, high).

    Normal: exact, chi-square with n degrees of freedom about a known ``mean``, n - 1 about the samples' own.
    Bounded (the mean must be known): the bounds of ``check_mean`` for the squares y = (x - mean)^2, which lie between
    0 and some m, and therefore have a variance of at most E y (m - E y) (Bhatia and Davis 2000).
    """
    x = _values(samples)
    if (x.size < 2 or bounds is not None) and mean is None:
        raise ValueError("check_variance: one sample, or bounds, need a mean")
    if not variance > 0:
        raise ValueError(f"check_variance: variance must be positive, got {variance}")
    squares = (x - (x.mean() if mean is None else mean)) ** 2
    degrees = x.size - (mean is None)
    if bounds is None:
        pvalue = _two_sided(chi_square_tails(float(squares.sum()) / variance, degrees))
    else:
        _check_within(samples, x, *bounds)
        most = max(bounds[1] - mean, mean - bounds[0]) ** 2
        pvalue = _mean_pvalue(squares, variance, math.sqrt(variance * (most - variance)), (0, most))
    what = f"the variance of {x.size} samples is {squares.sum() / degrees:.6g}, it should be {variance:.6g}"
    return _decide(pvalue, alpha, what)


def check_distribution(samples, cdf, *, alpha: float = FALSE_ALARM) -> float:
    """Draws from the law with distribution function ``cdf`` (of a float64 array), which may have jumps.

    The largest distance D between cdf and the samples' own distribution function, with the Dvoretzky-Kiefer-
    Wolfowitz bound 2 exp(-2 n D^2), whose constant is Massart's (1990).
    """
    x = _values(samples).ravel()
    points, counts = np.unique(x, return_counts=True)
    upto = np.cumsum(counts)
    before = np.asarray(cdf(np.nextafter(points, -np.inf)))
    distance = np.maximum(np.abs(cdf(points) - upto / x.size), np.abs(before - (upto - counts) / x.size))
    worst = int(distance.argmax())
    what = (
        f"the distribution function of {x.size} samples is {distance[worst]:.4g} off at {points[worst]:.6g}, "
        f"where it should be {float(cdf(points[worst : worst + 1])[0]):.4g}"
    )
    return _decide(2 * math.exp(-2 * x.size * float(distance[worst]) ** 2), alpha, what)


def check_uniform(samples, low: float = 0.0, high: float = 1.0, *, alpha: float = FALSE_ALARM) -> float:
    """Uniform draws from [low, high]; one outside, by more than its dtype's rounding, is an error at once."""
    _check_within(samples, _values(samples), low, high)
    return check_distribution(samples, uniform_cdf(low, high), alpha=alpha)


def check_permutation_uniform(permutations, *, alpha: float = FALSE_ALARM) -> float:
    """Independent, uniformly random orders: integers (draws, n), each row an order of 0 to n - 1.

    Exact binomial tests, with Bonferroni's factor for their number, of how often each item comes at each place, each
    item right after each other one, and each before each other one; in the rows, and in the steps from row to row,
    which must be as random as the rows (one order, used again and again, is not). Takes draws n^2 bytes: n is meant to
    be some hundreds at most.
    """
    given = _values(permutations)
    if given.ndim != 2 or given.shape[1] < 2:
        raise ValueError(f"check_permutation_uniform: expected (draws, 2 or more), got shape {given.shape}")
    wrong = (np.sort(given, axis=1) != np.arange(given.shape[1])).any(axis=1)
    if wrong.any():
        raise StatisticalError(
            f"row {wrong.argmax()} is no order of 0 to {given.shape[1] - 1}: {given[wrong.argmax()]}"
        )
    orders = given.astype(np.intp)
    places = np.argsort(orders, axis=1)  # places[t, i]: where item i comes in row t
    events = _order_events(
        orders, places, "item {i} is at place {j}", "item {j} follows item {i}", "item {i} comes before item {j}"
    )
    if len(orders) > 1:
        steps = np.take_along_axis(places[1:], orders[:-1], axis=1)  # steps[t, k]: where the item at place k goes
        moves = "a step takes place {j} to place {i}", "a step takes neighbours to places {i} and {j}"
        events += _order_events(steps, np.argsort(steps, axis=1), *moves, "a step takes two to places {i} and {j}")
    pvalue, what, counts, count, draws, p = min(_rarest(*event) for event in events)
    i, j = np.argwhere(counts == count)[0]
    what = f"{what.format(i=i, j=j)} {count} times in {draws}, the probability is {p:.4g}"
    return _decide(pvalue * sum(counts.size for _, counts, _, _ in events), alpha, what)


def _order_events(orders, places, at_place, following, in_order) -> list[tuple]:
    """What is counted: a description, how often by (i, j), in how many draws, and the probability."""
    draws, n = orders.shape
    at, after = np.zeros((2, n, n), np.intp)
    np.add.at(at, (orders, np.broadcast_to(np.arange(n), orders.shape)), 1)
    np.add.at(after, (orders[:, :-1], orders[:, 1:]), 1)
    before = (places[:, :, None] < places[:, None, :]).sum(axis=0)
    np.fill_diagonal(after, draws // n)  # no item follows itself: counts that are no surprise
    np.fill_diagonal(before, draws // 2)
    return [(at_place, at, draws, 1 / n), (following, after, draws, 1 / n), (in_order, before, draws, 1 / 2)]


def _rarest(what, counts, draws, p) -> tuple:
    """The event's least likely count in front of the event."""
    pvalue, count = min((_two_sided(binomial_tails(int(c), draws, p)), int(c)) for c in np.unique(counts))
    return pvalue, what, counts, count, draws, p


def uniform_cdf(low: float, high: float):
    """The distribution function of the uniform law on [low, high]."""
    if not low < high:
        raise ValueError(f"uniform_cdf: low must be below high, got {low} and {high}")
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


def normal_cdf(mean: float = 0.0, std: float = 1.0):
    """The distribution function of N(mean, std^2)."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return lambda x: 0.5 * np.asarray(erfc((mean - np.asarray(x)) / (std * math.sqrt(2))), np.float64)


def _values(samples) -> np.ndarray:
    x = np.asarray(samples.data if isinstance(samples, Tensor) else samples).astype(np.float64)
    if x.size == 0:
        raise ValueError("no samples to judge")
    if not np.isfinite(x).all():
        raise StatisticalError(f"a sample is {x[~np.isfinite(x)][0]}")
    return x


def _check_within(samples, x, low, high) -> None:
    """Rounding to the samples' dtype may carry a draw a little over a bound."""
    dtype = np.asarray(samples.data if isinstance(samples, Tensor) else samples).dtype
    slack = np.finfo(dtype).eps * max(abs(low), abs(high)) if dtype.kind == "f" else 0
    outside = x[(x < low - slack) | (x > high + slack)]
    if outside.size:
        raise StatisticalError(f"a sample is {outside[0]:.9g}, outside [{low:.9g}, {high:.9g}]")


def _ratio(a, b) -> float:
    """a / b, where 0 / 0 is 0: a law without spread, and draws that are where it says."""
    return float(a / b) if b else math.inf if a else 0.0


def _two_sided(tails) -> float:
    return min(1.0, 2 * min(tails))


def _decide(pvalue: float, alpha: float, what: str) -> float:
    pvalue = min(1.0, pvalue)
    if pvalue < alpha:
        raise StatisticalError(f"{what}: by chance, this or worse has a probability of at most {pvalue:.1g} < {alpha}")
    return pvalue
