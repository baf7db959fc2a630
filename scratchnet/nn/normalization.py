"""Normalisation layers: over the batch, a sample's channel, its groups, its last axes."""

import numpy as np

from scratchnet.creation import empty, zeros
from scratchnet.nn import checks, init
from scratchnet.nn import functional as F
from scratchnet.nn.module import Module, Parameter


def _reset(weight: Parameter | None, bias: Parameter | None) -> None:
    """Weights of one, biases of zero."""
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class _ChannelNorm(Module):
    """Per channel a weight and a bias, and running statistics; either may be left out."""

    layouts: tuple[tuple[str, ...], ...]  # the sizes after (N, C) that an input may have

    def __init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype, bias):
        super().__init__()
        checks.size(type(self).__name__, num_features=num_features)
        checks.number(type(self).__name__, 0, eps=eps)
        if momentum is not None:
            checks.probability(type(self).__name__, momentum=momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats

        def vector():
            return empty(num_features, dtype=dtype, device=device or "cpu")

        self.register_parameter("weight", Parameter(vector()) if affine else None)
        self.register_parameter("bias", Parameter(vector()) if affine and bias else None)
        self.register_buffer("running_mean", vector() if track_running_stats else None)
        self.register_buffer("running_var", vector() if track_running_stats else None)
        counter = zeros((), dtype=np.int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", counter)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
                buffer.fill_(value)

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def _check(self, input) -> None:
        name = type(self).__name__.lower()
        checks.present(name, input=input)
        layouts = [("N", self.num_features, *rest) for rest in self.layouts]
        checks.shape(name, input, *next((wanted for wanted in layouts if len(wanted) == input.ndim), layouts[0]))

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    """See ``functional.batch_norm`` for the formula.

    Args:
        eps: added to the variance.
        momentum: the weight of the newest statistics in the running ones (Keras' momentum m is 1 - m here); None
            keeps their plain average over all batches.
        affine: learn a weight (ones at first) and, unless ``bias`` is False, a bias (zeros) for each channel.
        track_running_stats: keep running_mean and running_var, which evaluation uses in place of the batch's own.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input):
        self._check(input)
        counted = self.training and self.running_mean is not None
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / (self.num_batches_tracked.item() + 1) if counted else 0.0
        own = self.training or self.running_mean is None
        out = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)
        if counted:
            self.num_batches_tracked.add_(1)
        return out


class BatchNorm1d(_BatchNorm):
    __doc__ = f"Batch norm of (N, C) or (N, C, L). {_BatchNorm.__doc__}"

    layouts = ((), ("L",))


class BatchNorm2d(_BatchNorm):
    __doc__ = f"Batch norm of (N, C, H, W). {_BatchNorm.__doc__}"

    layouts = (("H", "W"),)


class InstanceNorm2d(_ChannelNorm):
    """Normalise each channel of each sample of (N, C, H, W); see ``functional.instance_norm``.

    Arguments as BatchNorm2d's, with other defaults: neither weight and bias nor running statistics.
    """

    layouts = (("H", "W"),)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input):
        self._check(input)
        own = self.training or self.running_mean is None
        return F.instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum, self.eps
        )


class LayerNorm(Module):
    """Normalise over the last axes, of the sizes ``normalized_shape``, then weight and bias of that shape."""

    def __init__(
        self,
        normalized_shape,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        for n in shape:
            checks.size("LayerNorm", normalized_shape=n)
        checks.number("LayerNorm", 0, eps=eps)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        device = device or "cpu"
        self.weight = Parameter(empty(shape, dtype=dtype, device=device)) if elementwise_affine else None
        self.bias = Parameter(empty(shape, dtype=dtype, device=device)) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self.weight, self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalise each of ``num_groups`` groups of channels of each sample, then weight and bias for each channel."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device=None,
        dtype=None,
        *,
        bias: bool = True,
    ):
        super().__init__()
        checks.size("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        checks.number("GroupNorm", 0, eps=eps)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups must divide num_channels {num_channels}, got {num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        device = device or "cpu"
        self.weight = Parameter(empty(num_channels, dtype=dtype, device=device)) if affine else None
        self.bias = Parameter(empty(num_channels, dtype=dtype, device=device)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self.weight, self.bias)

    def forward(self, input):
        checks.present("group_norm", input=input)
        if input.ndim < 2 or input.shape[1] != self.num_channels:
            raise ValueError(f"group_norm: expected input (N, {self.num_channels}, ...), got shape {input.shape}")
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
