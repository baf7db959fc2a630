"""The non-linearities. Those with ``inplace`` accept it for PyTorch's sake; the result is a new tensor."""

from scratchnet import ops
from scratchnet.nn import checks
from scratchnet.tensor import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    checks.tensors("relu", input=input)
    return ops.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope x. DCGAN uses 0.2, Keras' default is 0.3."""
    checks.floating("leaky_relu", input=input)
    return ops.leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (e^x - 1)."""
    checks.floating("elu", input=input)
    return ops.elu(input, alpha)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution function; approximate="tanh" is the formula of older models."""
    checks.floating("gelu", input=input)
    return ops.gelu(input, approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x), also called swish."""
    checks.floating("silu", input=input)
    return ops.silu(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold, as in PyTorch."""
    checks.floating("softplus", input=input)
    scaled = input if beta == 1 else input * beta
    out = ops.softplus(scaled)
    return ops.where(scaled > threshold, input, out if beta == 1 else out / beta)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    checks.floating("sigmoid", input=input)
    return ops.sigmoid(input)


def logsigmoid(input: Tensor) -> Tensor:
    """log sigmoid(x), finite for any finite x."""
    checks.floating("logsigmoid", input=input)
    return ops.logsigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    checks.floating("tanh", input=input)
    return ops.tanh(input)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]."""
    checks.floating("hardtanh", input=input)
    return ops.hardtanh(input, min_val, max_val)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum exp(x) along ``dim``."""
    checks.floating("softmax", input=input)
    return ops.softmax(input, dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """log softmax(x) along ``dim``, finite for any finite x."""
    checks.floating("log_softmax", input=input)
    return ops.log_softmax(input, dim)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight x, with one weight for all or one a channel (axis 1)."""
    checks.floating("prelu", input=input, weight=weight)
    return ops.prelu(input, weight)
