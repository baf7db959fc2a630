"""Checks for gradients, of the library's own ops and of yours."""

from scratchnet.testing.gradcheck import check_gradients, gradcheck, gradgradcheck
from scratchnet.testing.numeric import derivative
from scratchnet.testing.report import GradientError, GradientReport, Verdict

__all__ = [
    "GradientError",
    "GradientReport",
    "Verdict",
    "check_gradients",
    "derivative",
    "gradcheck",
    "gradgradcheck",
]
