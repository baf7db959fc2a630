"""Compare gradients with difference quotients.

Each check draws a direction v and a cotangent u, both at random: with ones in their place, errors that cancel in
the sum (batch norm's, softmax's) stay unseen. It compares <u, J v>, by finite differences, with <J^T u, v>, by
the library. One number per input catches an error in any single entry; only on failure is every entry compared,
to say which is wrong.
"""

from collections.abc import Callable, Sequence

import numpy as np

from scratchnet.autograd import enable_grad, grad, is_grad_enabled, no_grad
from scratchnet.tensor import Tensor
from scratchnet.testing.numeric import derivative


class GradientError(AssertionError):
    """A gradient differs from the difference quotient by more than the latter's error."""


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence,
    *,
    seed: int = 0,
    directions: int = 2,
    rtol: float = 1e-9,
) -> bool:
    """Check the first-order gradients of ``function`` with respect to every floating input.

    Args:
        function: takes the inputs as tensors, returns one floating tensor. It must be smooth near them and must
            compute the same value each time.
        inputs: arrays or tensors; the floating ones must be float64 and are differentiated.
        seed: of the directions and cotangents.
        directions: how many of each are drawn for every input.
        rtol: tolerance beyond the estimated error of the difference quotient, relative to the size of the
            terms that are summed.

    Returns:
        True.

    Raises:
        GradientError: names the input, and the entry with the largest error with both values.
        TypeError: a floating input is not float64, or there is none.
    """
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if not floating or any(arrays[i].dtype != np.float64 for i in floating):
        raise TypeError(f"gradcheck: needs float64 inputs, got {[str(a.dtype) for a in arrays]}")
    generator = np.random.default_rng(seed)
    tensors = [Tensor(a, requires_grad=i in floating) for i, a in enumerate(arrays)]
    out = function(*tensors)
    for _ in range(directions):
        cotangent = generator.standard_normal(out.shape)
        analytic = grad(out, [tensors[i] for i in floating], Tensor(cotangent), retain_graph=True, allow_unused=True)
        for i, gradient in zip(floating, analytic, strict=True):
            direction = generator.standard_normal(arrays[i].shape)
            gradient = np.zeros_like(arrays[i]) if gradient is None else gradient.data
            _compare(function, arrays, i, gradient, direction, cotangent, rtol)
    return True


def gradgradcheck(function: Callable[..., Tensor], inputs: Sequence, *, seed: int = 0, **options) -> bool:
    """Check second order: ``gradcheck`` of the gradients, as a function of the inputs and of the cotangent."""
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    generator = np.random.default_rng([seed, 1])
    with no_grad():
        shape = function(*map(Tensor, arrays)).shape
    weights = [Tensor(generator.standard_normal(arrays[i].shape)) for i in floating]

    def weighted_gradients(cotangent, *xs):
        if not is_grad_enabled():  # the difference quotients need no second graph, but this inner one
            xs = [Tensor(x.data, requires_grad=i in floating) for i, x in enumerate(xs)]
        return _weighted_sum(function, xs, floating, cotangent, weights)

    return gradcheck(weighted_gradients, [generator.standard_normal(shape), *arrays], seed=seed, **options)


def _weighted_sum(function, xs, floating, cotangent, weights) -> Tensor:
    """sum_i <w_i, dL/dx_i> with L = <cotangent, function(xs)>, recorded."""
    with enable_grad():
        out = function(*xs)
        gradients = grad(out, [xs[i] for i in floating], cotangent, create_graph=True, allow_unused=True)
        total = (cotangent * 0.0).sum()
        for w, g in zip(weights, gradients, strict=True):
            if g is not None:
                total = total + (w * g).sum()
    return total


def _compare(function, arrays, i, gradient, direction, cotangent, rtol) -> None:
    def along(v):
        def phi(t):
            moved = [Tensor(a + t * v if j == i else a) for j, a in enumerate(arrays)]
            with no_grad():
                return float((function(*moved).data * cotangent).sum())

        return derivative(phi)

    numeric, error = along(direction)
    exact = float((gradient * direction).sum())
    size = float(np.abs(gradient * direction).sum()) + abs(numeric)
    if abs(exact - numeric) <= 4 * error + rtol * size + 1e-12:
        return
    raise GradientError(_blame(along, gradient, i, exact, numeric, error))


def _blame(along, gradient, i, exact, numeric, error) -> str:
    """Which entry is wrong: compare all of them, one at a time."""
    worst, lines = 0.0, ""
    for index in np.ndindex(gradient.shape):
        unit = np.zeros_like(gradient)
        unit[index] = 1
        value, _ = along(unit)
        if abs(value - gradient[index]) >= worst:
            worst = abs(value - gradient[index])
            lines = f"largest error at index {index}: gradient {gradient[index]:.10g}, numeric {value:.10g}"
    return (
        f"gradient of input {i} is wrong: along a random direction {exact:.10g}, "
        f"numeric {numeric:.10g} +- {error:.1g}; {lines}"
    )
