"""Plant a fault in an op at run time, and take it out again.

    with planted(OPS["conv2d"], mutant):
        check_first_order(OPS["conv2d"], sample)  # must raise

A mutant replaces what an op does at up to three places: ``forward(right, *arrays, **params)``,
``record(right, tensors, out, aux, params)``, which keeps arrays for the way back, and
``backward(right, node, g, needs)``, which returns one gradient an input. ``right`` is what the op itself does there.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from scratchnet import autograd
from scratchnet.ops.registry import Op
from scratchnet.ops.shape import alias
from scratchnet.tensor import Node, Tensor


@dataclass(frozen=True)
class Mutant:
    """One fault: its family, what it applies to (an option or an input; may be empty), and what it replaces."""

    family: str
    detail: str = ""
    forward: Callable | None = field(default=None, repr=False)
    record: Callable | None = field(default=None, repr=False)
    backward: Callable | None = field(default=None, repr=False)

    def __str__(self):
        return f"{self.family}: {self.detail}" if self.detail else self.family


@contextlib.contextmanager
def planted(op: Op, mutant: Mutant, only: Callable[[Node], bool] = lambda node: True):
    """Inside, ``op`` is faulty; its backward pass only at the nodes for which ``only`` holds.

    A derived op becomes a single node for that time, which differentiates its own forward function: a place where the
    fault can be. Tensors given to it as plain arguments are then constants.
    """
    before = dict(vars(op))
    if op.derived:
        _make_primitive(op)
    right = {"forward": op.forward, "_record": op._record, "backward": op.backward}
    try:
        for place, fault in (("forward", mutant.forward), ("_record", mutant.record)):
            if fault is not None:
                setattr(op, place, functools.partial(fault, right[place]))
        if mutant.backward is not None:
            wrong = functools.partial(mutant.backward, right["backward"])
            op.backward = lambda node, g, needs: (wrong if only(node) else right["backward"])(node, g, needs)
        yield op
    finally:
        vars(op).clear()
        vars(op).update(before)


def _make_primitive(op: Op) -> None:
    of_tensors = op.forward

    def of_arrays(*arrays, **params):
        with autograd.no_grad():
            return of_tensors(*map(Tensor, arrays), **params).data

    def backward(node, g, needs):
        recording = autograd.is_grad_enabled()
        known = [op._restore(node, name, node.saved[name], recording) for name in op._names(needs)]
        with autograd.enable_grad():
            inputs = [
                x if not need else alias(x) if recording else Tensor(x.data, requires_grad=True)
                for x, need in zip(known, needs, strict=True)
            ]
            out = of_tensors(*inputs, **node.params)
            asked = [x for x, need in zip(inputs, needs, strict=True) if need]
            found = iter(autograd.grad(out, asked, g, create_graph=recording, allow_unused=True))
        return [next(found) if need else None for need in needs]

    op.derived, op.vjp, op.composite, op.wants = False, of_tensors, of_tensors, {None: set()}
    op.forward, op.backward = of_arrays, backward


@contextlib.contextmanager
def instead(thing, **attributes):
    """Inside, ``thing`` has other attributes."""
    before = {name: getattr(thing, name) for name in attributes}
    for name, value in attributes.items():
        setattr(thing, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(thing, name, value)
