"""Training steps without their Python: ``capture`` runs a function twice as it is, then only its array calls.

Between two array calls of a training step runs Python that decides the same thing every time: which layer comes next,
what its backward pass needs, in which order gradients arrive. A tape (``recording.py``) keeps the calls and where their
arrays come from; two tapes that agree become a program (``program.py``), and this is bound to memory, so that nothing
is left between two compiled calls (``bound.py``).
"""

import functools
from collections.abc import Callable

import numpy as np

from scratchnet.autograd import is_grad_enabled
from scratchnet.program import Program, is_array
from scratchnet.recording import Tape, array_of, here
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
    later calls make the recorded array calls on the new arguments, and nothing else: kernels and checks of values,
    random draws, running statistics, gradients handed to ``grad``, optimiser steps. NumPy arrays have a place in memory
    then that is theirs in every call, to which arguments are copied, and from which results are. Each set of shapes and
    dtypes is recorded for itself, and each value of an argument that is no array; the last 64 of them are kept.

    What is decided in Python is decided once: loops and branches, training mode, ``requires_grad``, which tensors are
    used beside the arguments (their values may change, in place or by ``data``). So let the first two calls see
    different data, and make a new capture after such a change. Python's own values stay: prints, appends and assigned
    attributes happen in the first two calls alone (give an optimiser its rate by a scheduler, or outside), and so does
    what NumPy does to ``data`` behind the ops' backs, unless its result comes back into an op, which is refused.
    Refused are also ``item()`` and its like, metrics, ``kernels.use``, writing into an argument or its ``grad``, other
    arrays for a tensor that is used again, and shapes that depend on values. Within ``detect_anomaly()`` every call
    runs ``function``.

    Args:
        function: takes tensors that require no gradient and arrays, also in tuples, lists and dicts, of which it sees
            copies, and hashable values; returns tensors, or tuples, lists and dicts of them, or None. It may be a
            method. What it differentiates with respect to, such as parameters, it knows from outside.

    Returns:
        A callable. Its tensors are outside any graph.

    Raises, when called:
        RuntimeError: the first two calls did different things, or used an array that is another in each of them and
            comes from no op: it must be an argument. The second call has run by then. Or the function did what is
            refused, or an argument requires a gradient.
        TypeError: the function returns something else, or an argument is neither array nor hashable.
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
    if not is_array(value):
        if isinstance(value, float | np.generic):
            return type(value), np.asarray(value).tobytes()  # 0.0 is not -0.0, NaN is NaN
        plain = value is None or isinstance(value, int | str | bytes)
        return type(value), value if plain else _Identity(value)
    if isinstance(value, Tensor) and value.requires_grad:
        raise RuntimeError(
            f"capture: an argument of shape {value.shape} requires a gradient: pass its detach(), and call "
            "requires_grad_() in the function; parameters are used from outside, not passed"
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
    if not is_array(value):
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
