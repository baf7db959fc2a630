"""How often do the statistical checks fail right code?

    python -m scratchnet.testing.false_alarms

A p-value is valid if, for right samples, it falls below any level a with probability at most a. A rate of 1e-6 is too
rare to be seen, but the levels 0.1, 0.01, 0.001 come from the same formulas. For discrete laws the rate at 1e-6 itself
can be summed exactly: ``binomial_false_alarm``.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np

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
)
from scratchnet.testing.tails import binomial_tails

LEVELS = (0.1, 0.01, 0.001)

CASES: dict[str, Callable[[np.random.Generator], float]] = {
    "check_bernoulli_rate, p 0.25, n 40": lambda g: check_bernoulli_rate(g.random(40) < 0.25, 0.25, alpha=0),
    "check_bernoulli_rate, p 0.001, n 5000": lambda g: check_bernoulli_rate(g.random(5000) < 1e-3, 1e-3, alpha=0),
    "check_frequencies, 6 labels, n 100": lambda g: check_frequencies(g.integers(0, 6, 100), [1 / 6] * 6, alpha=0),
    "check_mean, normal, n 5": lambda g: check_mean(g.standard_normal(5), 0, std=1, alpha=0),
    "check_mean, uniform, n 30": lambda g: check_mean(g.random(30), 0.5, std=12**-0.5, alpha=0),
    "check_mean, bounds, coins, n 20": lambda g: check_mean(g.random(20) < 0.5, 0.5, bounds=(0, 1), alpha=0),
    "check_mean, bounds and std, n 50": lambda g: check_mean(
        g.random(50) < 0.02, 0.02, bounds=(0, 1), std=0.14, alpha=0
    ),
    "check_variance, normal, n 3": lambda g: check_variance(g.standard_normal(3), 1, alpha=0),
    "check_variance, known mean, n 500": lambda g: check_variance(g.standard_normal(500), 1, mean=0, alpha=0),
    "check_variance, bounds, n 50": lambda g: check_variance(g.random(50), 1 / 12, mean=0.5, bounds=(0, 1), alpha=0),
    "check_distribution, normal, n 50": lambda g: check_distribution(g.standard_normal(50), normal_cdf(), alpha=0),
    "check_uniform, float32, n 10": lambda g: check_uniform(g.random(10, np.float32), alpha=0),
    "check_uniform, n 1000": lambda g: check_uniform(g.random(1000), alpha=0),
    "check_permutation_uniform, 30 of 4": lambda g: check_permutation_uniform(
        np.argsort(g.random((30, 4)), axis=1), alpha=0
    ),
}
"""Right samples, judged: each function draws some and returns their p-value."""


def alarm_counts(case: Callable[[np.random.Generator], float], trials: int, generator) -> list[int]:
    """How many of that many p-values of right samples lie below each of LEVELS."""
    pvalues = np.array([case(generator) for _ in range(trials)])
    return [int((pvalues < level).sum()) for level in LEVELS]


def check_false_alarms(counts: list[int], trials: int, *, alpha: float = FALSE_ALARM) -> None:
    """Raise StatisticalError where more p-values lie below a level than its rate explains (exact binomial tail)."""
    for level, count in zip(LEVELS, counts, strict=True):
        if binomial_tails(count, trials, level)[1] < alpha / len(LEVELS):
            raise StatisticalError(f"{count} of {trials} p-values of right samples are below {level}")


def binomial_false_alarm(trials: int, p: float, alpha: float = FALSE_ALARM) -> float:
    """The exact probability that ``check_bernoulli_rate`` fails on right outcomes, by summing over all counts."""
    tails = [binomial_tails(k, trials, p) for k in range(trials + 1)]
    failing = [k for k, both in enumerate(tails) if 2 * min(both) < alpha]
    low = max((k for k in failing if k < trials * p), default=None)
    high = min((k for k in failing if k > trials * p), default=None)
    return (0.0 if low is None else tails[low][0]) + (0.0 if high is None else tails[high][1])


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scratchnet.testing.false_alarms", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--trials", type=int, default=20_000, help="sets of samples for each check")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print("| right samples | " + " | ".join(f"p-value < {level}" for level in LEVELS) + " |")
    print("|---" * (1 + len(LEVELS)) + "|")
    failures = 0
    for i, (name, case) in enumerate(CASES.items()):
        counts = alarm_counts(case, options.trials, np.random.default_rng([options.seed, i]))
        try:
            check_false_alarms(counts, options.trials)
        except StatisticalError:
            failures += 1
            name += " TOO OFTEN"
        print(f"| {name} | " + " | ".join(f"{c / options.trials:.5f}" for c in counts) + " |")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
