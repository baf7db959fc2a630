"""Dropout layers: random zeros in training, nothing in evaluation."""

from scratchnet.nn import checks
from scratchnet.nn import functional as F
from scratchnet.nn.module import Module


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False, generator=None):
        super().__init__()
        checks.probability(type(self).__name__, p=p)
        self.p, self.inplace, self.generator = p, inplace, generator

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability p and divide the others by 1 - p; ``generator`` is NumPy's."""

    def forward(self, input):
        return F.dropout(input, self.p, self.training, generator=self.generator)


class Dropout2d(_Dropout):
    """Zero each plane of (N, C, H, W) with probability p and divide the others by 1 - p."""

    def forward(self, input):
        return F.dropout2d(input, self.p, self.training, generator=self.generator)
