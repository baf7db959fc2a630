"""Dropout: scale, rate, the same mask backward, seeds."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import functional as F


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_rate_and_scale(p):
    n = 200_000
    out = F.dropout(sn.ones(n), p, generator=np.random.default_rng(0)).data
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / (1 - p))}
    kept = (out > 0).mean()
    assert abs(kept - (1 - p)) < 5 * np.sqrt(p * (1 - p) / n)  # 5 standard errors: 1 seed in 1.7 million fails
    assert out.dtype == np.float32


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d])
def test_the_gradient_takes_the_same_mask(draw, function):
    x = draw(4, 5, 3, 2).requires_grad_()
    y = function(x, 0.4, generator=np.random.default_rng(1))
    y.backward(sn.ones_like(y))
    np.testing.assert_allclose(x.grad.data * x.data, y.data, rtol=1e-12)
    assert 0 < (x.grad.data == 0).mean() < 1


def test_planes_fall_as_a_whole():
    out = F.dropout2d(sn.ones(50, 8, 3, 3), 0.5, generator=np.random.default_rng(0)).data
    planes = out.reshape(400, 9)
    assert (planes == planes[:, :1]).all() and 100 < (planes[:, 0] == 0).sum() < 300


def test_extremes_and_evaluation():
    x = sn.ones(5)
    assert F.dropout(x, 1.0).tolist() == [0] * 5
    assert F.dropout(x, 0.0) is x and F.dropout(x, 0.9, training=False) is x
    layer = nn.Dropout(0.9)
    assert layer.eval()(x) is x and layer.train()(x) is not x


def test_seeds_decide_and_memory_layout_does_not():
    sn.manual_seed(3)
    first = F.dropout(sn.ones(2, 3, 4, 5))
    sn.manual_seed(3)
    channels_last = sn.from_numpy(np.ones((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(first.data, F.dropout(channels_last).data)
    layer = nn.Dropout(generator=np.random.default_rng(3))
    assert (layer(sn.ones(64)).data != layer(sn.ones(64)).data).any()
