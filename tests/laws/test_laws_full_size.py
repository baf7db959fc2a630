"""Layers as large as they are in use, in float32: laws need a pass or two where difference quotients need millions."""

from dataclasses import dataclass
from math import prod

import numpy as np
import pytest

from scratchnet import ops
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import integral, normal


@dataclass(frozen=True)
class Layer:
    x: tuple
    w: tuple
    options: dict


LAYERS = {
    "a residual block's 3x3": Layer((32, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}),
    "DCGAN, first": Layer((32, 3, 64, 64), (64, 3, 4, 4), {"stride": 2, "padding": 1}),
    "DCGAN, second": Layer((32, 64, 32, 32), (128, 64, 4, 4), {"stride": 2, "padding": 1}),
    "DCGAN, last": Layer((32, 512, 4, 4), (1, 512, 4, 4), {}),
    "depthwise": Layer((8, 96, 28, 28), (96, 1, 3, 3), {"padding": 1, "groups": 96}),
    "1x1": Layer((32, 128, 16, 16), (256, 128, 1, 1), {}),
    "dilated": Layer((8, 48, 29, 31), (40, 24, 3, 3), {"padding": 2, "dilation": 2, "groups": 2}),
}
by_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
F32 = np.float32


def conv(layer, fixed):
    """The layer as a function of the other operand."""
    if fixed.shape == layer.w:
        return lambda t: F.conv2d(t, Tensor(fixed), **layer.options)
    return lambda t: F.conv2d(Tensor(fixed), t, **layer.options)


def drawn(layer, draw):
    """Input, weight and cotangent."""
    x, w = draw(0, layer.x, layer.w, dtype=F32)
    [g] = draw(1, laws.value(conv(layer, w), x).shape, dtype=F32)
    return x, w, g


def thinned(array, count=8):
    """All but ``count`` elements set to 0: few enough for float32's bound to be sharp."""
    keep = np.random.default_rng(2).permutation(array.size)[:count]
    thin = np.zeros_like(array)
    thin.flat[keep] = array.flat[keep]
    return thin


@by_layer
def test_both_gradients_are_adjoints_exactly(layer):
    x, w, g = drawn(layer, integral)
    laws.adjoint(conv(layer, w), x, g, terms=0)
    laws.adjoint(conv(layer, x), w, g, terms=0)


@by_layer
def test_the_input_gradient_is_an_adjoint_within_float32s_bound(layer):
    x, w, g = drawn(layer, normal)
    fan_out = w.shape[0] // layer.options.get("groups", 1) * prod(w.shape[2:])
    terms = max(prod(w.shape[1:]), fan_out)
    laws.adjoint(conv(layer, w), x, thinned(g), terms=terms, absolute=conv(layer, np.abs(w)))


@by_layer
def test_rows_of_the_output_are_a_product_with_patches(layer):
    x, w, _ = drawn(layer, integral)
    groups = layer.options.get("groups", 1)
    options = {name: option for name, option in layer.options.items() if name != "groups"}
    out = laws.value(conv(layer, w), x[:1])
    columns = F.unfold(Tensor(x[:1]), w.shape[2:], **options).data[0]
    rows = w.reshape(groups, -1, prod(w.shape[1:])) @ columns.reshape(groups, -1, columns.shape[-1])
    laws.agree("im2col", out.reshape(w.shape[0], -1), rows.reshape(w.shape[0], -1))


def test_dcgans_generator_layer_is_the_adjoint_of_its_discriminators():
    x, w, y = integral(0, (32, 64, 32, 32), (128, 64, 4, 4), (32, 128, 16, 16), dtype=F32)
    options = {"stride": 2, "padding": 1}
    laws.adjoint(
        lambda t: F.conv2d(t, Tensor(w), **options),
        x,
        y,
        terms=0,
        transpose=lambda t: F.conv_transpose2d(t, Tensor(w), **options),
    )


@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
def test_pooling(pool):
    x, g = integral(0, (32, 64, 56, 56), (32, 64, 28, 28), dtype=F32, unit=36)
    laws.homogeneous(lambda t: pool(t, 3, 2, 1), x, g, terms=0)


@pytest.mark.parametrize("groups", [1, 8, 64])
def test_group_norm(groups):
    [x] = integral(0, (8, groups, 64 // groups * 32 * 32), dtype=F32)

    def norm(t, eps):
        return ops.group_norm(t.reshape((8, 64, 32, 32)), groups, eps=eps).reshape(x.shape)

    laws.standardised(norm, x, 2, 1e-5, terms=0)  # sums are taken in float64


def test_batch_norm_moves_neither_mean_nor_scale():
    x, g = normal(0, (32, 64, 32, 32), (32, 64, 32, 32), dtype=F32)
    unit = np.ones(64, F32)

    def norm(t):
        return ops.batch_norm(t, Tensor(unit), Tensor(0 * unit), 1e-12)

    for direction in (np.ones_like(x), x):
        size = np.abs(g * direction).sum(dtype=np.float64)
        laws.gradient_orthogonal(norm, x, g, direction, terms=64, size=size)
