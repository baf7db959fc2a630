"""Blame names the op whose gradient is wrong, among fifty, and nobody where all are right."""

import os

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd
from scratchnet.tensor import Tensor
from scratchnet.testing.blame import blame, recording
from scratchnet.testing.mutants import mutants
from scratchnet.testing.planting import planted

GRAPHS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 12

UNARY = (
    lambda x: sn.sin(x),
    lambda x: sn.relu(x),
    lambda x: sn.tanh(x),
    lambda x: sn.softmax(x, 1),
    lambda x: sn.sigmoid(x * 2.0),
    lambda x: sn.exp(x * -0.5),
    lambda x: x.permute(1, 0),
    lambda x: x.reshape(2, 8)[:, 1:7].reshape(3, 4)[:, ::2].expand(4, 3, 2).sum(0).reshape(6)[:4] + x,
    lambda x: x - x.mean(0, keepdim=True),
    lambda x: sn.nn.functional.conv2d(x.reshape(1, 1, 4, 4), Tensor(KERNEL.astype(x.dtype)), padding=1).reshape(4, 4),
    lambda x: sn.nn.functional.max_pool2d(x.reshape(1, 1, 4, 4), 3, 1, 1).reshape(4, 4),
)
BINARY = (
    lambda x, y: x + y,
    lambda x, y: x * y[0],
    lambda x, y: x / (y * y + 1.0),
    lambda x, y: sn.tanh(x @ y * 0.2),
    lambda x, y: sn.maximum(x, y),
    lambda x, y: sn.cat([x[:2], y[2:]]),
)
WRITERS = ("overwrites saved", "overwrites cotangent", "shared gradient")  # these spoil the graph itself for good
KERNEL = np.random.default_rng(5).standard_normal((1, 1, 3, 3))


def random_graph(generator, size=50, dtype=np.float64):
    """A scalar and its leaves, ``size`` nodes or a few more between them, all of which reach the scalar."""
    leaves = [Tensor(generator.standard_normal((4, 4)).astype(dtype), requires_grad=True) for _ in range(3)]
    values, first = list(leaves), leaves[-1].node.seq
    while values[-1].node.seq - first < size:
        functions, count = (UNARY, 1) if generator.random() < 0.6 else (BINARY, 2)
        given = [values[-1 - i] for i in generator.permutation(3)[:count]]
        value = functions[generator.integers(len(functions))](*given)
        largest = float(np.abs(value.data).max())
        values.append(value if largest < 3 else value * (2 / largest))
    return sn.cat(values[3:]).mean(), leaves


def op_nodes(output):
    found, stack = set(), [output.node]
    while stack:
        node = stack.pop()
        if node is not None and node.op is not None and node not in found:
            found.add(node)
            stack.extend(node.parents)
    return sorted(found, key=lambda node: node.seq)


def gradients(output, leaves):
    found = autograd.grad(output, leaves, retain_graph=True, allow_unused=True)
    return [np.zeros(x.shape) if g is None else g.data for x, g in zip(leaves, found, strict=True)]


def spoil(generator, output, leaves):
    """A node and a backward fault that, planted there, changes the gradient of the output."""
    right = gradients(output, leaves)
    nodes = op_nodes(output)
    for _ in range(1000):
        node = nodes[generator.integers(len(nodes))]
        faults = [m for m in mutants(node.op) if not (m.forward or m.record or m.family in WRITERS)]
        fault = faults[generator.integers(len(faults))]
        try:
            with planted(node.op, fault, only={node}.__contains__):
                wrong = gradients(output, leaves)
        except (ValueError, AssertionError, IndexError, TypeError):
            continue  # no wrong gradient, but no gradient at all
        if any(np.abs(a - b).max() > 1e-6 * np.abs(a).max() for a, b in zip(right, wrong, strict=True)):
            return node, fault
    raise AssertionError("no fault changes this graph's gradient")


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_the_faulty_one_of_fifty_nodes_is_named(seed):
    generator = np.random.default_rng(seed)
    with recording():
        output, leaves = random_graph(generator)
    assert len(op_nodes(output)) >= 50
    assert blame(output) is None
    node, fault = spoil(generator, output, leaves)
    with planted(node.op, fault, only={node}.__contains__):
        found = blame(output)
    assert found is not None, f"{fault} in {node} went unnoticed"
    assert (found.number, found.op) == (node.seq, node.name), f"{fault} in {node}, but blame says: {found}"


def test_a_node_of_a_float32_graph_is_named():
    generator = np.random.default_rng(0)
    with recording():
        output, _ = random_graph(generator, size=10, dtype=np.float32)
    assert blame(output) is None
    node = op_nodes(output)[4]
    with planted(node.op, next(m for m in mutants(node.op) if m.family == "one entry"), only={node}.__contains__):
        assert blame(output).number == node.seq


def test_blame_says_what_it_knows():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    with recording():
        output = (sn.exp(x) * 3.0).sum()
    with planted(sn.ops.exp, next(m for m in mutants(sn.ops.exp) if m.family == "doubled")):
        found = blame(output)
    assert (found.op, found.input, found.shapes, found.number) == ("exp", "x", ((2,),), op_nodes(output)[0].seq)
    assert found.report.analytic == pytest.approx(2 * found.report.numeric)
    assert f"exp #{found.number} of (2,): the gradient of x is wrong at index" in str(found)


def test_graphs_that_blame_cannot_judge_are_refused():
    x = Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"exp #\d+ was applied outside recording"):
        blame(sn.exp(x).sum())
    with recording():
        output = sn.exp(x).sum()
    output.backward()
    with pytest.raises(RuntimeError, match=r"saved arrays of exp #\d+ have been freed"):
        blame(output)
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        blame(output.detach())
