"""Faults of backward passes: small mistakes of the kind that people make when they write one.

Each family has a name, says what goes wrong, and makes the mutants of an op to which it applies; ``planted`` puts one
of them into the op.
"""

import inspect
from collections.abc import Callable, Iterator

import numpy as np

from scratchnet import autograd
from scratchnet.ops.registry import Op
from scratchnet.ops.shape import axes, flip, permute, reshape, roll
from scratchnet.tensor import Saved, Tensor
from scratchnet.testing.op_checks import call, samples
from scratchnet.testing.planting import Mutant, instead

FAMILIES: dict[str, str] = {}
"""What each family of faults does, in the order of the tables."""

_makers: dict[str, Callable[[Op], Iterator[Mutant]]] = {}


def mutants(op: Op) -> list[Mutant]:
    """All faults that apply to a differentiable op; an empty list for the others."""
    return [m for name in FAMILIES for m in _makers[name](op)] if op.differentiable else []


def _family(name: str, says: str):
    """Declare the decorated generator of an op's mutants a family."""

    def declare(make):
        FAMILIES[name] = says
        _makers[name] = make
        return make

    return declare


def _one(name: str, says: str, **faults) -> None:
    """Declare a family of one mutant that applies to every op."""
    _family(name, says)(lambda op: iter([Mutant(name, **faults)]))


def _each(change: Callable[[Tensor], Tensor]) -> Callable:
    """A backward fault: every input's gradient, changed."""

    def backward(right, node, g, needs):
        return [None if p is None else change(p) for p in right(node, g, needs)]

    return backward


def _last_axis(p) -> int | None:
    """The last axis with more than one element."""
    return next((d for d in reversed(range(p.ndim)) if p.shape[d] > 1), None)


def _one_entry_off(p):
    factor = np.ones_like(p.data)
    if p.data.size:
        factor.flat[np.abs(p.data).argmax()] = 1.05
    return p * Tensor(factor)


def _shifted(p):
    axis = _last_axis(p)
    return p if axis is None else roll(p, 1, axis)


def _cropped(p):
    kept = np.ones_like(p.data)
    axis = _last_axis(p)
    if axis is not None:
        kept[(slice(None),) * axis + (-1,)] = 0
    return p * Tensor(kept)


_one("sign", "the gradient has the wrong sign", backward=_each(lambda p: -p))
_one("zero", "the gradient is 0", backward=_each(lambda p: p * 0.0))
_one("0.1 % off", "the gradient is scaled by 0.999", backward=_each(lambda p: p * 0.999))
_one("doubled", "the gradient is added twice", backward=_each(lambda p: p + p))
_one("one entry", "the largest entry of the gradient is 5 % off", backward=_each(_one_entry_off))
_one("shifted", "the gradient is moved by one place along the last axis", backward=_each(_shifted))
_one("cropped", "the last row of the gradient is lost", backward=_each(_cropped))
_one("reversed", "the gradient is reversed along all axes", backward=_each(lambda p: flip(p, tuple(range(p.ndim)))))
_one(
    "transposed",
    "the gradient's memory is read with its axes in reverse order",
    backward=_each(lambda p: reshape(permute(p, tuple(reversed(range(p.ndim)))), p.shape)),
)


@_family("swapped", "two inputs of one shape get each other's gradient")
def _swapped(op):
    pairs = {(i, j) for s in samples(op) for j in range(len(s.arrays)) for i in range(j) if _same_kind(s, i, j)}
    for i, j in sorted(pairs):

        def backward(right, node, g, needs, i=i, j=j):
            pieces = list(right(node, g, needs))
            if j < len(needs) and node.shapes[i] == node.shapes[j]:
                pieces[i], pieces[j] = pieces[j], pieces[i]
            return pieces

        yield Mutant("swapped", f"{i} and {j}", backward=backward)


def _same_kind(sample, i, j):
    a, b = sample.arrays[i], sample.arrays[j]
    return a.shape == b.shape and a.dtype.kind == b.dtype.kind == "f"


@_family("missing 1/N", "the gradient lacks a division by the number of inputs per output")
def _missing_mean(op):
    def backward(right, node, g, needs):
        return [p if p is None else p * (p.data.size / max(g.data.size, 1)) for p in right(node, g, needs)]

    if any(call(op, s).data.size != a.size for s in samples(op) for a in s.arrays):
        yield Mutant("missing 1/N", backward=backward)


@_family("first slice", "where an input was broadcast, the gradient's first slice is taken in place of the sum")
def _first_slice(op):
    def fit(piece, shape, name):
        if not piece.data.size:
            return Tensor(np.zeros(shape, piece.dtype))
        lead = piece.ndim - len(shape)
        kept = tuple(slice(0, n) for n in shape)
        return reshape(piece[(0,) * lead + kept], shape)

    def backward(right, node, g, needs):
        with instead(node.op, _fit=fit):
            return right(node, g, needs)

    if op.broadcasts:
        yield Mutant("first slice", backward=backward)


@_family("no gradient", "an input gets no gradient")
def _no_gradient(op):
    for i in range(max(len(s.arrays) for s in samples(op))):

        def backward(right, node, g, needs, i=i):
            return [None if j == i else p for j, p in enumerate(right(node, g, needs))]

        if any(len(s.arrays) > i and s.arrays[i].dtype.kind == "f" for s in samples(op)):
            yield Mutant("no gradient", f"input {i}", backward=backward)


def _of_cotangent(change):
    """A backward fault: the right products, of a wrong cotangent."""
    return lambda right, node, g, needs: right(node, change(g), needs)


_one(
    "ones",
    "the cotangent is ignored: ones in its place",
    backward=_of_cotangent(lambda g: Tensor(np.ones_like(g.data))),
)
_one(
    "not centred",
    "an error in proportion to the cotangent's distance from its mean: a cotangent of ones would hide it",
    backward=_of_cotangent(lambda g: g * 1.1 - g.mean() * 0.1 if g.data.size else g),
)


@_family("option reset", "the way back uses an option's default in place of its value")
def _option_reset(op):
    for name, default in op.plain.items():
        optional = default is not inspect.Parameter.empty
        if optional and any(_differs(s.params.get(name, default), default) for s in samples(op)):
            yield _with_option("option reset", name, lambda node, value, default=default: default)


def _differs(a, b):
    return type(a) is not type(b) or not np.array_equal(a, b)


def _with_option(family, name, change):
    def backward(right, node, g, needs):
        with instead(node, params={**node.params, name: change(node, node.params[name])}):
            return right(node, g, needs)

    return Mutant(family, name, backward=backward)


@_family("pair swapped", "the way back reads an option's pair (h, w) as (w, h)")
def _pair_swapped(op):
    for name in op.plain:
        values = [s.params.get(name) for s in samples(op)]
        if any(isinstance(v, tuple) and len(v) == 2 and v[0] != v[1] for v in values if not _is_index(v)):
            yield _with_option("pair swapped", name, lambda node, v: v[::-1] if isinstance(v, tuple) else v)


def _is_index(value):
    return isinstance(value, tuple) and any(not isinstance(v, (int, tuple)) for v in value)


@_family("wrong axis", "the way back works along the axis before the right one")
def _wrong_axis(op):
    def before(node, dim):
        ndim = len(node.shapes[0])
        if dim is None or ndim < 2:
            return dim
        moved = tuple((d - 1) % ndim for d in axes(op.name, dim, ndim))
        return moved if isinstance(dim, tuple) else moved[0]

    for name in ("dim", "dims"):
        if name in op.plain:
            yield _with_option("wrong axis", name, before)


def _of_saved(change):
    """A fault in what is kept for the way back: ``change`` of every floating array."""

    def altered(array):
        return change(array) if array.dtype.kind == "f" else array

    def record(right, tensors, out, aux, params):
        kept = [Tensor(altered(t.data), node=t.node) for t in tensors]
        return right(kept, Tensor(altered(out.data)), tuple(map(altered, aux)), params)

    return record


def _out_of_order(array):
    """Memory read from its start in C order, whatever the strides say."""
    return array if array.flags.c_contiguous else array.ravel(order="K").reshape(array.shape)


_one(
    "unflipped",
    "the saved arrays are reversed: a kernel that is flipped, or is not",
    record=_of_saved(lambda a: np.array(np.flip(a))),
)
_one(
    "saved rounded",
    "the saved arrays are rounded to float32",
    record=_of_saved(lambda a: a.astype(np.float32).astype(a.dtype)),
)
_one(
    "rounded",
    "a float64 gradient is rounded to float32",
    backward=_each(lambda p: p.float().double() if p.dtype == np.float64 else p),
)
_one("float64 gradient", "a float32 gradient is returned as float64", backward=_each(lambda p: p.double()))


def _result(change):
    """A forward fault: ``change`` of the result."""

    def forward(right, *arrays, **params):
        result = right(*arrays, **params)
        return (change(result[0]), *result[1:]) if isinstance(result, tuple) else change(result)

    return forward


_one("float64 result", "a float32 result is returned as float64", forward=_result(lambda a: np.asarray(a, np.float64)))


def _nudged(amount):
    """What is kept for the way back, of inputs moved by a rounding error: the other side of a tie or a kink."""

    def record(right, tensors, out, aux, params):
        def moved(i, t):
            ramp = np.arange(t.data.size).reshape(t.shape) / max(t.data.size, 1)
            return t.data + t.data.dtype.type(amount) * (i + 1 + ramp) if t.dtype.kind == "f" else t.data

        op = right.__self__
        kept = [Tensor(np.asarray(moved(i, t), t.dtype), node=t.node) for i, t in enumerate(tensors)]
        with np.errstate(all="ignore"):
            result = op.forward(*(t.data for t in kept), **params)
        out, aux = (Tensor(np.asarray(result[0])), result[1:]) if op.aux else (Tensor(np.asarray(result)), ())
        return right(kept, out, aux, params)

    return record


@_family("wrong tie", "at a tie or kink, the gradient of a point beside it")
def _wrong_tie(op):
    if op.kinks:
        yield Mutant("wrong tie", "above", record=_nudged(1e-12))
        yield Mutant("wrong tie", "below", record=_nudged(-1e-12))


@_family("stale", "what is saved lives in buffers that the op's next call overwrites")
def _stale(op):
    latest = {}

    def forward(right, *arrays, **params):
        result = right(*arrays, **params)
        names = (*op._names(arrays), "out", *op.aux)
        for name, array in zip(names, (*arrays, *(result if op.aux else (result,))), strict=True):
            latest[name, np.shape(array), array.dtype] = array
        return result

    def backward(right, node, g, needs):
        stale = {
            name: Saved(Tensor(latest[name, s.array.shape, s.array.dtype]), s.node, False)
            for name, s in node.saved.items()
        }
        with instead(node, saved=stale):
            return right(node, g, needs)

    yield Mutant("stale", forward=forward, backward=backward)


@_family("shared result", "results live in one buffer, which the op's next call overwrites")
def _shared_result(op):
    buffers = {}
    yield Mutant("shared result", forward=_result(lambda a: _into(buffers, np.asarray(a))))


@_family("shared gradient", "gradients live in one buffer, which the next backward pass overwrites")
def _shared_gradient(op):
    buffers = {}
    yield Mutant("shared gradient", backward=_each(lambda p: Tensor(_into(buffers, p.data), node=p.node)))


def _into(buffers, array):
    buffer = buffers.setdefault((array.shape, array.dtype), np.empty_like(array))
    buffer[...] = array
    return buffer


def _cut(right, node, g, needs):
    op = node.op
    restore = op._restore

    def as_leaf(*args):
        x = restore(*args)
        return x if x.node is None else Tensor(x.data, requires_grad=True)

    with instead(op, _restore=as_leaf):
        return right(node, g, needs)


def _partly_cut(right, node, g, needs):
    pairs = zip(right(node, g, needs), _cut(right, node, g, needs), strict=True)
    return [None if p is None else p * 0.9 + q * 0.1 for p, q in pairs]


_one("saved detached", "the gradient does not depend on the saved arrays: no second order", backward=_cut)
_one("partly detached", "a tenth of the gradient does not depend on the saved arrays", backward=_partly_cut)
_one(
    "cotangent detached",
    "the gradient does not depend on the cotangent: no second order",
    backward=_of_cotangent(lambda g: g.detach()),
)
_one(
    "recorded differs",
    "the gradient is 0.1 % off only where the backward pass is itself recorded: a composite that is another function",
    backward=_each(lambda p: p * 0.999 if autograd.is_grad_enabled() else p),
)


def _overwrites_saved(right, node, g, needs):
    pieces = list(right(node, g, needs))
    for i, p in enumerate(pieces):
        saved = next((s for s in node.saved.values() if p is not None and s.array.shape == p.shape), None)
        if saved is not None and saved.array.dtype == p.dtype:
            saved.array[...] = p.data
            pieces[i] = Tensor(saved.array, node=p.node)
    return pieces


def _overwrites_cotangent(right, node, g, needs):
    pieces = right(node, g, needs)
    g.data[...] = 0
    return pieces


def _overwrites_input(right, *arrays, **params):
    result = right(*arrays, **params)
    for a in arrays:
        a[...] = a[::-1] if a.ndim else 0
    return result


_one("overwrites saved", "the gradient is written into the memory of a saved array", backward=_overwrites_saved)
_one("overwrites cotangent", "the backward pass leaves zeros in the cotangent", backward=_overwrites_cotangent)
_one("overwrites input", "the forward pass leaves its inputs reversed", forward=_overwrites_input)
_one(
    "input layout",
    "the forward pass reads memory in order, whatever the strides",
    forward=lambda right, *arrays, **params: right(*map(_out_of_order, arrays), **params),
)
_one(
    "saved layout",
    "the backward pass reads saved memory in order, whatever the strides",
    record=_of_saved(_out_of_order),
)
_one(
    "cotangent layout",
    "the backward pass reads the cotangent's memory in order, whatever the strides",
    backward=_of_cotangent(lambda g: Tensor(_out_of_order(g.data), node=g.node)),
)
