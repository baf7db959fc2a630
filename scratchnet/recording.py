"""What is done to arrays, told to those who want to know: watchers of ops, and tapes, which keep all of it.

Every function that reads or writes the elements of tensors goes through ``Op`` or through ``call``, and every method
that acts on objects in the course of a training step is ``repeated``. So a tape can hold all that such a step does.
"""

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels.registry import policy


class _Here(threading.local):
    tape = None
    watchers: tuple[Callable, ...] = ()  # see observe.py
    backward_of: str | None = None  # the op whose backward pass this thread is in
    captured = True  # whether captured functions may be played from their tapes


here = _Here()


def report(op, tensors, params, results) -> None:
    """Tell this thread's tape and watchers what an op has done."""
    name = op.name if here.backward_of is None else f"{op.name} in the backward pass of {here.backward_of}"
    if here.tape is not None:
        here.tape.note(op.forward, tensors, params, results, name, pure=True)
    for watch in here.watchers:
        watch(name, results[0], tensors)


def call(function: Callable, sources: Sequence = (), **params):
    """``function(*arrays, **params)`` with the arrays of ``sources``, now and in every later run of the program.

    It may write into its arrays. Its result is an array, a tuple of arrays or None. ``function`` must be the same
    object in every run, and ``params`` equal.
    """
    return _call(function, sources, params, pure=False)


def noted(function: Callable) -> Callable:
    """Decorator: ``call`` for a function that depends on its arguments alone, and writes into none of them.

    It takes arrays, and plain values by keyword. Tensors may be given for arrays.
    """

    @functools.wraps(function)
    def wrapper(*sources, **params):
        return _call(function, sources, params, pure=True)

    return wrapper


def _call(function, sources, params, pure):
    arrays = [array_of(source) for source in sources]
    if here.tape is None:
        return function(*arrays, **params)
    with paused() as tape:
        result = function(*arrays, **params)
    result = tuple(map(no_number, result)) if isinstance(result, tuple) else no_number(result)
    results = () if result is None else result if isinstance(result, tuple) else (result,)
    tape.note(function, sources, params, results, pure=pure)
    return result


def repeated(function: Callable) -> Callable:
    """Decorator: what is called in a captured function is called again, with the same arguments, in its later runs.

    It is for what acts on objects, like an optimiser's step. Of results, tensors may be used.
    """

    @functools.wraps(function)
    def wrapper(*args, **options):
        if here.tape is None:
            return function(*args, **options)
        if any(map(callable, (*args[1:], *options.values()))):
            refuse(f"{function.__name__}() with a function", "call the function before")
        with paused() as tape:
            result = function(*args, **options)
        params = {"function": function, "args": args, "options": options}
        tape.note(_again, (), params, (result.data,) if hasattr(result, "node") else ())
        return result

    return wrapper


def _again(function, args, options):
    result = function(*args, **options)
    return result.data if hasattr(result, "node") else None


def repeat_overrides(cls: type, *names: str) -> None:
    """Make the methods of these names ``repeated``, as far as the class has any of its own."""
    for name in names:
        if name in cls.__dict__:
            setattr(cls, name, repeated(cls.__dict__[name]))


def constant(array):
    """The array, which follows from shapes and from Python's numbers alone, and is never written."""
    if here.tape is not None:
        here.tape.note_constant(array)
    return array


@contextlib.contextmanager
def paused():
    """Inside, nothing is noted. Yields the tape outside, or None."""
    before, here.tape = here.tape, None
    try:
        yield before
    finally:
        here.tape = before


@contextlib.contextmanager
def uncaptured():
    """Inside, captured functions run themselves, for the sake of somebody who looks at more than ops."""
    before, here.captured = here.captured, False
    try:
        yield
    finally:
        here.captured = before


def refuse(what: str, instead: str) -> None:
    """Raise where a tape runs: later calls would know nothing of what Python does here."""
    if here.tape is not None:
        raise RuntimeError(f"{what} in a captured function would happen in its first two calls alone: {instead}")


@dataclass(frozen=True)
class Place:
    """In the place of an array among the plain values of a call, such as an index."""

    number: int


@dataclass(frozen=True)
class Call:
    """``function`` of the arrays at the places ``sources``; its results, of these ``shapes``, go to ``targets``.

    ``inside`` are the places of arrays within ``params``, ``name`` is what watchers are told, None where it is no op.
    A ``pure`` function depends on its arguments alone, and writes into none of them. One that ``keeps`` its arrays has
    them still when it has returned. One that ``shares`` keeps them, or returns arrays that others have, and what is
    written into them must be seen there.
    """

    function: Callable
    params: dict[str, Any]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    inside: tuple[int, ...]
    name: str | None
    pure: bool
    keeps: bool
    shares: bool

    def __str__(self):
        return self.name or getattr(self.function, "__name__", repr(self.function)).strip("_")


class Tape:
    """The calls of one run. Every array has a place, a number; ``foreign`` are the arrays that no noted call made.

    It holds no array that the function lets go of, so that recording takes no more memory than running.

    Args:
        inputs: the arguments, tensors and arrays.
    """

    def __init__(self, inputs: Sequence):
        self.calls: list[Call] = []
        self.foreign: dict[int, Any] = {}  # place -> the tensor, or array, that was seen there first
        self.constants: dict[int, Any] = {}  # place -> array
        self.results: tuple[int, ...] = ()
        self.count = 0
        self.on_host = True  # whether all arrays are NumPy's own
        self._places: dict[int, tuple[weakref.ref, int]] = {}  # by id: no other array can have it while this one lives
        self._inputs, self._policy = inputs, policy()
        for array in inputs:
            self._new_place(array)

    def note(self, function, sources, params, results, name=None, pure=False, keeps=False, shares=False) -> None:
        if policy() is not self._policy:
            raise RuntimeError("kernels.use() in a captured function would last for two calls: put it around the call")
        places, inside = tuple([self.place(source) for source in sources]), []
        params = {key: self._with_places(value, inside) for key, value in params.items()}
        targets = tuple([self._new_place(array) for array in results])
        shapes = tuple([array.shape for array in results])
        self.calls.append(Call(function, params, places, targets, shapes, tuple(inside), name, pure, keeps, shares))

    def note_constant(self, array) -> None:
        self.constants[self._new_place(array)] = array

    def note_gradient(self, leaf) -> None:
        """The gradient that the leaf has now is read, whoever gave it."""
        if self.outlives(leaf):
            self.note(_read_gradient, (), {"leaf": leaf}, (leaf.grad_now.data,), shares=True)

    def outlives(self, leaf) -> bool:
        """Whether the leaf is a tensor from outside, whose ``grad`` is seen after the call.

        Raises:
            RuntimeError: it is an argument, of which every call has another, or cannot be told from a tensor outside.
        """
        place = self.place(leaf)
        owner = self.foreign.get(place)
        if owner is leaf or (owner is None and not any(leaf is value for value in self._inputs)):
            return owner is leaf
        whose = "an argument" if owner is None else "a tensor that shares the memory of one from outside"
        raise RuntimeError(
            f"the grad of {whose} cannot be filled in a captured function: use autograd.grad, or a clone of the tensor"
        )

    def refuse_writing(self, tensor, method: str) -> None:
        """Raise if the tensor is an argument or a view of one."""
        if any(getattr(value, "version", None) is tensor.version for value in self._inputs):
            raise RuntimeError(
                f"{method}: an argument of a captured function cannot be written: write into a clone, or into a tensor "
                "from outside that is no argument"
            )

    def place(self, source) -> int:
        array = array_of(source)
        place = self._known(array)
        if place is None:
            place = self._new_place(array)
            self.foreign[place] = source
        return place

    def _known(self, array) -> int | None:
        reference, place = self._places.get(id(array), (None, None))
        return place if reference is not None and reference() is array else None

    def _with_places(self, value, inside: list[int]):
        if type(value) is tuple:
            return tuple([self._with_places(each, inside) for each in value])
        place = self._known(value) if hasattr(value, "dtype") else None
        if place is None:
            return value
        inside.append(place)
        return Place(place)

    def _new_place(self, source) -> int:
        array = array_of(source)
        self.on_host &= type(array) is np.ndarray
        self._places[id(array)] = weakref.ref(array), self.count
        self.count += 1
        return self.count - 1


def filled(params: dict, values) -> dict:
    """The plain values of a call with the arrays that belong in them; ``values`` has them by place."""

    def fill(value):
        if type(value) is tuple:
            return tuple(map(fill, value))
        return values[value.number] if isinstance(value, Place) else value

    return {name: fill(value) for name, value in params.items()}


def results_of(call: Call, found, owner: str) -> list:
    """What ``call.function`` returned, as arrays.

    Raises:
        RuntimeError: their shapes are not those of the recording.
    """
    if not call.targets:
        return []
    arrays = list(map(no_number, found)) if isinstance(found, tuple) else [no_number(found)]
    for array, shape in zip(arrays, call.shapes, strict=True):
        if array.shape != shape:
            raise RuntimeError(
                f"capture: {owner}: {call} made an array of shape {array.shape}, {shape} in the recording: shapes may "
                "not depend on values"
            )
    return arrays


def _read_gradient(leaf):
    if leaf.grad_now is None:
        raise RuntimeError("a captured function reads a gradient that was there when it was recorded, and is not now")
    return leaf.grad_now.data


def array_of(source):
    """The array of a tensor, or the array itself."""
    return source.data if hasattr(source, "node") else source


def no_number(array):
    """NumPy's functions turn arrays without dimensions into numbers."""
    return np.asarray(array) if isinstance(array, np.generic) else array
