"""The non-linearities of neural networks."""

import math

import numpy as np

import kernels
from scratchnet.ops.elementwise import clamp, erf, exp, mul, where
from scratchnet.ops.registry import Kink, S, elementwise, op
from scratchnet.recording import noted
from scratchnet.tensor import Tensor, get_default_dtype


def _floating(x):
    """Integers in the default dtype, as in PyTorch."""
    return x if x.dtype.kind == "f" else x.astype(get_default_dtype())


def _smooth(r):
    return [S(r.normal(3, 4)), S(r.normal(2, 3, 4))]


@op(
    vjp={"x": lambda g, out: relu_backward(g, out)},
    samples=lambda r: [S(r.away(3, 4))],
    reference=elementwise(lambda x: x if x > 0 else 0.0),
    kinks=[Kink("x = 0", S(np.zeros(2)), (np.zeros(2),))],
)
def relu(x, /):
    """max(x, 0); the gradient at 0 is 0."""
    return kernels.relu(x) if x.dtype.kind == "f" else np.maximum(x, 0)


@op(
    vjp={"grad_output": lambda g, output: relu_backward(g, output)},
    samples=lambda r: [S(r.normal(3, 4), r.away(3, 4))],
    reference=elementwise(lambda grad_output, output: grad_output if output > 0 else 0.0),
)
def relu_backward(grad_output, output, /):
    """grad_output where output > 0, else 0: the gradient of relu, and its own adjoint."""
    return kernels.relu_backward(grad_output, output)


@op(
    vjp={"x": lambda g, x, negative_slope: leaky_relu_backward(g, x, negative_slope)},
    samples=lambda r: [S(r.away(3, 4)), S(r.away(3, 4), negative_slope=0.2)],
    reference=elementwise(lambda x, negative_slope=0.01: x if x > 0 else negative_slope * x),
    kinks=[Kink("x = 0", S(np.zeros(2), negative_slope=0.2), (np.full(2, 0.2),))],
)
def leaky_relu(x, /, negative_slope=0.01):
    """x where x > 0, else negative_slope x; the gradient at 0 is negative_slope."""
    return kernels.leaky_relu(x, negative_slope=negative_slope)


@op(
    vjp={"grad_output": lambda g, input, negative_slope: leaky_relu_backward(g, input, negative_slope)},
    samples=lambda r: [S(r.normal(3, 4), r.away(3, 4), negative_slope=0.2)],
    reference=elementwise(lambda g, input, negative_slope: g if input > 0 else g * negative_slope),
)
def leaky_relu_backward(grad_output, input, /, negative_slope):
    """grad_output where input > 0, else negative_slope grad_output: leaky_relu's gradient, and its own adjoint."""
    return kernels.leaky_relu_backward(grad_output, input, negative_slope=negative_slope)


@op(
    vjp={"x": lambda g, x, alpha: g * where(x > 0, 1.0, alpha * exp(clamp(x, max=0.0)))},
    samples=lambda r: [S(r.away(3, 4)), S(r.away(3, 4), alpha=0.5)],
    reference=elementwise(lambda x, alpha=1.0: x if x > 0 else alpha * math.expm1(x)),
    kinks=[
        Kink("x = 0, alpha != 1", S(np.zeros(2), alpha=0.5), (np.full(2, 0.5),)),
        Kink("x = 0, alpha = 1", S(np.zeros(2)), (np.ones(2),), order=2),
    ],
)
def elu(x, /, alpha=1.0):
    """x where x > 0, else alpha (e^x - 1) (Clevert et al. 2016)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@op(
    vjp={"x": lambda g, out: sigmoid_backward(g, out)},
    samples=_smooth,
    reference=elementwise(lambda x: 1 / (1 + math.exp(-x))),
)
def sigmoid(x, /):
    """1 / (1 + e^-x), with no overflow and full relative accuracy in both tails."""
    return kernels.sigmoid(_floating(x))


@op(
    vjp={
        "grad_output": lambda g, output: sigmoid_backward(g, output),
        "output": lambda g, grad_output, output: g * grad_output * (1.0 - output * 2.0),
    },
    samples=lambda r: [S(r.normal(3, 4), r.uniform(0.1, 0.9, 3, 4))],
    reference=elementwise(lambda grad_output, output: grad_output * output * (1 - output)),
)
def sigmoid_backward(grad_output, output, /):
    """grad_output (y - y^2) where y is the output: the gradient of sigmoid."""
    return kernels.sigmoid_backward(grad_output, output)


@op(vjp={"x": lambda g, out: tanh_backward(g, out)}, samples=_smooth, reference=elementwise(math.tanh))
def tanh(x, /):
    """Hyperbolic tangent."""
    return kernels.tanh(_floating(x))


@op(
    vjp={
        "grad_output": lambda g, output: tanh_backward(g, output),
        "output": lambda g, grad_output, output: g * grad_output * (output * -2.0),
    },
    samples=lambda r: [S(r.normal(3, 4), r.uniform(-0.9, 0.9, 3, 4))],
    reference=elementwise(lambda grad_output, output: grad_output * (1 - output * output)),
)
def tanh_backward(grad_output, output, /):
    """grad_output (1 - y^2) where y is the output: the gradient of tanh."""
    return kernels.tanh_backward(grad_output, output)


@op(
    vjp={"x": lambda g, x: g * sigmoid(x)},
    samples=_smooth,
    reference=elementwise(lambda x: math.log1p(math.exp(x))),
)
def softplus(x, /):
    """log(1 + e^x), with no overflow."""
    return kernels.softplus(_floating(x))


@op(vjp="derived", samples=_smooth, reference=elementwise(lambda x: -math.log1p(math.exp(-x))))
def logsigmoid(x, /):
    """log sigmoid(x) = -softplus(-x)."""
    return -softplus(-x)


@op(vjp="derived", samples=_smooth, reference=elementwise(lambda x: x / (1 + math.exp(-x))))
def silu(x, /):
    """x sigmoid(x), also called swish."""
    return mul(x, sigmoid(x))


def _gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


@op(
    vjp="derived",
    samples=lambda r: [*_smooth(r), S(r.normal(3, 4), approximate="tanh")],
    reference=elementwise(_gelu),
)
def gelu(x, /, approximate="none"):
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016); "tanh" is their approximation."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "tanh":
        return x * 0.5 * (tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)
    return _gelu_exact(x)


def _gelu_in_ops(x):
    return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)


_gelu_backward = noted(kernels.gelu_backward)


@op(
    vjp=lambda g, x: (Tensor(_gelu_backward(g, x)),),
    composite=_gelu_in_ops,
    samples=_smooth,
    reference=elementwise(_gelu),
)
def _gelu_exact(x, /):
    """x Phi(x) in one pass, with full relative accuracy also where Phi(x) is small."""
    return kernels.gelu(x)


@op(
    vjp={"x": lambda g, x, min_val, max_val: g * ((x > min_val) & (x < max_val)).astype(g.dtype)},
    samples=lambda r: [
        S(r.away(3, 4, points=(-1.0, 1.0))),
        S(r.away(3, 4, points=(0.0, 0.5)), min_val=0.0, max_val=0.5),
    ],
    reference=elementwise(lambda x, min_val=-1.0, max_val=1.0: max(min_val, min(max_val, x))),
    kinks=[Kink("x = min_val, x = max_val", S(np.array([-1.0, 1.0])), (np.zeros(2),))],
)
def hardtanh(x, /, min_val=-1.0, max_val=1.0):
    """x limited to [min_val, max_val]; the bounds themselves get no gradient."""
    if min_val >= max_val:
        raise ValueError(f"hardtanh: min_val must be below max_val, got {min_val} and {max_val}")
    return np.clip(x, min_val, max_val)


@op(
    vjp="derived",
    samples=lambda r: [S(r.away(2, 3, 4), r.normal(3)), S(r.away(2, 3), r.normal(1))],
    reference=lambda x, weight: np.where(x > 0, x, x * weight.reshape([1, -1] + [1] * (x.ndim - 2))),
    kinks=[Kink("x = 0", S(np.zeros((1, 2)), np.full(1, 0.25)), (np.full((1, 2), 0.25), np.zeros(1)))],
)
def prelu(x, weight, /):
    """x where x > 0, else weight x (at 0 too); ``weight`` has one element, or one a channel (axis 1)."""
    if weight.ndim != 1 or weight.shape[0] not in (1, x.shape[1] if x.ndim > 1 else 1):
        raise ValueError(f"prelu: weight must have 1 or {x.shape[1:2]} elements, got shape {weight.shape}")
    slope = weight.reshape((1, -1) + (1,) * (x.ndim - 2)) if x.ndim > 1 else weight
    return where(x > 0, x, x * slope)
