"""Everything random in the library follows its declared law; a planted fault does not.

Seeds are fixed. Were they not, right code would fail less than one run in 1,000: some 700 checks at 1e-6 each.
"""

import inspect
import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.data import DataLoader, TensorDataset, transforms
from scratchnet.data.streams import SampleStreams
from scratchnet.nn import functional as F
from scratchnet.nn import init
from scratchnet.testing.statistics import (
    StatisticalError,
    check_bernoulli_rate,
    check_distribution,
    check_frequencies,
    check_mean,
    check_permutation_uniform,
    check_uniform,
    check_variance,
    normal_cdf,
)


def rng(*seed):
    return np.random.default_rng(seed)


# Dropout


def check_dropout(function, shape=(100, 500), p=0.25):
    """Zeros at the rate p, independently from row to row; the mean of the input kept."""
    out = function(sn.ones(*shape), p, generator=rng(0)).data
    check_mean(out, 1, bounds=(0, 1 / (1 - p)))
    check_bernoulli_rate(out == 0, p)
    check_bernoulli_rate((out[1::2] == 0) == (out[::2] == 0), p**2 + (1 - p) ** 2)


def without_scale(x, p, generator):
    return x * sn.tensor((generator.random(x.shape) >= p).astype(np.float32))


def keeping_p(x, p, generator):
    return x * sn.tensor((generator.random(x.shape) < p).astype(np.float32) / p)


def one_mask_for_the_batch(x, p, generator):
    return F.dropout(x[:1], p, generator=generator).expand(*x.shape)


@pytest.mark.parametrize("p", [0.01, 0.25, 0.5, 0.9])
def test_dropout(p):
    check_dropout(F.dropout, p=p)
    check_dropout(lambda x, p, generator: F.dropout2d(x.reshape(100, 500, 1, 1), p, generator=generator), p=p)


@pytest.mark.parametrize("fault", [without_scale, keeping_p, one_mask_for_the_batch])
def test_faults_of_dropout_are_found(fault):
    with pytest.raises(StatisticalError):
        check_dropout(fault)


@pytest.mark.parametrize("layer", [nn.Dropout(0.4, generator=rng(1)), nn.Dropout2d(0.4, generator=rng(1))])
def test_dropout_has_one_mask_forward_and_backward(layer):
    x = sn.ones(20, 10, 3, 3, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.data, out.data)
    assert set(np.unique(out.data)) == {np.float32(0), np.float32(1 / 0.6)}


# Initial values

SHAPE = (64, 32, 3, 5)
FAN_IN, FAN_OUT = 32 * 15, 64 * 15
BOTH = FAN_IN + FAN_OUT


def uniform_law(bound):
    return lambda values: (check_uniform(values, -bound, bound), check_mean(values, 0, bounds=(-bound, bound)))


def normal_law(std, mean=0.0):
    def check(values):
        check_mean(values, mean, std=std)
        check_variance(values, std**2, mean=mean)
        check_distribution(values, normal_cdf(mean, std))

    return check


def truncated_law(std, low, high):
    cdf = normal_cdf(0, std)
    below, inside = cdf(low), cdf(high) - cdf(low)
    return lambda values: check_distribution(values, lambda x: np.clip((cdf(x) - below) / inside, 0, 1))


LAWS = [  # (function, options, law of the values)
    (init.uniform_, dict(a=-0.2, b=0.2), uniform_law(0.2)),
    (init.normal_, dict(mean=1.5, std=0.02), normal_law(0.02, 1.5)),
    (init.trunc_normal_, dict(std=0.7, a=-0.5, b=1.0), truncated_law(0.7, -0.5, 1.0)),
    (init.xavier_uniform_, dict(gain=2), uniform_law(2 * math.sqrt(6 / BOTH))),
    (init.xavier_normal_, dict(gain=2), normal_law(2 * math.sqrt(2 / BOTH))),
    (init.kaiming_uniform_, dict(a=0.2), uniform_law(math.sqrt(6 / 1.04 / FAN_IN))),
    (init.kaiming_uniform_, dict(mode="fan_out", nonlinearity="relu"), uniform_law(math.sqrt(6 / FAN_OUT))),
    (init.kaiming_normal_, dict(nonlinearity="tanh"), normal_law(5 / 3 / math.sqrt(FAN_IN))),
    (init.kaiming_normal_, dict(mode="fan_out", nonlinearity="relu"), normal_law(math.sqrt(2 / FAN_OUT))),
]


def values_of(function, options):
    return function(sn.zeros(*SHAPE), **options, generator=rng(3)).data


@pytest.mark.parametrize(("function", "options", "law"), LAWS, ids=lambda v: getattr(v, "__name__", ""))
def test_initial_values_follow_their_law(function, options, law):
    values = values_of(function, options)
    law(values)
    same = values.reshape(64, -1) > np.median(values)
    check_bernoulli_rate(same[1::2] == same[::2], 0.5)  # no filter is a copy of its neighbour


def test_every_random_initialiser_is_tested():
    functions = inspect.getmembers(init, inspect.isfunction)
    random = {f for name, f in functions if name.endswith("_") and "generator" in inspect.signature(f).parameters}
    assert random == {function for function, _, _ in LAWS} | {init.orthogonal_}


def clipped_normal(tensor, std, a, b, generator):
    return init._write(tensor, generator.normal(0, std, tensor.shape).clip(a, b))


@pytest.mark.parametrize(
    ("function", "options", "law"),
    [
        (init.kaiming_uniform_, dict(mode="fan_out", a=0.2), uniform_law(math.sqrt(6 / 1.04 / FAN_IN))),
        (init.kaiming_normal_, dict(mode="fan_in", nonlinearity="relu"), normal_law(math.sqrt(2 / FAN_OUT))),
        (init.kaiming_normal_, dict(nonlinearity="relu"), normal_law(2 / FAN_IN)),
        (init.kaiming_uniform_, dict(nonlinearity="relu"), normal_law(math.sqrt(2 / FAN_IN))),
        (init.xavier_uniform_, dict(gain=1), uniform_law(math.sqrt(3 / BOTH))),
        (init.xavier_normal_, dict(gain=1), normal_law(math.sqrt(2 / BOTH) * 1.05)),
        (clipped_normal, dict(std=0.7, a=-0.5, b=1.0), truncated_law(0.7, -0.5, 1.0)),
    ],
    ids=["fan out for in", "fan in for out", "variance for std", "uniform for normal", "bound", "5 % off", "clipped"],
)
def test_wrong_initial_values_are_found(function, options, law):
    with pytest.raises(StatisticalError):
        law(values_of(function, options))


def check_haar(orthogonal):
    """Uniform 3 x 3 orthogonal matrices: each entry is uniform in [-1, 1] (Archimedes), each hand has rate 1/2."""
    g = rng(4)
    matrices = np.array([orthogonal(np.zeros((3, 3)), generator=g) for _ in range(2000)])
    for i in range(9):
        check_uniform(matrices[:, i // 3, i % 3], -1, 1)
    check_bernoulli_rate(np.linalg.det(matrices) > 0, 0.5)


def test_orthogonal_matrices_are_uniform():
    check_haar(init.orthogonal_)
    with pytest.raises(StatisticalError):
        check_haar(lambda m, generator: np.linalg.qr(generator.normal(size=m.shape)).Q)  # signs left to LAPACK


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(300, 200), 300),
        (lambda: nn.Conv2d(8, 64, 5), 200),
        (lambda: nn.ConvTranspose2d(64, 32, 4), 512),
    ],
    ids=["Linear", "Conv2d", "ConvTranspose2d"],
)
def test_layers_start_uniform(layer, fan_in):
    sn.manual_seed(5)
    weight = layer().weight.data
    check_uniform(weight, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
    with pytest.raises(StatisticalError):
        check_uniform(weight, -1 / math.sqrt(fan_in * 0.9), 1 / math.sqrt(fan_in * 0.9))


# The loader


def epochs(count, n=10, **options):
    loader = DataLoader(TensorDataset(np.arange(n)), batch_size=4, shuffle=True, generator=rng(6), **options)
    return np.array([np.concatenate([batch.data for (batch,) in loader]) for _ in range(count)])


@pytest.mark.parametrize("options", [{}, dict(prefetch=2)], ids=str)
def test_every_epoch_is_a_new_uniform_order(options):
    check_permutation_uniform(epochs(300, **options))


def test_a_loader_that_never_moves_the_last_element_is_found(monkeypatch):
    class Faulty(np.random.Generator):
        def permutation(self, n):
            return np.append(super().permutation(n - 1), n - 1)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Faulty(np.random.PCG64(seed)))
    with pytest.raises(StatisticalError, match="item 9 is at place 9 20 times in 20"):
        check_permutation_uniform(epochs(20))


def test_a_loader_that_repeats_its_order_is_found(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: np.random.Generator(np.random.PCG64(0)))
    with pytest.raises(StatisticalError):
        check_permutation_uniform(epochs(20))


def test_streams_are_uniform_and_normal():
    check_uniform(SampleStreams(1, np.arange(300)).random((300, 40)))
    normal_law(1.0)(SampleStreams(2, np.arange(300)).standard_normal((300, 40)))


# Augmentation: images of coordinates, which show where every pixel came from

N = 3000
PLACES = np.stack(np.meshgrid(np.arange(-4.0, 5), np.arange(-4.0, 5)))  # channel 0: x, channel 1: y, from the centre


def transformed(transform, image, n=N):
    """n copies of an image (C, H, W), each transformed by its own draws."""
    return transform(np.tile(image, (n, 1, 1, 1)), generator=rng(7))


def source_map(transform):
    """For each image, M and c of source = M place + c, read from the pixels around the centre: (N, 2, 2), (N, 2)."""
    out = transformed(transform, PLACES)
    centre = out[:, :, 4, 4]
    return np.stack([out[:, :, 4, 5] - centre, out[:, :, 5, 4] - centre], axis=2), centre


def test_rotation_angles_are_uniform():
    matrix, centre = source_map(transforms.RandomRotation((-10, 30)))
    angles = np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    check_uniform(angles, -10 - 1e-9, 30 + 1e-9)
    np.testing.assert_allclose(centre, 0, atol=1e-12)
    for low, high in ((-30, 10), (-10, 25), (-0.18, 0.53)):  # turned the other way, too little, radians for degrees
        with pytest.raises(StatisticalError):
            check_uniform(angles, low, high)


def test_affine_parameters_are_uniform():
    matrix, _ = source_map(transforms.RandomAffine(0, scale=(0.8, 1.5)))
    check_uniform(1 / matrix[:, 0, 0], 0.8 - 1e-9, 1.5 + 1e-9)
    matrix, _ = source_map(transforms.RandomAffine(0, shear=(-10, 20)))
    check_uniform(np.rad2deg(np.arctan(matrix[:, 0, 1])), -10 - 1e-9, 20 + 1e-9)
    _, centre = source_map(transforms.RandomAffine(0, translate=(0.2, 0.1)))
    check_uniform(centre[:, 0], -1.8, 1.8)
    check_uniform(centre[:, 1], -0.9, 0.9)
    check_bernoulli_rate((centre[:, 0] > 0) == (centre[:, 1] > 0), 0.5)


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_flips_have_their_rate(p):
    flipped = transformed(transforms.RandomHorizontalFlip(p), PLACES)[:, 0, 4, 0] > 0
    check_bernoulli_rate(flipped, p)
    check_bernoulli_rate(flipped[1::2] == flipped[::2], p**2 + (1 - p) ** 2)
    with pytest.raises(StatisticalError):
        check_bernoulli_rate(flipped, 0.7 * p)


def test_flips_in_the_loader_differ_from_epoch_to_epoch():
    images = np.tile(PLACES, (500, 1, 1, 1))
    loader = DataLoader(
        TensorDataset(images), 64, generator=rng(8), transform=transforms.RandomHorizontalFlip(0.3), prefetch=1
    )
    first, second = (np.concatenate([x.data[:, 0, 4, 0] > 0 for (x,) in loader]) for _ in range(2))
    check_bernoulli_rate(np.append(first, second), 0.3)
    check_bernoulli_rate(first == second, 0.3**2 + 0.7**2)


def test_crops_come_from_every_place_alike():
    corners = transformed(transforms.RandomCrop((7, 6)), PLACES)[:, :, 0, 0] + 4  # (x, y) of the upper left pixel
    check_frequencies(corners[:, 1] * 4 + corners[:, 0], np.full(12, 1 / 12))
    with pytest.raises(StatisticalError, match="label 3 occurs 0 times"):  # the last column left out
        check_frequencies(np.floor(rng(9).random(N) * 3) + 4 * rng(10).integers(0, 3, N), np.full(12, 1 / 12))


def test_colour_factors_are_uniform():
    jitter = transforms.ColorJitter
    grey = transformed(jitter(brightness=(0.6, 1.5)), np.full((1, 2, 2), 0.5))
    check_uniform(grey[:, 0, 0, 0] / 0.5, 0.6 - 1e-9, 1.5 + 1e-9)
    edge = transformed(jitter(contrast=0.4), np.array([[[0.4, 0.6]]]))
    check_uniform((edge[:, 0, 0, 1] - edge[:, 0, 0, 0]) / 0.2, 0.6 - 1e-9, 1.4 + 1e-9)
    colour = transformed(jitter(saturation=0.3), np.array([0.5, 0.4, 0.3]).reshape(3, 1, 1))
    check_uniform((colour[:, 0, 0, 0] - colour[:, 2, 0, 0]) / 0.2, 0.7 - 1e-9, 1.3 + 1e-9)


def test_noise_is_normal():
    noise = transformed(transforms.GaussianNoise(0.1, 0.3, clip=False), np.full((1, 2, 3), 0.5)) - 0.5
    normal_law(0.3, 0.1)(noise)
    with pytest.raises(StatisticalError):
        normal_law(0.3**2, 0.1)(noise)


def test_every_random_transform_is_tested():
    names = {n for n, c in vars(transforms).items() if inspect.isclass(c) and issubclass(c, transforms.RandomTransform)}
    assert names - {"RandomTransform"} == {
        "RandomHorizontalFlip",
        "RandomCrop",
        "RandomAffine",
        "RandomRotation",
        "ColorJitter",
        "GaussianNoise",
    }


# Generative models


def check_reparameterized(sample, mu, log_var, n, seed=0):
    """Samples of N(mu, exp(log_var)), standardised: mean 0, variance 1, and the normal distribution function."""
    z = sample(sn.full((n,), mu, dtype=np.float64), sn.full((n,), log_var, dtype=np.float64), generator=rng(11, seed))
    normal_law(1.0)((z.data - mu) / math.exp(log_var / 2))


def std_for_variance(mu, log_var, generator):
    return mu + sn.exp(log_var) * sn.tensor(generator.standard_normal(mu.shape))


def uniform_noise(mu, log_var, generator):
    return F.reparameterize(mu, log_var, noise=sn.tensor(generator.uniform(-(3**0.5), 3**0.5, mu.shape)))


def no_noise(mu, log_var, generator):
    return F.reparameterize(mu, log_var, noise=sn.zeros_like(mu))


@pytest.mark.parametrize("log_var", [-6.0, -0.3, 0.0, 0.3, 2.0])
def test_reparameterized_samples_follow_their_law(log_var):
    check_reparameterized(F.reparameterize, 0.7, log_var, 100_000)


@pytest.mark.parametrize("log_var", [-3.0, -0.35, 0.35, 2.0])
def test_a_standard_deviation_taken_for_a_variance_is_found_in_2000_samples(log_var):
    for seed in range(50):
        check_reparameterized(F.reparameterize, 0.7, log_var, 2000, seed)
        with pytest.raises(StatisticalError):
            check_reparameterized(std_for_variance, 0.7, log_var, 2000, seed)


@pytest.mark.parametrize("fault", [uniform_noise, no_noise])
def test_other_faults_of_sampling_are_found(fault):
    with pytest.raises(StatisticalError):
        check_reparameterized(fault, 0.7, -1.0, 10_000)


def test_the_gradient_penalty_mixes_uniformly():
    seen = []

    def critic(x):
        seen.append(x.data[:, 0])
        return x.sum(1)

    F.gradient_penalty(critic, sn.ones(N, 2), sn.zeros(N, 2), generator=rng(12))
    check_uniform(seen[0])
