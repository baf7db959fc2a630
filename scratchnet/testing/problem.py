"""What a gradient check is about: a function at a point, in its own dtype and in the best that it offers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scratchnet.autograd import enable_grad, grad, no_grad
from scratchnet.tensor import Tensor


@dataclass(frozen=True)
class Precision:
    """What is promised for inputs of a dtype, and what can be told from values of that dtype.

    ``sharp``: the relative error of an entry that is found. ``blunt``: the same relative to the terms of an entry, or
    to the values that it moves, where that is all one can ask since it is 0 up to rounding. ``near``: the distance, in
    lengths over which the function varies, at which a kink counts as at the point.
    """

    sharp: float
    blunt: float
    near: float


PRECISION = {
    np.dtype(np.float64): Precision(sharp=1e-4, blunt=1e-8, near=2.0**-22),
    np.dtype(np.float32): Precision(sharp=1e-2, blunt=1e-4, near=2.0**-8),
}


class Problem:
    """A function of tensors and a point.

    ``arrays`` is the point as given, ``exact`` the same in float64 if the function takes that: for float32 inputs the
    numeric derivatives are then exact beside the gradients. ``out`` is the value in the dtype given, and ``branches``
    says where that in float64 is so far off that it must have taken another branch.
    """

    def __init__(self, function: Callable[..., Tensor], arrays: list[np.ndarray], linear: bool):
        self.function, self.arrays, self.linear = function, arrays, linear
        self.floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
        self.dtype = max((arrays[i].dtype for i in self.floating), key=lambda dtype: np.finfo(dtype).eps)
        self.out = self.value(arrays)
        if self.out.dtype.kind != "f":
            raise TypeError(f"check_gradients: the function returns {self.out.dtype}, which has no gradient")
        self.exact = [a.astype(np.float64) if i in self.floating else a for i, a in enumerate(arrays)]
        try:
            self.value(self.exact)
        except TypeError:  # it holds float32 arrays of its own
            self.exact = arrays
        exact = self.value(self.exact)
        self.exact_dtype = exact.dtype
        self.branches = np.abs(exact - self.out) > PRECISION[self.dtype].sharp * np.abs(exact).max(initial=0.0)
        self.sharp, self.blunt = PRECISION[self.dtype].sharp, PRECISION[self.dtype].blunt
        self.near = PRECISION[self.exact_dtype].near

    def value(self, arrays) -> np.ndarray:
        with no_grad():
            return self.function(*map(Tensor, arrays)).data

    def gradients(self, arrays, cotangent) -> dict[int, np.ndarray]:
        """J^T u for every floating input."""
        tensors = [Tensor(a, requires_grad=i in self.floating) for i, a in enumerate(arrays)]
        with enable_grad():
            out = self.function(*tensors)
        pieces = pull_back(out, [tensors[i] for i in self.floating], Tensor(cotangent))
        return {i: p.data.astype(np.float64) for i, p in zip(self.floating, pieces, strict=True)}

    def lengths(self, i) -> np.ndarray:
        """For every entry of input i, a length over which to expect the function to vary: its size, or its fellows'."""
        size = np.abs(self.exact[i]).astype(np.float64)
        typical = float(np.median(size[size > 0])) if size.any() else 1.0
        return np.maximum(size, max(typical, 1e-3))

    def oddity(self) -> str:
        """Why nothing can be said about this function here; empty if something can."""
        values = [self.value(self.exact) for _ in range(2)]
        if not (np.isfinite(values[0]).all() and np.isfinite(self.out).all()):
            return "The function is not finite at this point."
        return "" if np.array_equal(*values) else "The function gives different values for the same inputs."


def pull_back(out: Tensor, inputs, cotangent: Tensor, **options) -> list[Tensor]:
    """J^T u, with zeros for an input that does not take part."""
    pieces = [None] * len(inputs)
    if out.requires_grad:
        pieces = grad(out, inputs, cotangent, allow_unused=True, **options)
    return [Tensor(np.zeros_like(x.data)) if p is None else p for p, x in zip(pieces, inputs, strict=True)]


def signed(generator: np.random.Generator, shape) -> np.ndarray:
    """Random signs times sizes between 1/2 and 3/2: nothing is so small that an error behind it is lost."""
    return generator.choice([-1.0, 1.0], shape) * generator.uniform(0.5, 1.5, shape)
