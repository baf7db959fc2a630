"""Convolution and its transpose against their own algebra: exactly on whole numbers, within bounds on others."""

from math import prod

import numpy as np
import pytest
from hypothesis import assume, given

from scratchnet.autograd import grad
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import (
    conv2d_configs,
    conv_transpose2d_configs,
    dtypes,
    integral,
    normal,
    seeds,
)

on_whole_and_on_other_numbers = pytest.mark.parametrize("draw", [integral, normal], ids=["exact", "rounded"])
drawn = given(conv2d_configs(), seeds(), dtypes())


def terms(draw, *counts):
    """The length of the longest sum; 0 says that sums are exact."""
    return 0 if draw is integral else max(counts)


def fan_in(config):
    return prod(config.weight_shape[1:])


def without(config, *names):
    return {name: option for name, option in config.options.items() if name not in names}


def flip(a):
    return a[:, :, ::-1, ::-1]


@on_whole_and_on_other_numbers
@drawn
def test_gradients_are_adjoints(draw, config, seed, dtype):
    x, w, g = draw(seed, *config.shapes, dtype=dtype)
    n, k, height, width = config.output_shape
    fan_out = k // config.groups * prod(w.shape[2:])

    def conv(a, b):
        return F.conv2d(a, b, **config.options)

    laws.adjoint(
        lambda t: conv(t, Tensor(w)),
        x,
        g,
        terms=terms(draw, fan_in(config), fan_out),
        absolute=lambda t: conv(t, Tensor(np.abs(w))),
    )
    laws.adjoint(
        lambda t: conv(Tensor(x), t),
        w,
        g,
        terms=terms(draw, fan_in(config), n * height * width),
        absolute=lambda t: conv(Tensor(np.abs(x)), t),
    )


@on_whole_and_on_other_numbers
@drawn
def test_linear_in_input_and_in_weight(draw, config, seed, dtype):
    x, y = draw(seed, config.input_shape, config.input_shape, dtype=dtype)
    w, v = draw(seed + 1, config.weight_shape, config.weight_shape, dtype=dtype)
    count = terms(draw, fan_in(config))
    for fixed, moving, conv in (
        (w, (x, y), lambda t, fixed: F.conv2d(t, fixed, **config.options)),
        (x, (w, v), lambda t, fixed: F.conv2d(fixed, t, **config.options)),
    ):
        laws.linear(
            lambda t, f=fixed, conv=conv: conv(t, Tensor(f)),
            *moving,
            terms=count,
            absolute=lambda t, f=fixed, conv=conv: conv(t, Tensor(np.abs(f))),
        )


@on_whole_and_on_other_numbers
@drawn
def test_options_are_what_they_say(draw, config, seed, dtype):
    x, w, _ = draw(seed, *config.shapes, dtype=dtype)
    count = terms(draw, fan_in(config))
    laws.dilated_conv(F.conv2d, x, w, config.dilation, terms=count, **without(config, "dilation"))
    laws.strided_conv(F.conv2d, x, w, config.stride, terms=count, **without(config, "stride"))
    laws.padded_conv(F.conv2d, x, w, config.padding, terms=count, **without(config, "padding"))
    laws.grouped_conv(F.conv2d, x, w, config.groups, terms=count, **without(config, "groups"))
    laws.transposed_axes(F.conv2d, x, w, terms=count, **config.options)


@on_whole_and_on_other_numbers
@drawn
def test_samples_are_apart_and_their_order_is_kept(draw, config, seed, dtype):
    x, w, _ = draw(seed, *config.shapes, dtype=dtype)
    count = terms(draw, fan_in(config))
    sizes = {"terms": count, "absolute": lambda t: F.conv2d(t, Tensor(np.abs(w)), **config.options)}
    conv = lambda t: F.conv2d(t, Tensor(w), **config.options)  # noqa: E731
    laws.samplewise(conv, x, **sizes)
    laws.commutes(conv, lambda a: a[::-1], lambda a: a[::-1], x, **sizes)


@on_whole_and_on_other_numbers
@drawn
def test_equivariant_under_shifts_by_a_stride(draw, config, seed, dtype):
    assume(config.output_shape[2] > 1 and config.output_shape[3] > 1)
    x, w, _ = draw(seed, *config.shapes, dtype=dtype)
    x, options = np.pad(x, ((0, 0), (0, 0), *config.padding)), without(config, "padding")
    for axis in (2, 3):
        laws.shift_equivariant(
            lambda t: F.conv2d(t, Tensor(w), **options),
            x,
            axis,
            config.stride[axis - 2],
            terms=terms(draw, fan_in(config)),
            absolute=lambda t: F.conv2d(t, Tensor(np.abs(w)), **options),
        )


@on_whole_and_on_other_numbers
@drawn
def test_equivariant_under_flips_of_input_and_kernel(draw, config, seed, dtype):
    x, w, _ = draw(seed, *config.shapes, dtype=dtype)
    x, options = np.pad(x, ((0, 0), (0, 0), *config.padding)), without(config, "padding")
    axes = zip(x.shape[2:], w.shape[2:], config.stride, config.dilation, strict=True)
    height, width = (n - (n - d * (k - 1) - 1) % s for n, k, s, d in axes)  # without what no window reaches
    laws.commutes(
        lambda t: F.conv2d(t, Tensor(flip(w)), **options),
        flip,
        flip,
        x[:, :, :height, :width],
        other=lambda t: F.conv2d(t, Tensor(w), **options),
        terms=terms(draw, fan_in(config)),
        absolute=lambda t: F.conv2d(t, Tensor(np.abs(w)), **options),
    )


@on_whole_and_on_other_numbers
@drawn
def test_two_convolutions_are_one(draw, config, seed, dtype):
    n, c, height, width = config.input_shape
    first, second = (3, c, *config.weight_shape[2:]), (2, 3, 2, 3)
    size = height + first[2] + 1, width + first[3] + 2
    x, v, w = draw(seed, (n, c, *size), first, second, dtype=dtype)
    laws.composed_conv(F.conv2d, x, v, w, terms=terms(draw, 2 * (prod(first[1:]) + prod(second[1:]))))


@on_whole_and_on_other_numbers
@drawn
def test_a_kernel_with_one_tap_picks_a_crop(draw, config, seed, dtype):
    n, c, height, width = config.input_shape
    kh, kw = config.weight_shape[2:]
    [x] = draw(seed, (n, c, height + kh, width + kw), dtype=dtype)
    for i, j in np.ndindex(kh, kw):
        w = np.zeros((c, c, kh, kw), dtype)
        w[range(c), range(c), i, j] = 1
        out = laws.value(lambda t, w=w: F.conv2d(t, Tensor(w)), x)
        laws.agree("one tap", out, x[:, :, i : i + out.shape[2], j : j + out.shape[3]])


@on_whole_and_on_other_numbers
@given(conv_transpose2d_configs(), seeds(), dtypes())
def test_transposed_convolution_is_the_adjoint_of_convolution(draw, config, seed, dtype):
    y, w, x = draw(seed, *config.shapes, dtype=dtype)
    options, (height, width) = without(config, "output_padding"), y.shape[2:]

    def conv(t, w=w):  # output_padding of a whole stride lets one more window in
        return F.conv2d(t, Tensor(w), **options)[:, :, :height, :width]

    laws.adjoint(
        conv,
        x,
        y,
        terms=terms(draw, fan_in(config), w.size // w.shape[1]),
        absolute=lambda t: conv(t, np.abs(w)),
        transpose=lambda t: F.conv_transpose2d(t, Tensor(w), **config.options),
    )


@given(conv2d_configs(), seeds(), dtypes())
def test_the_input_gradient_is_a_transposed_convolution(config, seed, dtype):
    x, w, g = integral(seed, *config.shapes, dtype=dtype)
    axes = zip(x.shape[2:], w.shape[2:], config.stride, config.padding, config.dilation, strict=True)
    extra = tuple((n + sum(p) - d * (k - 1) - 1) % s for n, k, s, p, d in axes)
    t = Tensor(x, requires_grad=True)
    [gradient] = grad(F.conv2d(t, Tensor(w), **config.options), t, Tensor(g))
    laws.agree(
        "input gradient", gradient, F.conv_transpose2d(Tensor(g), Tensor(w), output_padding=extra, **config.options)
    )


@on_whole_and_on_other_numbers
@given(conv_transpose2d_configs(), seeds(), dtypes())
def test_gradients_of_transposed_convolution_are_adjoints(draw, config, seed, dtype):
    x, w, g = draw(seed, *config.shapes, dtype=dtype)
    taps, (n, _, height, width) = prod(w.shape[2:]), x.shape
    longest = terms(draw, taps * max(len(w) // config.groups, w.shape[1]), n * height * width)

    def conv(a, b):
        return F.conv_transpose2d(a, b, **config.options)

    laws.adjoint(lambda t: conv(t, Tensor(w)), x, g, terms=longest, absolute=lambda t: conv(t, Tensor(np.abs(w))))
    laws.adjoint(lambda t: conv(Tensor(x), t), w, g, terms=longest, absolute=lambda t: conv(Tensor(np.abs(x)), t))


@given(conv_transpose2d_configs(), seeds(), dtypes())
def test_transposed_convolution_is_convolution_of_a_stuffed_input_with_a_turned_kernel(config, seed, dtype):
    x, w, _ = integral(seed, *config.shapes, dtype=dtype)
    options = config.options | {"padding": 0, "output_padding": 0}
    parts = zip(np.split(x, config.groups, 1), np.split(w, config.groups), strict=True)
    around = [(d * (k - 1),) * 2 for k, d in zip(w.shape[2:], config.dilation, strict=True)]
    expected = [
        F.conv2d(
            Tensor(laws.zero_stuffed(a, config.stride)),
            Tensor(flip(b).swapaxes(0, 1).copy()),
            padding=tuple(around),
            dilation=config.dilation,
        ).data
        for a, b in parts
    ]
    laws.agree("stuffed input", F.conv_transpose2d(Tensor(x), Tensor(w), **options), np.concatenate(expected, 1))
