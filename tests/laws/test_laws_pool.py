"""Pooling: averages are linear, maxima commute with what keeps the order, and each gradient goes where it came from."""

from math import prod

import numpy as np
from exact import DIVISIBLE
from hypothesis import given
from hypothesis import strategies as st

from scratchnet import ops
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import (
    avg_pool2d_configs,
    distinct,
    dtypes,
    integral,
    max_pool2d_configs,
    normal,
    seeds,
)

averages = given(avg_pool2d_configs(), seeds(), dtypes())
maxima = given(max_pool2d_configs(), seeds(), dtypes())


def average(config, **changed):
    return lambda t: F.avg_pool2d(t, **config.options | changed)


def maximum(config, **changed):
    return lambda t: F.max_pool2d(t, **config.options | changed)


def stride_of(config):
    return config.stride or config.kernel_size


@averages
def test_the_gradient_of_an_average_is_its_adjoint(config, seed, dtype):
    for draw, unit, terms in ((integral, {"unit": DIVISIBLE}, 0), (normal, {}, 2 + prod(config.kernel_size))):
        x, g = draw(seed, config.input_shape, config.output_shape, dtype=dtype, **unit)
        laws.adjoint(average(config), x, g, terms=terms)
        laws.linear(average(config), x, np.flip(x), terms=terms)


@averages
def test_an_average_is_a_convolution_of_every_channel(config, seed, dtype):
    [x] = integral(seed, config.input_shape, dtype=dtype, unit=DIVISIBLE)
    (kh, kw), channels = config.kernel_size, x.shape[1]
    w = np.ones((channels, 1, kh, kw), dtype)
    sums = F.conv2d(Tensor(x), Tensor(w), stride=stride_of(config), padding=config.padding, groups=channels)
    plain = average(config, ceil_mode=False, count_include_pad=True, divisor_override=None)
    laws.agree("a sum divided", laws.value(plain, x), sums.data / dtype.type(kh * kw))


@averages
def test_an_average_that_leaves_padding_out_keeps_constants(config, seed, dtype):
    pool = average(config, count_include_pad=False, divisor_override=None)
    laws.preserves_constants(pool, config.input_shape, constant=seed % 99, dtype=dtype)


@averages
def test_the_gradient_of_averages_adds_up_to_the_cotangent(config, seed, dtype):
    pool = average(config, count_include_pad=False, divisor_override=None)
    x, g = integral(seed, config.input_shape, config.output_shape, dtype=dtype, unit=DIVISIBLE)
    laws.agree("adds up", laws.vjp(pool, x, g).sum((2, 3)), g.sum((2, 3)))


@maxima
def test_the_gradient_of_maxima_adds_up_to_the_cotangent(config, seed, dtype):
    x, g = integral(seed, config.input_shape, config.output_shape, dtype=dtype)
    laws.agree("adds up", laws.vjp(maximum(config), x, g).sum((2, 3)), g.sum((2, 3)))
    laws.homogeneous(maximum(config), x, g, terms=0)


@maxima
def test_maxima_commute_with_what_keeps_the_order(config, seed, dtype):
    [x] = normal(seed, config.input_shape, dtype=dtype)
    for keeps_order in (lambda a: a * a * a, lambda a: 4 * a, lambda a: np.maximum(a, 0), lambda a: a[::-1]):
        laws.commutes(maximum(config), keeps_order, keeps_order, x)
    laws.samplewise(maximum(config), x)


@maxima
def test_a_maximum_is_the_largest_of_its_window(config, seed, dtype):
    [x] = distinct(seed, config.input_shape, dtype=dtype)
    around = ((0, 0), (0, 0), *config.padding)
    padded = Tensor(np.pad(x, around, constant_values=x.min(initial=0) - 1))
    columns = F.unfold(padded, config.kernel_size, config.dilation, 0, stride_of(config)).data
    patches = columns.reshape(*x.shape[:2], prod(config.kernel_size), columns.shape[-1])
    out = laws.value(maximum(config, ceil_mode=False), x)
    laws.agree("largest", out.reshape(*x.shape[:2], columns.shape[-1]), patches.max(axis=2))


@maxima
def test_flips_and_shifts_of_the_input_are_those_of_the_output(config, seed, dtype):
    [x] = distinct(seed, config.input_shape, dtype=dtype)
    plain = maximum(config, padding=0, ceil_mode=False)
    (kh, kw), (sh, sw), (dh, dw) = config.kernel_size, stride_of(config), config.dilation
    extents = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    x = np.pad(x, ((0, 0), (0, 0), (0, extents[0] + sh), (0, extents[1] + sw)), mode="edge")
    laws.shift_equivariant(plain, x, 2, sh)
    laws.shift_equivariant(plain, x, 3, sw)
    height, width = (n - (n - e) % s for n, e, s in zip(x.shape[2:], extents, (sh, sw), strict=True))
    both = lambda a: a[:, :, ::-1, ::-1]  # noqa: E731
    laws.commutes(plain, both, both, x[:, :, :height, :width])


@given(seeds(), dtypes(), st.integers(1, 4), st.integers(1, 4))
def test_two_maxima_are_one_of_a_larger_window(seed, dtype, first, second):
    [x] = integral(seed, (2, 3, 9, 8), dtype=dtype)
    twice = F.max_pool2d(F.max_pool2d(Tensor(x), first, 1), second, 1)
    laws.agree("a window of windows", twice, F.max_pool2d(Tensor(x), first + second - 1, 1))


@given(seeds(), dtypes(), st.integers(1, 3), st.integers(1, 3))
def test_adaptive_pooling_with_whole_cells_is_pooling(seed, dtype, rows, columns):
    x = Tensor(integral(seed, (2, 3, 2 * rows, 3 * columns), dtype=dtype, unit=DIVISIBLE)[0])
    for adaptive, pool in (
        (ops.adaptive_avg_pool2d, F.avg_pool2d),
        (ops.adaptive_max_pool2d, F.max_pool2d),
    ):
        laws.agree("whole cells", adaptive(x, (rows, columns)), pool(x, (2, 3)))
        laws.agree("one cell each", adaptive(x, x.shape[2:]), x)


@given(seeds(), dtypes(), st.tuples(st.integers(1, 7), st.integers(1, 7)), st.tuples(*[st.integers(1, 7)] * 2))
def test_adaptive_pooling_with_any_cells(seed, dtype, size, cells):
    x, g = normal(seed, (2, 1, *size), (2, 1, *cells), dtype=dtype)
    mean, largest = (lambda t, f=f: f(t, cells) for f in (ops.adaptive_avg_pool2d, ops.adaptive_max_pool2d))
    laws.adjoint(mean, x, g, terms=sum(size) + 4)
    laws.preserves_constants(mean, x.shape, terms=sum(size) + 4, dtype=dtype)
    laws.homogeneous(largest, x, g, terms=prod(cells))
    laws.commutes(largest, lambda a: a * a * a, lambda a: a * a * a, x)
