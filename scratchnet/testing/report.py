"""What a gradient check has to say: a verdict, and the place and the numbers behind it."""

import enum
import math
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """PASS: every entry of every gradient agrees with the numeric derivative.

    FAIL: an entry differs by more than rounding and the error of the numeric derivative explain, or is NaN.
    KINK: the function has no derivative at this point. What the library gives there lies between the derivatives from
    either side, where there are any, or is what the op declares; all other entries agree.
    INCONCLUSIVE: the numeric derivative is too uncertain to tell.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    KINK = "KINK"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class GradientReport:
    """The result of ``check_gradients``, and one entry that stands for it; ``str(report)`` is a paragraph.

    Attributes:
        verdict: PASS, FAIL, KINK or INCONCLUSIVE.
        name: of the function or op.
        order: of the derivative; 1 is the gradient.
        dtype: of the inputs.
        entries: how many entries there are in all inputs.
        argument: in words, whose entry it is.
        input: its number among the inputs given; None for a cotangent, which orders above 1 differentiate as well.
        index: of the entry that is most wrong, or came closest. None if that was a block of several entries; the
            derivatives are then those along one random direction through all of them.
        analytic: the library's derivative.
        numeric: the numeric derivative.
        error: how far the two may be apart: the error of the numeric derivative, and rounding in both.
        detail: what is special about this point.
        wrong: how many entries fail. Counting ends at a few dozen.
        blunt: how many entries are 0 up to rounding under every cotangent tried: held to the rounding only.
    """

    verdict: Verdict
    name: str
    order: int
    dtype: str
    entries: int
    argument: str = ""
    input: int | None = None
    index: tuple[int, ...] | None = None
    analytic: float = 0.0
    numeric: float = 0.0
    error: float = 0.0
    detail: str = ""
    wrong: int = 0
    blunt: int = 0

    def deviation(self) -> float:
        """How far the derivatives are apart: absolutely in a FAIL, else in error bars; infinite for NaN."""
        apart = abs(self.analytic - self.numeric)
        if self.verdict is not Verdict.FAIL and self.error:
            apart /= self.error
        return math.inf if math.isnan(apart) else apart

    def __str__(self) -> str:
        text = f"{self.verdict}: {self.name}, order {self.order}, {self.dtype}."
        if self.argument:
            place = "along a random direction" if self.index is None else f"at {list(self.index)}"
            text += (
                f" {self.argument} {place}: gradient {self.analytic:.10g}, "
                f"numeric {self.numeric:.10g} ± {self.error:.2g}."
            )
        if self.detail:
            text += f" {self.detail}"
        if self.wrong:
            text += f" Wrong entries: {self.wrong} of {self.entries}."
        if self.blunt:
            text += f" Entries that are 0 up to rounding: {self.blunt} of {self.entries}."
        return text


class GradientError(AssertionError):
    """A gradient check that did not pass; ``report`` has the details."""

    def __init__(self, report: GradientReport):
        super().__init__(str(report))
        self.report = report
