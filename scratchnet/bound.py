"""A program bound to memory: on NumPy arrays, nothing is left of it but compiled calls.

Arguments are copied to their places, results and gradients from theirs. In between nothing is allocated, checked or
chosen. What cannot be bound (random draws, optimisers' steps, ops that look at values) is called as in the program, and
what it returns is copied to its place.
"""

import threading
from bisect import bisect_left
from collections.abc import Sequence

from kernels.cpu.binding import Binding, Spot, memory_of, sealed, unsealed
from kernels.cpu.compile import get_num_threads
from kernels.cpu.memory import copied, extent
from kernels.registry import policy
from scratchnet.program import tell
from scratchnet.recording import Call, array_of, filled, here, results_of

one_at_a_time = threading.Lock()  # bindings share their memory


class Outside:
    """The arrays of a program that are not its own, such as parameters, and where they lie.

    Args:
        foreign: pairs of a place, and the tensor or array that is there.
    """

    def __init__(self, foreign: Sequence):
        self.places = [place for place, _ in foreign]
        self.arrays = [array_of(source) for _, source in foreign]
        self._sources = [source for _, source in foreign]
        self._begins, self._ends = [], []  # of the stretches of memory that they cover, in order
        for begin, end in sorted(map(_stretch, self.arrays)):
            if self._ends and begin <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def is_same(self) -> bool:
        """Whether every source has the very array that it had."""
        return all(array_of(source) is array for source, array in zip(self._sources, self.arrays, strict=True))

    def lets_move(self, array) -> bool:
        """Whether the program may take a copy of the array for it.

        Not if it shares memory with what is outside, which may be written, if most of that copy would be gaps, or if it
        is misaligned: NumPy would add up its elements in another order.
        """
        begin, end = _stretch(array)
        number = bisect_left(self._begins, end) - 1
        shares = number >= 0 and self._ends[number] > begin
        return not shares and array.flags.aligned and end - begin <= 2 * array.nbytes


def _stretch(array) -> tuple[int, int]:
    """(first byte, behind the last one) of an array in memory."""
    size, before = extent(array)
    begin = array.__array_interface__["data"][0] - before
    return begin, begin + size


class Bound:
    """The calls of a program, its ``steps``, for foreign arrays that are the very same in every run.

    It binds while it runs them on ``inputs`` once.
    """

    def __init__(self, name: str, steps, count: int, outside: Outside, constants, results, inputs: Sequence):
        self.outside, self._name, self._binding = outside, name, Binding()
        self._decided_by = _decisive()
        values = [None] * count
        values[: len(inputs)] = map(self._binding.held, inputs)
        self._inputs = [Spot.of(array).array() for array in values[: len(inputs)]]
        for place, array in (*zip(outside.places, outside.arrays, strict=True), *constants):
            values[place] = array
            self._binding.know(array)
        for step in steps:
            self._bind(step, values)
            for place in step.last:
                values[place] = None
        self._results = [self._result(place, values[place]) for place in results]
        self._calls = self._binding.finish()

    def applies(self) -> bool:
        """Whether the calls would be chosen again, here and now."""
        return self._decided_by == _decisive()

    def run(self, inputs: Sequence) -> list:
        for place, array in zip(self._inputs, inputs, strict=True):
            place[...] = array
        for call in self._calls:
            call()
        return self.results(inputs)

    def results(self, inputs: Sequence) -> list:
        """Of the last run: arrays of their own."""
        return [
            inputs[found] if isinstance(found, int) else copied(found) if ours else found
            for found, ours in self._results
        ]

    def _result(self, place: int, value):
        """(the number of an input, or an array; whether that is in the memory of the binding)."""
        if place < len(self._inputs):
            return place, False
        ours = self._binding.owns(value)
        return Spot.of(value).array() if ours else unsealed(value), ours

    def _bind(self, step, values: list) -> None:
        call = step.call
        arrays = [values[place] for place in (*call.sources, *call.inside)]
        found = None
        if call.pure and not call.inside:
            found = self._binding.bind(call.function, arrays, call.params, self._spare(step, values))
        if found is None:
            found = self._call_unbound(call, arrays)
        for place, array in zip(call.targets, found, strict=True):
            values[place] = array
        if here.watchers and call.name is not None:
            shown = values[call.targets[0]], *arrays[: len(call.sources)]
            tell(call.name, *map(unsealed, shown))
            self._binding.note(tell, call.name, *map(sealed, shown))

    def _spare(self, step, values: list) -> list:
        """The arrays whose memory nobody asks for after the step."""
        if here.watchers:
            return []
        last = [place for place in step.last if values[place] is not None and self._binding.owns(values[place])]
        if not last:
            return last
        others = {id(memory_of(v)) for place, v in enumerate(values) if v is not None and place not in step.last}
        return [values[place] for place in last if id(memory_of(values[place])) not in others]

    def _call_unbound(self, call: Call, arrays: list) -> list:
        plain = list(map(unsealed, arrays))
        found = _made_by(call, plain, self._name)
        known = {id(memory_of(array)) for array in plain}
        views = [id(memory_of(array)) in known for array in found]
        held = [array if is_view else self._binding.held(array) for array, is_view in zip(found, views, strict=True)]
        targets = [None if is_view else array for array, is_view in zip(held, views, strict=True)]
        self._binding.note(_call_again, call, self._name, len(arrays), *map(sealed, arrays), *targets)
        return held


def _call_again(call: Call, name: str, count: int, *arrays) -> None:
    sources, targets = arrays[:count], arrays[count:]
    for target, array in zip(targets, _made_by(call, sources, name), strict=True):
        if target is not None:
            target[...] = array


def _made_by(call: Call, arrays: Sequence, name: str) -> Sequence:
    """The results of a call that is not bound."""
    sources, inside = arrays[: len(call.sources)], arrays[len(call.sources) :]
    params = filled(call.params, dict(zip(call.inside, inside, strict=True))) if inside else call.params
    if call.keeps:
        sources = map(copied, sources)
    return results_of(call, call.function(*sources, **params), name)


def _decisive():
    return policy(), get_num_threads()
