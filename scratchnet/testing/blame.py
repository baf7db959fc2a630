"""Which op is to blame for a wrong gradient?

    with recording():
        loss = model(x).square().mean()
    print(blame(loss))  # div #17: ... gradient -0.31, numeric -0.62

Every node of the graph is asked on its own: do its vector-Jacobian products agree with difference quotients of its
op's forward function, at the inputs it had? One wrong op spoils the gradients of everything before it; asked one by
one, it is the only one that disagrees. A graph keeps only what its backward pass needs, so ``recording`` keeps the
inputs of every op application as well.
"""

import contextlib
import weakref
from dataclasses import dataclass

import numpy as np

from scratchnet import autograd
from scratchnet.ops.registry import Op
from scratchnet.tensor import Node, Tensor
from scratchnet.testing.gradcheck import check_gradients
from scratchnet.testing.report import GradientReport, Verdict

_inputs: "weakref.WeakKeyDictionary[Node, list[np.ndarray]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Blame:
    """The first wrong op application in the order of execution.

    ``op`` and ``number`` are the node's op and creation number, ``shapes`` and ``params`` what it was given, ``input``
    the input whose gradient is worst; ``report`` has the worst entry and its analytic and numeric value.
    """

    op: str
    number: int
    shapes: tuple[tuple[int, ...], ...]
    params: dict
    input: str
    report: GradientReport

    def __str__(self):
        given = ", ".join([*map(str, self.shapes), *(f"{k}={v!r}" for k, v in self.params.items())])
        r = self.report
        where = "" if r.index is None else f" at index {r.index}"
        return (
            f"{self.op} #{self.number} of {given}: the gradient of {self.input} is wrong{where}: "
            f"gradient {r.analytic:.10g}, numeric {r.numeric:.10g} ± {r.error:.2g} for a random cotangent"
        )


@contextlib.contextmanager
def recording():
    """Inside, copies of all inputs of every recorded op application are kept for ``blame``, as long as its node is."""
    record = Op._record

    def record_inputs(op, tensors, out, aux, params):
        node = record(op, tensors, out, aux, params)
        _inputs[node] = [np.array(t.data) for t in tensors]
        return node

    Op._record = record_inputs
    try:
        yield
    finally:
        Op._record = record


def blame(output: Tensor, *, seed: int = 0) -> Blame | None:
    """The first op application behind ``output``, in the order of execution, whose gradient is wrong.

    First-order gradients are judged, with ``check_gradients`` and its precision. None means that no op is found wrong.
    Ops at kinks are right where their gradient lies between the one-sided derivatives.

    Args:
        output: the result of a graph made inside ``recording``, with its saved arrays (call this before
            ``backward``, or pass ``retain_graph`` to that).
        seed: of the random cotangents and directions.

    Raises:
        RuntimeError: the output is in no graph, an op ran outside ``recording``, or saved arrays have been freed.
    """
    if output.node is None:
        raise RuntimeError("blame: the output does not require a gradient")
    for node in _ancestors(output.node):
        if node not in _inputs:
            raise RuntimeError(f"blame: {node.name} #{node.seq} was applied outside recording()")
        if node.saved is None:
            raise RuntimeError(f"blame: the saved arrays of {node.name} #{node.seq} have been freed")
        replay = _Replay(node)
        report = check_gradients(replay, replay.arrays(), linear=node.op.degree == 1, seed=seed)
        if report.verdict is Verdict.FAIL:
            name = node.op._names(node.parents)[replay.moving[report.input]]
            return Blame(node.name, node.seq, node.shapes, node.params, name, report)
    return None


def _ancestors(node: Node) -> list[Node]:
    """The op applications behind a node and itself, oldest first."""
    found, stack = set(), [node]
    while stack:
        node = stack.pop()
        if node is not None and node.op is not None and node not in found:
            found.add(node)
            stack.extend(node.parents)
    return sorted(found, key=lambda node: node.seq)


class _Replay:
    """A node as a function of the inputs that want a gradient: its op forward again, and its own way back."""

    def __init__(self, node: Node):
        self.node, self.name = node, node.name
        self.needs = tuple(parent is not None for parent in node.parents)
        self.moving = [i for i, need in enumerate(self.needs) if need]

    def arrays(self) -> list[np.ndarray]:
        return [_inputs[self.node][i] for i in self.moving]

    def __call__(self, *tensors: Tensor) -> Tensor:
        dtype = tensors[0].dtype
        arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in _inputs[self.node]]
        for i, x in zip(self.moving, tensors, strict=True):
            arrays[i] = x.data
        with np.errstate(all="ignore"):
            result = self.node.op.forward(*arrays, **self.node.params)
        out = Tensor(np.asarray(result[0] if self.node.op.aux else result))
        if autograd.is_grad_enabled() and any(x.requires_grad for x in tensors):
            out.node = Node(self, tuple(x.node for x in tensors), tuple(x.shape for x in tensors))
        return out

    def backward(self, _, g: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
        pieces = self.node.op.backward(self.node, g, self.needs)
        return [pieces[i] if need else None for i, need in zip(self.moving, needs, strict=True)]
