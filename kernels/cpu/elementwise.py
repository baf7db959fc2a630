"""Sums, activations and their gradients, each one pass over memory: read once, write once, in whatever order memory is.

What is won over NumPy is the second thread, the reuse of memory, and intermediate results that never reach it. Below
2^12 elements NumPy is faster than a start of our threads.
"""

import math

import numpy as np

from .. import reference
from ..geometry import same_shapes
from . import special
from .compile import serial
from .layout import elementwise
from .pointwise import pointwise

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


@reference.erf.implementation("numba")
def erf(input):
    return elementwise(_erf, input)


@reference.gelu.implementation("numba", pays=_large)
def gelu(input):
    return elementwise(_gelu, input)


@reference.gelu_backward.implementation("numba", pays=_large)
def gelu_backward(grad_output, input):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return elementwise(_gelu_backward, input, grad_output)


_zero, _one = np.float32(0), np.float32(1)  # with a float64 they make a float64


@pointwise
def _add(a, b):
    return a + b


@pointwise
def _relu(x):
    return _zero if x <= 0 else x


@pointwise
def _relu_backward(gate, g):
    return g if gate > 0 else _zero


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


@pointwise
def _leaky_relu(gate, value, slope):
    return value if gate > 0 else value * slope


@pointwise
def _sigmoid(x):
    return special.sigmoid(x)


@pointwise
def _sigmoid_backward(y, g):
    return g * (y - y * y)


@pointwise
def _tanh(x):
    return special.tanh(x)


@pointwise
def _tanh_backward(y, g):
    return g * (_one - y * y)


@pointwise
def _softplus(x):
    return special.softplus(x)


@pointwise
def _binary_cross_entropy(x, t):
    low = special.softplus(-abs(x))
    high = low + abs(x)
    return t * (low if x > 0 else high) + (_one - t) * (high if x > 0 else low)


@pointwise
def _binary_cross_entropy_slope(x, t):
    low = special.sigmoid(-abs(x))
    high = _one - low
    return (_one - t) * (high if x > 0 else low) - t * (low if x > 0 else high)


@pointwise
def _erf(x):
    return math.erf(x)


@pointwise
def _gelu(x):
    below, _ = special.normal(x)
    return x * below


@pointwise
def _gelu_backward(x, g):
    below, slope = special.normal(x)
    return g * (below + slope)
