"""Hypothesis strategies for kernel calls, and small tools the kernel tests share.

Hypothesis draws geometry and a seed, not floats. Arrays hold small integers, so that every sum is exact and results
must agree bit for bit, in whatever order they were added.
"""

import numpy as np
from hypothesis import strategies as st

import kernels
from kernels.cpu import compile

DTYPES = ("float32", "float64")
STEPS = {  # optimiser steps: how many lists of arrays they get here, options, a number for each of four parameters
    kernels.sgd_steps_: (
        3,
        dict(lr=0.1, momentum=0.9, dampening=0.25, weight_decay=0.1, nesterov=False),
        {"firsts": [True, False, False, True]},
    ),
    kernels.adam_steps_: (
        4,
        dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0.1, decoupled=False),
        {"steps": [1, 2, 3, 4]},
    ),
    kernels.rmsprop_steps_: (4, dict(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0.1, momentum=0.9, centered=False), {}),
}
CONVOLUTIONS = [  # (N, C, H, K, kernel, stride, padding, groups): sizes that fill neither tiles nor vectors among them
    (9, 1, 28, 32, 3, 1, 0, 1),
    (9, 32, 13, 64, 3, 1, 0, 1),
    (2, 64, 12, 64, 3, 1, 1, 1),
    (3, 64, 14, 128, 4, 2, 1, 1),
    (5, 128, 8, 96, 4, 2, 1, 1),
    (3, 256, 8, 512, 4, 2, 1, 1),
    (2, 64, 9, 256, 1, 1, 0, 1),
    (2, 3, 33, 64, 7, 2, 3, 1),
    (3, 32, 11, 32, 5, 1, 2, 1),
    (3, 5, 9, 7, 3, 1, 1, 1),
    (2, 20, 11, 19, 5, 2, 2, 1),
    (3, 100, 4, 100, 4, 1, 0, 1),
    (2, 16, 9, 16, 3, 1, 1, 16),
    (2, 12, 9, 8, 3, 1, 1, 4),
]
LAYOUTS = ("contiguous", "channels_last", "strided", "reversed", "read_only")

dtypes = st.sampled_from(DTYPES)
layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**16)


def integers(rng, shape, dtype):
    return rng.integers(-3, 4, size=shape).astype(dtype)


def lay_out(array, layout):
    """A copy of `array` with equal values, in another memory layout."""
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    if layout == "strided":
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 77, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        return np.ascontiguousarray(array[:, :, ::-1])[:, :, ::-1]
    copy = array.copy()
    copy.flags.writeable = layout != "read_only"
    return copy


def pretend(monkeypatch, threads):
    """Let kernels cut their work for this many threads, whatever there are."""
    compile.get_num_threads()  # the first call starts the threads, and compiled code crashes without them
    monkeypatch.setattr(compile, "get_num_threads", lambda: threads)
    monkeypatch.setattr(compile, "set_num_threads", lambda threads: None)
    assert compile.tasks_for(1000) == threads  # else every number of threads would give the same bits here


def reference(kernel, *args, **options):
    """What the reference makes of the call."""
    with kernels.use("reference"):
        return kernel(*args, **options)


def same_bits(a, b):
    """Equal shape, dtype and values, NaN equal to NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def check_activation(implementation, x, w, bias, slope, options):
    """conv2d with an activation has the bits of conv2d and the activation's kernel, signs of zeros included."""
    with kernels.use(conv2d=implementation), np.errstate(all="ignore"):
        assert kernels.explain(kernels.conv2d, x, w, bias, **options).implementation == implementation
        found = kernels.conv2d(x, w, bias, **options, negative_slope=slope)
        plain = kernels.conv2d(x, w, bias, **options)
    expected = kernels.leaky_relu(plain, negative_slope=slope) if slope else kernels.relu(plain)
    assert same_bits(found, expected), implementation
    assert np.array_equal(np.signbit(found)[found == 0], np.signbit(expected)[found == 0]), implementation


@st.composite
def calls_of_full_vectors(draw, max_channels=3, max_column_dilation=4):
    """(x, w, g, bias, options) of integers, whose output channels fill vectors."""
    small = st.integers(1, 4)
    kernel, stride = draw(st.tuples(small, small)), draw(st.tuples(small, small))
    dilation = draw(st.tuples(small, st.integers(1, max_column_dilation)))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2))
    reach = [(k - 1) * d + 1 - sum(p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [max(r, 1) + draw(st.integers(0, 20)) for r in reach]
    n, c, k = draw(st.integers(1, 3)), draw(st.integers(1, max_channels)), draw(st.sampled_from((16, 48, 96)))
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    output = kernels.geometry.conv_output_size(size, kernel, **options)
    rng, dtype = np.random.default_rng(draw(seeds)), draw(dtypes)
    shapes = (n, c, *size), (k, c, *kernel), (n, k, *output), (k,)
    return *(integers(rng, shape, dtype) for shape in shapes), options


@st.composite
def conv_calls(draw, max_channels=9, depthwise=False):
    """(input, weight, grad_output, options) of integers: any geometry that fits, awkward sizes included.

    `depthwise`: every input channel is a group; fewer channels than a vector has, as many, and more.
    """
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    side = st.tuples(st.integers(0, 3), st.integers(0, 3))
    padding = draw(st.one_of(st.integers(0, 3), side, st.tuples(side, side)))
    groups = draw(st.sampled_from((2, 3, 8, 16, 17, 40) if depthwise else (1, 1, 1, 2, 3)))
    channels = groups if depthwise else groups * draw(st.integers(1, max_channels // groups))
    outputs = groups * draw(st.sampled_from((1, 1, 2, 3) if depthwise else (1, 2, 5, 16, 17, 33)))
    batch = draw(st.integers(0, 3))
    pairs = kernels.geometry.padding_pairs("padding", padding)
    extra = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    size = [max(d * (k - 1) + 1 - sum(p), 1) + e for k, d, p, e in zip(kernel, dilation, pairs, extra, strict=True)]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    output = kernels.geometry.conv_output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)
    rng, dtype = np.random.default_rng(draw(seeds)), draw(dtypes)
    shapes = (batch, channels, *size), (outputs, channels // groups, *kernel), (batch, outputs, *output)
    arrays = [lay_out(integers(rng, shape, dtype), draw(layouts)) for shape in shapes]
    return *arrays, options


@st.composite
def pool_calls(draw, dilated=False):
    """(input, options) of integers and ties; padding at most half of the kernel, every window holding an element."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.one_of(st.none(), st.tuples(st.integers(1, 5), st.integers(1, 3))))
    padding = tuple(draw(st.tuples(st.integers(0, k // 2), st.integers(0, k // 2))) for k in kernel)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 3))) if dilated else (1, 1)
    if dilated:
        options["dilation"] = dilation
    extra = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    size = [d * (k - 1) + 1 + e for k, d, e in zip(kernel, dilation, extra, strict=True)]
    rng = np.random.default_rng(draw(seeds))
    shape = (draw(st.integers(0, 3)), draw(st.sampled_from((1, 3, 16, 19))), *size)
    return lay_out(integers(rng, shape, draw(dtypes)), draw(layouts)), options


def sample_calls(rng, dtype, batch=2):
    """{kernel: (args, options)}: one small call of every kernel that is not in place."""
    x, w = rng.normal(size=(batch, 4, 7, 6)).astype(dtype), rng.normal(size=(5, 4, 3, 2)).astype(dtype)
    g, per_channel = rng.normal(size=(batch, 5, 5, 5)).astype(dtype), rng.normal(size=(3, 4)).astype(dtype)
    pooled = rng.normal(size=(batch, 4, 3, 3)).astype(dtype)
    indices = rng.integers(0, 42, size=(batch, 4, 3, 3))
    weight, bias, mean = per_channel
    return {
        kernels.conv2d: ((x, w, g[0, :, 0, 0]), {"negative_slope": 0.2}),
        kernels.conv2d_input: ((x.shape, w, g), {}),
        kernels.conv2d_weight: ((x, w.shape, g), {}),
        kernels.max_pool2d: ((x,), {"kernel_size": 2}),
        kernels.matmul: ((x.reshape(batch * 4, 42), rng.normal(size=(42, 50)).astype(dtype)), {}),
        kernels.erf: ((x,), {}),
        kernels.add: ((x, x[::-1]), {}),
        **{
            kernel: ((x,), {})
            for kernel in (kernels.relu, kernels.sigmoid, kernels.tanh, kernels.softplus, kernels.gelu)
        },
        **{kernel: ((x[::-1], x), {}) for kernel in (kernels.relu_backward, kernels.gelu_backward)},
        kernels.binary_cross_entropy: ((x, x[::-1]), {}),
        kernels.binary_cross_entropy_slope: ((x, x[::-1]), {}),
        **{kernel: ((x[::-1], np.tanh(x)), {}) for kernel in (kernels.sigmoid_backward, kernels.tanh_backward)},
        kernels.leaky_relu: ((x,), {"negative_slope": 0.2}),
        kernels.leaky_relu_backward: ((x[::-1], x), {"negative_slope": 0.2}),
        kernels.max_pool2d_input: ((x.shape, kernels.max_pool2d(x, kernel_size=2)[1], pooled), {"kernel_size": 2}),
        kernels.cross_entropy: ((x, rng.integers(-1, 4, size=(batch, 7, 6))), {}),
        kernels.cross_entropy_backward: (
            (x[:, 0], x, rng.integers(-1, 4, size=(batch, 7, 6)), np.abs(x[:, 1])),
            {},
        ),
        kernels.gather2d: ((x, indices), {}),
        kernels.gather2d_input: ((x.shape, indices, pooled), {}),
        kernels.avg_pool2d: ((x,), {"kernel_size": 2}),
        kernels.avg_pool2d_input: ((x.shape, pooled), {"kernel_size": 2}),
        kernels.batch_norm: ((x, weight, bias), {"eps": 1e-5}),
        kernels.channel_sum: ((x,), {}),
        kernels.contiguous: ((x.transpose(0, 2, 3, 1),), {}),
        kernels.add_bias: ((x, bias), {}),
        kernels.batch_norm_backward: ((x[::-1], x, weight, mean, np.abs(bias)), {}),
    }


def convolution(call, dtype, seed=0):
    """(options, arguments by kernel) of one of CONVOLUTIONS and its gradients."""
    n, c, size, k, kernel, stride, padding, groups = call
    rng = np.random.default_rng(seed)
    options = dict(stride=stride, padding=padding, groups=groups)
    x, w, bias = (rng.normal(size=s).astype(dtype) for s in ((n, c, size, size), (k, c // groups, kernel, kernel), k))
    g = np.ones_like(reference(kernels.conv2d, x, w, **options))
    return options, {
        kernels.conv2d: (x, w, bias),
        kernels.conv2d_input: (x.shape, w, g),
        kernels.conv2d_weight: (x, w.shape, g),
    }
