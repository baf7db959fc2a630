"""The array module of a device. This is the only file that imports CuPy, and only when a GPU is asked for."""

import functools
import sys

import numpy as np


@functools.cache
def find_cupy():
    """CuPy where it is installed and a GPU answers, otherwise None."""
    try:
        import cupy
    except ImportError:
        return None
    return cupy if cupy.cuda.is_available() else None


def is_available() -> bool:
    """Whether tensors can be moved to ``"cuda"``."""
    return find_cupy() is not None


def array_module(array):
    """``numpy`` for a NumPy array, ``cupy`` for a CuPy array."""
    if isinstance(array, np.ndarray):
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")


def device_of(array) -> str:
    """``"cpu"`` or ``"cuda"``: where the array's memory is."""
    return "cpu" if isinstance(array, np.ndarray) else "cuda"


def to_device(array, device: str):
    """The array on ``device`` (``"cpu"`` or ``"cuda"``); itself where it is there already."""
    kind = str(device).partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device: expected 'cpu' or 'cuda', got {device!r}")
    if device_of(array) == kind:
        return array
    cupy = find_cupy()
    if cupy is None:
        raise RuntimeError("device 'cuda' needs CuPy and an NVIDIA GPU: pip install 'scratchnet[gpu]'")
    return cupy.asarray(array) if kind == "cuda" else cupy.asnumpy(array)
