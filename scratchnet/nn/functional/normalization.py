"""Normalisation to mean 0 and variance 1: over the batch, a sample's channel, its groups, its last axes."""

import numpy as np

from scratchnet import ops
from scratchnet.device import array_module
from scratchnet.nn import checks
from scratchnet.recording import constant, noted
from scratchnet.tensor import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """weight (x - mean) / sqrt(var + eps) + bias for each channel of an (N, C, ...) input.

    In training, mean and (biased) var are the batch's own, and the running ones are updated in place:
    running = (1 - momentum) running + momentum batch, with the unbiased variance. That is PyTorch's convention:
    Keras' momentum m is 1 - m here, and its running variance biased. Otherwise mean and var are the running ones.
    All vectors have shape (C,) (Ioffe and Szegedy 2015).

    Raises:
        ValueError, TypeError: a shape or dtype does not fit, or a batch in training has one value a channel.
    """
    owner = "batch_norm"
    _check_channels(owner, input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(f"{owner}: running_mean and running_var are needed unless training")
        return _scale_and_shift(input, running_mean, running_var, weight, bias, eps)
    count = input.numel() // max(input.shape[1], 1)
    if count < 2:
        raise ValueError(f"{owner}: expected more than one value per channel in training, got shape {input.shape}")
    channels = input.shape[1]
    weight = constant(array_module(input.data).ones(channels, input.dtype)) if weight is None else weight
    bias = constant(np.zeros(channels, input.dtype, like=input.data)) if bias is None else bias
    out, (mean, invstd) = ops.batch_norm.with_aux(input, weight, bias, eps)
    _update(running_mean, mean, momentum)
    _update(running_var, _variance(invstd, eps=eps, scale=count / (count - 1)), momentum)
    return out


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm of every sample on its own (Ulyanov, Vedaldi and Lempitsky 2016), of an (N, C, ...) input.

    Running statistics, where given, take the mean of the samples' ones; without ``use_input_stats`` they replace
    them. Raises ValueError or TypeError as ``batch_norm``.
    """
    owner = "instance_norm"
    _check_channels(owner, input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(f"{owner}: running_mean and running_var are needed unless use_input_stats")
        return _scale_and_shift(input, running_mean, running_var, weight, bias, eps)
    out = ops.instance_norm(input, weight, bias, eps)
    plane = tuple(range(2, input.ndim))
    if input.shape[0] > 0:
        _update(running_mean, _plane_means(input, plane=plane), momentum)
        _update(running_var, _plane_variances(input, plane=plane), momentum)
    return out


def layer_norm(
    input: Tensor, normalized_shape, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the last axes, which have the sizes ``normalized_shape``; weight and bias have that shape too.

    (Ba, Kiros and Hinton 2016.) Raises ValueError or TypeError where a shape or dtype does not fit.
    """
    checks.floating("layer_norm", input=input, weight=weight, bias=bias)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            checks.shape("layer_norm", value, *shape, name=name)
    return ops.layer_norm(input, shape, weight, bias, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each of ``num_groups`` groups of channels of each sample of an (N, C, ...) input (Wu and He 2018).

    weight and bias are (C,). Raises ValueError or TypeError where a shape or dtype does not fit.
    """
    checks.size("group_norm", num_groups=num_groups)
    _check_channels("group_norm", input, weight=weight, bias=bias)
    return ops.group_norm(input, num_groups, weight, bias, eps)


def _check_channels(owner, input, **vectors) -> None:
    """The input is (N, C, ...), the vectors (C,), the dtype one."""
    checks.floating(owner, input=input, **vectors)
    if input.ndim < 2:
        raise ValueError(f"{owner}: expected input (N, C, ...), got shape {input.shape}")
    for name, vector in vectors.items():
        if vector is not None:
            checks.shape(owner, vector, input.shape[1], name=name)


def _scale_and_shift(input, mean, var, weight, bias, eps) -> Tensor:
    """Batch norm with fixed statistics is one affine map a channel."""
    scale = Tensor(_inverse_spread(var, eps=eps))
    scale = scale if weight is None else weight * scale
    shift = -(scale * mean.detach()) if bias is None else bias - scale * mean.detach()
    along = (1, -1) + (1,) * (input.ndim - 2)
    return input * scale.reshape(along) + shift.reshape(along)


@noted
def _inverse_spread(var, *, eps):
    return 1 / np.sqrt(var + eps)


@noted
def _variance(invstd, *, eps, scale):
    """The biased variance behind 1 / sqrt(variance + eps), times ``scale``."""
    return np.maximum(1 / np.square(invstd, dtype=np.float64) - eps, 0) * scale


@noted
def _plane_means(images, *, plane):
    return images.mean(plane).mean(0)


@noted
def _plane_variances(images, *, plane):
    return images.var(plane, ddof=1).mean(0)


def _update(running: Tensor | None, batch, momentum: float) -> None:
    """running = (1 - momentum) running + momentum batch, in place."""
    if running is not None:
        running.copy_(Tensor(_mixed(running, batch, momentum=momentum)))


@noted
def _mixed(running, batch, *, momentum):
    return running * (1 - momentum) + (momentum * batch).astype(running.dtype)
