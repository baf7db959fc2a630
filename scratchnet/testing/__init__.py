"""Checks for gradients, of the library's own ops and of yours."""

from scratchnet.testing.gradcheck import GradientError, gradcheck, gradgradcheck
from scratchnet.testing.numeric import derivative

__all__ = ["GradientError", "derivative", "gradcheck", "gradgradcheck"]
