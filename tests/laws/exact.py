"""Calls of every kernel that only adds and multiplies, on whole numbers; and all their derivatives of order 0, 1, 2."""

import numpy as np
from hypothesis import strategies as st

import kernels
from scratchnet import ops
from scratchnet.autograd import grad
from scratchnet.tensor import Tensor
from scratchnet.testing.strategies import avg_pool2d_configs, conv2d_configs, integral, max_pool2d_configs

BLAS = 1 << 18  # multiply-adds above which a matrix product is ours
DIVISIBLE = 720  # by the size of every window up to 4 x 4 and by every divisor up to 5
UNITS = {"avg_pool2d": DIVISIBLE, "avg_pool2d_input": DIVISIBLE}  # of all others: 1


def _conv2d(config, seed, dtype):
    x, w, _ = integral(seed, *config.shapes, dtype=dtype)
    return lambda x, w: ops.conv2d(x, w, **config.options), [x, w]


def _conv2d_input(config, seed, dtype):
    x, w, g = integral(seed, *config.shapes, dtype=dtype)
    return lambda w, g: ops.conv2d_input(w, g, x.shape, **config.options), [w, g]


def _conv2d_weight(config, seed, dtype):
    x, w, g = integral(seed, *config.shapes, dtype=dtype)
    return lambda x, g: ops.conv2d_weight(x, g, w.shape, **config.options), [x, g]


def _max_pool2d(config, seed, dtype):
    return lambda x: ops.max_pool2d(x, **config.options), integral(seed, config.input_shape, dtype=dtype)


def _avg_pool2d(config, seed, dtype):
    x = integral(seed, config.input_shape, dtype=dtype, unit=DIVISIBLE)
    return lambda x: ops.avg_pool2d(x, **config.options), x


def _avg_pool2d_input(config, seed, dtype):
    g = integral(seed, config.output_shape, dtype=dtype, unit=DIVISIBLE)
    return lambda g: ops.avg_pool2d_input(g, config.input_shape, **config.options), g


def _gather2d(config, seed, dtype):
    return lambda x: ops.gather2d(x, _places(config, seed)), integral(seed, config.input_shape, dtype=dtype)


def _gather2d_input(config, seed, dtype):
    g = integral(seed, config.output_shape, dtype=dtype)
    return lambda g: ops.gather2d_input(g, _places(config, seed), config.input_shape), g


def _matmul(config, seed, dtype):
    n, k, m = config
    return ops.matmul, integral(seed, (n, k), (k, m), dtype=dtype)


def _places(config, seed):
    plane = config.input_shape[2] * config.input_shape[3]
    return np.random.default_rng(seed).integers(0, plane, config.output_shape)


sides = st.integers(8, 70)
large_products = st.builds(lambda n, m, more: (n, BLAS // (n * m) + more, m), sides, sides, st.integers(1, 5))

# name: (configurations, what makes (function of tensors, arrays) of one)
CALLS = {
    "conv2d": (conv2d_configs(), _conv2d),
    "conv2d_input": (conv2d_configs(), _conv2d_input),
    "conv2d_weight": (conv2d_configs(), _conv2d_weight),
    "max_pool2d": (max_pool2d_configs(), _max_pool2d),
    "avg_pool2d": (avg_pool2d_configs(), _avg_pool2d),
    "avg_pool2d_input": (avg_pool2d_configs(), _avg_pool2d_input),
    "gather2d": (max_pool2d_configs(), _gather2d),
    "matmul": (large_products, _matmul),
    "gather2d_input": (max_pool2d_configs(), _gather2d_input),
}


def derivatives(function, arrays, seed=1, unit=1, device="cpu"):
    """The result, its gradients for a cotangent g, and the gradients of <v, gradients> by inputs and g, for a v.

    g and v are whole numbers times ``unit``.
    """

    def draw(*tensors):
        drawn = integral(seed, *(t.shape for t in tensors), dtype=tensors[0].dtype, unit=unit)
        return [Tensor(a).to(device) for a in drawn]

    tensors = [Tensor(a).to(device).requires_grad_(a.dtype.kind == "f") for a in arrays]
    inputs = [t for t in tensors if t.requires_grad]
    out = function(*tensors)
    [g] = draw(out)
    first = grad(out, inputs, g.requires_grad_(), create_graph=True)
    second = grad(first, [*inputs, g], draw(*first), allow_unused=True)
    return [t.cpu().detach().numpy() for t in (out, *first, *second) if t is not None]


def check(name, config, seed, dtype, device="cpu"):
    """Assert that compiled kernels give the reference's bits, in every derivative of the call."""
    function, arrays = CALLS[name][1](config, seed, dtype)
    unit = UNITS.get(name, 1)
    with kernels.use("reference"):
        expected = derivatives(function, arrays, unit=unit)
    with kernels.use("direct"):  # exact arithmetic only; kernels without one of this name have nothing else
        found = derivatives(function, arrays, unit=unit, device=device)
    assert len(found) == len(expected)
    for order, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.dtype == b.dtype == dtype, f"{name}: dtype of derivative {order}"
        assert a.shape == b.shape and a.tobytes() == b.tobytes(), f"{name}: derivative {order} differs"
