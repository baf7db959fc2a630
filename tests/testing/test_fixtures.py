"""Losses and samplers held against models of which theory says everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
import scratchnet as sn
from scratchnet import autograd, nn, optim
from scratchnet.nn import functional as F
from scratchnet.testing import derivative
from scratchnet.testing.fixtures import (
    DiscreteGAN,
    LinearGaussianVAE,
    Quadratic,
    gauss_hermite,
    gaussian_kl,
    gaussian_kl_by_sampling,
    kl_divergence,
)
from scratchnet.testing.statistics import StatisticalError, check_mean

SEEDS = st.integers(0, 2**32)
DISCRIMINATOR_LOSSES = {
    F.gan_discriminator_loss: (lambda gan: gan.optimal_logits, lambda gan: -gan.optimal_value),
    F.least_squares_discriminator_loss: (lambda gan: gan.optimal_discriminator, lambda gan: gan.least_squares_value),
    F.hinge_discriminator_loss: (lambda gan: np.sign(gan.p - gan.q), lambda gan: 2 - 2 * gan.total_variation),
    F.wasserstein_critic_loss: (lambda gan: gan.optimal_critic, lambda gan: -gan.wasserstein),
}


def rng(*seed):
    return np.random.default_rng(seed)


def loss_of(loss, gan, outputs):
    """A discriminator loss, of its outputs at the points."""
    outputs = outputs if isinstance(outputs, sn.Tensor) else sn.tensor(outputs)
    return loss(outputs[gan.real], outputs[gan.fake])


@pytest.mark.parametrize("loss", DISCRIMINATOR_LOSSES, ids=lambda f: f.__name__)
@given(seed=SEEDS, points=st.integers(1, 12))
def test_the_best_discriminator_reaches_the_value_of_theory(loss, seed, points):
    gan = DiscreteGAN.random(rng(seed), points)
    best, value = DISCRIMINATOR_LOSSES[loss]
    np.testing.assert_allclose(loss_of(loss, gan, best(gan)).item(), value(gan), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", DISCRIMINATOR_LOSSES, ids=lambda f: f.__name__)
@given(seed=SEEDS)
def test_no_other_discriminator_does_better(loss, seed):
    gan, g = DiscreteGAN.random(rng(seed)), rng(seed, 1)
    best, value = DISCRIMINATOR_LOSSES[loss]
    for size in (1e-3, 0.1, 10.0):
        other = best(gan) + size * g.standard_normal(len(gan.places))
        if loss is F.wasserstein_critic_loss:
            other /= max(1, np.abs(np.diff(other) / np.diff(gan.places)).max())  # back among slopes of at most 1
        assert loss_of(loss, gan, other).item() >= value(gan) - 1e-12


@pytest.mark.parametrize(
    "loss", [F.gan_discriminator_loss, F.least_squares_discriminator_loss], ids=lambda f: f.__name__
)
def test_the_gradient_vanishes_at_the_best_discriminator_alone(loss):
    gan = DiscreteGAN.random(rng(0))
    best = sn.tensor(DISCRIMINATOR_LOSSES[loss][0](gan), requires_grad=True)
    (gradient,) = autograd.grad(loss_of(loss, gan, best), best)
    np.testing.assert_allclose(gradient.data, 0, atol=1e-16)
    (gradient,) = autograd.grad(loss_of(loss, gan, best + 0.01), best)
    assert np.abs(gradient.data).min() > 1e-5


@pytest.mark.parametrize("loss", list(DISCRIMINATOR_LOSSES)[:3], ids=lambda f: f.__name__)
def test_training_comes_within_2_percent_of_the_value_of_theory(loss):
    gan = DiscreteGAN.random(rng(1))
    outputs = nn.Parameter(np.zeros(len(gan.places)))
    optimizer = optim.Adam([outputs], lr=0.1)
    with kernels.use("reference"):  # nothing to compile
        for _ in range(100):
            optimizer.zero_grad()
            loss_of(loss, gan, outputs).backward()
            optimizer.step()
    value = DISCRIMINATOR_LOSSES[loss][1](gan)
    assert value <= loss_of(loss, gan, outputs).item() <= 1.02 * value


@pytest.mark.parametrize(
    ("real", "fake", "value"),
    [([3, 1], [3, 1], -np.log(4)), ([2, 0, 5], [0, 3, 0], 0.0), ([1, 1, 0], [0, 1, 1], -np.log(4) + np.log(2))],
    ids=["equal", "disjoint", "half"],
)
def test_value_between_equal_and_disjoint_distributions(real, fake, value):
    gan = DiscreteGAN(np.array(real), np.array(fake), np.arange(len(real)))
    assert gan.optimal_value == pytest.approx(value, abs=1e-15)
    assert loss_of(F.gan_discriminator_loss, gan, gan.optimal_logits).item() == pytest.approx(-value, abs=1e-15)


def test_wasserstein_distance_of_moved_points():
    gan = DiscreteGAN(np.array([2, 0, 1, 0]), np.array([0, 2, 0, 1]), np.array([0.0, 0.5, 3.0, 4.0]))
    assert gan.wasserstein == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 1.0)


def generator_gradient(loss, gan, logits_q, outputs):
    """d/d theta of a generator's loss with q = softmax(theta), the discriminator held fixed."""
    theta = sn.tensor(logits_q, requires_grad=True)
    expected = (F.softmax(theta, 0) * loss(sn.tensor(outputs), reduction="none")).sum()
    return autograd.grad(expected, theta)[0].data


@given(seed=SEEDS)
def test_generators_descend_the_divergence_that_the_best_discriminator_measures(seed):
    """Minimax: 2 JSD (Goodfellow et al. 2014, theorem 1). Non-saturating: KL(q | p) - 2 JSD (Arjovsky and Bottou 2017,
    theorem 2.5). The discriminator is held fixed in the gradient."""
    gan = DiscreteGAN.random(rng(seed))
    direction = rng(seed, 1).standard_normal(len(gan.places))

    def divergences(t):
        q = gan.q * np.exp(t * direction)
        q /= q.sum()
        middle = (gan.p + q) / 2
        two_jsd = kl_divergence(gan.p, middle) + kl_divergence(q, middle)
        return two_jsd, kl_divergence(q, gan.p) - two_jsd

    for which, loss in enumerate((F.minimax_generator_loss, F.non_saturating_generator_loss)):
        gradient = generator_gradient(loss, gan, np.log(gan.q), gan.optimal_logits)
        slope, _ = derivative(lambda t, which=which: divergences(t)[which])
        np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-7, atol=1e-9)


@given(seed=SEEDS)
def test_elbo_reaches_log_likelihood_at_the_posterior_and_nowhere_else(seed):
    vae, g = LinearGaussianVAE.random(rng(seed), pixels=6, latents=3), rng(seed, 1)
    x = vae.sample(4, g)
    mean, covariance = vae.posterior(x)
    np.testing.assert_allclose(vae.elbo(x, mean, covariance), vae.log_likelihood(x), rtol=0, atol=1e-10)
    other = vae.elbo(x, mean + 0.1 * g.standard_normal(mean.shape), covariance * g.uniform(0.5, 2))
    assert (other < vae.log_likelihood(x)).all()


def loss_of_vae(vae, x, mu, log_var, nodes, beta=1.0):
    """-ELBO of every sample by the library's losses, the noise being quadrature nodes, with their weights."""
    points, weights = nodes
    codes = F.reparameterize(
        *(v.unsqueeze(0).expand(len(points), *v.shape) for v in (mu, log_var)),
        noise=sn.tensor(np.broadcast_to(points[:, None], (len(points), *mu.shape)).copy()),
    )
    means = codes @ vae.weight.T + vae.bias
    targets = sn.tensor(np.broadcast_to(x, means.shape).copy())
    flat = means.reshape(-1, x.shape[1]), targets.reshape(-1, x.shape[1])
    nll = F.gaussian_nll(*flat, std=vae.std, reduction="none").reshape(len(points), -1)
    return (nll * weights[:, None]).sum(0) + F.gaussian_kl(mu, log_var, reduction="none") * beta


def at_the_posterior(vae, x, beta=1.0):
    mean, covariance = vae.posterior(x, beta)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-14  # the columns are orthogonal
    log_var = np.broadcast_to(np.log(np.diag(covariance)), mean.shape).copy()
    return sn.tensor(mean, requires_grad=True), sn.tensor(log_var, requires_grad=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_librarys_elbo_is_log_likelihood_at_the_posterior(seed):
    vae = LinearGaussianVAE.random(rng(seed))
    x = vae.sample(3, rng(seed, 1))
    mu, log_var = at_the_posterior(vae, x)
    loss = loss_of_vae(vae, x, mu, log_var, gauss_hermite(2, 2))
    np.testing.assert_allclose(-loss.data, vae.log_likelihood(x), rtol=0, atol=1e-10)
    to_mu, to_log_var = autograd.grad(loss.sum(), [mu, log_var])
    np.testing.assert_allclose(to_mu.data, 0, atol=1e-13)
    np.testing.assert_allclose(to_log_var.data, 0, atol=1e-13)
    away = loss_of_vae(vae, x, mu + 0.1, log_var - 0.2, gauss_hermite(2, 2))
    np.testing.assert_allclose(
        -away.data, vae.elbo(x, mu.data + 0.1, np.diag(np.exp(log_var.data[0] - 0.2))), rtol=0, atol=1e-10
    )
    assert (away.data > loss.data).all()


def test_at_the_posterior_the_decoder_follows_the_likelihood():
    """Fisher's identity: there, the ELBO and log p(x) have one gradient by the decoder's weight."""
    vae = LinearGaussianVAE.random(rng(3))
    x, direction = vae.sample(3, rng(4)), rng(5).standard_normal(vae.weight.shape)
    mu, log_var = at_the_posterior(vae, x)
    weight = sn.tensor(vae.weight, requires_grad=True)
    decoder = LinearGaussianVAE(weight, vae.bias, vae.std)
    (gradient,) = autograd.grad(loss_of_vae(decoder, x, mu, log_var, gauss_hermite(2, 2)).sum(), weight)
    slope, error = derivative(
        lambda t: LinearGaussianVAE(vae.weight + t * direction, vae.bias, vae.std).log_likelihood(x).sum()
    )
    assert abs(-(gradient.data * direction).sum() - slope) < 1e-9 + 4 * error


@pytest.mark.parametrize("seed", range(3))
def test_gaussian_kl_agrees_with_sampling(seed):
    """Within 4 standard errors, which one seed in 16,000 exceeds."""
    g = rng(seed)
    mu, log_var = g.standard_normal((2, 5))
    closed = F.gaussian_kl(sn.tensor(mu[None]), sn.tensor(log_var[None])).item()
    assert closed == pytest.approx(gaussian_kl(mu[None], np.diag(np.exp(log_var)))[0], rel=1e-13)
    estimate, error = gaussian_kl_by_sampling(mu, log_var, 100_000, g)
    assert abs(estimate - closed) < 4 * error and error < 0.02 * closed
    swapped = F.gaussian_kl(sn.tensor(mu[None]), sn.tensor(2 * log_var[None])).item()
    assert abs(estimate - swapped) > 4 * error


def test_gauss_hermite_is_exact_on_polynomials():
    nodes, weights = gauss_hermite(3, 2)
    assert nodes.shape == (9, 2) and weights.sum() == pytest.approx(1, abs=1e-15)
    x, y = nodes.T
    for value, moment in ((x**4, 3), (x**2 * y**2, 1), (x**4 * y**4, 9), (x * y**3, 0), (x**5 * y, 0)):
        assert weights @ value == pytest.approx(moment, abs=1e-13)


def gradients_by_mu_and_log_var(f, mu, log_var, noise, weights, sample=F.reparameterize):
    """Of sum_i weights_i f(z_i), z_i being reparameterised with the noise's rows."""
    mu, log_var = (sn.tensor(v, requires_grad=True) for v in (mu, log_var))
    rows = (v.unsqueeze(0).expand(*noise.shape) for v in (mu, log_var))
    expected = (f(sample(*rows, noise=sn.tensor(noise))) * weights).sum()
    return expected.item(), *(g.data for g in autograd.grad(expected, [mu, log_var]))


@given(seed=SEEDS, size=st.integers(1, 3))
def test_reparameterised_gradients_are_bonnets_and_prices(seed, size):
    """Exactly: quadrature has no sampling error on a quadratic. d var / d log_var = var."""
    g = rng(seed)
    f, mu, log_var = Quadratic.random(g, size), *g.standard_normal((2, size))
    value, to_mu, to_log_var = gradients_by_mu_and_log_var(f, mu, log_var, *gauss_hermite(2, size))
    assert value == pytest.approx(f.expectation(mu, np.diag(np.exp(log_var))), rel=1e-11, abs=1e-11)
    np.testing.assert_allclose(to_mu, f.mean_gradient(mu), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(to_log_var, np.diag(f.covariance_gradient()) * np.exp(log_var), rtol=1e-11, atol=1e-11)


def test_bonnet_and_price_hold_beyond_quadratics():
    """f = exp(a z): E f = exp(a mu + a^2 var / 2), E f' = a E f, E f'' / 2 = a^2 E f / 2."""
    a, mu, log_var = 0.7, np.array([0.3]), np.array([-0.5])
    value, to_mu, to_log_var = gradients_by_mu_and_log_var(
        lambda z: sn.exp(z * a).sum(1), mu, log_var, *gauss_hermite(20, 1)
    )
    exact = np.exp(a * mu[0] + a**2 * np.exp(log_var[0]) / 2)
    np.testing.assert_allclose(
        [value, to_mu[0], to_log_var[0]], exact * np.array([1, a, a**2 / 2 * np.exp(log_var[0])]), rtol=1e-13
    )


def sampled_gradients(sample, f, mu, log_var, count, generator):
    """The gradient of f at every sample's own mu and log_var, (count, k) each."""
    many = [sn.tensor(np.tile(v, (count, 1)), requires_grad=True) for v in (mu, log_var)]
    gradients = autograd.grad(f(sample(*many, generator=generator)).sum(), many)
    return [g.data for g in gradients]


def test_reparameterised_gradients_agree_with_the_theorems_by_sampling():
    g = rng(11)
    f, mu, log_var = Quadratic.random(g), *g.standard_normal((2, 3))
    by_mu, by_log_var = sampled_gradients(F.reparameterize, f, mu, log_var, 50_000, g)
    spread = np.sqrt(np.diag(f.matrix @ np.diag(np.exp(log_var)) @ f.matrix))  # grad f is normal
    exact = np.diag(f.covariance_gradient()) * np.exp(log_var)
    for i in range(3):
        check_mean(by_mu[:, i], f.mean_gradient(mu)[i], std=spread[i])
        error = by_log_var[:, i].std() / np.sqrt(len(by_log_var))
        assert abs(by_log_var[:, i].mean() - exact[i]) < 5 * error


def std_for_variance(mu, log_var, generator=None, noise=None):
    noise = sn.tensor(generator.standard_normal(mu.shape)) if noise is None else noise
    return mu + sn.exp(log_var) * noise


def test_the_theorems_find_a_standard_deviation_taken_for_a_variance():
    g = rng(12)
    f, mu, log_var = Quadratic.random(g), g.standard_normal(3), np.array([-1.0, 0.5, 0.8])
    _, to_mu, to_log_var = gradients_by_mu_and_log_var(f, mu, log_var, *gauss_hermite(2, 3), sample=std_for_variance)
    np.testing.assert_allclose(to_mu, f.mean_gradient(mu), rtol=1e-12)  # the mean's gradient sees nothing
    wrong = to_log_var / (np.diag(f.covariance_gradient()) * np.exp(log_var))
    np.testing.assert_allclose(wrong, 2 * np.exp(log_var), rtol=1e-12)


def test_a_wrong_mean_gradient_is_found_by_sampling():
    g = rng(13)
    f, mu, log_var = Quadratic.random(g), *g.standard_normal((2, 3))
    by_mu, _ = sampled_gradients(F.reparameterize, f, mu, log_var, 50_000, g)
    spread = np.sqrt(np.diag(f.matrix @ np.diag(np.exp(log_var)) @ f.matrix))
    with pytest.raises(StatisticalError):
        check_mean(by_mu[:, 0], f.mean_gradient(mu)[0] + 0.1 * spread[0], std=spread[0])
