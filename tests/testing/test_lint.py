"""The lint finds each mistake that is planted in a classifier's training, and nothing in loops that are right."""

import numpy as np
import pytest
from watched import N, adam, descend, noise, rules

import kernels
import scratchnet as sn
from scratchnet import nn, ops, optim
from scratchnet.nn import functional as F
from scratchnet.testing.lint import Lint, LintError


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def classifier(step, *, steps=4, lr=1e-3):
    sn.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = adam(model, lr=lr)
    lint = Lint({"model": model})
    with lint:
        for i in range(steps):
            step(model, optimizer, noise(N, 6, seed=i), sn.tensor(np.arange(N) % 3))
    return lint


def right_step(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optimizer)


def test_nothing_is_found_in_a_classifier():
    lint = classifier(right_step)
    lint.check()
    assert lint.findings == [] and lint.report() == "nothing found"


def no_zero_grad(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optimizer, zero=False)


def detached(model, optimizer, x, y):
    F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    optimizer.step()


def new_optimizer(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), adam(model))


def half_detached(model, optimizer, x, y):
    descend(F.cross_entropy(model[3](model[:3](x).detach()), y), optimizer)


def half_optimised(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optim.SGD(model[3].parameters(), lr=0.1, momentum=0.9))


def zero_gradient(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y) * 0.0, optimizer)


def broadcast(model, optimizer, x, y):
    descend(((model(x)[:, :1] - y.float()) ** 2).mean(), optimizer)


def no_step(model, optimizer, x, y):
    F.cross_entropy(model(x), y).backward()


@pytest.mark.parametrize(
    ("step", "rule", "words"),
    [
        (no_zero_grad, "accumulated", "zero_grad() is missing: model: 0.weight, 0.bias, 1.weight, 1.bias and 2 more"),
        (detached, "no-gradient", "a step on model found no gradient"),
        (new_optimizer, "restarted", "a new optimiser in every step"),
        (half_detached, "unreached", "no gradient ever arrives at these: model: 0.weight, 0.bias, 1.weight, 1.bias"),
        (half_optimised, "not-optimised", "no optimiser steps these: model: 0.weight, 0.bias, 1.weight, 1.bias"),
        (zero_gradient, "unreached", "every gradient is exactly 0: model: 0.weight"),
        (broadcast, "broadcast", "sub of shapes (16, 1) and (16,) gives (16, 16)"),
        (no_step, "no-step", "no optimiser took a step"),
    ],
)
def test_a_mistake_in_a_training_loop(step, rule, words):
    lint = classifier(step)
    found = [str(finding) for finding in lint.findings if finding.rule == rule]
    assert any(words in text for text in found), lint.report()
    with pytest.raises(LintError):
        lint.check()
    assert rules(lint) <= {rule, "unreached", "restarted"}, lint.report()


@pytest.mark.parametrize(("lr", "words"), [(5.0, "more than 0.5 of their norm"), (1e-9, "less than float32 can hold")])
def test_updates_out_of_proportion(lr, words):
    lint = classifier(right_step, lr=lr)
    assert rules(lint) == {"update"} and words in lint.report()


def test_a_mean_gradient_over_several_batches_is_no_mistake():
    def step(model, optimizer, x, y):
        optimizer.zero_grad()
        for half in (slice(0, 8), slice(8, 16)):
            (F.cross_entropy(model(x[half]), y[half]) * 0.5).backward()
        optimizer.step()

    assert classifier(step).findings == []


def test_a_weight_that_begins_at_zero_is_no_mistake():
    """Its first steps are as large as the weight itself."""
    sn.manual_seed(0)
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    optimizer = adam(model)
    lint = Lint({"model": model})
    with lint:
        for i in range(3):
            right_step(model, optimizer, noise(N, 6, seed=i), sn.tensor(np.arange(N) % 3))
    lint.check()


def test_zeros_in_place_of_none_are_no_mistake():
    def step(model, optimizer, x, y):
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    assert classifier(step).findings == []


def test_everything_is_as_before():
    def patched():
        return sn.autograd.backward, sn.autograd._walk, optim.Optimizer.step, ops.binary_cross_entropy.forward

    before = patched()
    classifier(right_step)
    with pytest.raises(ZeroDivisionError), Lint({}):
        assert patched() != before
        raise ZeroDivisionError
    assert patched() == before
