"""A stand-in for CuPy on NumPy's memory: a machine without a GPU can test that nothing leaves the device unseen.

It refuses what CuPy 14.2 refuses. Names and arguments are those of ``cupy_api.json``, which ``make_cupy_api.py`` read
from the installed package; the rules below are those of its sources:

* ``np.asarray(x)``, and whatever else ends in ``__array__``, raises TypeError;
* a NumPy array in an operation with CuPy's raises TypeError: "Unsupported type";
* NumPy's functions find CuPy's by name, through ``__array_ufunc__`` and ``__array_function__``; their other methods,
  such as ``np.add.at``, do not;
* results are arrays, also those of reductions and of indexing by integers, never NumPy's scalars;
* an index beyond the end wraps around, in silence;
* a basic slice cannot be assigned a NumPy array.

Where CuPy leaves something open, the worst is assumed: elementwise results lie in C order whatever their inputs'
strides, and fresh memory is NaN. ``transfers`` counts what CuPy would do in silence: values read on the host (each
waits for the device) and arrays sent to it. While a stream captures, both raise, as CUDA has it, and operations are
noted down and not done, so that their results are NaN, until ``Graph.launch`` does them on the same memory.
"""

import contextlib
import json
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from tests.emulator import emulate
from tests.emulator.device import ndarray as EmulatedArray

API = json.loads(Path(__file__).with_name("cupy_api.json").read_text())
__version__ = API["version"]
transfers: Counter = Counter()
_recording: list | None = None


class CUDARuntimeError(RuntimeError):
    """What CuPy raises for an error of the driver."""


def _transfer(direction: str) -> None:
    if _recording is not None:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    transfers[direction] += 1


def _unwrap(value):
    """NumPy arrays for this module's; NumPy's own are refused."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(map(_unwrap, value))
    return value


def _wrap(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    return type(value)(map(_wrap, value)) if isinstance(value, list | tuple) else value


def _arrays(value) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [array for item in values for array in _arrays(item)]


def _run(function, args, kwargs, in_place=False):
    """Call a NumPy function on unwrapped arguments and wrap its result; while capturing, note the call down."""
    args, kwargs = _unwrap(args), {name: _unwrap(value) for name, value in kwargs.items()}
    if _recording is not None and (in_place or "out" in kwargs):
        _recording.append(lambda: function(*args, **kwargs))
        return _wrap(kwargs.get("out"))
    result = function(*args, **kwargs)
    wrapped = _wrap(result)
    outputs = _arrays(_unwrap(wrapped)) if isinstance(wrapped, ndarray | list | tuple) else []
    given = _arrays([args, kwargs])
    is_view = outputs and "out" not in kwargs and all(any(np.shares_memory(o, g) for g in given) for o in outputs)
    if _recording is not None and not is_view:

        def again():
            for array, new in zip(outputs, _arrays(_unwrap(_wrap(function(*args, **kwargs)))), strict=False):
                array[...] = new

        _recording.append(again)
        for output in outputs:
            _fill_worst(output)
    return wrapped


def _check(name: str, names: list[str], args, kwargs) -> None:
    """Refuse arguments that CuPy's function of this name does not take."""
    free = [n.lstrip("*") for n in names]
    if len(args) > len(free) and not any(n.startswith("*") for n in names):
        raise TypeError(f"cupy.{name}() takes {len(free)} positional arguments but {len(args)} were given")
    unknown = kwargs.keys() - set(free)
    if unknown and not any(n.startswith("**") for n in names):
        raise TypeError(f"cupy.{name}() got an unexpected keyword argument {min(unknown)!r}")


def _c_order(function):
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        if kwargs.get("out") is not None:
            return result
        if isinstance(result, tuple):
            return tuple(np.asarray(r, order="C") for r in result)
        return np.asarray(result, order="C")

    return call


class ufunc:  # noqa: N801 - CuPy's name
    """An elementwise function."""

    def __init__(self, name: str):
        self.__name__, self._numpy = name, getattr(np, name)

    def __call__(self, *args, **kwargs):
        _check(self.__name__, ["x1", "x2", "out", "dtype", "casting"], args, kwargs)
        if kwargs.get("out", ...) is None:
            del kwargs["out"]
        return _run(_c_order(self._numpy), args, kwargs)

    def at(self, array, index, value=None):
        if self.__name__ == "add" and array.dtype not in (np.int32, np.uint32, np.uint64, np.float32, np.float64):
            raise TypeError("scatter_add only supports int32, float16, float32, float64, uint32, uint64, as data type")

        def at(a, i, v):
            self._numpy.at(a, _wrapped_around(i, a.shape), v)

        _run(at, (array, _index(index), value), {}, in_place=True)


class _Flags:
    """No ``writeable``: there is no read-only memory."""

    def __init__(self, array):
        self.c_contiguous, self.f_contiguous = array.flags.c_contiguous, array.flags.f_contiguous
        self.owndata = array.flags.owndata


def _index(index):
    """An index with its arrays on the device, as a tuple."""
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(asarray(part) if isinstance(part, np.ndarray | list) else part for part in parts)
    if any(isinstance(part, ndarray) and part.dtype == np.bool_ for part in parts):
        _transfer("to host")  # how many are True
    return parts


def _wrapped_around(index, shape):
    """The index with its integer arrays taken modulo the axis they pick from."""
    dims = [0 if p is None or p is Ellipsis else p.ndim if _is_mask(p) else 1 for p in index]
    parts, axis = list(index), 0
    for i, (part, count) in enumerate(zip(index, dims, strict=True)):
        if part is Ellipsis:
            axis += len(shape) - sum(dims)
        elif isinstance(part, np.ndarray) and not _is_mask(part) and axis < len(shape) and shape[axis]:
            parts[i] = part % shape[axis]
        axis += count
    return tuple(parts)


def _is_mask(part) -> bool:
    return isinstance(part, np.ndarray) and part.dtype == np.bool_


class ndarray:  # noqa: N801 - CuPy's name
    """An array on the pretended device."""

    __slots__ = ("__weakref__", "_array")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, array: np.ndarray):
        assert type(array) is np.ndarray
        self._array = array

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: _Flags(self._array))
    T = property(lambda self: ndarray(self._array.T))
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))
    __cuda_array_interface__ = property(lambda self: {"shape": self.shape, "version": 3})
    base = property(lambda self: None if self._array.base is None else ndarray(self._array.base))

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or ufunc.__name__ not in (*API["ufuncs"], "matmul"):
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        if any(not isinstance(x, ndarray | np.ndarray | np.generic | bool | int | float) for x in inputs):
            return NotImplemented
        return getattr(sys.modules["cupy"], ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        owner = linalg if function.__module__ == "numpy.linalg" else sys.modules["cupy"]
        own = getattr(owner, function.__name__, None)
        if own is None or not set(types) <= {ndarray, np.ndarray}:
            return NotImplemented
        return own(*args, **kwargs)

    def __getattr__(self, name):
        names = API["ndarray"].get(name)
        if name.startswith("_") or names is None:
            raise AttributeError(f"'ndarray' object has no attribute {name!r}")

        def method(*args, **kwargs):
            _check(f"ndarray.{name}", names, args, kwargs)
            function = getattr(np.ndarray, name)
            return _run(function, (self, *args), kwargs, in_place=name in ("fill", "sort", "put", "partition"))

        return method

    def get(self) -> np.ndarray:
        _transfer("to host")
        return np.array(self._array, order="C")

    def set(self, array: np.ndarray) -> None:
        _transfer("to device")
        if type(array) is not np.ndarray or (array.dtype, array.shape) != (self.dtype, self.shape):
            raise TypeError(f"{array!r:.40} cannot be set")
        self._array[...] = array

    item = lambda self: self.get().item()  # noqa: E731
    tolist = lambda self: self.get().tolist()  # noqa: E731
    __float__ = lambda self: float(self.get())  # noqa: E731
    __int__ = lambda self: int(self.get())  # noqa: E731
    __bool__ = lambda self: bool(self.get())  # noqa: E731
    __repr__ = lambda self: repr(self.get())  # noqa: E731

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        index = _index(index)
        if not any(part is Ellipsis for part in index):
            index = (*index, Ellipsis)  # so that integers leave a view of no dimensions
        return _run(lambda a, i: a[_wrapped_around(i, a.shape)], (self, index), {})

    def __setitem__(self, index, value):
        index = _index(index)
        if isinstance(value, np.ndarray):
            if not any(isinstance(part, ndarray) for part in index) and value.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = asarray(value)

        def assign(a, i, v):
            a[_wrapped_around(i, a.shape)] = v

        _run(assign, (self, index, value), {}, in_place=True)


def _binary(name: str, swapped: bool = False):
    def method(self, other):
        if not isinstance(other, ndarray | np.ndarray | np.generic | bool | int | float):
            return NotImplemented
        function = getattr(sys.modules["cupy"], name)
        return function(other, self) if swapped else function(self, other)

    return method


def _in_place(name: str):
    def method(self, other):
        _run(lambda a, b: getattr(np, name)(a, b, out=a, casting="same_kind"), (self, other), {}, in_place=True)
        return self

    return method


_ARITHMETIC = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"}
_BITWISE = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
for _operator, _name in {**_ARITHMETIC, **_BITWISE, "mod": "remainder", "pow": "power", "matmul": "matmul"}.items():
    setattr(ndarray, f"__{_operator}__", _binary(_name))
    setattr(ndarray, f"__r{_operator}__", _binary(_name, swapped=True))
    setattr(ndarray, f"__i{_operator}__", _in_place(_name))
_COMPARISONS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal"}
for _operator, _name in {**_COMPARISONS, "gt": "greater", "ge": "greater_equal"}.items():
    setattr(ndarray, f"__{_operator}__", _binary(_name))
for _operator, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_operator}__", lambda self, _name=_name: ufunc(_name)(self))
ndarray.__module__ = "cupy"


def __getattr__(name: str):
    """A function by CuPy's name and with CuPy's arguments; what CuPy lacks is missing here."""
    if name in API["ufuncs"]:
        return ufunc(name)
    if name in API["same as NumPy's"]:
        return getattr(np, name)
    if name in API["functions"]:
        return _function(name, getattr(np, name), API["functions"][name])
    raise AttributeError(f"module 'cupy' has no attribute {name!r}")


def _function(name, function, names):
    def call(*args, **kwargs):
        _check(name, names, args, kwargs)
        return _run(function, args, kwargs, in_place=name in ("copyto", "put", "place", "putmask"))

    return call


def matmul(x1, x2, /, out=None):
    return _run(_c_order(np.matmul), (x1, x2), {} if out is None else {"out": out})


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, order=order, copy=copy)
    host = np.array(obj, dtype, order=order, ndmin=ndmin)
    if host.ndim:
        _transfer("to device")  # a scalar is an argument of the kernel that fills
    return _run(lambda: host.copy(order="K"), (), {})


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, bool(copy), order or "K")


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args):
    return sys.modules["cupy"] if any(isinstance(a, ndarray) for a in args) else np


def empty(shape, dtype=float, order="C"):
    return _run(_worst_memory, (shape, dtype, order), {})


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    like = np.empty_like(prototype._array, dtype, order=order, shape=shape)
    return _run(lambda: _fill_worst(like), (), {})


def _worst_memory(shape, dtype, order):
    return _fill_worst(np.empty(shape, dtype, order))


def _fill_worst(array):
    array[...] = math.nan if array.dtype.kind == "f" else -1 if array.dtype.kind == "i" else 1
    return array


linalg = SimpleNamespace(
    **{
        name: _function(f"linalg.{name}", getattr(np.linalg, name), names)
        for name, names in API["linalg"].items()
        if hasattr(np.linalg, name)
    }
)


class RawModule:
    """CUDA sources, which the emulator runs on the CPU."""

    def __init__(self, code, *, options=(), name_expressions=()):
        self._module = emulate.RawModule(code, options=options, name_expressions=name_expressions)

    def get_function(self, name):
        return _Kernel(self._module.get_function(name))


class _Kernel:
    max_dynamic_shared_size_bytes = emulate.FREE_SHARED_BYTES

    def __init__(self, function):
        self._function = function

    def __call__(self, grid, block, args, *, shared_mem=0):
        self._function.max_dynamic_shared_size_bytes = self.max_dynamic_shared_size_bytes
        arguments = [a._array.view(EmulatedArray) if isinstance(a, ndarray) else a for a in args]

        def launch():
            self._function(grid, block, arguments, shared_mem=shared_mem)

        launch() if _recording is None else _recording.append(launch)


class Graph:
    """What a stream has captured."""

    def __init__(self, operations):
        self._operations = operations

    def launch(self, stream=None) -> None:
        for operation in self._operations:
            operation()

    def upload(self, stream=None) -> None:
        pass


class Stream:
    """A stream; work on it is done at once."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.non_blocking = non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        pass

    def wait_event(self, event):
        pass

    def record(self, event=None):
        return event

    def begin_capture(self, mode=None):
        global _recording
        _recording = []

    def end_capture(self):
        global _recording
        operations, _recording = _recording, None
        return Graph(operations)

    def is_capturing(self):
        return _recording is not None


class MemoryPool:
    """A pool of device memory."""

    def malloc(self, size):
        raise AssertionError("arrays here are NumPy's")

    def free_all_blocks(self):
        pass


@contextlib.contextmanager
def using_allocator(allocator=None):
    yield


cuda = SimpleNamespace(
    is_available=lambda: True,
    Stream=Stream,
    Graph=Graph,
    MemoryPool=MemoryPool,
    using_allocator=using_allocator,
    get_current_stream=Stream,
    runtime=SimpleNamespace(CUDARuntimeError=CUDARuntimeError),
)


def install(monkeypatch) -> ModuleType:
    """Let ``import cupy`` find this module for the length of a test."""
    from scratchnet.device import find_cupy

    special = ModuleType("cupyx.scipy.special")
    for name in ("erf", "erfc"):
        lifted = np.vectorize(getattr(math, name))
        setattr(special, name, lambda x, f=lifted: _run(lambda a: f(a).astype(a.dtype), (x,), {}))
    scipy = ModuleType("cupyx.scipy")
    scipy.special = special
    module = sys.modules[__name__]
    names = {"cupy": module, "cupyx": ModuleType("cupyx"), "cupyx.scipy": scipy, "cupyx.scipy.special": special}
    for name, value in names.items():
        monkeypatch.setitem(sys.modules, name, value)
    find_cupy.cache_clear()
    transfers.clear()
    return module
