"""Clipping gradients, vectors of parameters."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import utils


def with_gradients(*arrays):
    parameters = [nn.Parameter(np.zeros_like(a)) for a in arrays]
    for p, a in zip(parameters, arrays, strict=True):
        p.grad = sn.from_numpy(a)
    return parameters


@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_clip_grad_norm_scales_to_the_norm(norm_type):
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=s) for s in [(3, 4), (5,), (2, 2, 2)]]
    copies = [a.copy() for a in arrays]
    flat = np.concatenate([a.ravel() for a in arrays])
    parameters = [*with_gradients(*arrays), nn.Parameter(np.ones(3))]
    total = utils.clip_grad_norm_(parameters, 0.5, norm_type)
    expected = np.linalg.norm(flat, norm_type)
    assert total.item() == pytest.approx(expected, rel=1e-12) and total.shape == ()
    for p, a, copy in zip(parameters, arrays, copies, strict=False):
        np.testing.assert_allclose(p.grad.data, copy * (0.5 / (expected + 1e-6)), rtol=1e-12)
        np.testing.assert_array_equal(a, copy)  # the old array is untouched
    assert parameters[-1].grad is None


def test_small_gradients_stay():
    (p,) = with_gradients(np.array([0.3, 0.4], np.float32))
    before = p.grad
    assert utils.clip_grad_norm_(p, 1.0).dtype == np.float32
    assert p.grad is before
    assert utils.clip_grad_norm_([], 1.0).item() == 0


def test_norms_that_are_not_finite():
    parameters = with_gradients(np.array([np.inf, 1.0]))
    with pytest.raises(ValueError, match="the norm of the gradients is inf"):
        utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="max_norm must be a number of at least 0, got -1"):
        utils.clip_grad_norm_(parameters, -1)
    assert utils.clip_grad_norm_(with_gradients(np.array([np.nan])), 1.0).isnan().item()


def test_clip_grad_value():
    array = np.array([-3.0, 0.5, 2.0])
    (p,) = with_gradients(array)
    utils.clip_grad_value_(p, 1.0)
    assert p.grad.tolist() == [-1, 0.5, 1] and array.tolist() == [-3, 0.5, 2]
    with pytest.raises(ValueError, match="clip_value must not be negative"):
        utils.clip_grad_value_(p, -1.0)


def test_vectors_round_trip():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = utils.parameters_to_vector(source.parameters())
    assert vector.shape == (8,) and vector.requires_grad
    utils.vector_to_parameters(vector.detach(), target.parameters())
    for p, q in zip(source.parameters(), target.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert not np.shares_memory(p.data, q.data)
    with pytest.raises(ValueError, match=r"expected a vector of shape \(8,\), got \(7,\)"):
        utils.vector_to_parameters(sn.zeros(7), target.parameters())


def test_count_parameters():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    net[0].requires_grad_(False)
    assert utils.count_parameters(net) == 12 and utils.count_parameters(net, trainable_only=True) == 4
