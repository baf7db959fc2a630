"""Ops can be watched, and a NaN is caught where it is made."""

import threading

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn, observe
from scratchnet.observe import AnomalyError, observe_ops, refuse_nonfinite
from scratchnet.ops.registry import OPS, Draw
from scratchnet.recording import here


def watched(function) -> list[str]:
    names = []
    with observe_ops(lambda name, result, inputs: names.append(name)):
        function()
    return names


def test_forward_and_backward_are_told_apart():
    x = sn.tensor([1.0, 2.0], requires_grad=True)
    names = watched(lambda: (x * x).sum().backward())
    assert names[:2] == ["mul", "sum"]
    assert "mul in the backward pass of mul" in names


def test_nothing_stays_behind():
    with pytest.raises(ZeroDivisionError), observe_ops(print):
        assert here.watchers == (print,)
        raise ZeroDivisionError
    assert here.watchers == ()
    assert watched(lambda: None) == []


def test_a_thread_sees_its_own_ops_only():
    def elsewhere():
        other.extend(watched(lambda: sn.tensor([1.0]) - 1.0))

    other = []
    thread = threading.Thread(target=elsewhere)
    names = watched(lambda: (sn.tensor([1.0]) + 1.0, thread.start(), thread.join()))
    assert (names, other) == (["add"], ["sub"])


def test_watchers_nest():
    outer, inner = [], []
    with observe_ops(lambda name, *_: outer.append(name)):
        with observe_ops(lambda name, *_: inner.append(name)):
            sn.exp(sn.tensor([1.0]))
        sn.sin(sn.tensor([1.0]))
    assert (outer, inner) == (["exp", "sin"], ["exp"])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda x: sn.log(x - 1.0),
            "log: made infinity (1 of 2 values are not finite) from finite inputs of shapes (2,)",
        ),
        (lambda x: sn.sqrt(x - 2.0), "sqrt: made NaN (1 of 2"),
        (lambda x: sn.exp(x * 100.0), "exp: made infinity (2 of 2"),
        (lambda x: x * np.float32("nan"), "mul: "),
        (lambda x: sn.tensor([np.inf, 1.0]) + x, "add: its input 0 of shape (2,) held NaN or infinity already"),
        (lambda x: sn.sqrt(x - 1.0).sum().backward(), "div in the backward pass of sqrt: made infinity"),
    ],
)
def test_the_op_that_made_it_is_named(function, words):
    x = sn.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(AnomalyError) as caught, observe_ops(refuse_nonfinite):
        function(x)
    assert str(caught.value).startswith(words)


def test_the_layer_is_named_in_a_note():
    model = nn.Sequential(nn.Linear(2, 2), nn.Flatten())
    model[0].weight.data[0, 0] = np.nan
    with pytest.raises(AnomalyError) as caught, observe_ops(refuse_nonfinite):
        model(sn.tensor([[1.0, 2.0]]))
    assert caught.value.__notes__ == ["raised in Sequential.0 (Linear)"]


def test_finite_values_pass_though_their_sum_is_not():
    with observe_ops(refuse_nonfinite):
        large = sn.tensor(np.full(4, 3e38, np.float32)) * 1.0
        sn.tensor([1, 2]) + 1
        sn.zeros(0) + 1.0
    with np.errstate(over="ignore"):
        assert not np.isfinite(large.data.sum())


@pytest.mark.parametrize("name", sorted(observe._HARMLESS))
def test_ops_that_are_not_checked_are_harmless(name):
    """Finite inputs, however large, give finite results."""
    samples = OPS[name].samples(Draw(np.random.default_rng(0)))
    for sample in samples:
        arrays = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in map(np.asarray, sample.arrays[:9])]
        for scale in (1, 1e30):
            inputs = [sn.Tensor(a * np.float32(scale) if a.dtype.kind == "f" else a) for a in arrays]
            call = [inputs] if OPS[name].variadic else inputs
            result = OPS[name](*call, **sample.params).data
            assert result.dtype.kind != "f" or np.isfinite(result).all()
