"""Training steps without their Python: ``capture`` runs a function twice as it is, then only its array calls."""

import functools
from collections.abc import Callable, Sequence

from scratchnet import recording
from scratchnet.autograd import is_anomaly_enabled, is_grad_enabled
from scratchnet.recording import Program, Tape
from scratchnet.tensor import Tensor


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
    for itself, and each value of an argument that is no array.

    What is decided in Python is decided once: loops and branches, training mode, ``requires_grad``, the choice of
    ``kernels.use``. So let the first two calls see different data, and make a new capture after such a change. Python's
    own values do not change from call to call (prints and appends happen in the first two alone); ``item()`` and its
    like are refused. Within ``detect_anomaly()`` every call runs ``function``.

    Args:
        function: takes tensors, arrays and hashable values; returns tensors, in tuples, lists and dicts, or None.

    Returns:
        A callable. Its tensors are outside any graph.

    Raises, when called:
        RuntimeError: the first two calls did different things, or used an array that is another in each of them and
            comes from no op: it must be an argument.
        TypeError: the function returns something else.
    """
    return Captured(function)


class Captured:
    """See ``capture``."""

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self.function = function
        self._known = {}  # by _key: the tape of the first call, later (program, shape of what is returned)

    def __repr__(self):
        return f"<captured {getattr(self.function, '__qualname__', self.function)}>"

    def __call__(self, *args, **options):
        if recording.here.tape is not None or is_anomaly_enabled():
            return self.function(*args, **options)
        given = [*args, *options.values()]
        arrays = [_array(value) for value in given if _is_array(value)]
        key = (len(args), *options, *_key(given), is_grad_enabled())
        known = self._known.get(key)
        if type(known) is tuple:
            program, form = known
            return _fill(form, program.run(arrays))
        tape, form, results = _record(self.function, args, options, arrays)
        self._known[key] = tape if known is None else (self._program(known, tape), form)
        return _fill(form, results)

    def _program(self, first: Tape, second: Tape) -> Program:
        try:
            return Program(first, second)
        except recording.DisagreementError as why:
            raise RuntimeError(f"capture: {self.function.__name__}: {why}") from None


def _is_array(value) -> bool:
    return (
        isinstance(value, Tensor) or hasattr(value, "__array_interface__") or hasattr(value, "__cuda_array_interface__")
    )


def _array(value):
    return value.data if isinstance(value, Tensor) else value


def _key(given: Sequence):
    """What one program is for: of arrays kind, shape, dtype and which of them are one, of the rest the values."""
    identities = [id(_array(value)) for value in given]
    for i, value in enumerate(given):
        if not _is_array(value):
            yield value
            continue
        array = _array(value)
        requires_grad = isinstance(value, Tensor) and value.requires_grad
        yield type(value), type(array), array.shape, array.dtype, requires_grad, identities.index(identities[i])


def _record(function, args, options, arrays):
    """(tape, form of the results, their arrays) of a call."""
    tape = recording.here.tape = Tape(arrays)
    try:
        result = function(*args, **options)
    finally:
        recording.here.tape = None
    found = []
    form = _form(result, found)
    tape.results = tuple([tape.place(array) for array in found])
    return tape, form, found


def _form(result, found: list):
    """The result with a number in place of each tensor, whose arrays go to ``found``."""
    if isinstance(result, Tensor):
        found.append(result.data)
        return len(found) - 1
    if isinstance(result, dict):
        return {name: _form(value, found) for name, value in result.items()}
    if isinstance(result, tuple | list):
        return type(result)([_form(value, found) for value in result])
    if result is not None:
        raise TypeError(f"capture: a captured function returns tensors, got {type(result).__name__}")
    return None


def _fill(form, arrays: list):
    if form is None:
        return None
    if isinstance(form, dict):
        return {name: _fill(value, arrays) for name, value in form.items()}
    if isinstance(form, tuple | list):
        return type(form)([_fill(value, arrays) for value in form])
    return Tensor(arrays[form])
