"""Convolution. T(x, w, g) = <conv2d(x, w), g> is linear in each argument, and the three ops here are its partial
derivatives with respect to g, x and w. So the family is closed: each one's gradients are the other two, and every
order of derivative of convolution and transposed convolution needs nothing else.
"""

import itertools
import math

import numpy as np

import kernels
from scratchnet.ops.activations import leaky_relu_backward, relu_backward
from scratchnet.ops.reductions import sum as sum_
from scratchnet.ops.registry import Bad, Kink, S, op

_CONFIGURATIONS = (
    dict(),
    dict(stride=2, padding=1),
    dict(stride=(2, 1), padding=((0, 1), (2, 0)), dilation=(1, 2)),
    dict(stride=3, groups=2),
)


def _samples(pick):
    """Sample calls of one member of the family over the configurations."""

    def samples(r):
        out = []
        for options in _CONFIGURATIONS:
            groups = options.get("groups", 1)
            x, w = r.normal(2, 2, 6, 5), r.normal(4, 2 // groups, 3, 2)
            g = r.normal(*kernels.conv2d(x, w, **options).shape)
            out.append(pick(x, w, g, options))
        return out

    return samples


def _terms(x_shape, w_shape, y_shape, stride, padding, dilation, groups):
    """Index triples (input, weight, output) that multiply each other: the definition of convolution."""
    (sh, sw), (dh, dw) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    (top, _), (left, _) = np.broadcast_to(np.reshape(padding, (-1, 1)) if np.ndim(padding) == 1 else padding, (2, 2))
    k_per_group = w_shape[0] // groups
    for n, k, i, j in itertools.product(*map(range, y_shape)):
        for c, a, b in itertools.product(*map(range, w_shape[1:])):
            y, x = i * sh - top + a * dh, j * sw - left + b * dw
            if 0 <= y < x_shape[2] and 0 <= x < x_shape[3]:
                yield (n, k // k_per_group * w_shape[1] + c, y, x), (k, c, a, b), (n, k, i, j)


def _options(stride=1, padding=0, dilation=1, groups=1):
    return stride, padding, dilation, groups


def _conv2d_by_loops(x, w, **options):
    out = np.zeros(kernels.conv2d(x, w, **options).shape)
    for i, j, k in _terms(x.shape, w.shape, out.shape, *_options(**options)):
        out[k] += x[i] * w[j]
    return out


def _conv2d_input_by_loops(w, g, input_size, **options):
    out = np.zeros(input_size)
    for i, j, k in _terms(input_size, w.shape, g.shape, *_options(**options)):
        out[i] += w[j] * g[k]
    return out


def _conv2d_weight_by_loops(x, g, weight_size, **options):
    out = np.zeros(weight_size)
    for i, j, k in _terms(x.shape, weight_size, g.shape, *_options(**options)):
        out[j] += x[i] * g[k]
    return out


@op(
    vjp={
        "input": lambda g, input_shape, weight, stride, padding, dilation, groups: conv2d_input(
            weight, g, input_shape, stride, padding, dilation, groups
        ),
        "weight": lambda g, input, weight_shape, stride, padding, dilation, groups: conv2d_weight(
            input, g, weight_shape, stride, padding, dilation, groups
        ),
    },
    samples=_samples(lambda x, w, g, options: S(x, w, **options)),
    reference=_conv2d_by_loops,
    errors=lambda r: [
        Bad(ValueError, "channels", S(r.normal(1, 3, 5, 5), r.normal(4, 2, 3, 3))),
        Bad(ValueError, "stride", S(r.normal(1, 2, 5, 5), r.normal(4, 2, 3, 3), stride=0)),
        Bad(ValueError, "groups", S(r.normal(1, 3, 5, 5), r.normal(4, 3, 3, 3), groups=2)),
        Bad(ValueError, "kernel|larger", S(r.normal(1, 2, 2, 2), r.normal(4, 2, 3, 3))),
    ],
    degree=1,
)
def conv2d(input, weight, /, stride=1, padding=0, dilation=1, groups=1):
    """out[n,k,i,j] = sum over c, a, b of input[n, c, i s - p + a d, j s - p + b d] weight[k,c,a,b].

    Shapes: input (N, C, H, W), weight (K, C / groups, kH, kW), output (N, K, oH, oW) with
    oH = floor((H + p_top + p_bottom - d (kH - 1) - 1) / s) + 1. ``padding`` is an int, a pair, or
    ((top, bottom), (left, right)).
    """
    return kernels.conv2d(input, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op(
    vjp={
        "input": lambda g, input_shape, weight, stride, padding, dilation, groups: conv2d_input(
            weight, g, input_shape, stride, padding, dilation, groups
        ),
        "weight": lambda g, input, weight_shape, stride, padding, dilation, groups: conv2d_weight(
            input, g, weight_shape, stride, padding, dilation, groups
        ),
        "bias": lambda g: sum_(g, (0, 2, 3)),
    },
    samples=_samples(lambda x, w, g, options: S(x, w, g[0, :, 0, 0], **options)),
    reference=lambda x, w, bias, **options: _conv2d_by_loops(x, w, **options) + bias[:, None, None],
    errors=lambda r: [
        Bad(ValueError, "bias", S(r.normal(1, 3, 5, 5), r.normal(4, 3, 3, 3), r.normal(3))),
        Bad(ValueError, "channels", S(r.normal(1, 3, 5, 5), r.normal(4, 2, 3, 3), r.normal(4))),
    ],
)
def conv2d_bias(input, weight, bias, /, stride=1, padding=0, dilation=1, groups=1):
    """conv2d(input, weight) + bias[k], in one pass over the output; bias (K,)."""
    return kernels.conv2d(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


@op(
    vjp={"input": lambda g: g, "bias": lambda g: sum_(g, (0, *range(2, g.ndim)))},
    samples=lambda r: [
        S(r.normal(2, 3, 4, 5), r.normal(3)),
        S(r.normal(1, 1, 2, 2), r.normal(1)),
        S(r.normal(4, 3), r.normal(3)),
    ],
    reference=lambda x, bias: np.array([[plane + b for plane, b in zip(image, bias, strict=True)] for image in x]),
    errors=lambda r: [
        Bad(ValueError, "bias", S(r.normal(1, 3, 5, 5), r.normal(4))),
        Bad(ValueError, "batch", S(r.normal(3), r.normal(3))),
    ],
    degree=1,
)
def add_bias(input, bias, /):
    """input[n,k,...] + bias[k]: what follows a matrix product or a transposed convolution.

    ``add`` does the same, 5 times as slowly where there is much to add to.
    """
    if input.ndim < 2:
        raise ValueError(f"add_bias: expected an input (N, K, ...), a batch of channels, got shape {input.shape}")
    return kernels.add_bias(input, bias)


def _off_the_kink(r):
    """Sample calls whose convolutions are whole numbers and a half: away from 0, where the slope changes."""
    calls = _samples(lambda x, w, g, options: (np.round(2 * x), np.round(2 * w), r.integers(-2, 3, 4) + 0.5, options))
    return [S(*arrays, negative_slope=k % 2 * 0.2, **options) for k, (*arrays, options) in enumerate(calls(r))]


def _conv2d_leaky_relu_by_loops(x, w, bias, negative_slope=0.0, **options):
    out = _conv2d_by_loops(x, w, **options) + bias[:, None, None]
    return np.where(out > 0, out, negative_slope * out)


def _conv2d_leaky_relu_gradients(g, input, weight, out, negative_slope, stride, padding, dilation, groups, needs):
    """Those of the activation, by the sign of its output, which is that of its input; then those of conv2d_bias."""
    g = leaky_relu_backward(g, out, negative_slope) if negative_slope else relu_backward(g, out)
    options = stride, padding, dilation, groups
    return (
        conv2d_input(weight, g, input.shape, *options) if needs[0] else None,
        conv2d_weight(input, g, weight.shape, *options) if needs[1] else None,
        sum_(g, (0, 2, 3)) if needs[2] else None,
    )


@op(
    vjp=_conv2d_leaky_relu_gradients,
    samples=_off_the_kink,
    reference=_conv2d_leaky_relu_by_loops,
    errors=lambda r: [
        Bad(ValueError, "bias", S(r.normal(1, 3, 5, 5), r.normal(4, 3, 3, 3), r.normal(3))),
        *(
            Bad(
                ValueError,
                f"negative_slope must be at least 0, got {slope}",
                S(r.normal(1, 2, 5, 5), r.normal(4, 2, 3, 3), r.normal(4), negative_slope=slope),
            )
            for slope in (-0.1, math.nan)
        ),
    ],
    kinks=[
        Kink(
            "conv2d = 0",
            S(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), -np.ones(1), negative_slope=0.2),
            (np.full((1, 1, 1, 1), 0.2), np.full((1, 1, 1, 1), 0.2), np.full(1, 0.2)),
        )
    ],
)
def conv2d_leaky_relu(input, weight, bias, /, negative_slope=0.0, stride=1, padding=0, dilation=1, groups=1):
    """leaky_relu(conv2d_bias(input, weight, bias)), relu for a slope of 0, in one pass over the output.

    negative_slope is at least 0, so that the output tells the sign of what it was made of.
    """
    if not negative_slope >= 0:
        raise ValueError(f"conv2d_leaky_relu: negative_slope must be at least 0, got {negative_slope}")
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return kernels.conv2d(input, weight, bias, negative_slope=negative_slope, **options)


@op(
    vjp={
        "weight": lambda g, weight_shape, grad_output, stride, padding, dilation, groups: conv2d_weight(
            g, grad_output, weight_shape, stride, padding, dilation, groups
        ),
        "grad_output": lambda g, weight, stride, padding, dilation, groups: conv2d(
            g, weight, stride, padding, dilation, groups
        ),
    },
    samples=_samples(lambda x, w, g, options: S(w, g, input_size=x.shape, **options)),
    reference=_conv2d_input_by_loops,
    errors=lambda r: [
        Bad(ValueError, "grad_output", S(r.normal(4, 2, 3, 3), r.normal(1, 4, 5, 5), input_size=(1, 2, 5, 5))),
    ],
    degree=1,
)
def conv2d_input(weight, grad_output, /, input_size, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv2d with respect to its input, of shape ``input_size``: transposed convolution."""
    return kernels.conv2d_input(
        input_size, weight, grad_output, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


@op(
    vjp={
        "input": lambda g, input_shape, grad_output, stride, padding, dilation, groups: conv2d_input(
            g, grad_output, input_shape, stride, padding, dilation, groups
        ),
        "grad_output": lambda g, input, stride, padding, dilation, groups: conv2d(
            input, g, stride, padding, dilation, groups
        ),
    },
    samples=_samples(lambda x, w, g, options: S(x, g, weight_size=w.shape, **options)),
    reference=_conv2d_weight_by_loops,
    errors=lambda r: [
        Bad(ValueError, "grad_output", S(r.normal(1, 2, 5, 5), r.normal(1, 4, 5, 5), weight_size=(4, 2, 3, 3))),
    ],
    degree=1,
)
def conv2d_weight(input, grad_output, /, weight_size, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of conv2d with respect to its weight, of shape ``weight_size``."""
    return kernels.conv2d_weight(
        input, weight_size, grad_output, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _patches(x_shape, kernel_size, dilation, padding, stride):
    """Sizes of the grid of patches and, for every tap (a, b), the slice of the padded input it touches."""
    (kh, kw), (dh, dw), (sh, sw) = (
        kernels.geometry.pair(n, v)
        for n, v in (("kernel_size", kernel_size), ("dilation", dilation), ("stride", stride))
    )
    ph, pw = kernels.geometry.pair("padding", padding, 0)
    oh = (x_shape[2] + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    ow = (x_shape[3] + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if oh < 1 or ow < 1:
        raise ValueError(
            f"unfold: kernel_size {(kh, kw)} does not fit an input of shape {x_shape} with padding {(ph, pw)}"
        )
    taps = [
        (a, b, slice(a * dh, a * dh + sh * (oh - 1) + 1, sh), slice(b * dw, b * dw + sw * (ow - 1) + 1, sw))
        for a in range(kh)
        for b in range(kw)
    ]
    return (kh, kw), (ph, pw), (oh, ow), taps


def _unfold_by_loops(x, kernel_size, dilation=1, padding=0, stride=1):
    (kh, kw), (ph, pw), (oh, ow), _ = _patches(x.shape, kernel_size, dilation, padding, stride)
    (sh, sw), (dh, dw) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    n, c = x.shape[:2]
    padded = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    out = np.zeros((n, c, kh, kw, oh, ow))
    for i in np.ndindex(out.shape):
        out[i] = padded[i[0], i[1], i[4] * sh + i[2] * dh, i[5] * sw + i[3] * dw]
    return out.reshape(n, c * kh * kw, oh * ow)


def _fold_by_loops(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    (kh, kw), _, _, _ = _patches((0, 0, *output_size), kernel_size, dilation, padding, stride)
    c = x.shape[1] // (kh * kw)
    places = np.arange(1, c * output_size[0] * output_size[1] + 1.0).reshape(1, c, *output_size)
    columns = _unfold_by_loops(places, kernel_size, dilation, padding, stride)[0]
    out = np.zeros((x.shape[0], c * output_size[0] * output_size[1] + 1))
    for n, i, j in np.ndindex(x.shape):
        out[n, int(columns[i, j])] += x[n, i, j]
    return out[:, 1:].reshape(x.shape[0], c, *output_size)


@op(
    vjp={
        "x": lambda g, x_shape, kernel_size, dilation, padding, stride: fold(
            g, x_shape[2:], kernel_size, dilation, padding, stride
        )
    },
    samples=lambda r: [
        S(r.normal(2, 3, 5, 4), kernel_size=2),
        S(r.normal(1, 2, 6, 7), kernel_size=(3, 2), dilation=(1, 2), padding=1, stride=(2, 3)),
    ],
    reference=_unfold_by_loops,
    errors=lambda r: [
        Bad(ValueError, "4-d", S(r.normal(3, 5), kernel_size=2)),
        Bad(ValueError, "does not fit", S(r.normal(1, 1, 2, 2), kernel_size=3)),
    ],
    degree=1,
)
def unfold(x, /, kernel_size, dilation=1, padding=0, stride=1):
    """im2col: every patch of (N, C, H, W) as a column, shape (N, C kH kW, number of patches)."""
    if x.ndim != 4:
        raise ValueError(f"unfold: expected a 4-d input (N, C, H, W), got shape {x.shape}")
    (kh, kw), (ph, pw), (oh, ow), taps = _patches(x.shape, kernel_size, dilation, padding, stride)
    n, c = x.shape[:2]
    padded = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    out = np.empty((n, c, kh, kw, oh, ow), x.dtype, like=x)
    for a, b, rows, columns in taps:
        out[:, :, a, b] = padded[:, :, rows, columns]
    return out.reshape(n, c * kh * kw, oh * ow)


@op(
    vjp={"x": lambda g, kernel_size, dilation, padding, stride: unfold(g, kernel_size, dilation, padding, stride)},
    samples=lambda r: [
        S(r.normal(2, 12, 12), output_size=(5, 4), kernel_size=2),
        S(
            r.normal(1, 12, 9),
            output_size=(6, 7),
            kernel_size=(3, 2),
            dilation=(1, 2),
            padding=1,
            stride=(2, 3),
        ),
    ],
    reference=_fold_by_loops,
    errors=lambda r: [Bad(ValueError, r"12.*columns.*11", S(r.normal(2, 12, 11), output_size=(5, 4), kernel_size=2))],
    degree=1,
)
def fold(x, /, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """col2im: add every column back to its patch, shape (N, C, *output_size): the adjoint of ``unfold``."""
    height, width = kernels.geometry.pair("output_size", output_size)
    (kh, kw), (ph, pw), (oh, ow), taps = _patches((0, 0, height, width), kernel_size, dilation, padding, stride)
    if x.ndim != 3 or x.shape[1] % (kh * kw) or x.shape[2] != oh * ow:
        raise ValueError(
            f"fold: expected (N, multiple of {kh * kw}, {oh * ow}) for {oh * ow} columns, got shape {x.shape}"
        )
    n, c = x.shape[0], x.shape[1] // (kh * kw)
    columns_of = x.reshape(n, c, kh, kw, oh, ow)
    padded = np.zeros((n, c, height + 2 * ph, width + 2 * pw), x.dtype, like=x)
    for a, b, rows, columns in taps:
        padded[:, :, rows, columns] += columns_of[:, :, a, b]
    return padded[:, :, ph : ph + height, pw : pw + width]
