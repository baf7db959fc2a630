"""Kernels bound to memory: the calls that a kernel makes, to be made again without the Python around them.

Between a kernel's arrays and its compiled calls Python checks shapes, chooses, and gets memory, each time with the same
outcome, and where compiled code has emptied the caches that takes 0.1 to 0.4 ms a convolution. A program that runs many
times, such as a training step, can have all its arrays at places that never change. Then the calls alone are enough.

A `Binding` runs functions on sealed arrays (`sealed.py`) and keeps the calls. Memory that is free again within a run is
used again, as ever. All bindings share theirs: one of them runs at a time, and leaves nothing there.
"""

import ctypes
import functools
import math
import weakref
from typing import NamedTuple

import numpy as np

from ..sealed import LooksInsideError, Sealed, here
from .memory import ALIGNMENT, block, copied, extent, in_order_of, size_class, strided_like, take

_blocks = {}  # size -> weak references to blocks and where their arrays begin; bindings keep blocks alive


class Spot(NamedTuple):
    """An array in numbers, which keep no memory from being used again."""

    address: int
    shape: tuple
    strides: tuple
    dtype: np.dtype

    @classmethod
    def of(cls, array):
        return cls(array.ctypes.data, array.shape, array.strides, array.dtype)

    def array(self):
        """The array, as long as somebody keeps its memory."""
        size, before = extent(self)
        return np.ndarray(
            self.shape, self.dtype, (ctypes.c_byte * size).from_address(self.address - before), before, self.strides
        )

    def is_like(self, other):
        """Whether the two differ in their places at most."""
        return self[1:] == other[1:]


class _Call(NamedTuple):
    function: object
    args: tuple
    options: dict


class Binding:
    """Runs functions of arrays, and keeps what has to be called to do the same again.

    Arrays are in its own memory, or in that of arrays that it knows.
    """

    def __init__(self):
        self._calls = []
        self._outside = {}  # by id: memory of arrays from elsewhere, which stay where they are
        self._leases = {}  # size -> [(lease of a block, where its array begins)]
        self._kept, self._ours = [], set()  # blocks, and the ids of their leases

    def know(self, array):
        """Let calls have the array in its own memory, from elsewhere, in every run."""
        memory = memory_of(array)
        self._outside[id(memory)] = memory

    def bind(self, function, arrays, options, spare=()):
        """The results of function(*arrays, **options), a tuple of sealed arrays; or None if it cannot be bound.

        The function must depend on nothing but its arguments, and must not write into them: but nobody asks for those
        in ``spare`` any more. If it makes other calls for other elements, those of a rehearsal are 0, it is not bound.
        """
        begin, self._spare, self._may_spare = len(self._calls), {id(memory_of(array)): False for array in spare}, False
        rehearsed = self._rehearse(begin, function, arrays, options)
        results = None if rehearsed is None else self._try(begin, function, arrays, options)
        calls = self._calls[begin:]
        if not results or len(calls) != len(rehearsed) or not all(map(_agree, calls, rehearsed)):
            results = None
        if results and any(self._spare.values()):
            results, self._may_spare = None, True
            results = self._try(begin, function, arrays, options)
            if results is None:  # too late to call it in another way: its arrays have been written over
                raise RuntimeError(f"{function} could be called, and now it cannot")
        if results is None:
            del self._calls[begin:]
        return results

    def _rehearse(self, begin, function, arrays, options):
        """The calls that the function makes for zeros; or None."""
        outside = dict(self._outside)
        zeros = [copied(a, fill=0) if isinstance(a, np.ndarray) else a for a in map(unsealed, arrays)]
        for array in zeros:
            if isinstance(array, np.ndarray):
                self.know(array)
        with np.errstate(all="ignore"):
            results = self._try(begin, function, zeros, options)
        self._outside = outside
        return self._calls[begin:] if results else None

    def is_spare(self, array, others):
        """Whether a result may be written over the array, element by element while it and the others are read.

        Before the last try it may not, and it is noted that it could.
        """
        memory = id(memory_of(array))
        shifted = any(id(memory_of(other)) == memory and Spot.of(other) != Spot.of(array) for other in others)
        if memory not in self._spare or shifted:
            return False
        self._spare[memory] = True
        return self._may_spare

    def _try(self, begin, function, arrays, options):
        del self._calls[begin:]
        here.binding = self
        try:
            results = function(*map(sealed, arrays), **options)
        except Exception:  # whatever it is: called without us, the function may raise it again
            return None
        finally:
            here.binding = None
        results = results if isinstance(results, tuple) else (results,)
        known = all(isinstance(result, Sealed) and self._is_known(result) for result in results)
        return results if known else None

    def _is_known(self, array):
        """Whether the array's memory will be there in later runs: that of a copy that NumPy made will not."""
        return self.owns(array) or id(memory_of(array)) in self._outside

    def do(self, function, *args, **options):
        """function(*args, **options), which returns nothing, now and in every later run."""
        if function(*map(unsealed, args), **options) is not None:
            raise LooksInsideError("a result")
        self.note(function, *args, **options)

    def compute(self, function, inputs, options, out=None):
        """The result of a function of NumPy, which goes to ``out`` if that is given, now and in every later run."""
        plain = map(unsealed, inputs)
        if out is None:
            out = self.held(np.asarray(function(*plain, **options)))
        else:
            function(*plain, out=unsealed(out), **options)
        self.note(function, *inputs, **options, out=out)
        return out

    def note(self, function, *args, **options):
        """function(*args, **options) in every later run."""
        described = {name: self._described(value) for name, value in options.items()}
        self._calls.append(_Call(function, tuple(map(self._described, args)), described))

    def _described(self, value):
        if not isinstance(value, Sealed):
            return value
        if not self._is_known(value):
            raise LooksInsideError("memory that is not ours")
        return Spot.of(value)

    def held(self, array):
        """A copy of the array in our memory."""
        copy = strided_like(array, self.empty).view(Sealed)
        unsealed(copy)[...] = array
        return copy

    def owns(self, array):
        """Whether the array lies in our memory."""
        return id(memory_of(array).base) in self._ours

    def empty(self, shape, dtype):
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise LooksInsideError("Python's objects")
        size = size_class(max(math.prod(shape) * dtype.itemsize, ALIGNMENT))
        leases = self._leases.setdefault(size, [])
        entry = take(leases) or self._lease(size, len(leases))
        leases.append(entry)
        return np.ndarray(shape, dtype, *entry).view(Sealed)

    def empty_like(self, array, dtype=None, order="K"):
        """In C order, or, if that is "K", in the array's."""
        dtype = dtype or array.dtype
        return self.empty(array.shape, dtype) if order == "C" else in_order_of(array, dtype, self.empty)

    def _lease(self, size, count):
        """An object that stands for the block: as many arrays as refer to it, refer to the block in this run."""
        known = _blocks[size] = [entry for entry in _blocks.get(size, []) if entry[0]() is not None]
        if count == len(known):
            memory, offset = block(size)
            known.append((weakref.ref(memory), offset))
        else:
            reference, offset = known[count]
            memory = reference()
        self._kept.append(memory)
        lease = (ctypes.c_byte * memory.nbytes).from_buffer(memory)
        self._ours.add(id(lease))
        return lease, offset

    def finish(self):
        """What to call in a later run, one after the other, as long as the binding lives."""
        return [
            functools.partial(call.function, *map(_array, call.args), **{k: _array(v) for k, v in call.options.items()})
            for call in self._calls
        ]


def sealed(value):
    return value.view(Sealed) if isinstance(value, np.ndarray) else value


def unsealed(value):
    return value.view(np.ndarray) if isinstance(value, Sealed) else value


def memory_of(array):
    """The array that this one is a view of, or itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _agree(call, other):
    """Whether two calls differ in nothing but where their arrays are."""
    values, others = (*call.args, *call.options.values()), (*other.args, *other.options.values())
    same = call.function == other.function and call.options.keys() == other.options.keys()
    return same and len(values) == len(others) and all(map(_same, values, others))


def _same(a, b):
    """An array that is not ours must be the very same: made anew in each call, it would be out of date in the next."""
    if isinstance(a, np.ndarray) or type(a) is not type(b):
        return a is b
    if isinstance(a, Spot):
        return a.is_like(b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b) or (a != a and b != b)


def _array(value):
    return value.array() if isinstance(value, Spot) else value
