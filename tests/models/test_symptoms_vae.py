"""The classic mistakes in VAEs, each with the symptom by which one knows it. See docs/generative.md."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet import autograd, data, models, optim
from scratchnet.nn import functional as F
from scratchnet.testing.fixtures import LinearGaussianVAE, gauss_hermite


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def rng(*seed):
    return np.random.default_rng(seed)


# A dense one of four latents, trained on a few drawn digits, so small that its products take one thread.


class Seen(NamedTuple):
    """After training: nats an image, and the standard deviations of the means over the data and of q(z | x)."""

    kl: float
    nll_at_mean: float
    nll_of_sample: float
    spread: float
    deviation: float


@cache
def digits():
    drawn = data.Digits(train=True, size=32)
    return sn.tensor(np.stack([drawn[i][0] for i in range(len(drawn))]))


def right_sample(mu, log_var, noise):
    return mu + sn.exp(log_var * 0.5) * noise


def right_loss(logits, images, mu, log_var):
    return F.bernoulli_nll(logits, images) + F.gaussian_kl(mu, log_var)


@cache
def trained(loss=right_loss, sample=right_sample):
    sn.manual_seed(0)
    images, model, generator = digits(), models.DenseVAE(4, (10,), (10,)), rng(1)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)

    def noise():
        return sn.tensor(generator.standard_normal((len(images), 4)).astype(np.float32))

    for _ in range(100):
        mu, log_var = model.encode(images)
        optimizer.zero_grad()
        loss(model.decode(sample(mu, log_var, noise())), images, mu, log_var).backward()
        optimizer.step()
    with sn.no_grad():
        mu, log_var = model.encode(images)
        codes = (mu, right_sample(mu, log_var, noise()))
        nlls = (F.bernoulli_nll(model.decode(z), images).item() for z in codes)
        deviation = np.exp(log_var.data / 2).mean()
        return Seen(F.gaussian_kl(mu, log_var).item(), *nlls, mu.data.std(0).mean(), deviation)


def mean_image_nll():
    """What a decoder costs that ignores its code."""
    mean = digits().data.mean(0, dtype=np.float64)
    p = np.clip(mean, 1e-12, 1 - 1e-12)
    return -(mean * np.log(p) + (1 - mean) * np.log(1 - p)).sum()


def test_the_right_vae_keeps_its_codes_near_the_prior_and_knows_what_they_mean():
    right = trained()
    assert 4 < right.kl < 20 and right.spread**2 + right.deviation**2 == pytest.approx(1, abs=0.4)
    assert right.nll_of_sample < mean_image_nll() - 30


def averaged(logits, images, mu, log_var):
    return F.binary_cross_entropy_with_logits(logits, images) + F.gaussian_kl(mu, log_var)


def test_a_mean_over_pixels_collapses_the_posterior():
    """Beta is 784: q(z | x) is the prior, and every code is decoded to the mean image."""
    wrong = trained(averaged)
    assert wrong.kl < 0.01 and wrong.spread < 0.05 and wrong.deviation == pytest.approx(1, abs=0.02)
    assert wrong.nll_of_sample == pytest.approx(mean_image_nll(), abs=10)


def mean_alone(mu, log_var, noise):
    return mu


def test_without_noise_the_variance_is_the_priors_and_its_samples_mean_nothing():
    """Only the KL ever sees log_var, and wants it 0. Images come back from their means, not from samples of q."""
    wrong, right = trained(sample=mean_alone), trained()
    assert wrong.deviation == pytest.approx(1, abs=0.02)
    assert wrong.nll_at_mean < mean_image_nll() - 20
    assert wrong.nll_of_sample > wrong.nll_at_mean + 30
    assert right.nll_of_sample < right.nll_at_mean + 5


def test_without_the_kl_the_codes_are_points_far_apart():
    wrong, right = trained(lambda logits, images, mu, log_var: F.bernoulli_nll(logits, images)), trained()
    assert wrong.deviation < 0.1 and wrong.spread > 1.5 * right.spread and wrong.kl > 2 * right.kl


def test_the_reconstruction_with_the_wrong_sign_makes_images_as_unlikely_as_can_be():
    wrong = trained(lambda logits, images, mu, log_var: F.gaussian_kl(mu, log_var) - F.bernoulli_nll(logits, images))
    assert wrong.nll_at_mean > 10 * 784 * np.log(2)  # pixels of probability 1/2


def test_bernoulli_pixels_beyond_one_have_no_best_image():
    """-log p(2) falls without end as the logit grows; the library's likelihood refuses such a target."""
    logits, target = sn.tensor([[5.0], [50.0], [500.0]]), sn.full((3, 1), 2.0)
    nats = F.binary_cross_entropy_with_logits(logits, target, reduction="none").data.ravel()
    np.testing.assert_allclose(nats, [-5, -50, -500], rtol=1e-2)
    with pytest.raises(ValueError, match="target must lie between 0 and 1, got 2.0 to 2.0"):
        F.bernoulli_nll(logits, target)


# A linear-Gaussian one, whose log p(x) and best encoder are known.

VAE = LinearGaussianVAE.random(rng(4), pixels=8, latents=2)
DATA = VAE.sample(5, rng(5))
NODES, WEIGHTS = gauss_hermite(2, 2)  # exact for squared errors: no sampling anywhere below


def best_encoder(beta=1.0):
    """mu and log_var (5, 2), as leaves."""
    mean, covariance = VAE.posterior(DATA, beta)
    log_var = np.tile(np.log(np.diag(covariance)), (len(mean), 1))
    return [sn.tensor(v, requires_grad=True) for v in (mean, log_var)]


def expected_nll(mu, log_var, sample=F.reparameterize):
    """(5, 8): each pixel's E -log p(x | z)."""
    total = 0.0
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        z = sample(mu, log_var, noise=sn.tensor(np.tile(node, (len(mu), 1))))
        means = z @ VAE.weight.T + VAE.bias
        pixels = F.gaussian_nll(means.reshape(-1), sn.tensor(DATA.ravel()), std=VAE.std, reduction="none")
        total = pixels.reshape(DATA.shape) * weight + total
    return total


def std_for_variance(mu, log_var, noise):
    return mu + sn.exp(log_var) * noise


def test_a_standard_deviation_taken_for_a_variance_breaks_the_bound():
    """The "ELBO" comes out above log p(x), of which it is a lower bound: the KL term is of another law."""
    mu, log_var = best_encoder()
    assert log_var.data.max() < -0.1
    kl = F.gaussian_kl(mu, log_var, reduction="none")
    right = -(expected_nll(mu, log_var).sum(1) + kl).data
    wrong = -(expected_nll(mu, log_var, std_for_variance).sum(1) + kl).data
    np.testing.assert_allclose(right, VAE.log_likelihood(DATA), atol=1e-10)
    assert (wrong > VAE.log_likelihood(DATA) + 0.1).all()


def test_an_autoencoder_without_noise_is_no_vae():
    """z = mu: the same images from the same code every time, and again an "ELBO" above log p(x)."""
    mu, log_var = best_encoder()
    code, again = (F.reparameterize(mu, log_var, generator=rng(6), noise=sn.zeros_like(mu)) for _ in range(2))
    assert (code.data == mu.data).all() and (again.data == code.data).all()
    silent = expected_nll(mu, log_var, lambda mu, log_var, noise: mu).sum(1)
    assert (-(silent + F.gaussian_kl(mu, log_var, reduction="none")).data > VAE.log_likelihood(DATA)).all()


def mixed(mu, log_var):
    """The likelihood term averaged over pixels, the KL term summed over latents, both averaged over the batch."""
    return expected_nll(mu, log_var).mean() + F.gaussian_kl(mu, log_var)


def test_a_mean_over_pixels_beside_a_summed_kl_is_a_large_beta():
    """Its gradient vanishes at the encoder of beta = pixels, which knows less of x than the posterior does."""
    beta = F.effective_beta("mean", "batchmean", pixels=8, latents=2, batch_size=5)
    assert beta == 8
    collapsed, right = best_encoder(beta), best_encoder()
    for gradient in autograd.grad(mixed(*collapsed), collapsed):
        np.testing.assert_allclose(gradient.data, 0, atol=1e-14)
    assert max(np.abs(g.data).max() for g in autograd.grad(mixed(*right), right)) > 0.01
    assert F.gaussian_kl(*collapsed).item() < F.gaussian_kl(*right).item() / 3


def test_at_784_pixels_the_code_says_nothing():
    """The KL term is the information in the code: nats at beta 1, thousandths of a nat at beta 784."""
    mnist_like = LinearGaussianVAE.random(rng(7), pixels=784, latents=2)
    x = mnist_like.sample(200, rng(8))
    nats = {}
    for beta in (1, F.effective_beta("mean", "batchmean", pixels=784, latents=2, batch_size=200)):
        mean, covariance = mnist_like.posterior(x, beta)
        log_var = np.tile(np.log(np.diag(covariance)), (len(mean), 1))
        nats[beta] = F.gaussian_kl(sn.tensor(mean), sn.tensor(log_var)).item()
    assert nats[1] > 1 and nats[784.0] < 0.001
