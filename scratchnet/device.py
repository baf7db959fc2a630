"""Where tensors live: the CPU with NumPy's arrays, or the GPU with CuPy's.

This is the only file that imports CuPy, and only when a GPU is asked for. An op runs where its inputs are; nothing
moves by itself, and what moves says so: ``to``, ``cpu``, ``cuda``, ``item``, printing, ``copy_``.
"""

import functools
import importlib.util
import sys

import numpy as np


class device(str):  # noqa: N801 - PyTorch's name
    """A place for tensors: ``device("cpu")`` or ``device("cuda")``, a string. There is one GPU: "cuda:0" is it too.

    Raises:
        ValueError: another name, or another GPU.
    """

    __slots__ = ()

    def __new__(cls, name="cpu"):
        kind = {"cpu": "cpu", "cuda": "cuda", "cuda:0": "cuda"}.get(name) if isinstance(name, str) else None
        if kind is None:
            one = " (the first GPU is the only one that is used)" if str(name).startswith("cuda:") else ""
            raise ValueError(f"device: expected 'cpu' or 'cuda', got {name!r}{one}")
        return super().__new__(cls, kind)

    type = property(str)

    def __repr__(self):
        return f"device({str(self)!r})"


_CPU, _CUDA = device("cpu"), device("cuda")


@functools.cache
def find_cupy():
    """CuPy where it is installed and a GPU answers, otherwise None."""
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        return None
    try:
        import cupy
    except ImportError:
        return None
    return cupy if cupy.cuda.is_available() else None


def is_available() -> bool:
    """Whether tensors can be moved to ``"cuda"``: CuPy is installed and a GPU answers. Never raises."""
    return find_cupy() is not None


def why_unavailable() -> str:
    """What is missing for ``"cuda"``, in words, with the remedy."""
    if importlib.util.find_spec("cupy") is None:
        return "device 'cuda' needs CuPy: pip install 'scratchnet[gpu]'"
    return "device 'cuda' needs an NVIDIA GPU and its driver, and CuPy finds none: nvidia-smi should list it"


def module_of(where) -> object:
    """The array module of a device: ``numpy`` for "cpu", ``cupy`` for "cuda".

    Raises:
        ValueError: there is no such device.
        RuntimeError: "cuda" cannot be used here; the message says what is missing.
    """
    if device(where) == "cpu":
        return np
    cupy = find_cupy()
    if cupy is None:
        raise RuntimeError(why_unavailable())
    return cupy


def usable(where) -> device:
    """The device, after a look whether it can be used here; raises as ``module_of``."""
    module_of(where)
    return device(where)


def array_module(array):
    """``numpy`` for a NumPy array, ``cupy`` for a CuPy array."""
    if isinstance(array, np.ndarray):
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")


def device_of(array) -> device:
    """Where the array's memory is."""
    return _CPU if isinstance(array, np.ndarray | np.generic) else _CUDA


def on_host(array) -> bool:
    """Whether a look at the array's values costs nothing: on a GPU it would wait for all work before it."""
    return isinstance(array, np.ndarray | np.generic)


def to_device(array, where):
    """The array on a device; itself where it is there already.

    Raises:
        ValueError: there is no such device.
        RuntimeError: "cuda" cannot be used here; or a graph is being captured, whose replays would not copy again.
    """
    where = device(where)
    if device_of(array) == where:
        return array
    if where == "cpu":
        return array_module(array).asnumpy(array)
    cupy = module_of(where)
    if np.ndim(array) and cupy.cuda.get_current_stream().is_capturing():
        raise RuntimeError(
            f"a captured step cannot bring an array (shape {array.shape}) from the CPU, since its replays would not: "
            "give it to the step as an argument"
        )
    return cupy.asarray(array)


def one_device(owner: str, places: dict[str, device]) -> None:
    """Raise TypeError unless all places are one; the keys are what the message calls those that are there."""
    if len(set(places.values())) > 1:
        given = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise TypeError(f"{owner}: all tensors must be on one device, got {given}; move them with .to()")
