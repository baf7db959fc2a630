"""What a function does to arrays, noted call by call while it runs, so that it can be done again without the function.

Between two array calls of a training step runs Python that decides the same thing every time: which layer comes next,
what its backward pass needs, in which order gradients arrive. A *tape* keeps the calls and where their arrays come
from; a *program*, made of two tapes that agree, makes them again, on other inputs. Nothing else of the function runs.

Every function that computes with the elements of tensors goes through ``Op`` or through ``call``. What does not is
found out: a tape's *foreign* arrays, which neither were inputs nor came out of a noted call, must be the same in both.
"""

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


class _Here(threading.local):
    tape = None


here = _Here()


class DisagreementError(RuntimeError):
    """Two runs of one function did different things, or the same to arrays that are not known to be the same."""


def call(function: Callable, sources: Sequence = (), **params):
    """``function(*arrays, **params)`` with the arrays of ``sources``, now and in every later run of the program.

    It may write into its arrays. Its result is an array, a tuple of arrays or None. ``function`` must be the same
    object in every run, and ``params`` equal.
    """
    arrays = [_array(source) for source in sources]
    with paused() as tape:
        result = function(*arrays, **params)
    if tape is not None:
        result = tuple(map(_no_number, result)) if isinstance(result, tuple) else _no_number(result)
        tape.note(function, sources, params, () if result is None else result if type(result) is tuple else (result,))
    return result


def noted(function: Callable) -> Callable:
    """Decorator: call a function of arrays, and of plain values by keyword, through ``call``; tensors may be given."""

    @functools.wraps(function)
    def wrapper(*sources, **params):
        return call(function, sources, **params)

    return wrapper


def repeated(function: Callable) -> Callable:
    """Decorator: what is called in a captured function is called again, with the same arguments, in its later runs.

    It is for what acts on objects, like an optimiser's step. The result is a tensor or None.
    """

    @functools.wraps(function)
    def wrapper(*args, **options):
        if here.tape is None:
            return function(*args, **options)
        with paused() as tape:
            result = function(*args, **options)
        params = {"function": function, "args": args, "options": options}
        tape.note(_again, (), params, () if result is None else (result.data,))
        return result

    return wrapper


def _again(function, args, options):
    result = function(*args, **options)
    return None if result is None else result.data


@contextlib.contextmanager
def paused():
    """Inside, nothing is noted. Yields the tape outside, or None."""
    before, here.tape = here.tape, None
    try:
        yield before
    finally:
        here.tape = before


def refuse(what: str) -> None:
    """Raise where a tape runs: the program would know nothing of what Python does with the value."""
    if here.tape is not None:
        raise RuntimeError(
            f"{what} in a captured function: later calls would not see its value change. Return the tensor and look "
            "at it outside"
        )


@dataclass(frozen=True)
class _Place:
    """In the place of an array among the plain values of a call, such as an index."""

    number: int


@dataclass(frozen=True)
class _Call:
    """``function`` of the arrays at the places ``sources``; its results go to ``targets``. Then ``last`` are unused.

    ``inside`` are the places of arrays within ``params``.
    """

    function: Callable
    params: dict[str, Any]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    inside: tuple[int, ...]
    last: tuple[int, ...] = ()


class Tape:
    """The calls of one run. Every array has a place, a number; ``foreign`` are the arrays that no noted call made.

    It holds no array that the function lets go of, so that recording takes no more memory than running.
    """

    def __init__(self, inputs: Sequence):
        self.calls: list[_Call] = []
        self.foreign: dict[int, Any] = {}  # place -> the tensor, or array, that was seen there first
        self.results: tuple[int, ...] = ()
        self.count = 0
        self._places: dict[int, tuple[weakref.ref, int]] = {}  # by id: no other array can have it while this one lives
        for array in inputs:
            self._new_place(array)

    def note(self, function, sources, params, results) -> None:
        places, inside = tuple([self.place(source) for source in sources]), []
        params = {name: self._with_places(value, inside) for name, value in params.items()}
        targets = tuple([self._new_place(array) for array in results])
        self.calls.append(_Call(function, params, places, targets, tuple(inside)))

    def place(self, source) -> int:
        array = _array(source)
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
        if place is None or place in self.foreign:
            return value
        inside.append(place)
        return _Place(place)

    def _new_place(self, array) -> int:
        self._places[id(array)] = weakref.ref(array), self.count
        self.count += 1
        return self.count - 1


class Program:
    """The calls on which two tapes agree.

    Raises:
        DisagreementError: they differ, or a foreign array of one is another in the other.
    """

    def __init__(self, first: Tape, second: Tape):
        _agree(first, second)
        self.calls = _with_last_uses(second.calls, {*second.results, *second.foreign})
        self.results, self.count = second.results, second.count
        self.foreign = list(second.foreign.items())

    def run(self, inputs: Sequence) -> list:
        """Make all calls on other inputs; returns the arrays of the results."""
        values = [None] * self.count
        values[: len(inputs)] = inputs
        for place, source in self.foreign:
            values[place] = _array(source)  # a parameter's array may be another by now
        with np.errstate(all="ignore"):
            for step in self.calls:
                params = _filled(step.params, values) if step.inside else step.params
                found = step.function(*[values[place] for place in step.sources], **params)
                if step.targets:
                    found = found if isinstance(found, tuple) else (found,)
                    for place, array in zip(step.targets, found, strict=True):
                        values[place] = _no_number(array)
                for place in step.last:
                    values[place] = None
        return [values[place] for place in self.results]


def _filled(params: dict, values: list) -> dict:
    def fill(value):
        if type(value) is tuple:
            return tuple(map(fill, value))
        return values[value.number] if isinstance(value, _Place) else value

    return {name: fill(value) for name, value in params.items()}


def _array(source):
    return source.data if hasattr(source, "node") else source


def _no_number(array):
    """NumPy's functions turn arrays without dimensions into numbers."""
    return np.asarray(array) if isinstance(array, np.generic) else array


def _with_last_uses(calls: list[_Call], kept: set[int]) -> list[_Call]:
    """Tell each call which arrays nobody asks for after it, so that their memory is free for the next."""
    seen, found = set(kept), []
    for step in reversed(calls):
        last = {*step.sources, *step.inside, *step.targets} - seen
        seen |= last
        found.append(replace(step, last=tuple(sorted(last))))
    return found[::-1]


def _agree(first: Tape, second: Tape) -> None:
    for number, (a, b) in enumerate(zip(first.calls, second.calls, strict=False)):
        if a.function != b.function:
            raise DisagreementError(f"call {number} was {_name(a)} in the first run and {_name(b)} in the second")
        if (a.sources, a.targets) != (b.sources, b.targets):
            raise DisagreementError(f"call {number}, {_name(a)}, got other arrays in the second run than in the first")
        for name in {*a.params, *b.params}:
            if not _same(a.params.get(name), b.params.get(name)):
                raise DisagreementError(
                    f"call {number}, {_name(a)}: {name} was another in the second run than in the first"
                )
        for position, place in enumerate(a.sources):
            if place in first.foreign and not _same(first.foreign[place], second.foreign[place]):
                raise DisagreementError(
                    f"call {number}, {_name(a)}: argument {position}, shape {_array(first.foreign[place]).shape}, was "
                    "another in the second run than in the first, and no op made it: pass it as an argument, or "
                    "compute it by ops"
                )
    if len(first.calls) != len(second.calls):
        raise DisagreementError(f"the first run made {len(first.calls)} calls, the second {len(second.calls)}")
    if first.results != second.results:
        raise DisagreementError("the two runs returned different results")


def _same(a, b) -> bool:
    """One object, or equal values; of arrays equal bits, of tensors those of their arrays."""
    if a is b:
        return True
    if hasattr(a, "dtype") or hasattr(b, "dtype"):
        a, b = _array(a), _array(b)
        alike = type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype
        return a is b or (alike and a.tobytes() == b.tobytes())
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _name(step: _Call) -> str:
    return getattr(step.function, "__name__", repr(step.function)).strip("_")
