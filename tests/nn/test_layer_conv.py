"""Conv2d and ConvTranspose2d: paddings, adjoints, second derivatives, memory layout."""

import math
from contextvars import Context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchnet as sn
from scratchnet import autograd, nn
from scratchnet.nn import functional as F
from scratchnet.testing import gradcheck, gradgradcheck

geometries = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    }
)


def integers(seed, *shape):
    return sn.tensor(np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64))


@given(geometries)
def test_same_gives_tensorflows_sizes(g):
    n, k, s, d = g["size"], g["kernel"], g["stride"], g["dilation"]
    out = F.conv2d(integers(0, 1, 1, *n), integers(1, 1, 1, *k), stride=s, dilation=d, padding="same")
    assert out.shape[2:] == tuple(math.ceil(a / b) for a, b in zip(n, s, strict=True))
    up = F.conv_transpose2d(integers(0, 1, 1, *n), integers(1, 1, 1, *k), stride=s, dilation=d, padding="same")
    assert up.shape[2:] == tuple(a * b for a, b in zip(n, s, strict=True))


@given(geometries)
def test_same_puts_the_odd_row_at_the_end(g):
    n, k, s, d = g["size"], g["kernel"], g["stride"], g["dilation"]
    x, w = integers(2, 1, 2, *n), integers(3, 2, 2, *k)
    same = F.conv2d(x, w, stride=s, dilation=d, padding="same")
    sides = []
    for i in range(2):
        total = max((math.ceil(n[i] / s[i]) - 1) * s[i] + d[i] * (k[i] - 1) + 1 - n[i], 0)
        sides.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = sides
    padded = F.pad(x, (left, right, top, bottom))
    np.testing.assert_array_equal(same.data, F.conv2d(padded, w, stride=s, dilation=d).data)
    np.testing.assert_array_equal(same.data, F.conv2d(x, w, stride=s, dilation=d, padding=sides).data)


@given(geometries, st.sampled_from([0, (1, 0), ((0, 1), (2, 1)), "same", "valid"]), st.sampled_from([1, 2]))
def test_the_transpose_is_the_adjoint(g, padding, groups):
    """<conv(x), y> = <x, conv_transpose(y)>, exactly for whole numbers."""
    w = integers(0, 4, 2 // groups, *g["kernel"])
    options = dict(stride=g["stride"], dilation=g["dilation"], padding=padding, groups=groups)
    y = integers(1, 2, 4, *g["size"])
    if padding != "same":
        smallest = [
            (n - 1) * s + d * (k - 1) + 1
            for n, s, d, k in zip(g["size"], g["stride"], g["dilation"], g["kernel"], strict=True)
        ]
        sides = F.conv.padding_sides("", 0 if padding == "valid" else padding)
        if any(n <= sum(p) for n, p in zip(smallest, sides, strict=True)):
            with pytest.raises(ValueError, match="conv_transpose2d: padding .* leaves nothing"):
                F.conv_transpose2d(y, w, **options)
            return
    up = F.conv_transpose2d(y, w, **options)
    x = integers(2, *up.shape)
    assert (F.conv2d(x, w, **options) * y).sum().item() == (x * up).sum().item()


@given(geometries, st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_output_padding_adds_rows_at_the_end(g, extra):
    """... which a longer input would have: a cropped transpose of the input with zeros joined on."""
    n, k, s, d = g["size"], g["kernel"], g["stride"], g["dilation"]
    y, w = integers(0, 1, 2, *n), integers(1, 2, 1, *k)
    if any(e >= max(a, b) for e, a, b in zip(extra, s, d, strict=True)):
        with pytest.raises(ValueError, match="output_padding must be smaller than stride or dilation"):
            F.conv_transpose2d(y, w, stride=s, dilation=d, output_padding=extra)
        return
    plain = F.conv_transpose2d(y, w, stride=s, dilation=d)
    longer = F.conv_transpose2d(F.pad(y, (0, 2, 0, 2)), w, stride=s, dilation=d)
    out = F.conv_transpose2d(y, w, stride=s, dilation=d, output_padding=extra)
    height, width = (m + e for m, e in zip(plain.shape[2:], extra, strict=True))
    np.testing.assert_array_equal(out.data, longer.data[:, :, :height, :width])


def test_output_size_picks_among_the_sizes_of_a_stride(draw):
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1).double()
    x = draw(1, 2, 4, 5)
    assert layer(x).shape == (1, 3, 7, 9)
    assert layer(x, output_size=(8, 9)).shape == (1, 3, 8, 9)
    with pytest.raises(ValueError, match=r"between \(7, 9\) and \(8, 10\).*got \(9, 9\)"):
        layer(x, output_size=(9, 9))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 1), "same"])
def test_padding_modes_pad_first(draw, mode, padding):
    layer = nn.Conv2d(2, 3, (3, 2), padding=padding, padding_mode=mode).double()
    x = draw(1, 2, 5, 4)
    sides = {1: (1, 1, 1, 1), (2, 1): (1, 1, 2, 2), "same": (0, 1, 1, 1)}[padding]
    expected = F.conv2d(F.pad(x, sides, mode=mode), layer.weight, layer.bias)
    np.testing.assert_array_equal(layer(x).data, expected.data)


def test_a_layer_is_its_function(draw):
    x = draw(2, 4, 6, 5)
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2).double()
    expected = F.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    by_loops = np.einsum("kcab,cab->k", layer.weight.data[:3], x.data[0, :2, 1:4, [1, 3]].transpose(1, 2, 0))
    np.testing.assert_allclose(layer(x).data[0, :3, 1, 1], by_loops + layer.bias.data[:3], rtol=1e-12)


@pytest.mark.parametrize("options", [dict(padding="same", stride=2), dict(groups=2), dict(padding=1, dilation=2)])
def test_second_derivatives(draw, options):
    inputs = [draw(2, 2, 4, 5), draw(2, 2 // options.get("groups", 1), 3, 2), draw(2)]
    function = lambda x, w, b: F.conv2d(x, w, b, **options) ** 2  # noqa: E731
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    "options", [dict(padding="same"), dict(padding=1, output_padding=1), dict(dilation=3, output_padding=2)]
)
def test_second_derivatives_of_the_transpose(draw, options):
    inputs = [draw(2, 2, 3, 2), draw(2, 2, 3, 2), draw(2)]
    function = lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, **options) ** 2  # noqa: E731
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(8),
        nn.BatchNorm2d(8).eval(),
        nn.ReLU(),
        nn.LeakyReLU(0.2),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Dropout2d(0.5),
        nn.PReLU(8),
        nn.Softplus(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_keep_channels_last_memory(layer):
    x = sn.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 4, 8)).astype(np.float32).transpose(0, 3, 1, 2))
    x.requires_grad_()
    y = layer(x)
    assert y.data.strides == x.data.strides
    (gradient,) = autograd.grad(y, [x], sn.ones_like(y))
    assert gradient.data.strides == x.data.strides


def test_a_convolutional_stack_never_leaves_channels_last():
    """With the kernels that users get, from an ordinary NCHW input on."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.Dropout(0.1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(8, 8, 4, 2, 1)),
    )
    channels_last = []
    for layer in net:
        layer.register_forward_hook(
            lambda module, args, out: channels_last.append(out.data.transpose(0, 2, 3, 1).flags.c_contiguous)
        )
    Context().run(net, sn.randn(2, 3, 8, 8))  # outside the `use("reference")` of this folder's tests
    assert channels_last == [True] * len(net)
