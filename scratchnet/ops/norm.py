"""Normalisation. Batch norm is a fused kernel; the other norms are batch norm of a reshaped input."""

import math

import numpy as np

import kernels
from scratchnet.device import array_module
from scratchnet.ops.elementwise import square
from scratchnet.ops.reductions import mean
from scratchnet.ops.registry import Bad, S, op
from scratchnet.recording import constant, noted
from scratchnet.tensor import Tensor


def _per_channel(vector, ndim):
    """A (C,) vector shaped to broadcast along axis 1."""
    return vector.reshape((1, -1) + (1,) * (ndim - 2))


def _batch_norm_in_ops(input, weight, bias, *, eps):
    over = tuple(d for d in range(input.ndim) if d != 1)
    centred = input - mean(input, over, True)
    normal = centred / (mean(square(centred), over, True) + eps) ** 0.5
    return normal * _per_channel(weight, input.ndim) + _per_channel(bias, input.ndim)


def _batch_norm_by_loops(input, weight, bias, eps):
    out = np.zeros(input.shape)
    for c in range(input.shape[1]):
        values = input[:, c].ravel().tolist()
        centre = math.fsum(values) / len(values)
        spread = math.fsum((v - centre) ** 2 for v in values) / len(values)
        out[:, c] = (input[:, c] - centre) / math.sqrt(spread + eps) * weight[c] + bias[c]
    return out


_batch_norm_backward = noted(kernels.batch_norm_backward)


def _batch_norm_vjp(g, input, weight, mean, invstd):
    return tuple(map(Tensor, _batch_norm_backward(g, input, weight, mean, invstd)))


@op(
    vjp=_batch_norm_vjp,
    composite=_batch_norm_in_ops,
    aux=("mean", "invstd"),
    samples=lambda r: [
        S(r.normal(4, 3, 2, 2), r.normal(3), r.normal(3), eps=1e-5),
        S(r.normal(5, 2), r.normal(2), r.normal(2), eps=1e-2),
    ],
    reference=_batch_norm_by_loops,
    errors=lambda r: [
        Bad(
            ValueError,
            r"weight.*\(4,\)|\(3,\).*weight",
            S(r.normal(4, 3, 2, 2), r.normal(4), r.normal(3), eps=1e-5),
        ),
    ],
)
def batch_norm(input, weight, bias, /, eps):
    """weight (x - mean) / sqrt(var + eps) + bias with the batch's own mean and biased variance of each channel.

    Shapes: input (N, C, ...), weight and bias (C,) (Ioffe and Szegedy 2015).
    """
    return kernels.batch_norm(input, weight, bias, eps=eps)


def _normalise(input, groups, eps):
    """Mean 0 and variance 1 within each of ``groups`` groups of a sample's channels."""
    n = input.shape[0]
    unit = constant(array_module(input.data).ones(n * groups, input.dtype))
    rows = input.reshape((1, n * groups, math.prod(input.shape[1:]) // groups))
    return batch_norm(rows, unit, constant(np.zeros_like(unit)), eps).reshape(input.shape)


def _affine(normal, weight, bias):
    if weight is not None:
        normal = normal * _per_channel(weight, normal.ndim)
    return normal if bias is None else normal + _per_channel(bias, normal.ndim)


def _group_norm_by_loops(input, num_groups, weight=None, bias=None, eps=1e-5):
    out = np.zeros(input.shape)
    size = input.shape[1] // num_groups
    for n in range(input.shape[0]):
        for k in range(num_groups):
            part = slice(k * size, (k + 1) * size)
            unit, zero = np.ones(1), np.zeros(1)
            out[n, part] = _batch_norm_by_loops(input[n, part].reshape(1, 1, -1), unit, zero, eps).reshape(
                input[n, part].shape
            )
    shape = (1, -1) + (1,) * (input.ndim - 2)
    return out * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(2, 4, 3, 2), num_groups=2), S(r.normal(3, 6), num_groups=3, eps=1e-2)],
    reference=_group_norm_by_loops,
    errors=lambda r: [Bad(ValueError, "num_groups 2.*3 channels", S(r.normal(2, 3, 2), num_groups=2))],
)
def group_norm(input, /, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalise each group of channels of each sample (Wu and He 2018), then weight and bias per channel."""
    if input.shape[1] % num_groups:
        raise ValueError(f"group_norm: num_groups {num_groups} does not divide {input.shape[1]} channels")
    return _affine(_normalise(input, num_groups, eps), weight, bias)


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(2, 3, 4, 2)), S(r.normal(2, 3, 5), eps=1e-2)],
    reference=lambda input, eps=1e-5: _group_norm_by_loops(input, input.shape[1], eps=eps),
    errors=lambda r: [Bad(ValueError, r"more than one.*\(2, 3\)", S(r.normal(2, 3)))],
)
def instance_norm(input, /, weight=None, bias=None, eps=1e-5):
    """Normalise each channel of each sample (Ulyanov, Vedaldi and Lempitsky 2016), then weight and bias."""
    if math.prod(input.shape[2:]) <= 1:
        raise ValueError(f"instance_norm: expected more than one value per channel, got shape {input.shape}")
    return _affine(_normalise(input, input.shape[1], eps), weight, bias)


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(2, 3, 4), normalized_shape=(4,)),
        S(r.normal(2, 3, 4), normalized_shape=(3, 4), eps=1e-2),
    ],
    reference=lambda input, normalized_shape, eps=1e-5: _group_norm_by_loops(
        input.reshape(-1, 1, math.prod(normalized_shape)), 1, eps=eps
    ).reshape(input.shape),
    errors=lambda r: [Bad(ValueError, r"\(5,\).*\(2, 4\)", S(r.normal(2, 4), normalized_shape=(5,)))],
)
def layer_norm(input, /, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalise over the trailing axes ``normalized_shape`` (Ba, Kiros and Hinton 2016), then weight and bias."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if input.shape[input.ndim - len(shape) :] != shape:
        raise ValueError(f"layer_norm: normalized_shape {shape} is not the end of input shape {input.shape}")
    rows = input.reshape((-1, 1, math.prod(shape)))
    normal = _normalise(rows, 1, eps).reshape(input.shape)
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias
