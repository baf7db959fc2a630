"""Sums, activations and their gradients, each one pass over memory: read once, write once, in whatever order memory is.

The loops are plain; LLVM makes vector code of them. What is left to win over NumPy is the second thread, the reuse of
memory, and intermediate results that never reach it. Below 2^12 elements NumPy is faster than a start of our threads.
"""

from numba import prange

from .. import reference
from ..geometry import same_shapes
from . import special
from .compile import parallel, serial
from .layout import elementwise

_SMALL = 1 << 12  # elements


def _large(input, *others, **options):
    return input.size > _SMALL or f"up to {_SMALL} elements NumPy is faster"


@reference.add.implementation("numba", pays=_large)
def add(input, other):
    same_shapes(input=input.shape, other=other.shape)
    if 0 in input.strides:  # broadcast: its memory order is no image's
        input, other = other, input
    return elementwise(_add, input, other)


@reference.relu.implementation("numba", pays=_large)
def relu(input):
    return elementwise(_relu, input)


@reference.relu_backward.implementation("numba", pays=_large)
def relu_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return elementwise(_relu_backward, output, grad_output)


@reference.leaky_relu.implementation("numba", pays=_large)
def leaky_relu(input, *, negative_slope):
    return elementwise(_leaky_relu, input, input, slope=negative_slope)


@reference.leaky_relu_backward.implementation("numba", pays=_large)
def leaky_relu_backward(grad_output, input, *, negative_slope):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return elementwise(_leaky_relu, input, grad_output, slope=negative_slope)


@reference.sigmoid.implementation("numba", pays=_large)
def sigmoid(input):
    return elementwise(_sigmoid, input)


@reference.sigmoid_backward.implementation("numba", pays=_large)
def sigmoid_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return elementwise(_sigmoid_backward, output, grad_output)


@reference.tanh.implementation("numba", pays=_large)
def tanh(input):
    return elementwise(_tanh, input)


@reference.tanh_backward.implementation("numba", pays=_large)
def tanh_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return elementwise(_tanh_backward, output, grad_output)


@reference.softplus.implementation("numba", pays=_large)
def softplus(input):
    return elementwise(_softplus, input)


@reference.binary_cross_entropy.implementation("numba", pays=_large)
def binary_cross_entropy(input, target):
    same_shapes(input=input.shape, target=target.shape)
    return elementwise(_binary_cross_entropy, input, target)


@reference.binary_cross_entropy_slope.implementation("numba", pays=_large)
def binary_cross_entropy_slope(input, target):
    same_shapes(input=input.shape, target=target.shape)
    return elementwise(_binary_cross_entropy_slope, input, target)


@reference.gelu.implementation("numba", pays=_large)
def gelu(input):
    return elementwise(_gelu, input)


@reference.gelu_backward.implementation("numba", pays=_large)
def gelu_backward(grad_output, input):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return elementwise(_gelu_backward, input, grad_output)


@parallel
def _add(input, other, output):
    for i in prange(output.size):
        output[i] = input[i] + other[i]


@parallel
def _relu(input, output):
    zero = input.dtype.type(0)
    for i in prange(output.size):
        x = input[i]
        output[i] = zero if x <= 0 else x


@parallel
def _relu_backward(gate, grad, output):
    zero = gate.dtype.type(0)
    for i in prange(output.size):
        output[i] = grad[i] if gate[i] > 0 else zero


@serial
def activate(array, begin, count, slope):
    """Apply leaky_relu (relu for a slope of 0) in place to a run of a 1-D array, while it is in cache."""
    if slope == 1:
        return
    run, zero = array[begin : begin + count], array.dtype.type(0)
    for i in range(count):
        x = run[i]
        below = x * slope if slope != 0 else zero
        run[i] = below if x <= 0 else x


@parallel
def _leaky_relu(gate, value, slope, output):
    for i in prange(output.size):
        v = value[i]
        output[i] = v if gate[i] > 0 else v * slope


@parallel
def _sigmoid(input, output):
    for i in prange(output.size):
        output[i] = special.sigmoid(input[i])


@parallel
def _sigmoid_backward(result, grad, output):
    for i in prange(output.size):
        y = result[i]
        output[i] = grad[i] * (y - y * y)


@parallel
def _tanh(input, output):
    for i in prange(output.size):
        output[i] = special.tanh(input[i])


@parallel
def _tanh_backward(result, grad, output):
    one = result.dtype.type(1)
    for i in prange(output.size):
        y = result[i]
        output[i] = grad[i] * (one - y * y)


@parallel
def _softplus(input, output):
    for i in prange(output.size):
        output[i] = special.softplus(input[i])


@parallel
def _binary_cross_entropy(logits, target, output):
    one = logits.dtype.type(1)
    for i in prange(output.size):
        x, t = logits[i], target[i]
        low = special.softplus(-abs(x))
        high = low + abs(x)
        output[i] = t * (low if x > 0 else high) + (one - t) * (high if x > 0 else low)


@parallel
def _binary_cross_entropy_slope(logits, target, output):
    one = logits.dtype.type(1)
    for i in prange(output.size):
        x, t = logits[i], target[i]
        low = special.sigmoid(-abs(x))
        high = one - low
        output[i] = (one - t) * (high if x > 0 else low) - t * (low if x > 0 else high)


@parallel
def _gelu(input, output):
    for i in prange(output.size):
        x = input[i]
        below, _ = special.normal(x)
        output[i] = x * below


@parallel
def _gelu_backward(input, grad, output):
    for i in prange(output.size):
        below, slope = special.normal(input[i])
        output[i] = grad[i] * (below + slope)
