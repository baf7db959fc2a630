"""Initial values, written in place into a tensor or array, outside any graph; each function returns its argument.

``generator`` is a ``numpy.random.Generator``; without one the library's default one is used. Fans count the inputs
and outputs of one unit: (out, in, kH, kW) has fan_in = in kH kW and fan_out = out kH kW.
"""

import math

import numpy as np

from scratchnet import random
from scratchnet.autograd import no_grad
from scratchnet.errors import explain
from scratchnet.tensor import Tensor


def _write(tensor, values):
    if isinstance(tensor, Tensor):
        with no_grad():
            tensor.copy_(values)
    else:
        tensor[...] = values
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a non-linearity.

    1 for "linear", "conv2d", "conv_transpose2d" and "sigmoid", 5/3 for "tanh", sqrt(2) for "relu",
    sqrt(2 / (1 + param^2)) for "leaky_relu" (param 0.01 by default), 3/4 for "selu". Raises ValueError for others.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    gains = {"linear": 1.0, "conv2d": 1.0, "conv_transpose2d": 1.0, "sigmoid": 1.0}
    gains |= {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity must be leaky_relu, {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(name: str, tensor) -> tuple[int, int]:
    if len(tensor.shape) < 2:
        raise ValueError(f"{name}: fans need at least 2 dimensions, got shape {tensor.shape}")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def uniform_(tensor, a: float = 0.0, b: float = 1.0, generator=None):
    """Uniform in [a, b)."""
    return _write(tensor, random.chosen(generator).uniform(a, b, tensor.shape))


def normal_(tensor, mean: float = 0.0, std: float = 1.0, generator=None):
    """Normal with that mean and standard deviation. Raises ValueError for a negative ``std``."""
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    return _write(tensor, random.chosen(generator).normal(mean, std, tensor.shape))


def trunc_normal_(tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator=None):
    """Normal, with values outside [a, b] drawn again.

    Raises:
        ValueError: std is not positive, or [a, b] holds less than 1 % of the distribution.
    """
    if std <= 0:
        raise ValueError(f"trunc_normal_: std must be positive, got {std}")
    low, high = (0.5 * (1 + math.erf((bound - mean) / (std * math.sqrt(2)))) for bound in (a, b))
    if high - low < 0.01:
        raise ValueError(f"trunc_normal_: [{a}, {b}] holds less than 1 % of a normal with mean {mean} and std {std}")
    generator = random.chosen(generator)
    values = generator.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator.normal(mean, std, int(outside.sum()))
    return _write(tensor, values)


def constant_(tensor, val: float):
    """``val`` everywhere."""
    return _write(tensor, val)


def zeros_(tensor):
    return _write(tensor, 0)


def ones_(tensor):
    return _write(tensor, 1)


def eye_(tensor):
    """The identity matrix. Raises ValueError unless the tensor has 2 dimensions."""
    if len(tensor.shape) != 2:
        raise ValueError(f"eye_: expected 2 dimensions, got shape {tensor.shape}")
    return _write(tensor, np.eye(*tensor.shape))


def dirac_(tensor, groups: int = 1):
    """A convolution that hands its channels through: 1 at the kernel's centre where input is output channel.

    Raises ValueError unless the tensor has 3 to 5 dimensions and ``groups`` divides axis 0.
    """
    if not 3 <= len(tensor.shape) <= 5 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: expected a convolution's weight for {groups} groups, got shape {tensor.shape}")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    centre = tuple(k // 2 for k in tensor.shape[2:])
    for k in range(tensor.shape[0]):
        if k % per_group < tensor.shape[1]:
            values[(k, k % per_group, *centre)] = 1
    return _write(tensor, values)


def xavier_uniform_(tensor, gain: float = 1.0, generator=None):
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); Keras' glorot_uniform."""
    bound = gain * math.sqrt(6 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain: float = 1.0, generator=None):
    """Normal with std gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans("xavier_normal_", tensor))), generator)


def _kaiming_std(name, tensor, a, mode, nonlinearity) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None):
    """Uniform in +-gain sqrt(3 / fan) (He et al. 2015); ``a`` is the negative slope of leaky_relu.

    PyTorch's layers start from a = sqrt(5), which is +-1 / sqrt(fan_in).
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator=None):
    """Normal with std gain / sqrt(fan) (He et al. 2015)."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor, gain: float = 1.0, generator=None):
    """gain times a random matrix (axis 0 by all others) with orthonormal rows or columns, whichever are fewer.

    The Q of a normal matrix's QR, with signs that make it uniform (Saxe et al. 2014; Mezzadri 2007).
    Raises ValueError for fewer than 2 dimensions.
    """
    if len(tensor.shape) < 2:
        raise ValueError(f"orthogonal_: expected at least 2 dimensions, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    normal = random.chosen(generator).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


explain(globals())
