"""Normalisation: running statistics against their formula, evaluation as an affine map, second derivatives."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import functional as F
from scratchnet.testing import gradcheck, gradgradcheck


def per_channel(x):
    """Mean and unbiased variance of each channel."""
    rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    return rows.mean(1), rows.var(1, ddof=1)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2)])
@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
def test_running_statistics(draw, shape, momentum):
    layer = (nn.BatchNorm1d if len(shape) < 4 else nn.BatchNorm2d)(3, momentum=momentum).double()
    buffer = layer.running_mean
    mean, var = np.zeros(3), np.ones(3)
    for step in range(1, 4):
        x = draw(*shape) * step + 1
        y = layer(x)
        batch_mean, batch_var = per_channel(x.data)
        share = 1 / step if momentum is None else momentum
        mean, var = (1 - share) * mean + share * batch_mean, (1 - share) * var + share * batch_var
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-10)
        biased = per_channel(y.data)[1] * (1 - 1 / (x.numel() / 3))
        np.testing.assert_allclose(biased, 1, rtol=1e-4)  # eps is in it
    assert layer.running_mean is buffer and layer.num_batches_tracked.item() == 3

    layer.eval()
    x = draw(*shape)
    along = (1, 3) + (1,) * (len(shape) - 2)
    expected = (x.data - mean.reshape(along)) / np.sqrt(var.reshape(along) + layer.eps)
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-9, atol=1e-12)
    assert layer.num_batches_tracked.item() == 3
    np.testing.assert_array_equal(layer.running_mean.data, buffer.data)


def test_float32_running_variance_survives_a_tiny_variance():
    """It is recovered from 1 / sqrt(var + eps); for var = eps / 100 that must not be all rounding."""
    layer = nn.BatchNorm1d(1, momentum=1.0)
    x = sn.tensor([[1e-3], [-1e-3]]) * 0.3
    layer(x)
    np.testing.assert_allclose(layer.running_var.data, per_channel(x.data)[1], rtol=1e-4)


def test_without_running_statistics_evaluation_uses_the_batch(draw):
    layer = nn.BatchNorm2d(3, track_running_stats=False).double()
    x = draw(4, 3, 2, 2)
    np.testing.assert_array_equal(layer.eval()(x).data, layer.train()(x).data)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert not list(nn.BatchNorm2d(3, affine=False, track_running_stats=False).state_dict())
    assert list(nn.GroupNorm(1, 2, bias=False).state_dict()) == ["weight"]


def test_a_refused_batch_changes_no_statistics():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(sn.ones(1, 3, 1, 1))
    assert layer.num_batches_tracked.item() == 0 and layer.running_mean.tolist() == [0, 0, 0]


def test_reset_forgets(draw):
    layer = nn.BatchNorm2d(2).double()
    layer(draw(3, 2, 2, 2))
    layer.reset_running_stats()
    state = layer.state_dict()
    assert state["running_var"].tolist() == [1, 1] and state["num_batches_tracked"].item() == 0


def test_instance_norm_is_batch_norm_of_each_sample(draw):
    x, w, b = draw(3, 2, 4, 5), draw(2), draw(2)
    each = [F.batch_norm(x[i : i + 1], None, None, w, b, training=True).data for i in range(3)]
    np.testing.assert_allclose(F.instance_norm(x, weight=w, bias=b).data, np.concatenate(each), rtol=1e-10)
    np.testing.assert_allclose(F.group_norm(x, 2, w, b).data, np.concatenate(each), rtol=1e-10)


def test_instance_norm_running_statistics(draw):
    layer = nn.InstanceNorm2d(2, affine=True, track_running_stats=True).double()
    x = draw(3, 2, 4, 5)
    layer(x)
    each = [per_channel(x.data[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(layer.running_mean.data, 0.1 * np.mean([m for m, _ in each], 0), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.data, 0.9 + 0.1 * np.mean([v for _, v in each], 0), rtol=1e-12)
    expected = F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    np.testing.assert_array_equal(layer.eval()(x).data, expected.data)


def test_layer_norm_of_several_axes(draw):
    layer = nn.LayerNorm((3, 4)).double()
    x = draw(2, 5, 3, 4) * 3 + 1
    y = layer(x).data.reshape(10, 12)
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(1), 1, rtol=1e-4)
    assert nn.LayerNorm(4, bias=False).bias is None


MEAN, VAR = sn.tensor(np.array([0.2, -0.4])), sn.tensor(np.array([0.5, 2.0]))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=0.1),
        lambda x, w, b: F.group_norm(x, 2, w, b, eps=0.1),
    ],
    ids=["batch_norm", "batch_norm_eval", "instance_norm", "group_norm"],
)
def test_second_derivatives(draw, function):
    inputs = [draw(3, 2, 2, 3), draw(2), draw(2)]
    assert gradcheck(lambda *xs: function(*xs) ** 2, inputs)
    assert gradgradcheck(lambda *xs: function(*xs) ** 2, inputs)
    assert gradgradcheck(lambda x: function(x, None, None), inputs[:1])


def test_a_gradient_penalty_through_batch_norm(draw):
    """The norm of the input gradient of a small critic, differentiated once more with respect to its weights."""
    critic = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 1)).double()
    weight = critic[0].weight
    x, start = draw(3, 1, 3, 3), weight.data.copy()

    def penalty(w):
        weight.data[...] = w
        images = sn.tensor(x.data, requires_grad=True)
        (g,) = sn.autograd.grad(critic(images).sum(), [images], create_graph=True)
        return (g * g).sum()

    (exact,) = sn.autograd.grad(penalty(start), [weight])
    direction = draw(*start.shape).data
    step = 1e-5
    numeric = (penalty(start + step * direction) - penalty(start - step * direction)).item() / (2 * step)
    np.testing.assert_allclose((exact.data * direction).sum(), numeric, rtol=1e-7)
