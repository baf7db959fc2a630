"""Reverse-mode differentiation: record what is computed, walk it back.

``grad`` is pure. ``backward`` is the thin accumulating wrapper with PyTorch's semantics. The walk needs no
recursion: creation numbers order any graph, so a chain of 20,000 ops is nothing special.
"""

import contextlib
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from scratchnet import recording
from scratchnet.tensor import Node, Tensor


class _Modes(threading.local):
    recording = True
    anomaly = False


_modes = _Modes()


def is_grad_enabled() -> bool:
    return _modes.recording


def is_anomaly_enabled() -> bool:
    return _modes.anomaly


@contextlib.contextmanager
def set_grad_enabled(mode: bool):
    """Record (or do not record) what this thread computes inside the ``with`` block or decorated function."""
    before, _modes.recording = _modes.recording, mode
    try:
        yield
    finally:
        _modes.recording = before


def no_grad():
    """Inside, nothing is recorded: ``with no_grad(): ...`` or ``@no_grad()``."""
    return set_grad_enabled(False)


def enable_grad():
    """Inside, ops are recorded again, also within ``no_grad``."""
    return set_grad_enabled(True)


@contextlib.contextmanager
def detect_anomaly():
    """Raise where a NaN first appears, naming the op, forward or backward; check saved arrays exactly. Slow."""
    recording.refuse("detect_anomaly()", "put it around the call")
    before, _modes.anomaly = _modes.anomaly, True
    try:
        with recording.uncaptured():
            yield
    finally:
        _modes.anomaly = before


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product: for each input x, sum over outputs y of (dy/dx)^T grad_y. Changes no tensor.

    Args:
        outputs: tensors y.
        inputs: tensors x, leaves or not.
        grad_outputs: the vectors, shaped like the outputs; None stands for 1 where an output has one element.
        retain_graph: keep the saved arrays for another pass. Default: ``create_graph``.
        create_graph: record the pass itself, so that its results can be differentiated.
        allow_unused: return None for an input that no output depends on, instead of raising.

    Raises:
        RuntimeError: an output or input is not in a graph, an input is not reached, or the graph was freed.
        ValueError: a grad_output is missing or has another shape.
        TypeError: a grad_output has another dtype.
    """
    outputs, inputs = _tensors("grad", "outputs", outputs), _tensors("grad", "inputs", inputs)
    for i, x in enumerate(inputs):
        if x.node is None:
            raise RuntimeError(f"grad: inputs[{i}] (shape {x.shape}) does not require a gradient")
    roots = _roots("grad", outputs, grad_outputs)
    goals = {x.node for x in inputs}
    plan = _plan((node for node, _ in roots), goals)
    if not allow_unused:
        _refuse_unreached(inputs, plan[1])
    found = _walk(roots, goals, plan, retain_graph, create_graph)
    if not allow_unused:  # a vector-Jacobian product may have had nothing for one
        _refuse_unreached(inputs, found)
    return tuple(found.get(x.node) for x in inputs)


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add to ``x.grad`` the gradient of ``tensors`` with respect to every leaf x that they depend on.

    Arguments and errors are those of ``grad``. ``x.grad`` is replaced by a new sum, never written into, so a
    gradient that somebody holds does not change under them; and no two leaves' gradients share memory.
    """
    roots = _roots("backward", _tensors("backward", "tensors", tensors), grad_tensors)
    handed_out = {id(_owner(g.data)) for _, g in roots}
    plan = _plan((node for node, _ in roots), None)
    arrived = _walk(roots, None, plan, retain_graph, create_graph)
    with set_grad_enabled(create_graph):
        for node, gradient in arrived.items():
            leaf = node.leaf()
            if leaf is None:
                continue
            shared = id(_owner(gradient.data)) in handed_out or 0 in gradient.data.strides
            _hand_out(gradient, leaf, shared)
            handed_out.update((id(_owner(gradient.data)), id(_owner(leaf.grad_now.data))))


def _hand_out(gradient: Tensor, leaf: Tensor, shared: bool) -> None:
    tape = recording.here.tape
    if tape is None or not tape.outlives(leaf):
        _add_gradient(gradient, leaf, shared)
        return
    with recording.paused():
        _add_gradient(gradient, leaf, shared)
    tape.note(_add_gradient, [gradient], {"leaf": leaf, "shared": shared}, (), keeps=True)


def _add_gradient(gradient, leaf: Tensor, shared: bool) -> None:
    gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient)
    if leaf.grad_now is not None:
        leaf.grad_now = leaf.grad_now + gradient
    else:
        leaf.grad_now = gradient.clone() if shared else gradient


def _owner(array):
    return array if array.base is None else array.base


def _as_sequence(value) -> Sequence[Tensor]:
    one = isinstance(value, Tensor | np.ndarray | str) or not isinstance(value, Iterable)
    return (value,) if one else tuple(value)


def _tensors(caller: str, name: str, value) -> Sequence[Tensor]:
    values = _as_sequence(value)
    for each in values:
        if not isinstance(each, Tensor):
            raise TypeError(f"{caller}: {name} must be a tensor or a sequence of them, got {type(each).__name__}")
    return values


def _roots(caller: str, outputs: Sequence[Tensor], grad_outputs) -> list[tuple[Node, Tensor]]:
    """Pair every output's node with its cotangent."""
    if grad_outputs is None:
        grad_outputs = (None,) * len(outputs)
    grad_outputs = _as_sequence(grad_outputs)
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"{caller}: {len(outputs)} outputs but {len(grad_outputs)} grad_outputs")
    roots = []
    for y, g in zip(outputs, grad_outputs, strict=True):
        if y.node is None:
            raise RuntimeError(f"{caller}: the output of shape {y.shape} does not require a gradient")
        if g is None:
            if y.data.size != 1:
                raise ValueError(f"{caller}: an output of shape {y.shape} is no scalar and needs a grad_output")
            g = Tensor(recording.call(np.ones_like, [y]))
        if not isinstance(g, Tensor):
            raise TypeError(f"{caller}: a grad_output must be a tensor or None, got {type(g).__name__}")
        if g.shape != y.shape:
            raise ValueError(f"{caller}: grad_output has shape {g.shape}, its output {y.shape}")
        if g.dtype != y.dtype:
            raise TypeError(f"{caller}: grad_output is {g.dtype}, its output {y.dtype}")
        roots.append((y.node, g))
    return roots


def _refuse_unreached(inputs, reached) -> None:
    for i, x in enumerate(inputs):
        if x.node not in reached:
            made = "leaf" if x.is_leaf else f"result of {x.node.name}"
            raise RuntimeError(
                f"grad: inputs[{i}] ({made}, shape {x.shape}) is not reached from the outputs; "
                "allow_unused=True returns None for it"
            )


def _walk(roots, goals: set[Node] | None, plan, retain_graph: bool | None, create_graph: bool) -> dict[Node, Tensor]:
    """Carry cotangents from the roots to the goals (None: to all leaves) and return what arrives there."""
    retain_graph = create_graph if retain_graph is None else retain_graph
    order, wanted = plan
    arriving: dict[Node, Tensor] = {}
    arrived: dict[Node, Tensor] = {}
    with set_grad_enabled(create_graph):
        for node, g in roots:
            arriving[node] = arriving[node] + g if node in arriving else g
        for node in reversed(order):
            if node not in wanted or node not in arriving:
                continue
            g = arriving.pop(node)
            for hook in node.hooks:
                replaced = hook(g)
                g = g if replaced is None else replaced
            if node.op is None if goals is None else node in goals:
                arrived[node] = g
            needs = tuple([parent in wanted for parent in node.parents])
            if not any(needs):
                continue
            if node.saved is None:
                raise RuntimeError(
                    f"{node.name}: its saved arrays were freed by an earlier backward pass; "
                    "pass retain_graph=True to that one to walk the graph twice"
                )
            for parent, piece in zip(node.parents, node.op.backward(node, g, needs), strict=True):
                if piece is not None:
                    arriving[parent] = arriving[parent] + piece if parent in arriving else piece
            if not retain_graph:
                node.release()
    return arrived


def _plan(roots: Iterable[Node], goals: set[Node] | None) -> tuple[list[Node], set[Node]]:
    """The nodes behind the roots, oldest first, and those among them that lie on a path to a goal.

    Those older than every goal are left out.
    """
    oldest = min((goal.seq for goal in goals), default=0) if goals is not None else 0
    found: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found and node.seq >= oldest:
            found.add(node)
            stack.extend(parent for parent in node.parents if parent is not None)
    order = sorted(found, key=lambda node: node.seq)
    wanted: set[Node] = set()
    for node in order:  # parents come before their children
        goal = node.op is None if goals is None else node in goals
        if goal or any(parent in wanted for parent in node.parents):
            wanted.add(node)
    return order, wanted
