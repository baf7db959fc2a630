"""Each statistical check passes right samples, fails planted faults, and says how likely that was.

Seeds are fixed: a check that passes here passes always.
"""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.testing.false_alarms import (
    CASES,
    LEVELS,
    alarm_counts,
    binomial_false_alarm,
    check_false_alarms,
    main,
)
from scratchnet.testing.statistics import (
    FALSE_ALARM,
    StatisticalError,
    check_bernoulli_rate,
    check_distribution,
    check_frequencies,
    check_mean,
    check_permutation_uniform,
    check_uniform,
    check_variance,
    normal_cdf,
    uniform_cdf,
)

N = 2000


def rng(*seed):
    return np.random.default_rng(seed)


UNIT = dict(mean=0.5, bounds=(0, 1))
FAULTS = {  # name: (check, right samples, wrong samples), each of N draws
    "rate": (lambda x: check_bernoulli_rate(x, 0.3), lambda g: g.random(N) < 0.3, lambda g: g.random(N) < 0.4),
    "rate of p = 0": (lambda x: check_bernoulli_rate(x, 0), lambda g: np.zeros(N), lambda g: np.arange(N) == 7),
    "a face that never comes": (
        lambda x: check_frequencies(x, [1 / 6] * 6),
        lambda g: g.integers(0, 6, N),
        lambda g: g.integers(0, 5, N),
    ),
    "mean of a normal": (
        lambda x: check_mean(x, 1, std=2),
        lambda g: g.normal(1, 2, N),
        lambda g: g.normal(1.4, 2, N),
    ),
    "mean within bounds": (
        lambda x: check_mean(x, 0.5, bounds=(0, 1)),
        lambda g: g.random(N),
        lambda g: g.random(N) ** 1.4,
    ),
    "mean of rare events": (
        lambda x: check_mean(x, 0.01, bounds=(0, 1), std=0.1),
        lambda g: g.random(N) < 0.01,
        lambda g: g.random(N) < 0.04,
    ),
    "variance of a normal": (
        lambda x: check_variance(x, 1.0),
        lambda g: g.standard_normal(N) + 5,
        lambda g: g.standard_normal(N) * 1.15,
    ),
    "variance about a mean": (
        lambda x: check_variance(x, 1.0, mean=0),
        lambda g: g.standard_normal(N),
        lambda g: g.standard_normal(N) * 0.87,
    ),
    "variance within bounds": (
        lambda x: check_variance(x, 1 / 12, **UNIT),
        lambda g: g.random(N),
        lambda g: 0.06 + 0.88 * g.random(N),
    ),
    "normal, not uniform": (
        lambda x: check_distribution(x, normal_cdf(0, 12**-0.5)),
        lambda g: g.normal(0, 12**-0.5, N),
        lambda g: g.random(20 * N) - 0.5,
    ),
    "ends left out": (check_uniform, lambda g: g.random(N), lambda g: 0.1 + 0.8 * g.random(N)),
    "a draw outside": (
        lambda x: check_uniform(x, -1, 1),
        lambda g: g.uniform(-1, 1, N).astype(np.float32),
        lambda g: np.append(g.uniform(-1, 1, N), 1.00001),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_right_samples_pass_and_wrong_ones_fail(name):
    check, right, wrong = FAULTS[name]
    for seed in range(20):
        assert FALSE_ALARM <= check(right(rng(seed))) <= 1
        with pytest.raises(StatisticalError):
            check(wrong(rng(seed)))


def test_discrete_laws_have_jumps():
    """A distribution function with jumps is not continuous from the left: the check looks on both sides."""

    def coin(x):
        return 0.5 * (x >= 0) + 0.5 * (x >= 1)

    assert check_distribution(rng(0).integers(0, 2, N), coin) > FALSE_ALARM
    with pytest.raises(StatisticalError, match="is 0.5 off at 1, where it should be 1"):
        check_distribution(np.ones(N), coin)


def swapped_naively(g, n):
    """Every place swaps with any place: n^n equally likely ways do not fall evenly on n! orders."""
    order = np.arange(n)
    for i in range(n):
        j = g.integers(n)
        order[[i, j]] = order[[j, i]]
    return order


def sattolo(g, n):
    """The loop's bound is one too low: every result is one cycle, no item stays at its place."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        j = g.integers(i)
        order[[i, j]] = order[[j, i]]
    return order


def buffered(g, n, size=4):
    """A buffer of a few items is filled from the front and emptied at random."""
    buffer, rest, out = list(range(size)), list(range(size, n)), []
    while buffer:
        out.append(buffer.pop(g.integers(len(buffer))))
        buffer += rest[:1]
        del rest[:1]
    return out


SHUFFLES = {  # name: (an order, how many are needed to see the fault, what the message says)
    "last element stays": (
        lambda g, n: np.append(g.permutation(n - 1), n - 1),
        15,
        "item 9 is at place 9 15 times in 15",
    ),
    "never moves": (lambda g, n: np.arange(n), 15, "times in 15, the probability is 0.1"),
    "one order again and again": (lambda g, n: rng(5).permutation(n), 15, "times in 1[45], the probability is 0.1"),
    "rotations only": (
        lambda g, n: np.roll(np.arange(n), g.integers(n)),
        40,
        "item 0 follows item 9|item . follows item",
    ),
    "no fixed point": (sattolo, 300, "item . is at place . 0 times in 300"),
    "naive swaps": (swapped_naively, 5000, "times in 5000"),
    "small buffer": (buffered, 100, "item . is at place|item . comes before item"),
    "pairs stay together": (
        lambda g, n: g.permutation(n // 2).repeat(2) * 2 + [0, 1] * (n // 2),
        40,
        "item . follows item .",
    ),
}


@pytest.mark.parametrize("name", SHUFFLES)
def test_faulty_shuffles_are_found_and_described(name):
    shuffle, draws, says = SHUFFLES[name]
    for seed in range(2):
        g = rng(seed)
        with pytest.raises(StatisticalError, match=says):
            check_permutation_uniform(np.array([shuffle(g, 10) for _ in range(draws)]))
        assert check_permutation_uniform(np.array([g.permutation(10) for _ in range(draws)])) >= FALSE_ALARM


def test_an_order_used_for_two_epochs_is_found():
    """Every row alone is uniform; the steps from row to row are not."""
    orders = np.array([rng(seed).permutation(10) for seed in range(30)])
    with pytest.raises(StatisticalError, match="a step takes .* times in 59"):
        check_permutation_uniform(orders.repeat(2, axis=0))


def test_an_epoch_with_a_repeated_item_is_no_permutation():
    with pytest.raises(StatisticalError, match="row 1 is no order of 0 to 2"):
        check_permutation_uniform([[2, 0, 1], [2, 0, 0]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "check",
    [
        lambda x: check_mean(x, 0, std=1),
        lambda x: check_variance(x, 1),
        lambda x: check_distribution(x, normal_cdf()),
        check_uniform,
    ],
)
def test_a_sample_that_is_no_number_fails(check, value):
    with pytest.raises(StatisticalError, match=f"a sample is {value}"):
        check(np.array([0.1, 0.2, value]))


def test_a_law_without_spread():
    assert check_mean(np.ones(5), 1.0, std=0.0) == 1
    with pytest.raises(StatisticalError):
        check_mean(np.ones(5), 1.1, std=0.0)


def test_messages_and_pvalues():
    with pytest.raises(StatisticalError) as error:
        check_bernoulli_rate(np.arange(40) < 38, 0.5)
    assert str(error.value) == (
        "38 of 40 outcomes are true, p is 0.5: by chance, this or worse has a probability of at most 1e-09 < 1e-06"
    )
    assert check_bernoulli_rate(np.arange(40) < 38, 0.5, alpha=1e-10) == pytest.approx(2 * 821 / 2**40)
    assert check_mean(sn.tensor([[0.0, 0.5], [0.5, 1.0]]), 1, bounds=(0, 1)) == pytest.approx(2 * np.exp(-2))
    halves = np.arange(10) < 5
    rare = dict(std=0.1, bounds=(0, 1))  # Bernstein, with reach 0.8 and a mean that is 0.3 off
    assert check_mean(halves, 0.2, **rare, alpha=0) == pytest.approx(2 * np.exp(-0.9 / (0.02 + 0.16)))
    assert check_variance([0, 2], 2) == pytest.approx(2 * math.erfc(math.sqrt(0.5)))  # 1 degree, sum of squares / 2 = 1
    assert check_variance([0, 2], 2, mean=1) == pytest.approx(2 * (1 - math.exp(-0.5)))  # 2 degrees
    assert check_uniform(np.array([0.5]), 0, 1) == 1
    np.testing.assert_allclose(normal_cdf(1, 2)(np.array([-1, 1, 3])), [0.158655253931457, 0.5, 0.841344746068543])


def few(cases, trials):
    return {name: alarm_counts(case, trials, rng(1, i)) for i, (name, case) in enumerate(cases.items())}


def test_false_alarms_come_no_more_often_than_declared():
    for name, counts in few(CASES, 400).items():
        check_false_alarms(counts, 400)
        assert counts[-1] <= 5, name


def test_the_exact_false_alarm_rate_of_counts_is_below_its_level():
    for trials in (1, 10, 200, 1000):
        for p in (0.01, 0.25, 0.5):
            for alpha in (0.1, 1e-3, 1e-6):
                assert binomial_false_alarm(trials, p, alpha) < alpha
    assert binomial_false_alarm(1000, 0.25) > 0.3e-6  # nearly used up, too


def test_p_values_that_are_too_small_are_found():
    """Half of what they should be: as if one side of a two-sided test were forgotten."""

    def halved(g):
        return check_variance(g.standard_normal(20), 1, alpha=0) / 2

    with pytest.raises(StatisticalError, match="of 4000 p-values of right samples are below 0.1"):
        check_false_alarms(alarm_counts(halved, 4000, rng(0)), 4000)


def test_the_command_prints_one_row_a_case(capsys):
    assert main(["--trials", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(CASES) and all(line.count("|") == 2 + len(LEVELS) for line in lines)


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("no samples", lambda: check_uniform([])),
        ("booleans, or zeros and ones", lambda: check_bernoulli_rate([0.5], 0.5)),
        ("p must lie between 0 and 1, got 1.5", lambda: check_bernoulli_rate([1], 1.5)),
        ("list with sum 1", lambda: check_frequencies([0], [0.5, 0.4])),
        ("needs std, bounds or both", lambda: check_mean([0.5], 0.5)),
        ("need a mean", lambda: check_variance([0.5, 1], 1, bounds=(0, 1))),
        ("need a mean", lambda: check_variance([0.5], 1)),
        ("variance must be positive, got 0", lambda: check_variance([0.5, 1], 0)),
        (r"expected \(draws, 2 or more\), got shape \(3,\)", lambda: check_permutation_uniform([0, 1, 2])),
        ("low must be below high, got 1 and 1", lambda: uniform_cdf(1, 1)),
    ],
)
def test_wrong_use(match, call):
    with pytest.raises(ValueError, match=match):
        call()
