"""The reference itself, against loops so plain that they can be checked by eye."""

from itertools import product

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels


@pytest.fixture(autouse=True)
def use_the_reference():
    with kernels.use("reference"):
        yield


def conv_terms(x, w, y_size, *, stride, padding, dilation, groups):
    """Yield (index into x, index into w, index into y) of every product in a convolution."""
    (top, _), (left, _) = kernels.geometry.padding_pairs("padding", padding)
    per_group_in, per_group_out = w.shape[1], w.shape[0] // groups
    for n, k, i, j in np.ndindex(y_size):
        for c, h, v in np.ndindex(w.shape[1:]):
            row, column = i * stride[0] + h * dilation[0] - top, j * stride[1] + v * dilation[1] - left
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                yield (n, k // per_group_out * per_group_in + c, row, column), (k, c, h, v), (n, k, i, j)


@settings(max_examples=25)
@given(cases.conv_calls(max_channels=3).filter(lambda call: call[2].size < 400))
def test_convolution_and_gradients(call):
    x, w, g, options = call
    y, dx, dw = np.zeros(g.shape, g.dtype), np.zeros(x.shape, x.dtype), np.zeros(w.shape, w.dtype)
    for at_x, at_w, at_y in conv_terms(x, w, g.shape, **options):
        y[at_y] += x[at_x] * w[at_w]
        dx[at_x] += g[at_y] * w[at_w]
        dw[at_w] += g[at_y] * x[at_x]
    assert cases.same_bits(kernels.conv2d(x, w, **options), y)
    assert cases.same_bits(kernels.conv2d_input(x.shape, w, g, **options), dx)
    assert cases.same_bits(kernels.conv2d_weight(x, w.shape, g, **options), dw)


def window(options, size, i, j):
    """The (row, column) pairs of output pixel (i, j)'s window that lie inside the input, in row-major order."""
    stride = options["stride"] or options["kernel_size"]
    dilation = options.get("dilation", (1, 1))
    rows, columns = (
        [
            at * stride[axis] - options["padding"][axis][0] + t * dilation[axis]
            for t in range(options["kernel_size"][axis])
        ]
        for axis, at in enumerate((i, j))
    )
    return [(r, c) for r, c in product(rows, columns) if 0 <= r < size[0] and 0 <= c < size[1]]


@settings(max_examples=25)
@given(cases.pool_calls(dilated=True))
def test_max_pool(call):
    x, options = call
    output, indices = kernels.max_pool2d(x, **options)
    assert indices.dtype == np.int64
    for n, c, i, j in np.ndindex(output.shape):
        places = window(options, x.shape[2:], i, j)
        values = [x[n, c, r, v] for r, v in places]
        winner = values.index(max(values))
        assert output[n, c, i, j] == values[winner]
        assert indices[n, c, i, j] == places[winner][0] * x.shape[3] + places[winner][1]


@settings(max_examples=25)
@given(cases.pool_calls(), st.booleans())
def test_avg_pool(call, count_include_pad):
    x, options = call
    output = kernels.avg_pool2d(x, **options, count_include_pad=count_include_pad)
    padded = np.pad(np.ones(x.shape[2:]), options["padding"])
    whole = options | {"padding": ((0, 0), (0, 0)), "stride": options["stride"] or options["kernel_size"]}
    for n, c, i, j in np.ndindex(output.shape):
        places = window(options, x.shape[2:], i, j)
        total = sum(x[n, c, r, v] for r, v in places)
        count = len(window(whole, padded.shape, i, j)) if count_include_pad else len(places)
        assert output[n, c, i, j] == x.dtype.type(total) / x.dtype.type(count)


def test_avg_pool_divisor_override():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert kernels.avg_pool2d(x, kernel_size=2, divisor_override=1)[0, 0].tolist() == [[10, 18], [42, 50]]


@pytest.mark.parametrize("size, kernel, stride, padding, ceil_mode, expected", [
    (5, 2, 2, 0, False, 2),
    (5, 2, 2, 0, True, 3),
    (4, 2, 3, 1, True, 2),  # a third window would start at 5, beyond the input: dropped
    (1, 3, 2, 1, False, 1),
    (2, 4, 3, 0, True, 1),
])  # fmt: skip
def test_pool_output_size(size, kernel, stride, padding, ceil_mode, expected):
    given_size = kernels.geometry.pool_output_size(
        (size, size), kernel, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    assert given_size == (expected, expected)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (3, 2, 4, 3), (2, 3, 2, 2, 2)])
def test_batch_norm_normalises_each_channel(shape):
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(2, 3, size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
    output, mean, invstd = kernels.batch_norm(x, weight, bias, eps=0.1)
    for c in range(shape[1]):
        values = x[:, c].ravel()
        variance = sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)
        assert mean[c] == pytest.approx(sum(values) / len(values), rel=1e-13)
        assert invstd[c] == pytest.approx((variance + 0.1) ** -0.5, rel=1e-13)
        expected = (values - mean[c]) * invstd[c] * weight[c] + bias[c]
        np.testing.assert_allclose(output[:, c].ravel(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(6, 3), (3, 2, 4, 3)])
def test_batch_norm_backward_is_the_derivative(shape):
    rng = np.random.default_rng(0)
    x, dx, g = rng.normal(size=(3, *shape))
    weight, dweight, bias, dbias = rng.normal(size=(4, shape[1]))
    h = 1e-5
    forward = [kernels.batch_norm(x + s * dx, weight + s * dweight, bias + s * dbias, eps=0.1)[0] for s in (h, -h)]
    slope = np.vdot(forward[0] - forward[1], g) / (2 * h)
    _, mean, invstd = kernels.batch_norm(x, weight, bias, eps=0.1)
    gradients = kernels.batch_norm_backward(g, x, weight, mean, invstd)
    assert slope == pytest.approx(sum(map(np.vdot, gradients, (dx, dweight, dbias))), rel=1e-7)
