"""Tensors from nothing: constants, ranges and random numbers. Floating results have the default dtype.

They are on the CPU unless ``device`` says otherwise; those that are made like another tensor are where that one is.
Random numbers are drawn on the CPU, so that a seed means the same numbers on every device.
"""

import math

import numpy as np

from scratchnet import random
from scratchnet.device import module_of, to_device
from scratchnet.errors import explain
from scratchnet.recording import call
from scratchnet.tensor import Tensor, get_default_dtype, tensor

__all__ = [
    *("arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "ones", "ones_like", "rand"),
    *("rand_like", "randint", "randn", "randn_like", "randperm", "zeros", "zeros_like"),
]


def _shape(size) -> tuple[int, ...]:
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    if any(not isinstance(n, (int, np.integer)) or n < 0 for n in shape):
        raise ValueError(f"size: expected non-negative integers, got {shape}")
    return shape


def _moved(array, device, requires_grad=False) -> Tensor:
    return Tensor(array if device is None else call(to_device, [array], where=device), requires_grad)


def _made(name, device, *args, **options):
    """``numpy.name(*args, **options)``, or CuPy's where the device is a GPU."""
    return call(_make, name=name, device=device or "cpu", args=args, options=options)


def _make(name, device, args, options):
    return getattr(module_of(device), name)(*args, **options)


def zeros(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    return Tensor(_made("zeros", device, _shape(size), dtype or get_default_dtype()), requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    return Tensor(_made("ones", device, _shape(size), dtype or get_default_dtype()), requires_grad)


def empty(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    return Tensor(_made("empty", device, _shape(size), dtype or get_default_dtype()), requires_grad)


def full(size, fill_value, dtype=None, device=None, requires_grad=False) -> Tensor:
    size = (size,) if isinstance(size, int) else size
    dtype = dtype or tensor(fill_value).dtype
    return Tensor(_made("full", device, _shape((size,)), fill_value, dtype), requires_grad)


def zeros_like(x: Tensor, dtype=None, device=None) -> Tensor:
    return _like(np.zeros_like, x, dtype, device)


def ones_like(x: Tensor, dtype=None, device=None) -> Tensor:
    return _like(np.ones_like, x, dtype, device)


def full_like(x: Tensor, fill_value, dtype=None, device=None) -> Tensor:
    return _like(np.full_like, x, dtype, device, fill_value=fill_value)


def empty_like(x: Tensor, dtype=None, device=None) -> Tensor:
    return _like(np.empty_like, x, dtype, device)


def _like(make, x, dtype, device, **options) -> Tensor:
    return _moved(call(make, [x], dtype=dtype, **options), device)  # where x is: NumPy's functions find CuPy's


def eye(n: int, m: int | None = None, dtype=None, device=None) -> Tensor:
    return Tensor(_made("eye", device, n, m, dtype=dtype or get_default_dtype()))


def arange(start, end=None, step=1, dtype=None, device=None) -> Tensor:
    start, end = (0, start) if end is None else (start, end)
    if not (math.isfinite(start) and math.isfinite(end) and math.isfinite(step)) or step == 0:
        raise ValueError(f"arange: numbers must be finite and step not 0, got start {start}, end {end}, step {step}")
    floating = np.result_type(start, end, step).kind == "f"
    dtype = dtype or (get_default_dtype() if floating else np.int64)
    return _moved(call(_arange, start=start, end=end, step=step, dtype=dtype), device)


def _arange(start, end, step, dtype):
    return np.arange(start, end, step).astype(dtype)


def linspace(start, end, steps: int, dtype=None, device=None) -> Tensor:
    return _moved(_made("linspace", "cpu", start, end, steps, dtype=dtype or get_default_dtype()), device)


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Uniform numbers from [0, 1)."""
    values = random.draw("random", _shape(size), np.dtype(dtype or get_default_dtype()), generator=generator)
    return _moved(values, device, requires_grad)


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Normal numbers with mean 0 and variance 1."""
    values = random.draw("standard_normal", _shape(size), np.dtype(dtype or get_default_dtype()), generator=generator)
    return _moved(values, device, requires_grad)


def randn_like(x: Tensor, generator=None) -> Tensor:
    return randn(*x.shape, generator=generator, dtype=x.dtype, device=x.device)


def rand_like(x: Tensor, generator=None) -> Tensor:
    return rand(*x.shape, generator=generator, dtype=x.dtype, device=x.device)


def randint(low, high=None, size=(), generator=None, device=None) -> Tensor:
    """Integers from [low, high), or [0, low) where high is None."""
    return _moved(random.draw("integers", low, high, _shape((size,)), generator=generator), device)


def randperm(n: int, generator=None, device=None) -> Tensor:
    """The numbers 0 to n - 1 in random order."""
    return _moved(random.draw("permutation", n, generator=generator), device)


explain(globals())
