"""A CuPy without a GPU: its arrays are NumPy's under CuPy's name, its RawModule is the emulator.

Inside `with emulated_device():` `import cupy` finds it, so launchers run as they are. Like CuPy's, its arrays do not
mix with NumPy's, and reductions return arrays.
"""

import contextlib
import functools
import sys
import types

import numpy as np

from . import emulate


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """Stands in for cupy.ndarray, which kernels know by the module of its type."""

    __module__ = "cupy"

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    def get(self):
        return np.array(self, subok=False)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        inputs, options = _on_host(ufunc.__name__, inputs), dict(_on_host(ufunc.__name__, options))
        if out:
            options["out"] = tuple(_on_host(ufunc.__name__, out))
        result = getattr(ufunc, method)(*inputs, **options)
        return out[0] if len(out) == 1 else _on_device(result)

    def __array_function__(self, function, types, args, kwargs):
        return _on_device(function(*_on_host(function.__name__, args), **_on_host(function.__name__, kwargs)))


def _on_host(name, value):
    """The arguments of a function with NumPy arrays for device arrays; host arrays are an error, as in CuPy."""
    if isinstance(value, ndarray):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"{name}: a NumPy array among CuPy arrays")
    if isinstance(value, dict):
        return {key: _on_host(name, member) for key, member in value.items()}
    return type(value)(_on_host(name, member) for member in value) if type(value) in (tuple, list) else value


def _on_device(value):
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).view(ndarray)
    return type(value)(map(_on_device, value)) if type(value) in (tuple, list) else value


def to_device(array):
    """A device array of equal values and strides."""
    copy = np.empty_like(array, subok=False)
    copy[...] = array
    return copy.view(ndarray)


class _Cupy(types.ModuleType):
    ndarray, RawModule = ndarray, emulate.RawModule

    @staticmethod
    def asarray(value, dtype=None):
        if isinstance(value, ndarray) and dtype in (None, value.dtype):
            return value
        return np.array(value, dtype).view(ndarray)

    @staticmethod
    def asnumpy(array):
        return array.get() if isinstance(array, ndarray) else np.asarray(array)

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found) or isinstance(found, np.ufunc):
            return found

        @functools.wraps(found)
        def on_device(*args, **kwargs):
            return _on_device(found(*_on_host(name, args), **_on_host(name, kwargs)))

        return on_device


cupy = _Cupy("cupy")


@contextlib.contextmanager
def emulated_device():
    """Puts this module's CuPy where `import cupy` looks."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    try:
        yield cupy
    finally:
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before
