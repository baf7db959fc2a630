"""A derivative of a function of one number, with an estimate of its own error."""

from collections.abc import Callable

import numpy as np


def derivative(phi: Callable[[float], float], step: float = 0.05, rounds: int = 6) -> tuple[float, float]:
    """phi'(0) and an error estimate, by Ridders' method.

    Central differences (phi(h) - phi(-h)) / 2h have an error in even powers of h. Halving h again and again and
    extrapolating to h = 0 (Neville's scheme) removes one power a column; the entry whose neighbours agree best is
    the answer and their disagreement the error (C. J. F. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)",
    Advances in Engineering Software 4(2), 1982).
    """
    best, error = np.nan, np.inf
    previous: list[float] = []
    for _ in range(rounds):
        row = [(phi(step) - phi(-step)) / (2 * step)]
        factor = 1.0
        for column, below in enumerate(previous):
            factor *= 4.0
            row.append((factor * row[column] - below) / (factor - 1.0))
            estimate = max(abs(row[-1] - row[column]), abs(row[-1] - below))
            if estimate <= error:
                best, error = row[-1], estimate
        previous = row
        step /= 2
    return best, error
