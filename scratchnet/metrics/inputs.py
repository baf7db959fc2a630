"""What every metric does with its inputs: fetch them to the host, and refuse in words what it cannot measure."""

import numbers

import numpy as np

from scratchnet.device import to_device
from scratchnet.recording import refuse
from scratchnet.tensor import Tensor


def on_host(values) -> np.ndarray:
    """The values of a tensor or array as a NumPy array."""
    refuse("a metric", "return its inputs and compute it outside")
    values = values.data if isinstance(values, Tensor) else values
    return to_device(values, "cpu") if hasattr(values, "dtype") else np.asarray(values)


def real(caller: str, name: str, values, shape: str, ndim: int | None = None) -> np.ndarray:
    """The values as finite float64 with ``ndim`` axes, or with at least two where it is None.

    Raises:
        ValueError: a wrong number of axes, an empty axis, or a value that is not finite.
        TypeError: the values are no real numbers.
    """
    values = on_host(values)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{caller}: {name} must be real numbers, got {values.dtype}")
    if (values.ndim != ndim if ndim is not None else values.ndim < 2) or 0 in values.shape:
        raise ValueError(f"{caller}: {name} must have shape {shape}, none of them 0, got {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{caller}: {name} contain NaN or infinity")
    return values


def whole(caller: str, name: str, value, least: int) -> int:
    """The value as an int of at least ``least``. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{caller}: {name} must be an integer of at least {least}, got {value!r:.80}")
    return int(value)
