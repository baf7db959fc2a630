"""Helpers for all parameters of a model at once: clip their gradients, pack them into one vector, count them."""

import math
from collections.abc import Iterable

import numpy as np

from scratchnet import ops
from scratchnet.autograd import no_grad
from scratchnet.device import array_module, on_host, one_device
from scratchnet.errors import explain
from scratchnet.recording import repeated
from scratchnet.tensor import Tensor


def _listed(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (total + 1e-6)); total is the norm of all of them as one vector.

    Each ``grad`` becomes a new tensor; the old array stays as it was. On a GPU nothing is read back, unless
    ``error_if_nonfinite`` asks for it.

    Returns:
        The total norm before clipping, as a 0-d tensor.

    Raises:
        ValueError: max_norm is negative, or the norm is not finite and ``error_if_nonfinite``.
        TypeError: the gradients are on several devices.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be a number of at least 0, got {max_norm}")
    return _clip_grad_norm(_listed(parameters), max_norm, norm_type, error_if_nonfinite)


@repeated
def _clip_grad_norm(parameters, max_norm, norm_type, error_if_nonfinite):
    parameters = [p for p in parameters if p.grad is not None]
    if not parameters:
        return Tensor(np.zeros((), np.float32))
    one_device("clip_grad_norm_", {f"the gradient of parameter {i}": p.grad.device for i, p in enumerate(parameters)})
    xp = array_module(parameters[0].grad.data)
    norms = [xp.linalg.norm(p.grad.data.ravel(order="K"), norm_type) for p in parameters]
    total = xp.linalg.norm(xp.stack([norm.astype(np.float64) for norm in norms]), norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"clip_grad_norm_: the norm of the gradients is {float(total)}")
    scale = np.minimum(max_norm / (total + 1e-6), 1.0)
    if not on_host(scale) or not scale >= 1:  # also where it is NaN
        for p in parameters:
            p.grad = Tensor(p.grad.data * scale.astype(p.dtype))
    return Tensor(xp.asarray(total, dtype=parameters[0].dtype))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]. Each ``grad`` becomes a new tensor."""
    if clip_value < 0:
        raise ValueError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    _clip_grad_value(_listed(parameters), clip_value)


@repeated
def _clip_grad_value(parameters, clip_value):
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor(np.clip(p.grad.data, -clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements in one vector, in order. Raises ValueError where there are no parameters."""
    return ops.cat([p.reshape((-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the elements of ``vec`` into the parameters, in order: the inverse of ``parameters_to_vector``.

    Raises:
        ValueError: the vector has another number of elements than the parameters.
    """
    parameters = list(parameters)
    count = sum(p.numel() for p in parameters)
    if vec.shape != (count,):
        raise ValueError(f"vector_to_parameters: expected a vector of shape ({count},), got {vec.shape}")
    start = 0
    with no_grad():
        for p in parameters:
            p.copy_(vec.data[start : start + p.numel()].reshape(p.shape))
            start += p.numel()


def count_parameters(module, trainable_only: bool = False) -> int:
    """Number of elements of all parameters, shared ones once; those without gradient left out on request."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


explain(globals())
