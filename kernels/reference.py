"""Every kernel in plain NumPy: a signature here is the contract, a body the specification.

CuPy's arrays work as well, without a look at their values but where an index must be checked: so the reference is
what a GPU runs where it has no kernel of its own. NumPy's functions find CuPy's by themselves; new arrays are made
`like` one that is given.

Convolution is one trilinear form. With `input` zero-padded, tap (h, w) of the kernel meets a strided
window of it,

    T(input, weight, grad) = sum over taps of < weight[:, :, h, w] @ window(input, h, w), grad >,

and the three convolution kernels are its three partial derivatives: the same loop over taps, with
another operand missing. The missing operand's slot holds its size. So the family is closed under
differentiation, and so are {gather2d, gather2d_input} and {avg_pool2d, avg_pool2d_input}.
"""

import importlib
import math
import sys
from itertools import product

import numpy as np

from .geometry import Conv2dGeometry, Pool2dGeometry, integers, same_shapes
from .registry import Array, Arrays, Indices, kernel

Size = tuple


@kernel
def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    negative_slope=1,
):
    """Cross-correlation: output[n, k, i, j] = bias[k] + sum over c, h, w of weight[k, c, h, w] * input[n, c, i', j'].

    i' = i * stride + h * dilation - padding, and zero outside of the input. input (N, C, H, W), weight
    (K, C / groups, KH, KW), bias (K,), output (N, K, OH, OW); padding is an int, (h, w) or ((top, bottom),
    (left, right)). Of that, the output is leaky_relu by negative_slope: relu for 0, itself for 1.
    """
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    padded, taps = _grouped_canvas(input, geometry), _by_tap(weight, groups)
    size = (geometry.batch, *_grouped(geometry.out_channels, groups), *geometry.output_size)
    output = np.zeros(size, input.dtype, like=input)
    for tap, window in _windows(padded, geometry):
        output += _mix(taps[tap], window)
    return add_bias_and_activate(output.reshape(geometry.full_output_size), bias, geometry, negative_slope)


def check_bias(bias, geometry):
    """`bias` itself; raise ValueError unless it has one element for each output channel."""
    same_shapes(**{"output channels (K,)": (geometry.out_channels,), "bias": bias.shape})
    return bias


def add_bias_and_activate(output, bias, geometry, negative_slope):
    """What conv2d makes of its sums, which are `output` and may be written to; bias may be None."""
    if bias is not None:
        output += check_bias(bias, geometry)[:, None, None]
    return activate(output, negative_slope)


def activate(x, negative_slope):
    """relu for a slope of 0, leaky_relu for others, x itself for 1."""
    if negative_slope == 1:
        return x
    return leaky_relu.reference(x, negative_slope=negative_slope) if negative_slope else relu.reference(x)


@kernel
def channel_sum(input: Array):
    """(C,): the sum of (N, C, ...) over everything but channels. It is the gradient of a bias."""
    return input.sum(axis=(0, *range(2, input.ndim)), dtype=input.dtype)


@kernel
def add(input: Array, other: Array):
    """input + other, of one shape."""
    same_shapes(input=input.shape, other=other.shape)
    return input + other


@kernel
def add_bias(input: Array, bias: Array):
    """input (N, C, ...) + bias (C,) of every element's channel. Its adjoint by bias is channel_sum."""
    same_shapes(channels=input.shape[1:2], bias=bias.shape)
    return input + bias.reshape(-1, *[1] * (input.ndim - 2))


@kernel
def contiguous(input: Array):
    """A copy of input (N, ...) in row-major memory: what an image needs before its pixels are one row of numbers."""
    return input.copy(order="C")


@kernel
def conv2d_input(input_size: Size, weight: Array, grad_output: Array, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of conv2d by its input, which is transposed convolution. Linear in weight and in grad_output.

    input_size is the full (N, C, H, W): with a stride above 1 several H lead to grad_output's OH, and
    any may be asked for. Rows that no window reaches are zero.
    """
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    padded = _grouped_canvas(np.zeros(geometry.full_input_size, weight.dtype, like=weight), geometry)
    taps, grad = _by_tap(weight, groups), _split_channels(grad_output, groups)
    for tap, window in _windows(padded, geometry):
        window += _mix(taps[tap].swapaxes(1, 2), grad)
    (top, _), (left, _) = geometry.padding
    height, width = geometry.input_size
    grad_input = padded[..., top : top + height, left : left + width]
    return grad_input.reshape(geometry.full_input_size)


@kernel
def conv2d_weight(input: Array, weight_size: Size, grad_output: Array, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of conv2d by its weight, linear in input and in grad_output.

    weight_size is the full (K, C / groups, KH, KW).
    """
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    padded, grad = _grouped_canvas(input, geometry), _split_channels(grad_output, groups)
    grad_weight = np.zeros(geometry.full_weight_size, input.dtype, like=input)
    taps = _by_tap(grad_weight, groups)
    for tap, window in _windows(padded, geometry):
        taps[tap] += np.einsum("ngkij,ngcij->gkc", grad, window, optimize=True)
    return grad_weight


@kernel
def max_pool2d(input: Array, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, relu=False):
    """Maximum over windows: (output, indices), both (N, C, OH, OW).

    indices are int64 and flat into the unpadded H * W plane. The first maximum in row-major order of the
    window wins a tie; a NaN counts as the maximum, and the first NaN wins. padding is at most half of
    kernel_size. `relu` is that of the output, whose gradient goes nowhere where nothing is above 0: to index -1.
    """
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    height, width = geometry.input_size
    places = _places(height, width, input)
    values = np.stack([window for _, window in _windows(_canvas(input, geometry, -np.inf), geometry)])
    places = np.stack([window for _, window in _windows(_canvas(places, geometry, -1), geometry)])
    output = values.max(axis=0)
    is_maximum = (values == output) | (np.isnan(values) & np.isnan(output))
    first = np.argmax(is_maximum & (places >= 0), axis=0)
    indices = np.take_along_axis(np.broadcast_to(places, values.shape), first[None], axis=0)[0]
    if not relu:
        return output, indices
    return np.where(output <= 0, output.dtype.type(0), output), np.where(output > 0, indices, -1)


@kernel
def max_pool2d_input(
    input_size: Size,
    indices: Indices,
    grad_output: Array,
    *,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
):
    """Gradient of max_pool2d by its input, of input_size (N, C, H, W): each window's gradient goes to its maximum.

    indices are those that max_pool2d returned with these options, -1 of its `relu` included; for others the result is
    not defined.
    """
    geometry = Pool2dGeometry.of(
        input_size,
        grad_output.shape,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    same_shapes(grad_output=grad_output.shape, indices=indices.shape)
    height, width = geometry.input_size
    places = _canvas(_places(height, width, indices), geometry, -1)
    canvas = _canvas(np.zeros(geometry.full_input_size, grad_output.dtype, like=grad_output), geometry)
    taps = zip(_windows(canvas, geometry), _windows(places, geometry), strict=True)
    for (_, window), (_, place) in reversed(list(taps)):  # so that each element sums its windows in their order
        window += np.where(indices == place, grad_output, 0)
    (top, _), (left, _) = geometry.padding
    return canvas[:, :, top : top + height, left : left + width].copy()


@kernel
def gather2d(input: Array, indices: Indices):
    """output[n, c, i, j] = input[n, c].flat[indices[n, c, i, j]].

    input (N, C, H, W), indices (N, C, OH, OW); an index outside of the plane raises IndexError.
    """
    n, c, plane = check_gather(input.shape, indices.shape)
    _check_range(indices, plane)
    flat = indices.reshape(n, c, indices.shape[2] * indices.shape[3])
    return np.take_along_axis(input.reshape(n, c, plane), flat, axis=2).reshape(indices.shape)


@kernel
def gather2d_input(input_size: Size, indices: Indices, grad_output: Array):
    """Adjoint of gather2d: zeros of input_size (N, C, H, W), to which grad_output is added at indices."""
    n, c, plane = check_gather(input_size, indices.shape)
    same_shapes(indices=indices.shape, grad_output=grad_output.shape)
    _check_range(indices, plane)
    grad_input = np.zeros((n, c, plane), grad_output.dtype, like=grad_output)
    image = np.arange(n, like=indices).reshape(n, 1, 1, 1)
    channel = np.arange(c, like=indices).reshape(1, c, 1, 1)
    array_module(grad_input).add.at(grad_input, (image, channel, indices), grad_output)
    return grad_input.reshape(input_size)


@kernel
def avg_pool2d(
    input: Array, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Sum over windows, divided by the number of their elements or by divisor_override.

    count_include_pad says whether padding counts; what a window of `ceil_mode` has beyond it never does.
    """
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    divisor = _divisor_like(input, geometry, count_include_pad, divisor_override)
    total = np.zeros(geometry.full_output_size, input.dtype, like=input)
    for _, window in _windows(_canvas(input, geometry), geometry):
        total += window
    return total / divisor


@kernel
def avg_pool2d_input(
    input_size: Size,
    grad_output: Array,
    *,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Gradient of avg_pool2d by its input, of input_size (N, C, H, W). Linear in grad_output."""
    geometry = Pool2dGeometry.of(
        input_size, grad_output.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    share = grad_output / _divisor_like(grad_output, geometry, count_include_pad, divisor_override)
    canvas = _canvas(np.zeros(geometry.full_input_size, grad_output.dtype, like=grad_output), geometry)
    for _, window in reversed(list(_windows(canvas, geometry))):  # so that each element sums its windows in their order
        window += share
    (top, _), (left, _) = geometry.padding
    height, width = geometry.input_size
    return canvas[:, :, top : top + height, left : left + width].copy()


@kernel
def batch_norm(input: Array, weight: Array, bias: Array, *, eps):
    """Normalise each channel by this batch's statistics: (output, mean, invstd).

    output = (input - mean) * invstd * weight + bias; mean and the biased variance run over all axes but
    1 of an input (N, C, ...), invstd = 1 / sqrt(variance + eps). weight, bias, mean and invstd have
    shape (C,). A batch without elements has mean 0 and variance 0.
    """
    axes, along = check_batch_norm(input.shape, weight=weight.shape, bias=bias.shape)
    count = max(input.size // max(input.shape[1], 1), 1)
    mean = input.sum(axes, dtype=np.float64) / count
    deviation = input - mean.reshape(along)
    invstd = 1 / np.sqrt(np.square(deviation).sum(axes) / count + eps)
    output = deviation * (invstd * weight).reshape(along) + bias.reshape(along)
    return tuple(a.astype(input.dtype) for a in (output, mean, invstd))


@kernel
def batch_norm_backward(grad_output: Array, input: Array, weight: Array, mean: Array, invstd: Array):
    """Gradients of batch_norm's output: (grad_input, grad_weight, grad_bias).

    mean and invstd are those batch_norm returned; that they depend on input is accounted for.
    """
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    axes, along = check_batch_norm(input.shape, weight=weight.shape, mean=mean.shape, invstd=invstd.shape)
    count = max(input.size // max(input.shape[1], 1), 1)
    normalised = (input.astype(np.float64) - mean.reshape(along)) * invstd.reshape(along)
    grad_bias = grad_output.sum(axes, dtype=np.float64)
    grad_weight = (grad_output * normalised).sum(axes)
    centred = grad_output - (grad_bias.reshape(along) + normalised * grad_weight.reshape(along)) / count
    grad_input = centred * (invstd * weight).reshape(along)
    return tuple(a.astype(input.dtype) for a in (grad_input, grad_weight, grad_bias))


@kernel
def cross_entropy(input: Array, target: Indices):
    """-log softmax(input)[target] over axis 1 of (N, C, ...): (loss, log_sum), both of target's shape (N, ...).

    log_sum = log sum exp(input - maximum). A target that is no class has loss 0: so labels are ignored.
    """
    check_classes(input.shape, target=target.shape)
    shifted = _shifted_rows(input)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    kept, place = _known_classes(target, shifted.shape[1])
    loss = np.where(kept, log_sum - shifted[place], input.dtype.type(0))
    return loss.reshape(target.shape), log_sum.reshape(target.shape)


@kernel
def cross_entropy_backward(grad_output: Array, input: Array, target: Indices, log_sum: Array):
    """grad_output * (softmax(input) - one_hot(target)), with cross_entropy's log_sum; 0 where target is no class."""
    check_classes(input.shape, target=target.shape, grad_output=grad_output.shape, log_sum=log_sum.shape)
    grad = np.exp(_shifted_rows(input) - log_sum.reshape(-1, 1))
    kept, place = _known_classes(target, grad.shape[1])
    grad[place] -= 1
    grad = np.where(kept[:, None], grad * grad_output.reshape(-1, 1), input.dtype.type(0))
    n, classes, *rest = input.shape
    return np.moveaxis(grad.reshape(n, *rest, classes), -1, 1)


@kernel
def matmul(a: Array, b: Array, bias: Array | None = None):
    """a @ b for matrices (N, K) and (K, M), plus bias (M,) in every row."""
    check_matmul(a.shape, b.shape, bias)
    product = np.matmul(a, b)
    return product if bias is None else product + bias


@kernel
def erf(input: Array):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, of every element."""
    return _special("erf", input)


@kernel
def relu(input: Array):
    """max(x, 0) of every element; NaN stays NaN."""
    return np.maximum(input, 0)


@kernel
def relu_backward(grad_output: Array, output: Array):
    """grad_output where relu's output is positive, else 0. Linear in grad_output, and its own adjoint."""
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return np.where(output > 0, grad_output, grad_output.dtype.type(0))


@kernel
def leaky_relu(input: Array, *, negative_slope):
    """x where x > 0, else negative_slope * x, of every element."""
    return np.where(input > 0, input, input * input.dtype.type(negative_slope))


@kernel
def leaky_relu_backward(grad_output: Array, input: Array, *, negative_slope):
    """grad_output where input > 0, else negative_slope * grad_output. Linear in it, and its own adjoint."""
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return np.where(input > 0, grad_output, grad_output * input.dtype.type(negative_slope))


@kernel
def sigmoid(input: Array):
    """1 / (1 + e^-x) of every element, with no overflow and full relative accuracy in both tails."""
    small = np.exp(-np.abs(input))
    return np.where(input >= 0, input.dtype.type(1), small) / (1 + small)


@kernel
def sigmoid_backward(grad_output: Array, output: Array):
    """grad_output * (y - y^2), where y is sigmoid's output. Linear in grad_output, and its own adjoint."""
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return grad_output * (output - output * output)


@kernel
def tanh(input: Array):
    """The hyperbolic tangent of every element."""
    return np.tanh(input)


@kernel
def tanh_backward(grad_output: Array, output: Array):
    """grad_output * (1 - y^2), where y is tanh's output. Linear in grad_output, and its own adjoint."""
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return grad_output * (1 - output * output)


@kernel
def softplus(input: Array):
    """log(1 + e^x) of every element, with no overflow."""
    return array_module(input).logaddexp(input, input.dtype.type(0))


@kernel
def binary_cross_entropy(input: Array, target: Array):
    """t log(1 + e^-x) + (1 - t) log(1 + e^x) of logits x and targets t, with no overflow and nothing that cancels."""
    same_shapes(input=input.shape, target=target.shape)
    logaddexp, zero = array_module(input).logaddexp, input.dtype.type(0)
    return target * logaddexp(-input, zero) + (1 - target) * logaddexp(input, zero)


@kernel
def binary_cross_entropy_slope(input: Array, target: Array):
    """Its derivative by x, (1 - t) sigmoid(x) - t sigmoid(-x): as accurate where either is small."""
    same_shapes(input=input.shape, target=target.shape)
    return (1 - target) * sigmoid.reference(input) - target * sigmoid.reference(-input)


@kernel
def gelu(input: Array):
    """x Phi(x) of every element, Phi the normal distribution function."""
    return input * normal_distribution(input)


@kernel
def gelu_backward(grad_output: Array, input: Array):
    """grad_output * (Phi(x) + x phi(x)), phi the normal density. Linear in grad_output, and its own adjoint."""
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    density = np.exp(-0.5 * input * input) * input.dtype.type(1 / math.sqrt(2 * math.pi))
    return grad_output * (normal_distribution(input) + np.where(density > 0, input * density, 0))


@kernel
def sgd_steps_(
    params: Arrays,
    grads: Arrays,
    momentum_buffers: Arrays | None,
    *,
    firsts,
    lr,
    momentum,
    dampening,
    weight_decay,
    nesterov,
):
    """One step of SGD for each parameter, in place on params and momentum_buffers (None where momentum is 0).

    PyTorch's formula. Where the parameter's entry of `firsts` is true, its buffer becomes the gradient (weight decay
    included), undampened. As in all steps, the arrays of the lists must not overlap.
    """
    momentum_buffers = state("momentum_buffers", momentum_buffers, momentum != 0, "momentum is not 0")
    rows = step_rows(params, grads, {"firsts": firsts}, momentum_buffers=momentum_buffers)
    for first, (param, grad, buffer) in zip(firsts, rows, strict=True):
        step = _decayed(grad, param, weight_decay)
        if momentum != 0:
            buffer[...] = step if first else momentum * buffer + (1 - dampening) * step
            step = step + momentum * buffer if nesterov else buffer
        param -= lr * step


@kernel
def adam_steps_(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    *,
    steps,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    epsilon_hat=False,
):
    """A step of Adam (Kingma & Ba 2015) for each parameter, in place on params, exp_avgs and exp_avg_sqs.

    param -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps), where t is the parameter's entry of
    `steps`, from 1. With `epsilon_hat`, the paper's last remark and Keras's choice: eps is added to sqrt(v) before
    its bias correction. `decoupled` weight decay is AdamW (Loshchilov & Hutter 2019): param *= 1 - lr * weight_decay;
    otherwise it is added to the gradient.
    """
    steps = integers("steps", steps, minimum=1)
    rows = step_rows(params, grads, {"steps": steps}, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)
    for step, (param, grad, exp_avg, exp_avg_sq) in zip(steps, rows, strict=True):
        if decoupled:
            param *= 1 - lr * weight_decay
        else:
            grad = _decayed(grad, param, weight_decay)
        exp_avg[...] = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq[...] = beta2 * exp_avg_sq + (1 - beta2) * np.square(grad)
        scale, root = lr / (1 - beta1**step), (1 - beta2**step) ** 0.5
        denominator = (np.sqrt(exp_avg_sq) + eps) / root if epsilon_hat else np.sqrt(exp_avg_sq) / root + eps
        param -= scale * exp_avg / denominator


@kernel
def rmsprop_steps_(
    params: Arrays,
    grads: Arrays,
    square_avgs: Arrays,
    momentum_buffers: Arrays | None,
    grad_avgs: Arrays | None,
    *,
    lr,
    alpha,
    eps,
    weight_decay,
    momentum,
    centered,
    eps_inside_sqrt=False,
):
    """One step of RMSprop for each parameter, in place on params and their state.

    momentum_buffers may be None where momentum is 0, grad_avgs where not `centered`. PyTorch's formula
    divides by sqrt(v) + eps; `eps_inside_sqrt` is Keras's sqrt(v + eps).
    """
    momentum_buffers = state("momentum_buffers", momentum_buffers, momentum != 0, "momentum is not 0")
    grad_avgs = state("grad_avgs", grad_avgs, centered, "centered is set")
    states = dict(square_avgs=square_avgs, momentum_buffers=momentum_buffers, grad_avgs=grad_avgs)
    for param, grad, square_avg, buffer, grad_avg in step_rows(params, grads, {}, **states):
        grad = _decayed(grad, param, weight_decay)
        square_avg[...] = alpha * square_avg + (1 - alpha) * np.square(grad)
        variance = square_avg
        if centered:
            grad_avg[...] = alpha * grad_avg + (1 - alpha) * grad
            variance = np.maximum(square_avg - np.square(grad_avg), 0)  # rounding must not make it negative
        step = grad / (np.sqrt(variance + eps) if eps_inside_sqrt else np.sqrt(variance) + eps)
        if momentum != 0:
            buffer[...] = momentum * buffer + step
            step = buffer
        param -= lr * step


def normal_distribution(x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2, accurate in both tails."""
    return (_special("erfc", x.astype(np.float64) / -math.sqrt(2)) / 2).astype(x.dtype)


def check_classes(input_size, **sample_shapes):
    """Raise unless input is (N, C, ...) with at least one class, and the others are (N, ...)."""
    if len(input_size) < 2 or input_size[1] == 0:
        raise ValueError(f"input must have shape (N, C, ...) with at least one class, given {input_size}")
    samples = input_size[:1] + input_size[2:]
    for name, shape in sample_shapes.items():
        if shape != samples:
            raise ValueError(f"{name} must have shape {samples}, one for each sample, given {shape}")


def _shifted_rows(input):
    """(N, C, ...) as rows (M, C), less the maximum of each."""
    rows = np.moveaxis(input, 1, -1).reshape(input.size // input.shape[1], input.shape[1])
    return rows - rows.max(axis=1, keepdims=True)


def _known_classes(target, classes):
    """(which labels are classes, the index of each label's entry in rows, any entry where it is none)."""
    labels = target.reshape(-1)
    kept = (labels >= 0) & (labels < classes)
    return kept, (np.arange(labels.size, like=labels), np.where(kept, labels, 0))


def check_matmul(a_size, b_size, bias=None):
    if len(a_size) != 2 or len(b_size) != 2 or a_size[1] != b_size[0]:
        raise ValueError(f"a and b must have shapes (N, K) and (K, M), given {a_size} and {b_size}")
    if bias is not None:
        same_shapes(**{"columns of b (M,)": b_size[1:], "bias": bias.shape})


def check_gather(input_size, indices_size):
    """(N, C, H * W), after a check that indices have four axes and the input's N and C."""
    n, c, h, w = integers("input size (N, C, H, W)", input_size, 4)
    if len(indices_size) != 4 or tuple(indices_size[:2]) != (n, c):
        raise ValueError(f"indices must have shape ({n}, {c}, OH, OW), given {tuple(indices_size)}")
    return n, c, h * w


def _check_range(indices, plane):
    if indices.size and not (indices.min() >= 0 and indices.max() < plane):
        raise IndexError(index_message(plane))


def index_message(plane):
    """What gather2d says where an index lies outside of the plane."""
    return f"indices must lie between 0 and {plane - 1}, the places of an input plane"


def pool_divisor(geometry, count_include_pad, divisor_override, dtype):
    """What each window's sum is divided by, as an (OH, OW) array."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("divisor_override must not be 0")
        return np.full(geometry.output_size, divisor_override, dtype)
    rows, columns = geometry.window_lengths(count_include_pad)
    return np.outer(rows, columns).astype(dtype)


def _divisor_like(array, geometry, count_include_pad, divisor_override):
    """The divisor where the array is."""
    divisor = pool_divisor(geometry, count_include_pad, divisor_override, array.dtype)
    return divisor if isinstance(array, np.ndarray) else array_module(array).asarray(divisor)


def check_batch_norm(input_size, **channel_shapes):
    """(axes to reduce, shape that lays a (C,) array along axis 1), after a check of the (C,) shapes."""
    if len(input_size) < 2:
        raise ValueError(f"input must have shape (N, C, ...), given {tuple(input_size)}")
    channels = input_size[1]
    for name, shape in channel_shapes.items():
        if tuple(shape) != (channels,):
            raise ValueError(f"{name} must have shape ({channels},), one per channel, given {tuple(shape)}")
    axes = tuple(axis for axis in range(len(input_size)) if axis != 1)
    return axes, (1, channels, *(1 for _ in input_size[2:]))


def state(name, arrays, used, reason):
    """The list of a state's arrays, or None where the options have no use for it. Raises where it is missing."""
    if used and arrays is None:
        raise ValueError(f"{name} must be a list of arrays where {reason}, given None")
    return arrays if used else None


def step_rows(params, grads, numbers, **states):
    """[(param, grad, *its states), ...] of lists, None in the place of a state that is None.

    Raises unless the lists and `numbers`, {name: list}, are equally long, a row's arrays share a shape, and those that
    a step writes can be written.
    """
    lists = dict(params=params, grads=grads, **states)
    lengths = {name: len(value) for name, value in (lists | numbers).items() if value is not None}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"all lists must have one length, given {given}")
    rows = list(zip(*([None] * len(params) if each is None else each for each in lists.values()), strict=True))
    for i, row in enumerate(rows):
        shape = row[0].shape
        for array in row:
            if array is not None and (array.shape != shape or not getattr(array.flags, "writeable", True)):
                _refuse_row(i, dict(zip(lists, row, strict=True)))
                break
    return rows


def _refuse_row(i, row):
    """Raise where an array has another shape than params[i], or one that is written is read-only (CuPy's never are)."""
    for name, array in row.items():
        if array is None:
            continue
        if array.shape != row["params"].shape:
            wanted = f"params[{i}], {row['params'].shape}"
            raise ValueError(f"{name}[{i}] must have the shape of {wanted}, given {array.shape}")
        if name != "grads" and not getattr(array.flags, "writeable", True):
            raise ValueError(f"{name}[{i}] is changed in place, but the array given is read-only")


def adam_rates(step, lr, beta1, beta2, eps, epsilon_hat):
    """Three numbers of a step of Adam, such that param -= scale * m / (sqrt(v) * unbias + eps)."""
    root = (1 - beta2**step) ** 0.5
    return lr / (1 - beta1**step), 1 / root, eps / root if epsilon_hat else eps


def _decayed(grad, param, weight_decay):
    return grad + weight_decay * param if weight_decay != 0 else grad


def array_module(array):
    """`numpy` for a NumPy array, `cupy` for a CuPy array."""
    return np if isinstance(array, np.ndarray) else sys.modules["cupy"]


def _special(name, x):
    """The function of this name for every element: Python's own on the CPU, CuPy's on a GPU."""
    if isinstance(x, np.ndarray | np.generic):
        return np.vectorize(getattr(math, name), otypes=[x.dtype])(x)
    return getattr(importlib.import_module("cupyx.scipy.special"), name)(x)


def _places(height, width, like):
    """(1, 1, H, W): each element's flat place in its plane."""
    return np.arange(height * width, like=like).reshape(1, 1, height, width)


def _grouped(channels, groups):
    return groups, channels // groups


def _split_channels(array, groups):
    n, c, h, w = array.shape
    return array.reshape(n, *_grouped(c, groups), h, w)


def _by_tap(weight, groups):
    """(K, C / groups, KH, KW) as a view indexed [h, w, group, k, c]."""
    k, c, kh, kw = weight.shape
    return weight.reshape(*_grouped(k, groups), c, kh, kw).transpose(3, 4, 0, 1, 2)


def _mix(matrix, planes):
    """Apply each group's (to, from) matrix to the channels of (N, group, from, i, j)."""
    n, groups, _, height, width = planes.shape
    mixed = matrix @ planes.reshape(n, groups, matrix.shape[-1], height * width)
    return mixed.reshape(n, groups, matrix.shape[-2], height, width)


def _canvas(input, geometry, fill=0):
    """A copy of input with its padding around it, and room for windows that end beyond the padding."""
    (top, bottom), (left, right) = geometry.padding
    ends = [
        (out - 1) * s + d * (k - 1) + 1
        for out, s, d, k in zip(
            geometry.output_size, geometry.stride, geometry.dilation, geometry.kernel_size, strict=True
        )
    ]
    n, c, height, width = input.shape
    rows, columns = max(ends[0], top + height + bottom), max(ends[1], left + width + right)
    canvas = array_module(input).full((n, c, rows, columns), fill, input.dtype)  # NumPy's `like` would not reach CuPy
    canvas[:, :, top : top + height, left : left + width] = input
    return canvas


def _grouped_canvas(input, geometry):
    return _split_channels(_canvas(input, geometry), geometry.groups)


def _windows(canvas, geometry):
    """Yield ((h, w), view): for each tap, the canvas elements that it meets, one for each output pixel."""
    (sh, sw), (dh, dw), (oh, ow) = geometry.stride, geometry.dilation, geometry.output_size
    for h, w in product(*map(range, geometry.kernel_size)):
        rows = slice(h * dh, h * dh + (oh - 1) * sh + 1, sh)
        columns = slice(w * dw, w * dw + (ow - 1) * sw + 1, sw)
        yield (h, w), canvas[..., rows, columns]
