"""Features of a known network, and the Fréchet and kernel distances in them."""

import itertools
import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import metrics, nn
from scratchnet.metrics import FeatureNetwork, Features, frechet_distance, frechet_gaussians, kernel_distance


def features(samples=60, size=4, shift=0.0, seed=0, network="a"):
    return Features(np.random.default_rng(seed).standard_normal((samples, size)) + shift, network)


def network(seed=0):
    sn.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))


IMAGES = np.random.default_rng(1).random((7, 1, 6, 6), np.float32)


def test_features_are_those_of_the_layer_in_eval_mode():
    model = network()
    model[1].eval()
    model[0].requires_grad_(False)
    found = FeatureNetwork(model, "small", "2", batch_size=3)(IMAGES)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert not model[2]._forward_hooks
    model.eval()
    expected = model[2](model[1](model[0](sn.Tensor(IMAGES)))).data.reshape(7, -1)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
    assert found.values.dtype == np.float64
    assert np.array_equal(FeatureNetwork(model, "small", batch_size=7)(IMAGES).values, model(sn.Tensor(IMAGES)).data)


def test_the_identity_has_name_layer_and_a_hash_of_all_weights():
    model = network()
    judge = FeatureNetwork(model, "small", "3")
    name, _, digits = judge.identity.partition("-")
    assert name == "small.3" and len(digits) == 16 and int(digits, 16) >= 0
    assert FeatureNetwork(network(), "small", "3").identity == judge.identity
    assert FeatureNetwork(network(1), "small", "3").identity != judge.identity
    model[1].running_mean.data[1] = np.nextafter(np.float32(0), np.float32(1))  # the smallest change of a buffer
    assert FeatureNetwork(model, "small", "3").identity != judge.identity
    with pytest.raises(ValueError, match="has other weights by now"):
        judge(IMAGES)


def test_a_layer_that_runs_twice_in_a_pass_has_no_features():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.activation = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x):
            return self.activation(self.layer(self.activation(x)))

    with pytest.raises(ValueError, match="layer 'activation' gave 14 rows of features for 7 images"):
        FeatureNetwork(Twice(), "twice", "activation")(np.ones((7, 4), np.float32))


def test_a_network_that_fails_is_left_as_it_was():
    model = network()
    with pytest.raises(ValueError):
        FeatureNetwork(model, "small", "3")(IMAGES[:, :, :5])
    assert model.training and not model[3]._forward_hooks


def test_frechet_distance_of_known_gaussians():
    a, b = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    for rotation in (np.eye(3), turn):  # commuting matrices: the sum of (σ1 - σ2)²
        found = frechet_gaussians([0, 0, 0], rotation @ a @ rotation.T, [3, 0, 4], rotation @ b @ rotation.T)
        np.testing.assert_allclose(found, 25 + 1 + 0 + 4, rtol=1e-12)


def test_frechet_distance_of_gaussians_that_do_not_commute():
    # In two dimensions the root of a product M has the trace √(tr M + 2 √det M).
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    trace = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    np.testing.assert_allclose(frechet_gaussians([0, 0], a, [0, 0], b), 5 + 6 - 2 * trace, rtol=1e-12)


def test_frechet_distance_of_singular_covariances():
    direction, other = np.array([3.0, 4.0, 0.0]), np.array([0.0, 1.0, 0.0])  # two lines: |a|² + |b|² - 2 |a·b|
    found = frechet_gaussians(np.zeros(3), np.outer(direction, direction), np.zeros(3), np.outer(other, other))
    np.testing.assert_allclose(found, 25 + 1 - 2 * 4, rtol=1e-12)
    point = np.zeros((3, 3))
    np.testing.assert_allclose(frechet_gaussians(np.zeros(3), point, np.ones(3), np.eye(3)), 3 + 3, rtol=1e-12)
    assert frechet_gaussians(np.zeros(3), point, np.zeros(3), point) == 0


def test_rounding_of_zero_eigenvalues_does_not_show():
    # Beside a full covariance, eigenvalues of 1e-16 in place of 0 would add their roots, of 1e-8.
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0][:, :3]
    flat = turn * [9.0, 4.0, 1.0] @ turn.T
    found = frechet_gaussians(np.zeros(20), flat, np.zeros(20), np.eye(20))
    np.testing.assert_allclose(found, 4 + 1 + 0 + 17, rtol=1e-12)


def test_frechet_distance_of_features():
    a = features(samples=6, size=10)  # fewer samples than features
    assert frechet_distance(a, a).value < 1e-12
    shifted = frechet_distance(a, Features(a.values + 2, "a"))
    np.testing.assert_allclose(shifted.value, 10 * 4, rtol=1e-12)
    scaled = frechet_distance(a, Features(a.values * 3, "a"))
    variance, mean = a.values.var(axis=0, ddof=1).sum(), a.values.mean(axis=0)
    np.testing.assert_allclose(scaled.value, 4 * variance + 4 * mean @ mean, rtol=1e-10)
    one = [Features([[0.0], [2.0]], "a"), Features([[5.0], [9.0]], "a")]  # means 1 and 7, variances 2 and 8
    np.testing.assert_allclose(frechet_distance(*one).value, 36 + 2, rtol=1e-12)
    assert str(shifted) == "Fréchet distance 40 in features of a, 6 against 6 samples"


def kernel_distance_by_loops(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n = len(x)
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in itertools.permutations(range(n), 2))
    return within / (n * (n - 1)) - 2 * sum(k(a, b) for a in x for b in y) / n**2


def test_kernel_distance_is_that_of_plain_loops():
    x, y = features(13, 3), features(19, 3, shift=0.5, seed=1)
    found = kernel_distance(x, y, subsets=3, generator=np.random.default_rng(5))
    generator = np.random.default_rng(5)
    rows, columns = generator.permutation(13), generator.permutation(19)
    parts = [kernel_distance_by_loops(x.values[rows[i : i + 4]], y.values[columns[i : i + 4]]) for i in range(0, 12, 4)]
    np.testing.assert_allclose(found.value, np.mean(parts), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, np.std(parts, ddof=1) / math.sqrt(3), rtol=1e-12)
    assert found.samples == (13, 19)


def test_kernel_distance_is_unbiased_and_its_error_honest():
    # Where the laws are equal the mean is 0 for every number of samples, and values scatter by their standard error.
    rng = np.random.default_rng(0)
    runs = [kernel_distance(features(40, seed=2 * i), features(40, seed=2 * i + 1), 5, rng) for i in range(300)]
    values, errors = np.array([(run.value, run.standard_error) for run in runs]).T
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(runs))
    assert 0.8 < np.sqrt(np.mean(errors**2)) / values.std() < 1.25
    assert np.mean(values < 0) > 0.2  # a biased estimate never is


def test_kernel_distance_sees_a_shift():
    found = kernel_distance(features(200), features(200, shift=0.7, seed=1), generator=np.random.default_rng(0))
    assert found.value > 5 * found.standard_error
    assert "Kernel distance" in str(found) and " ± " in str(found)


def test_distances_do_not_go_by_the_names_of_those_in_features_of_inception():
    found = [str(distance(features(), features(seed=1))) for distance in (frechet_distance, kernel_distance)]
    for text in (*metrics.__all__, *found):
        assert not {"fid", "kid", "inception"} & set(text.lower().replace("_", " ").split())
    assert all("in features of a, 60 against 60 samples" in text for text in found)


GOOD = features()
EYE = np.eye(2)
REFUSALS = {
    "two networks": (lambda: frechet_distance(GOOD, features(network="b")), ValueError, "in features of a, second in"),
    "arrays": (lambda: kernel_distance(GOOD.values, GOOD), TypeError, "first must be Features"),
    "sizes": (lambda: frechet_distance(GOOD, features(size=3)), ValueError, "4 features a sample, second 3"),
    "flat": (lambda: Features(np.zeros(3), "a"), ValueError, r"values must have shape \(N, D\).*got \(3,\)"),
    "one sample": (lambda: Features(np.zeros((1, 3)), "a"), ValueError, "at least 2 samples, got 1"),
    "infinite": (lambda: Features(np.full((2, 2), np.inf), "a"), ValueError, "NaN or infinity"),
    "nameless": (lambda: Features(EYE, ""), ValueError, "network must be the name of a network, got ''"),
    "subsets": (lambda: kernel_distance(GOOD, GOOD, subsets=1), ValueError, "subsets must be .* at least 2, got 1"),
    "few": (lambda: kernel_distance(GOOD, GOOD, subsets=31), ValueError, "31 subsets .* do not fit into 60 samples"),
    "generator": (lambda: kernel_distance(GOOD, GOOD, generator=1), TypeError, "generator"),
    "mean": (lambda: frechet_gaussians([0, 0], EYE, [0], EYE), ValueError, r"mean2 .* \(2,\), got \(1,\)"),
    "covariance": (lambda: frechet_gaussians([0], EYE, [0], EYE), ValueError, r"cov1 must have shape \(1, 1\)"),
    "asymmetric": (lambda: frechet_gaussians([0, 0], EYE, [0, 0], [[1, 1], [0, 1]]), ValueError, "cov2 must be symm"),
    "negative": (lambda: frechet_gaussians([0, 0], -EYE, [0, 0], EYE), ValueError, "cov1 .*has the eigenvalue -1"),
    "name": (lambda: FeatureNetwork(network(), ""), ValueError, "name must be a text"),
    "layer": (lambda: FeatureNetwork(network(), "a", "conv"), AttributeError, "'conv'"),
    "batch": (lambda: FeatureNetwork(network(), "a", batch_size=0), ValueError, "batch_size must be an integer of at"),
    "no weights": (lambda: FeatureNetwork(nn.Sequential(nn.ReLU()), "a"), ValueError, "Sequential has no weights"),
    "one image": (lambda: FeatureNetwork(network(), "a")(IMAGES[:1]), ValueError, r"N at least 2, got \(1, 1, 6, 6\)"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()
