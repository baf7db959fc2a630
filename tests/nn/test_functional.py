"""Functions against formulas, and layers against functions."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd, nn, ops
from scratchnet.nn import functional as F
from scratchnet.testing import gradcheck

IMAGE = (2, 3, 7, 6)
ACTIVATIONS = [
    (nn.ReLU(), F.relu, lambda x: max(x, 0.0)),
    (nn.ReLU6(), F.relu6, lambda x: min(max(x, 0.0), 6.0)),
    (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), lambda x: x if x > 0 else 0.2 * x),
    (nn.ELU(0.7), lambda x: F.elu(x, 0.7), lambda x: x if x > 0 else 0.7 * math.expm1(x)),
    (nn.GELU(), F.gelu, lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    (nn.SiLU(), F.silu, lambda x: x / (1 + math.exp(-x))),
    (nn.Softplus(), F.softplus, lambda x: math.log1p(math.exp(x))),
    (
        nn.Softplus(2.0, 3.0),
        lambda x: F.softplus(x, 2.0, 3.0),
        lambda x: x if x > 1.5 else math.log1p(math.exp(2 * x)) / 2,
    ),
    (nn.Sigmoid(), F.sigmoid, lambda x: 1 / (1 + math.exp(-x))),
    (nn.LogSigmoid(), F.logsigmoid, lambda x: -math.log1p(math.exp(-x))),
    (nn.Tanh(), F.tanh, math.tanh),
    (nn.Hardtanh(-0.5, 2.0), lambda x: F.hardtanh(x, -0.5, 2.0), lambda x: min(max(x, -0.5), 2.0)),
    (nn.PReLU(), lambda x: F.prelu(x, sn.tensor([0.25]).double()), lambda x: x if x > 0 else 0.25 * x),
]


@pytest.mark.parametrize(("layer", "function", "formula"), ACTIVATIONS, ids=lambda v: type(v).__name__)
def test_activations(draw, layer, function, formula):
    x = draw(3, 4) * 4
    expected = np.array([formula(v) for v in x.data.ravel()]).reshape(x.shape)
    np.testing.assert_allclose(layer.double()(x).data, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(layer(x).data, function(x).data)


@pytest.mark.parametrize(
    ("layer", "shape", "function"),
    [
        (nn.MaxPool2d(3, 2, 1), IMAGE, lambda x: ops.max_pool2d(x, 3, 2, 1)),
        (
            nn.AvgPool2d((2, 3), count_include_pad=False, padding=1),
            IMAGE,
            lambda x: ops.avg_pool2d(x, (2, 3), None, 1, False, False),
        ),
        (nn.AdaptiveAvgPool2d((None, 2)), IMAGE, lambda x: ops.adaptive_avg_pool2d(x, (7, 2))),
        (nn.AdaptiveMaxPool2d(2), IMAGE, lambda x: ops.adaptive_max_pool2d(x, 2)),
        (
            nn.Upsample((9, 4), mode="bilinear", align_corners=True),
            IMAGE,
            lambda x: ops.interpolate(x, (9, 4), None, "bilinear", True),
        ),
        (nn.Unfold(2, 1, 1, 2), IMAGE, lambda x: ops.unfold(x, 2, 1, 1, 2)),
        (nn.Fold((4, 3), 2), (2, 8, 6), lambda x: ops.fold(x, (4, 3), 2)),
        (nn.PixelShuffle(2), (2, 8, 3, 2), lambda x: ops.pixel_shuffle(x, 2)),
        (nn.PixelUnshuffle(2), (2, 2, 4, 6), lambda x: ops.pixel_unshuffle(x, 2)),
        (nn.ZeroPad2d((1, 0, 2, -1)), IMAGE, lambda x: ops.pad(x, (1, 0, 2, -1))),
        (nn.ReflectionPad2d(2), IMAGE, lambda x: ops.pad(x, (2, 2, 2, 2), "reflect")),
        (nn.ReplicationPad2d(2), IMAGE, lambda x: ops.pad(x, (2, 2, 2, 2), "replicate")),
        (nn.Flatten(1, 2), (2, 3, 4, 5), lambda x: x.reshape(2, 12, 5)),
        (nn.Unflatten(1, (2, -1)), (2, 6, 5), lambda x: x.reshape(2, 2, 3, 5)),
        (nn.Softmax(1), (2, 3, 4), lambda x: ops.softmax(x, 1)),
        (nn.LogSoftmax(-1), (2, 3, 4), lambda x: ops.log_softmax(x, 2)),
        (nn.Identity(1, two=2), (2, 3), lambda x: x),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_are_their_ops(draw, layer, shape, function):
    x = draw(*shape)
    out, expected = layer(x), function(x)
    assert out.shape == expected.shape
    np.testing.assert_array_equal(out.data, expected.data)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (2, 3, 4, 5), (0, 3, 5)])
def test_linear_acts_on_the_last_axis(draw, shape):
    layer = nn.Linear(5, 2).double()
    x = draw(*shape)
    expected = np.einsum("...i,oi->...o", x.data, layer.weight.data) + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-12, atol=1e-14)
    assert gradcheck(F.linear, [x, layer.weight.data, layer.bias.data])


def test_embedding_pads():
    layer = nn.Embedding(4, 3, padding_idx=-3).double()
    assert layer.weight.data[1].tolist() == [0, 0, 0] and layer.weight.data[0].all()
    nn.init.normal_(layer.weight)
    out = layer(sn.tensor([[1, 2], [2, 0]]))
    np.testing.assert_array_equal(out.data, layer.weight.data[[[1, 2], [2, 0]]])
    out.sum().backward()
    assert layer.weight.grad.data[:, 0].tolist() == [1, 0, 2, 0]


def test_one_hot():
    assert F.one_hot(sn.tensor([[2, 0]])).tolist() == [[[0, 0, 1], [1, 0, 0]]]
    out = F.one_hot(sn.tensor([1]), 4)
    assert out.tolist() == [[0, 1, 0, 0]] and out.dtype == np.int64
    assert F.one_hot(sn.zeros(0, 2, dtype=np.int64), 3).shape == (0, 2, 3)


def test_max_unpool_returns_values_to_their_places(draw):
    x = draw(2, 3, 4, 6)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(pooled, indices, 2)
    assert back.shape == x.shape and np.count_nonzero(back.data) == pooled.numel()
    np.testing.assert_array_equal(back.data[back.data != 0], x.data[back.data != 0])
    layer = nn.MaxPool2d(2, return_indices=True)
    np.testing.assert_array_equal(layer(x)[1].data, indices.data)
    assert F.max_unpool2d(pooled, indices, 2, output_size=(5, 6)).shape == (2, 3, 5, 6)
    pooled, indices = F.max_pool2d(x, 2, padding=(0, 1), return_indices=True)
    assert F.max_unpool2d(pooled, indices, 2, padding=(0, 1)).shape == x.shape


def test_normalize_and_cosine_similarity(draw):
    x, y = draw(4, 3), draw(4, 3)
    np.testing.assert_allclose(np.linalg.norm(F.normalize(x).data, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.abs(F.normalize(x, p=1, dim=0).data).sum(0), 1, rtol=1e-12)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x.data, y.data, strict=True)]
    np.testing.assert_allclose(F.cosine_similarity(x, y).data, cosines, rtol=1e-12)
    zero = sn.zeros(2, 3, requires_grad=True)
    (gradient,) = autograd.grad(F.normalize(zero).sum(), [zero])
    assert np.isfinite(gradient.data).all()


def test_losses_are_their_functions(draw):
    x, t, labels = draw(4, 3), draw(4, 3), sn.tensor([0, 2, 1, 2])
    p, weight = F.sigmoid(x), sn.tensor([1.0, 2.0, 0.5]).double()
    for layer, function, arguments, options in [
        (nn.CrossEntropyLoss, F.cross_entropy, (x, labels), dict(weight=weight, label_smoothing=0.1, ignore_index=1)),
        (nn.NLLLoss, F.nll_loss, (x, labels), dict(weight=weight, ignore_index=2)),
        (nn.BCELoss, F.binary_cross_entropy, (p, F.sigmoid(t)), dict(weight=weight)),
        (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, (x, F.sigmoid(t)), dict(pos_weight=weight)),
        (nn.MSELoss, F.mse_loss, (x, t), {}),
        (nn.L1Loss, F.l1_loss, (x, t), {}),
        (nn.SmoothL1Loss, F.smooth_l1_loss, (x, t), dict(beta=0.3)),
        (nn.GaussianNLLLoss, F.gaussian_nll_loss, (x, t, p), dict(full=True, eps=0.4)),
        (nn.KLDivLoss, F.kl_div, (x, F.sigmoid(t)), dict(log_target=True)),
    ]:
        values = {r: layer(**options, reduction=r)(*arguments) for r in ("none", "sum", "mean")}
        for reduction, value in values.items():
            np.testing.assert_array_equal(value.data, function(*arguments, **options, reduction=reduction).data)
        np.testing.assert_allclose(values["none"].data.sum(), values["sum"].item(), rtol=1e-12)
        assert values["sum"].item() != values["mean"].item()


def test_loss_weights_are_state():
    loss = nn.BCEWithLogitsLoss(weight=sn.ones(3), pos_weight=sn.ones(3) * 2)
    assert list(loss.state_dict()) == ["weight", "pos_weight"] and not list(loss.parameters())
    assert loss.double().pos_weight.dtype == np.float64
    assert list(nn.CrossEntropyLoss().state_dict()) == []


def test_variances_of_gaussian_nll_repeat_along_the_last_axis(draw):
    x, t = draw(4, 3), draw(4, 3)
    v = F.sigmoid(draw(4, 1))
    full = F.gaussian_nll_loss(x, t, v.expand(4, 3)).item()
    assert F.gaussian_nll_loss(x, t, v).item() == pytest.approx(full, rel=1e-14)
    assert F.gaussian_nll_loss(x, t, v.squeeze(1)).item() == pytest.approx(full, rel=1e-14)


def test_empty_batches_pass():
    for layer, shape, expected in [
        (nn.Conv2d(3, 4, 3), (0, 3, 5, 5), (0, 4, 3, 3)),
        (nn.ConvTranspose2d(3, 4, 4, 2, 1), (0, 3, 5, 5), (0, 4, 10, 10)),
        (nn.MaxPool2d(2), (0, 3, 4, 4), (0, 3, 2, 2)),
        (nn.AdaptiveMaxPool2d(1), (0, 3, 4, 4), (0, 3, 1, 1)),
        (nn.BatchNorm2d(3).eval(), (0, 3, 4, 4), (0, 3, 4, 4)),
        (nn.InstanceNorm2d(3), (0, 3, 4, 4), (0, 3, 4, 4)),
        (nn.GroupNorm(3, 6), (0, 6, 2), (0, 6, 2)),
        (nn.LayerNorm(4), (0, 3, 4), (0, 3, 4)),
        (nn.Unflatten(1, (2, -1)), (0, 6), (0, 2, 3)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (0, 3, 2, 2), (0, 3, 4, 4)),
    ]:
        x = sn.zeros(shape, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.shape == expected and x.grad.shape == shape, layer
