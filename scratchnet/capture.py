"""Training steps without their Python: ``capture`` runs a function twice as it is, then only its array calls.

Between two array calls of a training step runs Python that decides the same thing every time: which layer comes next,
what its backward pass needs, in which order gradients arrive. A tape (``recording.py``) keeps the calls and where their
arrays come from. A *program*, made of two tapes that agree, makes them again, on other inputs.

What did not go through the tape is found out: its *foreign* arrays, which neither were inputs nor came out of a noted
call, must be the very same in both runs, as parameters are.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scratchnet.autograd import is_grad_enabled
from scratchnet.recording import Call, Place, Tape, array_of, here, no_number
from scratchnet.tensor import Tensor, get_default_dtype

_MOST_PROGRAMS = 64  # of one function; the oldest goes first


def capture(function: Callable) -> "Captured":
    """A function that does the same to tensors as ``function``, bit for bit, in less time from the third call on.

        @sn.capture
        def step(images, labels):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

    The first two calls run ``function`` and record its ops, those of its backward passes included; where they agree,
    later calls make the recorded array calls on the new arguments, and nothing else: kernels and their checks, random
    draws, running statistics, gradients handed to ``grad``, optimiser steps. Each set of shapes and dtypes is recorded
    for itself, and each value of an argument that is no array; the last 64 of them are kept.

    What is decided in Python is decided once: loops and branches, training mode, ``requires_grad``, the choice of
    ``kernels.use``, which tensors are used beside the arguments (their values may change, in place or by ``data``). So
    let the first two calls see different data, and make a new capture after such a change. Python's own values stay:
    prints, appends and assigned attributes happen in the first two calls alone (give an optimiser its rate by a
    scheduler, or outside), and so does what NumPy does to ``data`` behind the ops' backs, unless its result comes back
    into an op, which is refused. Refused are also ``item()`` and its like, metrics, writing into an argument or its
    ``grad``, and shapes that depend on values. Within ``detect_anomaly()`` every call runs ``function``.

    Args:
        function: takes tensors that require no gradient and arrays, also in tuples, lists and dicts, of which it sees
            copies, and hashable values; returns tensors, or tuples, lists and dicts of them, or None. It may be a
            method. What it differentiates with respect to, such as parameters, it knows from outside.

    Returns:
        A callable. Its tensors are outside any graph.

    Raises, when called:
        RuntimeError: the first two calls did different things, or used an array that is another in each of them and
            comes from no op: it must be an argument. The second call has run by then.
        TypeError: the function returns something else.
    """
    return Captured(function)


class Captured:
    """See ``capture``."""

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self.function, self.name = function, getattr(function, "__name__", repr(function))
        self._known = {}  # by the kinds of the arguments: the first call's tape, later (program, form of results)

    def __repr__(self):
        return f"<captured {self.name}>"

    def __get__(self, instance, owner=None):
        """A method captured in its class has a program for each instance."""
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args, **options):
        if here.tape is not None or not here.captured:
            return self.function(*args, **options)
        arrays: list = []
        try:
            kinds = _kind(args, arrays), _kind(options, arrays)
        except TypeError as error:
            wanted = "arguments must be tensors, arrays or hashable"
            raise TypeError(f"capture: {self.name}: {wanted} ({error})") from None
        identities = list(map(id, arrays))  # two arguments may be one array
        modes = is_grad_enabled(), get_default_dtype(), bool(here.watchers)
        key = (*kinds, *map(identities.index, identities), *modes)
        known = self._known.get(key)
        if type(known) is tuple:
            program, form = known
            if program.fits():
                return _fill(form, program.run(arrays))
            known = None
        self._known.pop(key, None)
        tape, form, results = _record(self.function, args, options)
        if len(self._known) == _MOST_PROGRAMS:
            del self._known[next(iter(self._known))]
        self._known[key] = tape if known is None else (Program(self.name, known, tape), form)
        return _fill(form, results)


@dataclass(frozen=True)
class _Step:
    """A call, and the places of arrays that nobody asks for after it: their memory is free for the next."""

    call: Call
    last: tuple[int, ...]


class Program:
    """The calls on which two tapes of the function ``name`` agree.

    Raises:
        RuntimeError: they differ, or a foreign array of one is another in the other.
    """

    def __init__(self, name: str, first: Tape, second: Tape):
        why = _disagreement(first, second)
        if why:
            raise RuntimeError(f"capture: {name}: {why}")
        self._name = name
        self._steps = _with_last_uses(second.calls, {*second.results, *second.foreign, *second.constants})
        self._results, self._count = second.results, second.count
        self._foreign, self._constants = list(second.foreign.items()), list(second.constants.items())
        self._kinds = self._foreign_kinds()

    def fits(self) -> bool:
        """Whether the foreign arrays, such as a parameter's, have the shapes and dtypes of the recording."""
        return self._kinds == self._foreign_kinds()

    def _foreign_kinds(self):
        arrays = [array_of(source) for _, source in self._foreign]
        return [(type(array), array.shape, array.dtype) for array in arrays]

    def run(self, inputs: Sequence) -> list:
        """Make all calls on other inputs; returns the arrays of the results."""
        values = [None] * self._count
        values[: len(inputs)] = inputs
        for place, source in self._foreign:
            values[place] = array_of(source)  # a parameter's array may be another by now
        for place, array in self._constants:
            values[place] = array
        with np.errstate(all="ignore"):
            for step in self._steps:
                _do(step.call, values, self._name)
                for place in step.last:
                    values[place] = None
        return [values[place] for place in self._results]


def _do(call: Call, values: list, owner: str) -> None:
    params = _filled(call.params, values) if call.inside else call.params
    found = call.function(*[values[place] for place in call.sources], **params)
    if call.targets:
        found = found if isinstance(found, tuple) else (found,)
        for place, array, shape in zip(call.targets, found, call.shapes, strict=True):
            values[place] = no_number(array)
            if array.shape != shape:
                raise RuntimeError(
                    f"capture: {owner}: {_words(call)} made an array of shape {array.shape}, {shape} in the recording: "
                    "shapes may not depend on values"
                )
    if here.watchers and call.name is not None:
        for watch in here.watchers:
            watch(call.name, Tensor(values[call.targets[0]]), [Tensor(values[place]) for place in call.sources])


def _filled(params: dict, values: list) -> dict:
    def fill(value):
        if type(value) is tuple:
            return tuple(map(fill, value))
        return values[value.number] if isinstance(value, Place) else value

    return {name: fill(value) for name, value in params.items()}


def _with_last_uses(calls: list[Call], kept: set[int]) -> list[_Step]:
    seen, found = set(kept), []
    for call in reversed(calls):
        last = {*call.sources, *call.inside, *call.targets} - seen
        seen |= last
        found.append(_Step(call, tuple(sorted(last))))
    return found[::-1]


def _disagreement(first: Tape, second: Tape) -> str | None:
    """How two tapes differ, in words."""
    for number, (a, b) in enumerate(zip(first.calls, second.calls, strict=False)):
        this = f"call {number}, {_words(a)}"
        if a.function != b.function:
            return (
                f"call {number} was {_words(a)} in the first run and {_words(b)} in the second; what is made on first "
                "use must be there before"
            )
        if (a.sources, a.targets) != (b.sources, b.targets):
            return f"{this}, got other arrays in the second run than in the first"
        if a.shapes != b.shapes:
            return f"{this}, made other shapes in the second run than in the first: they may not depend on values"
        for name in a.params.keys() | b.params.keys():
            if not _same_value(a.params.get(name), b.params.get(name)):
                return f"{this}: {name} was another in the second run"
        for position, place in enumerate((*a.sources, *a.inside)):
            if place in first.foreign and not _same(first.foreign[place], second.foreign[place]):
                shape = array_of(first.foreign[place]).shape
                return (
                    f"{this}: argument {position}, shape {shape}, was made anew in each run, and not by an op: pass it "
                    "as an argument, make it once outside, or compute it by ops"
                )
            if place in first.constants and not _equal(first.constants[place], second.constants[place]):
                return f"{this}: argument {position}, a number, was another in the second run than in the first"
    if len(first.calls) != len(second.calls):
        return f"the first run made {len(first.calls)} calls, the second {len(second.calls)}"
    if first.results != second.results:
        return "the two runs returned different results"
    for place in first.results:
        if place in first.foreign and not _same(first.foreign[place], second.foreign[place]):
            return "a tensor that it returned was made anew in each run, and not by an op"
    return None


def _words(call: Call) -> str:
    return call.name or getattr(call.function, "__name__", repr(call.function)).strip("_")


def _same(a, b) -> bool:
    """Whether two tensors or arrays are one array."""
    return array_of(a) is array_of(b)


def _same_value(a, b) -> bool:
    """One object, or, of numbers, strings and tuples, equal ones of one type."""
    if a is b or isinstance(a, Tensor):
        return a is b
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same_value, a, b))
    return type(a) is type(b) and not _is_array(a) and bool(a == b)


def _equal(a, b) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _is_array(value) -> bool:
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "__cuda_array_interface__")


class _Identity:
    """A key of an object that equals nothing but itself."""

    def __init__(self, value):
        hash(value)  # what has no hash may change
        self.value = value

    def __eq__(self, other):
        return self.value is other.value

    def __hash__(self):
        return id(self.value)


def _kind(value, found: list):
    """What a program is made for: type, shape and dtype of arrays, which go to ``found``; of all else the value."""
    if type(value) is dict:
        return (dict, *((name, _kind(each, found)) for name, each in value.items()))
    if isinstance(value, tuple | list):
        return (type(value), *(_kind(each, found) for each in value))
    if not _is_array(value):
        if isinstance(value, float | np.generic):
            return type(value), np.asarray(value).tobytes()  # 0.0 is not -0.0, NaN is NaN
        plain = value is None or isinstance(value, int | str | bytes)
        return type(value), value if plain else _Identity(value)
    if isinstance(value, Tensor) and value.requires_grad:
        raise RuntimeError(
            f"an argument of shape {value.shape} requires a gradient: pass its detach(), and call requires_grad_() in "
            "the function; parameters are used from outside, not passed"
        )
    array = array_of(value)
    found.append(array)
    return type(value), type(array), array.shape, array.strides, array.dtype


def _aside(value, found: list):
    """The argument with each of its arrays seen from a new one: the function may know the array itself, too."""
    if type(value) is dict:
        return {name: _aside(each, found) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [_aside(each, found) for each in value])
    if not _is_array(value):
        return value
    view = array_of(value)[...]
    if isinstance(value, Tensor):
        view = Tensor(view, version=value.version)
    found.append(view)
    return view


def _record(function, args, options):
    """(tape, form of the results, their arrays) of a call."""
    inputs: list = []
    args, options = _aside(args, inputs), _aside(options, inputs)
    tape = here.tape = Tape(inputs)
    try:
        result = function(*args, **options)
    finally:
        here.tape = None
    found: list = []
    form = _form(result, found)
    tape.results = tuple([tape.place(tensor) for tensor in found])
    return tape, form, [tensor.data for tensor in found]


def _form(result, found: list):
    """The result with a number in place of each tensor; these go to ``found``."""
    if isinstance(result, Tensor):
        found.append(result)
        return len(found) - 1
    if isinstance(result, dict):
        return {name: _form(value, found) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return _like(result, [_form(value, found) for value in result])
    if result is not None:
        raise TypeError(f"capture: a captured function returns tensors, got {type(result).__name__}")
    return None


def _fill(form, arrays: list):
    if form is None:
        return None
    if isinstance(form, dict):
        return {name: _fill(value, arrays) for name, value in form.items()}
    if isinstance(form, tuple | list):
        return _like(form, [_fill(value, arrays) for value in form])
    return Tensor(arrays[form])


def _like(sequence, values: list):
    """A list, a tuple or a named tuple of the values."""
    return type(sequence)(*values) if hasattr(sequence, "_fields") else type(sequence)(values)
