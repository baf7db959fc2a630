"""Derivatives of a function of one number, with error bars, and what a kink does to them.

The function may return an array: every element then has a derivative and an error bar of its own, so that an element
that varies little is not blurred by the rounding of another that varies much.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIRST_STEP = 2.0**-4  # in units of the length over which the function varies
ROUNDS = 22  # the smallest step is 2^-21 of the first
SETTLED = 2.0**-38  # the error bar, relative to how much the function varies, that is small enough


@dataclass
class Slope:
    """phi'(0), element by element.

    ``value`` and ``error`` are the derivative and its error bar. ``bend`` is the derivative from the right minus that
    from the left, with error bar ``bend_error``: 0 where phi is smooth. ``size`` is the sum of |phi| and ``variation``
    that of |phi(h) - phi(0)| / h, both over the elements that move.
    """

    value: np.ndarray
    error: np.ndarray
    bend: np.ndarray
    bend_error: np.ndarray
    size: float
    variation: float

    def bends(self) -> bool:
        """Whether phi has a kink at 0, or so near that no step stayed on one side of it."""
        return bool((np.abs(self.bend) > 4 * self.bend_error + 1e-9 * self.variation).any())


class _Extrapolation:
    """Neville's scheme for values at steps h, h/2, h/4, ... whose error holds the powers p, p + 2, p + 4, ... of h.

    Every column removes one power. Of all entries, the one whose two neighbours agree best with it is the answer,
    and their disagreement, or the rounding error of the values where that is larger, its error.
    """

    def __init__(self, power: int, like: np.ndarray):
        self.factor = 2.0**power
        self.row: list[np.ndarray] = []
        self.value = np.zeros(like.shape)
        self.error = np.full(like.shape, np.inf)

    def forget(self, where: np.ndarray) -> None:
        np.copyto(self.error, np.inf, where=where)

    def add(self, entry: np.ndarray, rounding: np.ndarray) -> None:
        row, factor = [entry], self.factor
        for above in self.row[:7]:
            entry = row[-1] + (row[-1] - above) / (factor - 1.0)
            estimate = np.maximum(np.maximum(np.abs(entry - row[-1]), np.abs(entry - above)), rounding)
            better = estimate < self.error
            np.copyto(self.value, entry, where=better)
            np.copyto(self.error, estimate, where=better)
            row.append(entry)
            factor *= 4.0
        self.row = row


def slope(
    phi: Callable[[float], np.ndarray],
    step: float = FIRST_STEP,
    linear: bool = False,
    noise: np.ndarray | float = 0.0,
) -> Slope:
    """phi'(0) by Ridders' method, or by one difference quotient at step 1 where phi is linear.

    Central quotients (phi(h) - phi(-h)) / 2h have an error in even powers of h. The step is halved, and the quotients
    extrapolated to h = 0, until the error bar is small or rounding stops it from falling (C. J. F. Ridders, "Accurate
    computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4(2), 1982). The same values give the
    bend, (phi(h) + phi(-h) - 2 phi(0)) / h, which has an error in odd powers. A step at which phi raises ValueError or
    is not finite is too long, and left out; where all are, the error bars are infinite.

    Args:
        phi: takes a number, returns an array that is finite at 0.
        step: the first step, in units in which phi varies over lengths of about 1.
        linear: phi is (affine) linear. Where its values at -1, 0 and 1 say otherwise, this is ignored.
        noise: the noise of phi's values beyond a few units in the last place: see ``noise``.
    """
    centre = phi(0.0)
    if linear:
        ahead, behind = evaluate(phi, 1.0), evaluate(phi, -1.0)
        if ahead is not None and behind is not None:
            rounding = _rounding(ahead, behind, centre, noise)
            value, bend = _differences(ahead, behind, centre, 1.0)
            if (np.abs(bend) <= 16 * rounding).all():
                size, variation = float(np.abs(centre[rounding > 0]).sum()), float(np.abs(value).sum())
                return Slope(value, 4 * rounding, np.zeros_like(bend), rounding, size, variation)
    odd, even = _Extrapolation(2, centre), _Extrapolation(1, centre)
    size, variation, least, stuck = 0.0, 0.0, np.inf, 0
    steepness = np.full(centre.shape, np.inf)
    for _ in range(ROUNDS):
        ahead, behind = evaluate(phi, step), evaluate(phi, -step)
        if ahead is None or behind is None:
            step /= 2
            continue
        rounding = _rounding(ahead, behind, centre, noise) / step
        value, bend = _differences(ahead, behind, centre, step)
        steep = np.maximum(np.abs(value), np.abs(bend) / 2)
        finer = (steep > 4 * steepness) & (steep > 2.0**20 * rounding)  # longer steps missed the fine structure
        odd.forget(finer)
        even.forget(finer)
        steepness = np.where(finer | (steepness == np.inf), steep, steepness)
        odd.add(value, rounding)
        even.add(bend, 4 * rounding)
        variation = max(variation, float(steep.sum()))
        size = max(size, float(np.abs(centre[rounding > 0]).sum()))
        floor, error = float(rounding.sum()), float(odd.error.sum())
        settled = even.error.sum() <= max(1e-6 * variation, 8 * floor)
        if settled and error <= max(SETTLED * variation, 2 * floor):
            break
        stuck = 0 if error < 0.9 * least or error > 1e-5 * variation else stuck + 1
        least = min(least, error)
        if stuck == 3:
            break
        step /= 2
    return Slope(odd.value, 4 * odd.error, even.value, 4 * even.error, size, variation)


def _differences(ahead, behind, centre, step) -> tuple[np.ndarray, np.ndarray]:
    """The central difference quotient and the bend."""
    centre = centre.astype(np.float64, copy=False)
    ahead, behind = ahead - centre, behind - centre
    return (ahead - behind) / (2 * step), (ahead + behind) / step


def _rounding(ahead, behind, centre, noise) -> np.ndarray:
    """How far rounding may move a difference of two values; not at all where they are the same, but for ``noise``."""
    moved = (ahead != centre) | (behind != centre)
    return 4 * (np.finfo(centre.dtype).eps * moved * (np.abs(ahead) + np.abs(behind) + np.abs(centre)) + noise)


def evaluate(phi: Callable[[float], np.ndarray], step: float) -> np.ndarray | None:
    """phi(step), or None where it raises ValueError or is not finite."""
    try:
        value = phi(step)
    except ValueError:
        return None
    return value if np.isfinite(value).all() else None


def noise(phi: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """The standard deviation of phi's rounding errors near 0, element by element.

    Fourth differences of values at nine points, ``step`` apart, hold next to nothing of a smooth function but sqrt(70)
    standard deviations of noise (J. J. Moré and S. M. Wild, "Estimating computational noise", SIAM Journal on
    Scientific Computing 33(3), 2011). Of the estimates right and left of 0 the smaller counts: a kink spoils the other.
    Each is the larger for two distances, lest values of a coarse grid rise in step with one of them.
    """
    found = []
    for side in (step, -step):
        values = [evaluate(phi, k * distance) for distance in (side, 0.618 * side) for k in range(1, 10)]
        if all(v is not None for v in values):
            rows = np.array(values, np.float64).reshape(2, 9, *values[0].shape)
            squares = np.mean(np.diff(rows, 4, axis=1) ** 2, axis=1) / 70
            found.append(np.sqrt(squares.max(axis=0)))
    return np.min(found, axis=0) if found else np.zeros(phi(0.0).shape)


def moves(phi: Callable[[float], np.ndarray]) -> np.ndarray:
    """Which elements of phi move at all, be it at long steps only: where phi is flat, rounding may have made it so."""
    centre = phi(0.0)
    far = [v for k in range(-2, 4) for t in (-(2.0**k), 2.0**k) if (v := evaluate(phi, t)) is not None]
    return np.any([v != centre for v in far], axis=0) if far else np.ones(centre.shape, bool)


@dataclass
class Sides:
    """The derivatives from the left and from the right, element by element; None where phi is not finite there.

    ``diverge`` says that a one-sided quotient grows without bound: phi jumps, or its slope is infinite.
    """

    left: np.ndarray | None
    right: np.ndarray | None
    diverge: bool

    def both(self) -> bool:
        return self.left is not None and self.right is not None


def sides(phi: Callable[[float], np.ndarray], step: float, noise: np.ndarray | float = 0.0) -> Sides | None:
    """The one-sided derivatives at 0 where phi is not smooth there, otherwise None.

    The quotients at ``step`` and at 16 ``step`` are compared. Where phi is smooth, left and right differ 16 times
    less at the smaller step; at a kink they differ as much as before. A kink closer than ``step`` counts as at 0; the
    derivatives returned are difference quotients between the two steps, beyond it.
    """
    centre = phi(0.0)
    near, far = (_quotients(phi, centre, t) for t in (step, 16 * step))
    if near[0] is None or near[1] is None:
        return None if near[0] is near[1] else Sides(*near, False)
    if far[0] is None or far[1] is None:
        return None
    rounding = 8 * _rounding(phi(step), phi(-step), centre, noise) / step
    (left, right), (left_far, right_far) = near, far
    bend = np.abs(right - left)
    bend_far = np.abs(right_far - left_far)
    kinks = (bend > rounding) & (bend > 0.5 * bend_far)
    diverges = (bend > rounding) & (bend > 2 * bend_far)
    for q, q_far in ((left, left_far), (right, right_far)):
        diverges |= (np.abs(q) > np.maximum(rounding, 2 * np.abs(q_far))) & (np.abs(q - q_far) > 2 * bend_far)
    if not (kinks | diverges).any():
        return None
    return Sides((16 * left_far - left) / 15, (16 * right_far - right) / 15, bool(diverges.any()))


def _quotients(phi, centre, step):
    ahead, behind = evaluate(phi, step), evaluate(phi, -step)
    centre = centre.astype(np.float64, copy=False)
    return (
        None if behind is None else (centre - behind) / step,
        None if ahead is None else (ahead - centre) / step,
    )


def derivative(phi: Callable[[float], float], step: float = FIRST_STEP) -> tuple[float, float]:
    """phi'(0) of a number-valued function and its error bar, by Ridders' method: see ``slope``."""
    found = slope(lambda t: np.asarray(phi(t), np.float64), step)
    return float(found.value), float(found.error)
