"""Arrays that show their shapes and keep their elements to themselves: what is done to them can be done again.

A kernel that is *bound* (see `cpu/binding.py`) gets sealed arrays. It may take views of them and hand them to compiled
code, to NumPy's universal functions, to assignments and to a `check`: all of these are calls that are kept. What would
let Python see an element, and so decide by it, raises `LooksInsideError`.
"""

import functools
import threading
from types import EllipsisType

import numpy as np


class _Here(threading.local):
    binding = None


here = _Here()  # the binding of this thread, while it runs a kernel


class LooksInsideError(Exception):
    """A sealed array's elements were asked for, so this call cannot be bound."""


def check(function):
    """Decorator: of a function of arrays that looks at their elements, and then raises, or returns nothing."""

    @functools.wraps(function)
    def checked(*args, **options):
        return function(*args, **options) if here.binding is None else here.binding.do(function, *args, **options)

    return checked


class Sealed(np.ndarray):
    """See above. NumPy gives every view of it the same type."""

    def __array_ufunc__(self, function, method, *inputs, out=None, **options):
        if method not in ("__call__", "reduce") or function.nout != 1 or options.get("where", True) is not True:
            raise LooksInsideError(f"{function.__name__}.{method}")
        return here.binding.compute(getattr(function, method), inputs, options, out and out[0])

    def __array_function__(self, function, types, args, options):
        if function is np.where:
            return here.binding.compute(_where, args, options)
        if function is np.empty_like:
            return here.binding.empty_like(*args, **options)
        if function not in _METHODS and function not in _VIEWS:
            raise LooksInsideError(function.__name__)
        found = super().__array_function__(function, types, args, options)
        return found.view(Sealed) if function in _VIEWS and isinstance(found, np.ndarray) else found

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(part, _OF_VIEWS) for part in parts):
            raise LooksInsideError("an index that is an array")
        return super().__getitem__(parts if Ellipsis in parts else (*parts, Ellipsis))  # never a number

    def __setitem__(self, index, value):
        here.binding.do(_assign, self[index], value)

    def fill(self, value):
        self[...] = value

    def copy(self, order="C"):
        copy = here.binding.empty_like(self, order=order)
        copy[...] = self
        return copy

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == dtype:
            return self
        converted = here.binding.empty_like(self, dtype, order)
        converted[...] = self
        return converted


def _assign(target, value):
    target[...] = value


def _where(*args, out=None):
    found = np.where(*args)
    if out is None:
        return found
    out[...] = found


def _refused(name):
    def refuse(self, *args, **options):
        raise LooksInsideError(name)

    return refuse


_OF_VIEWS = int, slice, EllipsisType, type(None), np.integer
_VIEWS = {
    np.broadcast_to, np.expand_dims, np.flip, np.moveaxis, np.may_share_memory, np.ndim, np.reshape, np.shape, np.size,
    np.squeeze, np.swapaxes, np.transpose,
}  # fmt: skip
_METHODS = {np.all, np.any, np.clip, np.max, np.mean, np.min, np.prod, np.std, np.sum, np.var}  # of universal functions
_LOOKING = (
    "__bool__ __int__ __float__ __complex__ __index__ __contains__ __copy__ __deepcopy__ __reduce_ex__ __dlpack__ "
    "argmax argmin argpartition argsort byteswap choose compress cumprod cumsum data diagonal dot dump dumps flat "
    "flatten getfield item nonzero partition put ravel repeat round searchsorted setfield sort take tobytes tofile "
    "tolist trace"
)
for _name in _LOOKING.split():
    setattr(Sealed, _name, property(_refused(_name)) if _name in ("data", "flat") else _refused(_name))
