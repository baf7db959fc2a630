"""A kernel: one contract, one reference, any number of implementations, and the choice between them.

The reference function *declares* the kernel: its signature is the contract, its annotations say which
arguments are arrays, its body is the specification. Implementations register under it by name and
device:

    @conv2d.implementation("direct", supports=...)
    def direct(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1): ...

The device of a call follows from its arrays. Within the device the policy decides: `with use(...)`
first, then the environment variable SCRATCHNET_KERNELS as it was at import, then the first
registered implementation that supports the call and pays for it. The reference stands last in every
line; no call ever moves to another device.
"""

import contextlib
import functools
import importlib
import inspect
import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

ENVIRONMENT_VARIABLE = "SCRATCHNET_KERNELS"
REFERENCE = "reference"
EVERY_KERNEL = "*"
_MOST_CHOICES = 4096  # remembered for one kernel


def _always(*args, **options):
    return True


_kernels = {}
# device -> package that registers its implementations, imported on first need
_homes = {"cpu": "kernels.cpu", "gpu": "kernels.gpu"}
_forked = False  # whether this process is a child that cannot run compiled kernels
_environment = os.environ.get(ENVIRONMENT_VARIABLE, "")  # once: to look there took 10 us of a call in a training step
_policy = ContextVar("policy", default={})  # noqa: B039 - never mutated: `use` sets a new dict


class Array:
    """Annotation: an array of the call's one floating dtype, float32 or float64."""

    dtypes = (np.dtype(np.float32), np.dtype(np.float64))


class Arrays:
    """Annotation: a list of arrays of the call's one floating dtype."""

    dtypes = Array.dtypes


class Indices:
    """Annotation: an int64 array."""

    dtypes = (np.dtype(np.int64),)


@dataclass(frozen=True)
class Implementation:
    """One way to compute a kernel.

    `supports(*args, **options)` returns True, or why it cannot; `pays(*args, **options)` returns True, or why nobody
    would choose it for this call who did not ask for it by name. Of arrays they see type, shape and dtype only: calls
    that agree in those and in plain values get the same answer.
    """

    name: str
    device: str
    function: object
    supports: object
    pays: object


@dataclass(frozen=True)
class Choice:
    """What a call would run, and why: the answer of `explain`."""

    kernel: str
    device: str
    implementation: str
    reason: str

    def __str__(self):
        return f"{self.kernel} on {self.device} runs {self.implementation!r}: {self.reason}"


class Kernel:
    """A function over arrays with one signature and several implementations. Made by `kernel`."""

    def __init__(self, reference):
        functools.update_wrapper(self, reference)
        self.name = reference.__name__
        self.signature = inspect.signature(reference)
        self.reference = reference
        self.arrays = [
            (position, p.name, *_array_kind(p.annotation))
            for position, p in enumerate(self.signature.parameters.values())
            if _array_kind(p.annotation)[0]
        ]
        kinds = {name: kind for _, name, kind, _ in self.arrays}
        self._are_arrays = [name in kinds for name in self.signature.parameters]
        self._takes_lists = Arrays in kinds.values()
        self._implementations = []
        self._references = {}  # by device; made once, since a call should cost few microseconds
        self._choices = {}  # by `_call`

    def __repr__(self):
        return f"<kernel {self.name}{self.signature}>"

    def __call__(self, *args, **options):
        implementation, _ = self._choose(args, options)
        if _forked and implementation.device == "cpu" and implementation.name != REFERENCE:
            raise RuntimeError(
                f"{self.name}: this process was forked from one that had run compiled kernels, and its OpenMP threads "
                "did not come along: start it by 'spawn' or 'forkserver', or before the first kernel runs"
            )
        return implementation.function(*args, **options)

    def implementation(self, name, device="cpu", supports=_always, pays=_always):
        """Decorator: register a function with the reference's very signature as an implementation."""

        def register(function):
            if _shape_of(inspect.signature(function)) != _shape_of(self.signature):
                raise TypeError(
                    f"implementation {name!r} of {self.name} must have the reference's signature "
                    f"{_bare(self.signature)}, given {_bare(inspect.signature(function))}"
                )
            if name == REFERENCE or any((i.name, i.device) == (name, device) for i in self._implementations):
                raise ValueError(f"{self.name} already has an implementation {name!r} on {device}")
            self._implementations.append(Implementation(name, device, function, supports, pays))
            self._choices.clear()
            return function

        return register

    def implementations(self, device="cpu"):
        """Names of what can run on `device`, in order of preference; the reference is the last."""
        _load(device)
        return [i.name for i in self._on(device)]

    def _on(self, device):
        if device not in self._references:
            self._references[device] = Implementation(REFERENCE, device, self.reference, _always, _always)
        return [*(i for i in self._implementations if i.device == device), self._references[device]]

    def _choose(self, args, options):
        """(implementation, reason). Remembered: made anew, they took 0.4 of 8.4 ms of the CNN's step, batch 32."""
        wanted, why = _wanted(self.name) if _environment or _policy.get() else (None, "")
        try:
            call = self._call(args, options, wanted, why)
            known = self._choices.get(call)
        except (TypeError, AttributeError):  # a list has no hash, and what is no array no shape
            return self._decide(args, options, wanted, why)
        if known is None:
            if len(self._choices) == _MOST_CHOICES:
                self._choices.clear()
            known = self._choices[call] = self._decide(args, options, wanted, why)
        return known

    def _call(self, args, options, *policy):
        """All that a choice may depend on: of arrays type, shape and dtype, of the rest the values.

        Of lists and tuples of arrays the kinds; and of a kernel that takes lists, an optimiser's step, nothing else.
        """
        if self._takes_lists:
            given = [*args, *options.values()]
            return (*policy, len(args), *options, *[_kinds(each) for each in given if type(each) in (list, tuple)])
        facts = [*policy, len(args), *options.items()]  # an array given by name has no hash
        for a, is_array in zip(args, self._are_arrays, strict=False):
            if is_array and a is not None:
                facts += type(a), a.shape, a.dtype
            else:
                facts.append(a)
        return tuple(facts)

    def _decide(self, args, options, wanted, why):
        try:
            bound = self.signature.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; wanted {_bare(self.signature)}") from None
        args, options = bound.args, bound.kwargs  # operands that came by name are where `supports` looks for them
        device = self._check(args, options)
        if wanted != REFERENCE:
            _load(device)
        candidates = self._on(device)
        if wanted is not None:
            candidates.sort(key=lambda i: i.name != wanted)
        refusals = []
        for candidate in candidates:
            verdict, word = candidate.supports(*args, **options), "cannot"
            if verdict is True and candidate.name != wanted:
                verdict, word = candidate.pays(*args, **options), "would not pay"
            if verdict is True:
                break
            refusals.append(f"{candidate.name!r} {word}: {verdict}")
        reason = why if candidate.name == wanted else "the default choice"
        return candidate, "; ".join([reason, *refusals])

    def _check(self, args, options):
        """Raise unless arrays are arrays, of one device and one dtype. Returns the device."""
        dtypes, devices = {}, {}
        for position, name, kind, optional in self.arrays:
            value = args[position] if position < len(args) else options.get(name)
            if value is None and optional:
                continue
            for label, array in _members(name, value) if kind is Arrays else ((name, value),):
                devices[label] = _device(self.name, label, array)
                if array.dtype not in kind.dtypes:
                    wanted = " or ".join(map(str, kind.dtypes))
                    raise TypeError(f"{self.name}: {label} must be {wanted}, given {array.dtype}")
                if kind is not Indices:
                    dtypes[label] = array.dtype
        for what, found in (("dtype", dtypes), ("device", devices)):
            if len(set(found.values())) > 1:
                given = ", ".join(f"{name} {value}" for name, value in found.items())
                raise TypeError(f"{self.name}: all arrays must share one {what}, given {given}")
        return next(iter(devices.values()), "cpu")


def kernel(reference):
    """Decorator: declare a kernel by its reference function."""
    if reference.__name__ in _kernels:
        raise ValueError(f"kernel {reference.__name__!r} is already declared")
    _kernels[reference.__name__] = Kernel(reference)
    return _kernels[reference.__name__]


def declared():
    """Names of all kernels, sorted."""
    return sorted(_kernels)


def explain(kernel, *args, **options):
    """What `kernel(*args, **options)` would run, and why, as a `Choice`; nothing is computed."""
    implementation, reason = kernel._choose(args, options)
    return Choice(kernel.name, implementation.device, implementation.name, reason)


@contextlib.contextmanager
def use(implementation=None, **by_kernel):
    """Prefer an implementation by name inside a `with` block, in this thread.

    `use("reference")` speaks for every kernel, `use(conv2d="direct")` for one; blocks nest, the inner
    one wins. A call that the named implementation does not support takes the default choice. Unknown
    names raise ValueError.
    """
    wishes = by_kernel if implementation is None else {EVERY_KERNEL: implementation, **by_kernel}
    _check_names(wishes, "use")
    inherited = {} if implementation is not None else _policy.get()
    token = _policy.set({**inherited, **wishes})
    try:
        yield
    finally:
        _policy.reset(token)


def policy():
    """What `use` asks for, here and now."""
    return _policy.get()


def _wanted(name):
    """The implementation the policy asks for (or None), and who asked."""
    for wishes, who in ((_policy.get(), "use"), (_parse(_environment), ENVIRONMENT_VARIABLE)):
        wish = wishes.get(name, wishes.get(EVERY_KERNEL))
        if wish:
            return wish, f"asked for by {who}"
    return None, ""


@functools.lru_cache
def _parse(text):
    """{"conv2d": "direct"} of "conv2d=direct"; a bare name speaks for every kernel."""
    wishes = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, implementation = entry.rpartition("=")
        wishes[name.strip() or EVERY_KERNEL] = implementation.strip()
    _check_names(wishes, ENVIRONMENT_VARIABLE)
    return wishes


def _check_names(wishes, who):
    for name, implementation in wishes.items():
        if name != EVERY_KERNEL and name not in _kernels:
            raise ValueError(f"{who}: no kernel {name!r}; there are {', '.join(declared())}")
        if implementation == REFERENCE:
            continue
        for device in _homes:
            _load(device)
        asked = list(_kernels.values()) if name == EVERY_KERNEL else [_kernels[name]]
        known = sorted({REFERENCE} | {i.name for k in asked for i in k._implementations})
        if implementation not in known:
            whose = "" if name == EVERY_KERNEL else f" of {name}"
            raise ValueError(f"{who}: no implementation {implementation!r}{whose}; there are {', '.join(known)}")


@functools.cache
def _load(device):
    """Import the package of a device's implementations, which registers them."""
    if device in _homes:
        importlib.import_module(_homes[device])


def forked():
    """Whether this process is a child that cannot run compiled kernels: calls of them raise RuntimeError."""
    return _forked


def _look_back():
    """After fork(), in the child: GNU OpenMP would end it without a word of ours."""
    global _forked
    openmp = sys.modules.get("numba.np.ufunc.omppool")  # imported when Numba starts its threads
    _forked = _forked or getattr(openmp, "openmp_vendor", None) == "GNU"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_back)


def _device(kernel, name, value):
    device = _device_of_type(type(value))
    if device is None:
        raise TypeError(f"{kernel}: {name} must be a NumPy or CuPy array, given {type(value).__name__}")
    return device


def _kinds(values):
    return frozenset([(type(value), getattr(value, "dtype", None)) for value in values])


@functools.cache
def _device_of_type(kind):
    """The module of its type tells CuPy's array, so that CuPy need not be imported."""
    if kind.__module__.partition(".")[0] == "cupy":
        return "gpu"
    return "cpu" if issubclass(kind, np.ndarray) else None


def _members(name, arrays):
    """(label, array) of one array of each kind in a list: checks of the others would say the same."""
    kinds = {(type(array), getattr(array, "dtype", None)): i for i, array in enumerate(arrays)}
    return [(f"{name}[{i}]", arrays[i]) for i in kinds.values()]


def _array_kind(annotation):
    """(Array, Arrays or Indices or None, whether None may be given) of a parameter's annotation."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((k for k in (Array, Arrays, Indices) if k in options), None), type(None) in options


def _shape_of(signature):
    """What must agree between a reference and an implementation: names, kinds and defaults."""
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def _bare(signature):
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
