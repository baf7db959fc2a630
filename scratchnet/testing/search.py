"""Compare a gradient with numeric derivatives, many entries at a time, and find the entry that differs.

One random direction through a block of entries checks them all, provided that an error in the smallest would stand out
of the error bar. Where it would not, or where something does stand out, the block is halved, the entries being sorted
by size: so a wrong entry cannot hide behind big neighbours, and is found in log2(n) steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scratchnet.testing.numeric import FIRST_STEP, Sides, Slope, moves, noise, sides, slope
from scratchnet.testing.problem import PRECISION, Problem, signed
from scratchnet.testing.report import GradientReport, Verdict

ROUNDING = 64  # the rounding error allowed to a sum of terms, in units in the last place of their root sum square
MOST_WRONG = 32  # wrong entries that are counted before the search ends


@dataclass
class Comparison:
    """Both derivatives along one direction through a block of entries.

    ``finest`` is the smallest error that is promised to be found there, 0 where the gradient is 0 in every entry;
    ``coarsest`` the largest error bar that still says something about an entry that is 0 up to rounding.
    """

    slope: Slope
    analytic: float
    numeric: float
    error: float
    finest: float
    coarsest: float

    def agrees(self) -> bool:
        return bool(np.isfinite(self.analytic)) and abs(self.analytic - self.numeric) <= self.error

    def is_sharp(self) -> bool:
        return self.error <= self.finest / 2

    def is_blunt(self) -> bool:
        return self.error <= self.coarsest

    def decides(self) -> bool:
        return self.is_sharp() or (self.finest == 0 and self.is_blunt())


class Trial:
    """One random cotangent: the library's gradients for it against the derivatives of <cotangent, function>.

    ``findings`` are reports on single entries that fail or lie at a kink; ``closest`` is that on the comparison which
    agreed least.
    """

    def __init__(self, problem: Problem, generator: np.random.Generator, blank: GradientReport, arguments: list[str]):
        self.problem, self.generator, self.blank, self.arguments = problem, generator, blank, arguments
        self.cotangent = signed(generator, problem.out.shape).astype(problem.out.dtype)
        self.gradients = problem.gradients(problem.arrays, self.cotangent)
        self.directions = {i: signed(generator, problem.arrays[i].shape) * problem.lengths(i) for i in problem.floating}
        self.findings: list[GradientReport] = []
        self.closest = blank
        self._spread: dict[int, np.ndarray] | None = None

    def search(self, i: int, places: np.ndarray) -> dict[int, Comparison]:
        """Check entries of input i (flat indices).

        Returns the comparisons of those in which too much cancels to tell: another cotangent may show more.
        """
        size = np.abs((self.gradients[i] * self.directions[i]).flat[places])
        order = places[np.argsort(-size, kind="stable")]
        nonzero = int(np.count_nonzero(size))
        blocks = [block for block in (order[nonzero:], order[:nonzero]) if block.size]
        doubtful = {}
        while blocks and self.wrong() < MOST_WRONG:
            block = blocks.pop()
            test = self.compare(i, block, linear=self.problem.linear)
            if test.agrees() and test.decides() and not test.slope.bends():
                self.note(i, block, test)
            elif block.size > 1:
                half = block.size // 2
                blocks += [block[half:], block[:half]]
            elif (test := self.look_closer(i, block, test)) is not None:
                doubtful[int(block[0])] = test
        return doubtful

    def wrong(self) -> int:
        return sum(finding.verdict is Verdict.FAIL for finding in self.findings)

    def along(self, i, block) -> Callable[[float], np.ndarray]:
        """The function's values times the cotangent, while a block of input i moves along its direction."""
        arrays, base = list(self.problem.exact), self.problem.exact[i]
        direction = np.zeros(base.shape)
        direction.flat[block] = self.directions[i].flat[block]

        def phi(t):
            arrays[i] = (base + t * direction).astype(base.dtype, copy=False)
            value = self.problem.value(arrays)
            return value * self.cotangent.astype(value.dtype, copy=False)

        return phi

    def compare(self, i, block, **options) -> Comparison:
        found = slope(self.along(i, block), **options)
        products = (self.gradients[i] * self.directions[i]).flat[block]
        terms = np.linalg.norm(found.value) + np.linalg.norm(products)  # signs are random, so errors add up by squares
        kind = np.finfo(self.problem.dtype)
        underflow = float(ROUNDING * kind.tiny)
        return Comparison(
            found,
            analytic=float(products.sum()),
            numeric=float(found.value.sum()),
            error=float(found.error.sum() + ROUNDING * kind.eps * terms) + underflow,
            finest=self.problem.sharp * float(np.abs(products).min()),
            coarsest=self.problem.blunt * (found.size + found.variation) + underflow,
        )

    def look_closer(self, i, place, test: Comparison) -> Comparison | None:
        """Judge one entry. Returns the comparison if its error bar stays too wide beside the entry."""
        if test.slope.bends() or not test.is_blunt():
            phi, step = self.along(i, place), self.short_step(i, place)
            noisy = self.noise(i, place)
            test = self.compare(i, place, step=step, noise=noisy)
            unclear = test.slope.bends() or not test.is_blunt()
            if unclear or not test.agrees():
                found = sides(phi, 2.0**-16 * step, noisy) or sides(phi, self.problem.near, noisy)
                if found is not None and (unclear or found.both()):
                    self.findings.append(self.at_kink(i, place, found))
                    return None
        if not np.isfinite(test.slope.error).all():  # there are no values around this point
            return test
        if not test.agrees():
            test = self.confirmed(i, place, test)
        if self.problem.branches.any() and moves(self.along(i, place))[self.problem.branches].any():
            detail = "In float64 the function takes another branch: there is a kink within rounding of this point."
            self.findings.append(replace(self.report(i, place, test), verdict=Verdict.KINK, detail=detail))
        elif not test.agrees():
            self.findings.append(replace(self.report(i, place, test), verdict=Verdict.FAIL))
        elif test.decides():
            self.note(i, place, test)
        else:
            return test
        return None

    def short_step(self, i, place, part=FIRST_STEP) -> float:
        """A step that is no more than a ``part`` of the way to 0, and short for any kink that is not very near."""
        way = abs(self.problem.exact[i].flat[place[0]]) / abs(self.directions[i].flat[place[0]])
        return min(2.0**8 * self.problem.near, part * way) if way else 2.0**8 * self.problem.near

    def noise(self, i, place) -> np.ndarray:
        return noise(self.along(i, place), self.short_step(i, place, part=2.0**-12))

    def confirmed(self, i, place, test: Comparison) -> Comparison:
        """The comparison again, at other steps, with all that rounding could have to do with a difference.

        The numeric derivatives of both must agree. The noise of the function's values is measured. The gradient is
        computed for inputs and cotangents that differ in their last bits: what it varies by is rounding. And it may be
        off by a few last places of the values, or of 1: on the way to a small value there may have been a larger one.
        """
        phi, eps = self.along(i, place), np.finfo(self.problem.exact_dtype).eps
        moved = moves(phi) * np.abs(phi(0.0))
        values = float(np.maximum(moved, moves(phi)).sum())
        again = self.compare(i, place, step=0.7 * FIRST_STEP, noise=np.maximum(self.noise(i, place), eps / 4 * moved))
        if not np.isfinite(again.slope.error).all():
            return test
        again.error = max(again.error, test.error, abs(again.numeric - test.numeric))
        again.error += 4 * (self.spread(i, place) + eps * values)
        if self.problem.dtype != self.problem.exact_dtype and not again.agrees():
            again.error = max(again.error, self.float32_rounding(i, place, again, values))
        return again

    def float32_rounding(self, i, place, test: Comparison, values: float) -> float:
        """The error that rounding to float32 may have made on the way, if the library's float64 gradient is right.

        Where terms cancel on the way (in the 1 + erf(x) of gelu, the 1 - tanh(x)^2), what rounding leaves is not small
        beside the entry, only beside the function's values and their variation nearby. And half of the relative error
        that is promised to be found counts as rounding here. A fault of that size in float32 alone goes unseen.
        """
        cotangent = self.cotangent.astype(self.problem.exact_dtype)
        exact = float((self.problem.gradients(self.problem.exact, cotangent)[i] * self.directions[i]).flat[place[0]])
        last_places = 4 * np.finfo(self.problem.exact_dtype).eps * values
        tolerance = test.slope.error.sum() + last_places + PRECISION[np.dtype(np.float64)].sharp * abs(exact)
        if abs(exact - test.numeric) > tolerance:
            return 0.0
        rounding = ROUNDING * np.finfo(np.float32).eps * (values + test.slope.variation)
        return max(rounding, self.problem.sharp / 2 * abs(test.numeric))

    def spread(self, i, place) -> float:
        """By how much the gradient varies under changes of the last bits: all up, all down, and at random."""
        if self._spread is None:
            runs = [self.jostled(signs) for signs in ([1.0], [-1.0], *[[1.0, -1.0]] * 6)]
            self._spread = {i: np.max([np.abs(r[i] - g) for r in runs], axis=0) for i, g in self.gradients.items()}
        return float((self._spread[i] * np.abs(self.directions[i])).flat[place[0]])

    def jostled(self, signs) -> dict[int, np.ndarray]:
        """The gradients, the last place of every entry of the inputs and the cotangent having moved."""
        moved = [
            a * (1 + np.finfo(a.dtype).eps * self.generator.choice(signs, a.shape)).astype(a.dtype)
            if a.dtype.kind == "f"
            else a
            for a in (*self.problem.arrays, self.cotangent)
        ]
        return self.problem.gradients(moved[:-1], moved[-1])

    def at_kink(self, i, place, found: Sides) -> GradientReport:
        """At a kink the gradient must lie between the one-sided derivatives, where both exist."""
        unit = float(self.directions[i].flat[place[0]])
        analytic = float(self.gradients[i].flat[place[0]])
        quotients = [q / unit for q in (found.left, found.right) if q is not None]
        low, high = (float(bound(quotients, axis=0).sum()) for bound in (np.min, np.max))
        slack = self.problem.sharp * sum(float(np.abs(q).sum()) for q in quotients)
        verdict = Verdict.FAIL if np.isnan(analytic) else Verdict.KINK
        if not found.both():
            detail = "The function ends here: it is finite on one side only."
        elif found.diverge:
            detail = "The function jumps here, or its slope is infinite."
        else:
            detail = f"The function has a kink here, with slopes from {low:.6g} to {high:.6g}."
            if not low - slack <= analytic <= high + slack:
                verdict = Verdict.FAIL
        numbers = dict(analytic=analytic, numeric=(low + high) / 2, error=(high - low) / 2 + slack)
        return replace(self.placed(i, place), verdict=verdict, detail=detail, **numbers)

    def placed(self, i, block) -> GradientReport:
        """A blank report that names the block's place."""
        index = None
        if block.size == 1:
            index = tuple(map(int, np.unravel_index(block[0], self.problem.arrays[i].shape)))
        number = i - (self.blank.order - 1)
        argument = self.arguments[number] if number >= 0 else f"Cotangent {-number}"
        return replace(self.blank, argument=argument, input=number if number >= 0 else None, index=index)

    def report(self, i, block, test: Comparison) -> GradientReport:
        unit = float(self.directions[i].flat[block[0]]) if block.size == 1 else 1.0
        numbers = dict(analytic=test.analytic / unit, numeric=test.numeric / unit, error=test.error / abs(unit))
        return replace(self.placed(i, block), **numbers)

    def note(self, i, block, test: Comparison) -> None:
        """Remember the comparison that agreed least."""
        report = self.report(i, block, test)
        if not self.closest.argument or report.deviation() > self.closest.deviation():
            self.closest = report
