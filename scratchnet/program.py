"""Two tapes of one function that agree, as a list of calls that can be made again, on other inputs.

What did not go through a tape is found out: its *foreign* arrays, which neither were inputs nor came out of a noted
call, must be the very same in both runs, as parameters are. Equal values would not do: a count that NumPy made may be
equal twice by chance.

In its first run a program on NumPy arrays is bound to memory (``bound.py``). It then stays unbound where somebody may
see the difference: watchers who keep arrays, gradients that are read or set on the way, arguments in a parameter's
memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernels.registry import forked
from scratchnet.recording import Call, Tape, array_of, filled, here, results_of
from scratchnet.tensor import Tensor

_MOST_BINDINGS = 16  # of one program; where parameters' arrays are others in each run, binding does not pay


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
        self._bound, self._bindings_left = None, _MOST_BINDINGS
        self._can_bind = second.on_host and not any(call.shares for call in second.calls)

    def fits(self) -> bool:
        """Whether the foreign arrays, such as a parameter's, have the shapes and dtypes of the recording."""
        return self._kinds == self._foreign_kinds()

    def _foreign_kinds(self):
        arrays = [array_of(source) for _, source in self._foreign]
        return [(type(array), array.shape, array.dtype) for array in arrays]

    def run(self, inputs: Sequence) -> list:
        """Make all calls on other inputs, bound to memory where they can be; returns the arrays of the results."""
        with np.errstate(all="ignore"):
            keeps = not all(getattr(watch, "borrows", False) for watch in here.watchers)
            if keeps or forked() or not self._can_bind:
                return self._run_unbound(inputs)
            from scratchnet.bound import one_at_a_time  # imports the compiler, which not everybody needs

            if not one_at_a_time.acquire(blocking=False):
                return self._run_unbound(inputs)
            try:
                return self._run_bound(inputs)
            finally:
                one_at_a_time.release()

    def _run_bound(self, inputs: Sequence) -> list:
        from scratchnet.bound import Bound, Outside

        outside = Outside(self._foreign) if self._bound is None else self._bound.outside
        if not outside.is_same():
            self._bound, outside = None, Outside(self._foreign)  # its memory is used again
        if not all(map(outside.lets_move, inputs)):
            return self._run_unbound(inputs)
        if self._bound is not None:
            return self._bound.run(inputs) if self._bound.applies() else self._run_unbound(inputs)
        if not self._bindings_left:
            self._can_bind = False
            return self._run_unbound(inputs)
        self._bindings_left -= 1
        parts = self._steps, self._count, outside, self._constants, self._results
        self._bound = Bound(self._name, *parts, inputs)
        return self._bound.results(inputs)

    def _run_unbound(self, inputs: Sequence) -> list:
        values = [None] * self._count
        values[: len(inputs)] = inputs
        for place, source in self._foreign:
            values[place] = array_of(source)  # a parameter's array may be another by now
        for place, array in self._constants:
            values[place] = array
        for step in self._steps:
            _do(step.call, values, self._name)
            for place in step.last:
                values[place] = None
        return [values[place] for place in self._results]


def _do(call: Call, values: list, owner: str) -> None:
    params = filled(call.params, values) if call.inside else call.params
    found = results_of(call, call.function(*[values[place] for place in call.sources], **params), owner)
    for place, array in zip(call.targets, found, strict=True):
        values[place] = array
    if here.watchers and call.name is not None:
        tell(call.name, values[call.targets[0]], *[values[place] for place in call.sources])


def tell(name: str, result, *sources) -> None:
    """Tell the watchers of an op and its arrays."""
    for watch in here.watchers:
        watch(name, Tensor(result), list(map(Tensor, sources)))


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
        this = f"call {number}, {a}"
        if a.function != b.function:
            return (
                f"call {number} was {a} in the first run and {b} in the second; what is made on first "
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
    owners = [source for source in second.foreign.values() if isinstance(source, Tensor)]
    for i, owner in enumerate(owners):
        if any(owner is other for other in owners[:i]):
            return f"the array of a tensor of shape {owner.shape} was replaced on the way: write into it in place"
    if len(first.calls) != len(second.calls):
        return f"the first run made {len(first.calls)} calls, the second {len(second.calls)}"
    if first.results != second.results:
        return "the two runs returned different results"
    for place in first.results:
        if place in first.foreign and not _same(first.foreign[place], second.foreign[place]):
            return "a tensor that it returned was made anew in each run, and not by an op"
    return None


def _same(a, b) -> bool:
    """Whether two tensors or arrays are one array."""
    return array_of(a) is array_of(b)


def _same_value(a, b) -> bool:
    """One object, or, of numbers, strings and tuples, equal ones of one type."""
    if a is b or isinstance(a, Tensor):
        return a is b
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same_value, a, b))
    return type(a) is type(b) and not is_array(a) and bool(a == b)


def _equal(a, b) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def is_array(value) -> bool:
    """Whether the value is a tensor or an array, of NumPy or on a GPU."""
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "__cuda_array_interface__")
