"""Identity, Linear, Flatten and Unflatten."""

import math

from scratchnet import ops
from scratchnet.creation import empty
from scratchnet.nn import checks, init
from scratchnet.nn import functional as F
from scratchnet.nn.module import Module, Parameter


class Identity(Module):
    """Hands its input through; takes and ignores any arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Linear(Module):
    """input @ weight.T + bias over the last axis: (*, in_features) to (*, out_features).

    weight (out_features, in_features) and bias (out_features,) start uniform in +-1 / sqrt(in_features).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None):
        super().__init__()
        checks.size("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        device = device or "cpu"
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype, device=device))
        self.bias = Parameter(empty(out_features, dtype=dtype, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Flatten(Module):
    """Axes start_dim to end_dim as one, in row-major order of the (N, C, H, W) shape."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis ``dim`` as several axes of sizes ``unflattened_size``, one of which may be -1.

    Raises:
        ValueError: in the call, where the numbers of elements differ; it names both.
    """

    def __init__(self, dim: int, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)
        if self.unflattened_size.count(-1) > 1 or any(n < 1 and n != -1 for n in self.unflattened_size):
            raise ValueError(
                f"Unflatten: unflattened_size must hold positive sizes and at most one -1, got {self.unflattened_size}"
            )

    def forward(self, input):
        checks.present("unflatten", input=input)
        dim = ops.shape.axis("unflatten", self.dim, input.ndim)
        given, inferred = input.shape[dim], -1 in self.unflattened_size
        known = math.prod(n for n in self.unflattened_size if n != -1)
        if given % known if inferred else given != known:
            raise ValueError(
                f"unflatten: expected {'a multiple of ' * inferred}{known} elements on dim {self.dim}, "
                f"got {given} (input shape {input.shape})"
            )
        sizes = [given // known if n == -1 else n for n in self.unflattened_size]
        return input.reshape((*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
