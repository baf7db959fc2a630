"""Initial values: exact bounds and structure; moments within 5 standard errors.

A sample mean of n draws has standard error sd / sqrt(n), a sample deviation of normal draws sd / sqrt(2 n). Each such
check fails for less than 1 seed in a million; with the fixed seeds used here, always or never.
"""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import init

SHAPE = (256, 128, 3, 5)
FAN_IN, FAN_OUT, COUNT = 128 * 15, 256 * 15, 256 * 128 * 15


def generator():
    return np.random.default_rng(0)


def filled(function, *args, shape=SHAPE, **options):
    tensor = sn.full(shape, math.nan)
    assert function(tensor, *args, **options) is tensor
    assert np.isfinite(tensor.data).all() and tensor.dtype == np.float32
    return tensor.data.astype(np.float64)


@pytest.mark.parametrize(
    ("function", "options", "bound"),
    [
        (init.uniform_, dict(a=-2, b=2), 2),
        (init.xavier_uniform_, {}, math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.xavier_uniform_, dict(gain=3), 3 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (init.kaiming_uniform_, dict(nonlinearity="relu"), math.sqrt(6 / FAN_IN)),
        (init.kaiming_uniform_, dict(a=math.sqrt(5)), 1 / math.sqrt(FAN_IN)),
        (init.kaiming_uniform_, dict(mode="fan_out", nonlinearity="tanh"), 5 / 3 * math.sqrt(3 / FAN_OUT)),
    ],
)
def test_uniform(function, options, bound):
    values = filled(function, generator=generator(), **options) / bound
    assert np.abs(values).max() <= 1 + 1e-7
    assert values.max() > 1 - 20 / COUNT and values.min() < -1 + 20 / COUNT  # fails once in e^10 seeds
    assert abs(values.mean()) < 5 / math.sqrt(3 * COUNT)
    assert abs((values**2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / COUNT)


@pytest.mark.parametrize(
    ("function", "options", "mean", "std"),
    [
        (init.normal_, dict(mean=1.5, std=0.02), 1.5, 0.02),
        (init.xavier_normal_, dict(gain=2), 0, 2 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.kaiming_normal_, dict(nonlinearity="relu"), 0, math.sqrt(2 / FAN_IN)),
        (init.kaiming_normal_, dict(a=0.2, mode="fan_out"), 0, math.sqrt(2 / 1.04 / FAN_OUT)),
    ],
)
def test_normal(function, options, mean, std):
    values = (filled(function, generator=generator(), **options) - mean) / std
    assert abs(values.mean()) < 5 / math.sqrt(COUNT)
    assert abs(values.std() - 1) < 5 / math.sqrt(2 * COUNT)
    assert 4 < np.abs(values).max() < 7  # tails there, and no outliers


def test_trunc_normal():
    values = filled(init.trunc_normal_, std=2.0, a=-1.0, b=3.0, generator=generator())
    assert values.min() >= -1 and values.max() <= 3
    phi, cdf = (
        (lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)),
        (lambda z: (1 + math.erf(z / math.sqrt(2))) / 2),
    )
    expected = 2 * (phi(-0.5) - phi(1.5)) / (cdf(1.5) - cdf(-0.5))
    assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(COUNT)
    with pytest.raises(ValueError, match="holds less than 1 %"):
        init.trunc_normal_(sn.zeros(2), a=3, b=4)


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4), (5, 2, 3, 3)])
def test_orthogonal(shape):
    matrix = filled(init.orthogonal_, 3.0, shape=shape, generator=generator()).reshape(shape[0], -1) / 3
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-6)


def test_orthogonal_is_uniform_in_sign():
    """Without the correction of signs the diagonal of Q has a bias: LAPACK's QR prefers one."""
    g = generator()
    diagonal = np.array([np.diag(init.orthogonal_(np.zeros((3, 3)), generator=g)) for _ in range(400)])
    # an entry has mean 0 and variance 1/3
    assert (np.abs(diagonal.mean(0)) < 5 / math.sqrt(3 * 400)).all()


def test_constants():
    assert (filled(init.constant_, 0.3, shape=(2,)) == np.float32(0.3)).all()
    assert filled(init.zeros_, shape=(2,)).tolist() == [0, 0] and filled(init.ones_, shape=(2,)).tolist() == [1, 1]
    assert filled(init.eye_, shape=(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_hands_channels_through(draw, groups):
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=groups, bias=False).double()
    init.dirac_(layer.weight, groups)
    x = draw(2, 4, 5, 4)
    np.testing.assert_array_equal(layer(x).data, x.data)


def test_gains():
    gains = [init.calculate_gain(n) for n in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")]
    assert gains == [1, 1, 1, 5 / 3, math.sqrt(2), math.sqrt(2 / 1.0001), 0.75]
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(300, 200), 300),
        (nn.Conv2d(8, 64, 5, groups=2), 4 * 25),
        (nn.ConvTranspose2d(64, 32, 4), 32 * 16),
    ],
    ids=["Linear", "Conv2d", "ConvTranspose2d"],
)
def test_default_initial_values(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    sn.manual_seed(1)
    layer.reset_parameters()
    assert bound * 0.99 < np.abs(layer.weight.data).max() <= bound * (1 + 1e-6)
    assert bound * 0.8 < np.abs(layer.bias.data).max() <= bound * (1 + 1e-6)
    assert layer.weight.dtype == np.float32


def test_seeds_and_default_dtype():
    def fresh():
        sn.manual_seed(7)
        return nn.Linear(3, 2)

    np.testing.assert_array_equal(fresh().weight.data, fresh().weight.data)
    sn.set_default_dtype(np.float64)
    try:
        wide = fresh()
    finally:
        sn.set_default_dtype(np.float32)
    assert wide.bias.dtype == np.float64
    np.testing.assert_array_equal(wide.weight.data.astype(np.float32), fresh().weight.data)
    assert nn.Conv2d(1, 1, 1, dtype=np.float64).weight.dtype == np.float64


def test_writing_is_no_part_of_a_graph_and_is_noticed():
    weight = nn.Parameter(np.ones(2))
    x = sn.tensor(np.ones(2), requires_grad=True)
    loss = (weight * x).sum()
    init.normal_(weight)
    assert weight.is_leaf and weight.requires_grad
    with pytest.raises(RuntimeError, match="modified in place"):
        loss.backward()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: init.xavier_uniform_(sn.zeros(3)), r"xavier_uniform_: fans need at least 2 dimensions.*\(3,\)"),
        (lambda: init.kaiming_normal_(sn.zeros(3, 3), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: init.calculate_gain("swish"), "nonlinearity must be leaky_relu, linear.*got 'swish'"),
        (lambda: init.normal_(sn.zeros(3), std=-1), "std must not be negative, got -1"),
        (lambda: init.trunc_normal_(sn.zeros(3), std=0), "std must be positive, got 0"),
        (lambda: init.eye_(sn.zeros(3)), r"expected 2 dimensions, got shape \(3,\)"),
        (lambda: init.orthogonal_(sn.zeros(3)), r"at least 2 dimensions, got shape \(3,\)"),
        (lambda: init.dirac_(sn.zeros(3, 2, 1), groups=2), r"for 2 groups, got shape \(3, 2, 1\)"),
    ],
)
def test_wrong_use(call, match):
    with pytest.raises(ValueError, match=match):
        call()
