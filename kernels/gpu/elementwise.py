"""Activations and their gradients, each one pass over memory, in whatever order memory is."""

import numpy as np

from .. import reference
from ..geometry import same_shapes
from .layout import TYPES, contiguous, ctype, empty, memory_order
from .module import blocks, launch

_THREADS, _EACH = 256, 4
_UNARY = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Erf", "Gelu")
_BINARY = ("ReluBackward", "LeakyReluBackward", "SigmoidBackward", "TanhBackward", "GeluBackward")
_BINARY += ("BinaryCrossEntropy", "BinaryCrossEntropySlope")

INSTANCES = {
    "elementwise.cu": {
        f"{kind}<{op}, {t}>": 0 for kind, ops in (("unary", _UNARY), ("binary", _BINARY)) for op in ops for t in TYPES
    }
}


@reference.relu.implementation("cuda", device="gpu")
def relu(input):
    return _apply("Relu", input)


@reference.relu_backward.implementation("cuda", device="gpu")
def relu_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return _apply("ReluBackward", output, grad_output)


@reference.leaky_relu.implementation("cuda", device="gpu")
def leaky_relu(input, *, negative_slope):
    return _apply("LeakyRelu", input, parameter=negative_slope)


@reference.leaky_relu_backward.implementation("cuda", device="gpu")
def leaky_relu_backward(grad_output, input, *, negative_slope):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return _apply("LeakyReluBackward", input, grad_output, parameter=negative_slope)


@reference.sigmoid.implementation("cuda", device="gpu")
def sigmoid(input):
    return _apply("Sigmoid", input)


@reference.sigmoid_backward.implementation("cuda", device="gpu")
def sigmoid_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return _apply("SigmoidBackward", output, grad_output)


@reference.tanh.implementation("cuda", device="gpu")
def tanh(input):
    return _apply("Tanh", input)


@reference.tanh_backward.implementation("cuda", device="gpu")
def tanh_backward(grad_output, output):
    same_shapes(output=output.shape, grad_output=grad_output.shape)
    return _apply("TanhBackward", output, grad_output)


@reference.softplus.implementation("cuda", device="gpu")
def softplus(input):
    return _apply("Softplus", input)


@reference.binary_cross_entropy.implementation("cuda", device="gpu")
def binary_cross_entropy(input, target):
    same_shapes(input=input.shape, target=target.shape)
    return _apply("BinaryCrossEntropy", input, target)


@reference.binary_cross_entropy_slope.implementation("cuda", device="gpu")
def binary_cross_entropy_slope(input, target):
    same_shapes(input=input.shape, target=target.shape)
    return _apply("BinaryCrossEntropySlope", input, target)


@reference.gelu.implementation("cuda", device="gpu")
def gelu(input):
    return _apply("Gelu", input)


@reference.gelu_backward.implementation("cuda", device="gpu")
def gelu_backward(grad_output, input):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    return _apply("GeluBackward", input, grad_output)


@reference.erf.implementation("cuda", device="gpu")
def erf(input):
    return _apply("Erf", input)


def _apply(op, kept, grad=None, parameter=0.0):
    """op of every element, in the memory order of `kept`; arrays in another order, or with gaps, are copied first."""
    order, back = memory_order(kept)
    arrays = [contiguous(array.transpose(order)) for array in (grad, kept) if array is not None]
    result = empty(arrays[0].shape, kept.dtype)
    if result.size:
        kind = "unary" if grad is None else "binary"
        grid, numbers = (blocks(result.size, _THREADS * _EACH),), (kept.dtype.type(parameter), np.int64(result.size))
        launch("elementwise.cu", f"{kind}<{op}, {ctype(kept.dtype)}>", grid, (_THREADS,), (*arrays, result, *numbers))
    return result.transpose(back)
