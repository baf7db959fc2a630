"""The classic mistakes in GANs and VAEs, each with the symptom by which one knows it."""

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet import autograd, nn, optim
from scratchnet.nn import functional as F
from scratchnet.testing.fixtures import DiscreteGAN, LinearGaussianVAE, gauss_hermite


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def rng(*seed):
    return np.random.default_rng(seed)


# Adversarial training. Points of a line, real ones around 2 and generated ones around -1.


def points(mean, n=64):
    return sn.tensor(rng(abs(mean)).normal(mean, 0.5, (n, 1)))


def discriminator(seed=0):
    g = rng(seed)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0, 0.2, generator=g)
    return net


def trained(net, loss, steps=1, lr=0.1):
    optimizer = optim.SGD(net.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(points(2)), net(points(-1))).backward()
        optimizer.step()
    return net


def margin(net):
    return (net(points(2)).mean() - net(points(-1)).mean()).item()


@pytest.mark.parametrize(
    "loss",
    [
        F.gan_discriminator_loss,
        F.least_squares_discriminator_loss,
        F.hinge_discriminator_loss,
        F.wasserstein_critic_loss,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("seed", range(3))
def test_inverted_labels_lower_the_margin(loss, seed):
    """Minimising V, or calling real images 0 and generated ones 1: each step takes real and fake farther apart, with
    the generated ones on the real side."""
    before = margin(discriminator(seed))
    assert margin(trained(discriminator(seed), loss, lr=0.01)) > before
    assert margin(trained(discriminator(seed), lambda real, fake: loss(fake, real), lr=0.01)) < before


@pytest.mark.parametrize("batch", ["real", "fake"])
def test_a_discriminator_without_zeros_believes_everything(batch):
    """Trained on ones alone, its loss goes to 0 all the same, and generated images come to count as real."""
    before = F.sigmoid(discriminator()(points(-1))).data.max()
    right = trained(discriminator(), F.gan_discriminator_loss, 100, lr=0.5)
    assert F.sigmoid(right(points(-1))).data.max() < 0.1 < 0.9 < F.sigmoid(right(points(2))).data.min()

    def ones_alone(real, fake):
        return F.non_saturating_generator_loss(real if batch == "real" else fake)  # -E log D

    wrong = trained(discriminator(), ones_alone, 100, lr=0.5)
    assert ones_alone(wrong(points(2)), wrong(points(-1))).item() < 0.05
    assert F.sigmoid(wrong(points(-1))).data.mean() > max(before, 0.6)


def test_the_best_answer_to_inverted_labels_is_the_odds_upside_down():
    """With labels exchanged the optimum is q / (p + q): D(x) + D'(x) = 1, at the same loss."""
    gan = DiscreteGAN.random(rng(1))
    logits = sn.tensor(-gan.optimal_logits, requires_grad=True)
    inverted = F.gan_discriminator_loss(logits[gan.fake], logits[gan.real])
    np.testing.assert_allclose(inverted.item(), -gan.optimal_value, atol=1e-12)
    np.testing.assert_allclose(autograd.grad(inverted, logits)[0].data, 0, atol=1e-15)
    np.testing.assert_allclose(F.sigmoid(logits).data, 1 - gan.optimal_discriminator, rtol=1e-12)


def generator_after(loss, steps=100):
    """A generator of 4-pixel images tanh(W z + b), after some steps on ``loss`` of its images."""
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh()).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0, 0.1, generator=rng(2))
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    z = sn.tensor(rng(3).standard_normal((32, 2)))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(z)).backward()
        optimizer.step()
    return net(z).data


def wants(image):
    """A discriminator that finds images real near one image."""
    return lambda x: 1 - ((x - sn.tensor(np.array(image))) ** 2).sum(1) * 4


def test_a_generator_trained_towards_ones_paints_white_whatever_the_data():
    """Its images themselves, not the discriminator's verdict on them, are compared with the target 1."""
    first, second = [0.5, -0.5, 0.5, -0.5], [-0.3, -0.3, 0.6, 0.6]
    for image in (first, second):
        judge = wants(image)
        right = generator_after(lambda x, judge=judge: F.non_saturating_generator_loss(judge(x)))
        np.testing.assert_allclose(right.mean(0), image, atol=0.05)
    wrong = generator_after(lambda x: F.mse_loss(x, sn.ones_like(x)))
    assert wrong.min() > 0.9


def test_a_generator_behind_a_detached_image_learns_nothing():
    judge, image = wants([0.5, 0.5]), sn.zeros(3, 2, dtype=np.float64, requires_grad=True)
    loss = F.non_saturating_generator_loss(judge(image.detach()))
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        loss.backward()
    to_image = autograd.grad(F.non_saturating_generator_loss(judge(image)), image)[0]
    assert np.abs(to_image.data).min() > 0
    own_loss = F.mse_loss(image, sn.ones_like(image))
    weight = sn.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="not reached from the outputs"):  # the discriminator is not in the loss
        autograd.grad(own_loss, weight)


def test_the_minimax_generator_stands_still_while_the_discriminator_wins():
    fake = sn.tensor(np.full(4, -12.0), requires_grad=True)
    weak, strong = (
        np.abs(autograd.grad(loss(fake), fake)[0].data).sum()
        for loss in (F.minimax_generator_loss, F.non_saturating_generator_loss)
    )
    assert weak < 1e-5 and strong > 0.999


# Variational autoencoders: a linear-Gaussian one, whose log p(x) and best encoder are known.

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
