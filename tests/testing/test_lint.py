"""The lint finds each mistake that is planted, and nothing in loops that are right.

The mistakes are those of published listings of GANs and VAEs, and those that everybody makes once. Others in these
listings, such as labels of another shape than the verdicts, the library refuses by itself.
"""

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet import nn, optim
from scratchnet.nn import functional as F
from scratchnet.testing.lint import Lint, LintError

N = 16


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def rules(lint):
    return {finding.rule for finding in lint.findings}


def noise(*shape, seed=0):
    return sn.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def descend(loss, *optimizers, zero=True):
    for optimizer in optimizers:
        if zero:
            optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def adam(model, lr=2e-3):
    return optim.Adam(model.parameters(), lr=lr, betas=(0.5, 0.999))


# A classifier


def classifier(step, *, steps=4, lr=1e-3):
    sn.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = adam(model, lr)
    lint = Lint({"model": model})
    with lint:
        for i in range(steps):
            step(model, optimizer, noise(N, 6, seed=i), sn.tensor(np.arange(N) % 3))
    return lint


def right_step(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optimizer)


def test_nothing_is_found_in_a_classifier():
    lint = classifier(right_step)
    lint.check()
    assert lint.findings == [] and lint.report() == "nothing found"


def no_zero_grad(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optimizer, zero=False)


def detached(model, optimizer, x, y):
    F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    optimizer.step()


def new_optimizer(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), adam(model))


def half_detached(model, optimizer, x, y):
    descend(F.cross_entropy(model[3](model[:3](x).detach()), y), optimizer)


def half_optimised(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y), optim.SGD(model[3].parameters(), lr=0.1, momentum=0.9))


def zero_gradient(model, optimizer, x, y):
    descend(F.cross_entropy(model(x), y) * 0.0, optimizer)


def broadcast(model, optimizer, x, y):
    descend(((model(x)[:, :1] - y.float()) ** 2).mean(), optimizer)


def no_step(model, optimizer, x, y):
    F.cross_entropy(model(x), y).backward()


@pytest.mark.parametrize(
    ("step", "rule", "words"),
    [
        (no_zero_grad, "accumulated", "zero_grad() is missing: model: 0.weight, 0.bias, 1.weight, 1.bias and 2 more"),
        (detached, "no-gradient", "a step on model found no gradient"),
        (new_optimizer, "restarted", "a new optimiser in every step"),
        (half_detached, "unreached", "no gradient ever arrives at these: model: 0.weight, 0.bias, 1.weight, 1.bias"),
        (half_optimised, "not-optimised", "no optimiser steps these: model: 0.weight, 0.bias, 1.weight, 1.bias"),
        (zero_gradient, "unreached", "every gradient is exactly 0: model: 0.weight"),
        (broadcast, "broadcast", "sub of shapes (16, 1) and (16,) gives (16, 16)"),
        (no_step, "no-step", "no optimiser took a step"),
    ],
)
def test_a_mistake_in_a_training_loop(step, rule, words):
    lint = classifier(step)
    found = [str(finding) for finding in lint.findings if finding.rule == rule]
    assert any(words in text for text in found), lint.report()
    with pytest.raises(LintError):
        lint.check()
    assert rules(lint) <= {rule, "unreached", "restarted"}, lint.report()


@pytest.mark.parametrize(("lr", "words"), [(5.0, "more than 0.5 of their norm"), (1e-9, "less than float32 can hold")])
def test_updates_out_of_proportion(lr, words):
    lint = classifier(right_step, lr=lr)
    assert rules(lint) == {"update"} and words in lint.report()


def test_a_mean_gradient_over_several_batches_is_no_mistake():
    def step(model, optimizer, x, y):
        optimizer.zero_grad()
        for half in (slice(0, 8), slice(8, 16)):
            (F.cross_entropy(model(x[half]), y[half]) * 0.5).backward()
        optimizer.step()

    assert classifier(step).findings == []


def test_zeros_in_place_of_none_are_no_mistake():
    def step(model, optimizer, x, y):
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    assert classifier(step).findings == []


def test_everything_is_as_before():
    before = sn.autograd.backward, sn.autograd._walk, optim.Optimizer.step
    classifier(right_step)
    with pytest.raises(ZeroDivisionError), Lint({}):
        raise ZeroDivisionError
    assert (sn.autograd.backward, sn.autograd._walk, optim.Optimizer.step) == before


# A GAN


class GAN:
    def __init__(self):
        sn.manual_seed(1)
        self.g = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 6), nn.Tanh())
        self.d = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.g_optimizer, self.d_optimizer = adam(self.g), adam(self.d)
        self.ones, self.zeros = sn.ones(N, 1), sn.zeros(N, 1)

    def verdict(self, images, target):
        return F.binary_cross_entropy_with_logits(self.d(images), target)

    def step(self, real, z):
        fake = self.g(z)
        descend(self.verdict(real, self.ones) + self.verdict(fake.detach(), self.zeros), self.d_optimizer)
        descend(self.verdict(fake, self.ones), self.g_optimizer)


def watch(gan, step, steps=4):
    lint = Lint({"generator": gan.g, "discriminator": gan.d})
    with lint:
        for i in range(steps):
            step(gan, noise(N, 6, seed=i), noise(N, 4, seed=100 + i))
    return lint


def two_backwards(gan, real, z):
    fake = gan.g(z)
    gan.d_optimizer.zero_grad()
    gan.verdict(real, gan.ones).backward()
    gan.verdict(fake.detach(), gan.zeros).backward()
    gan.d_optimizer.step()
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def frozen(gan, real, z):
    descend(gan.verdict(real, gan.ones) + gan.verdict(gan.g(z).detach(), gan.zeros), gan.d_optimizer)
    gan.d.requires_grad_(False)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)
    gan.d.requires_grad_(True)


def wasserstein(gan, real, z):
    fake = gan.g(z)
    penalty = F.gradient_penalty(gan.d, real, fake)
    descend(F.wasserstein_critic_loss(gan.d(real), gan.d(fake.detach())) + penalty, gan.d_optimizer)
    descend(F.wasserstein_generator_loss(gan.d(fake)), gan.g_optimizer)


def library_losses(gan, real, z):
    fake = gan.g(z)
    descend(F.gan_discriminator_loss(gan.d(real), gan.d(fake.detach())), gan.d_optimizer)
    descend(F.non_saturating_generator_loss(gan.d(fake)), gan.g_optimizer)


@pytest.mark.parametrize("step", [GAN.step, two_backwards, frozen, wasserstein, library_losses])
def test_nothing_is_found_in_a_gan(step):
    lint = watch(GAN(), step)
    assert lint.findings == [], lint.report()


def real_only(gan, real, z):
    """The second article's listing never shows the discriminator a generated image; nor does the last one's."""
    descend(gan.verdict(real, gan.ones), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def fake_as_real(gan, real, z):
    """A listing that shows the discriminator generated images alone, twice, labelled 1."""
    for _ in range(2):
        descend(gan.verdict(gan.g(z).detach(), gan.ones), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def towards_ones(gan, real, z):
    """The generator's images themselves are compared with ones."""
    fake = gan.g(z)
    descend(gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros), gan.d_optimizer)
    descend(F.mse_loss(fake, sn.ones(N, 6)), gan.g_optimizer)


def towards_itself(gan, real, z):
    """The generator's target is its own output."""
    fake = gan.g(z)
    descend(gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros), gan.d_optimizer)
    descend(F.mse_loss(gan.g(z), fake.detach()), gan.g_optimizer)


def detached_fake(gan, real, z):
    descend(gan.verdict(real, gan.ones) + gan.verdict(gan.g(z).detach(), gan.zeros), gan.d_optimizer)
    gan.g_optimizer.zero_grad()
    gan.verdict(gan.g(z).detach(), gan.ones).backward()
    gan.g_optimizer.step()


def discriminator_only(gan, real, z):
    """One step of the generator an epoch: none while these batches pass."""
    descend(gan.verdict(real, gan.ones) + gan.verdict(gan.g(z).detach(), gan.zeros), gan.d_optimizer)


def restarted(gan, real, z):
    """Compiled anew in every step, as the last article does."""
    gan.d_optimizer, gan.g_optimizer = adam(gan.d), adam(gan.g)
    gan.step(real, z)


def polluted(gan, real, z):
    """The discriminator keeps what the generator's step sent through it."""
    fake = gan.g(z)
    descend(gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros), gan.d_optimizer, zero=False)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def accidental(gan, real, z):
    """Verdicts of shape (N, 1) against labels of shape (N,)."""
    gan.step(real, z)
    _ = gan.d(real) - sn.ones(N)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (real_only, {"one-label"}),
        (fake_as_real, {"one-label"}),
        (towards_ones, {"independent"}),
        (towards_itself, {"independent", "unreached"}),
        (detached_fake, {"no-gradient", "unreached"}),
        (discriminator_only, {"never-updated", "not-optimised"}),
        (restarted, {"restarted"}),
        (polluted, {"accumulated"}),
        (accidental, {"broadcast"}),
    ],
)
def test_a_mistake_in_a_gan(step, found):
    lint = watch(GAN(), step)
    assert rules(lint) == found, lint.report()


# A VAE


def vae(*, likelihood="logits", loss=None, reparameterize=F.reparameterize, beta=1.0, shift=0.0, **declared):
    sn.manual_seed(2)
    encoder = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 6))
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 20))
    model = nn.Sequential(encoder, decoder)
    optimizer = adam(model)
    lint = Lint({"model": model})
    with lint:
        for i in range(3):
            images = sn.sigmoid(noise(32, 20, seed=i)) + shift
            code = encoder(images)
            mu, log_var = code[:, :3], code[:, 3:]
            z = reparameterize(mu, log_var)
            output = decoder(z)
            output = sn.sigmoid(output) if likelihood == "probabilities" else output
            terms = {
                "logits": F.binary_cross_entropy_with_logits,
                "probabilities": F.binary_cross_entropy,
                "gaussian": F.mse_loss,
            }
            total = (loss or summed)(terms.get(likelihood), output, images, mu, log_var)
            lint.vae(mu, log_var, z, output=output, target=images, likelihood=likelihood, beta=beta, **declared)
            descend(total, optimizer)
    return lint


def summed(term, output, images, mu, log_var, weight=1.0):
    return term(output, images, reduction="sum") / 32.0 + F.gaussian_kl(mu, log_var) * weight


def averaged(term, output, images, mu, log_var):
    """The reconstruction is averaged over pixels, the KL summed over latents: beta is 20, the number of pixels."""
    return term(output, images) + F.gaussian_kl(mu, log_var)


def without_kl(term, output, images, mu, log_var):
    return term(output, images, reduction="sum") / 32.0


def wrong_likelihood(term, output, images, mu, log_var):
    return (output - images).abs().sum() / 32.0 + F.gaussian_kl(mu, log_var)


def of_standard_deviation(term, output, images, mu, log_var):
    """The KL takes log_var for the logarithm of the standard deviation."""
    return term(output, images, reduction="sum") / 32.0 + F.gaussian_kl(mu, log_var * 2.0)


def tenth(mu, log_var):
    return mu + sn.exp(log_var * 0.5) * noise(*mu.shape, seed=9) * 0.1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"likelihood": "probabilities"},
        {"likelihood": "gaussian", "variance": 0.5},
        {"loss": lambda *args: summed(*args, weight=4.0), "beta": 4.0},
        {"loss": averaged, "beta": 20.0},
        {"loss": lambda *args: summed(*args) * 0.01},
    ],
)
def test_nothing_is_found_in_a_vae(options):
    lint = vae(**options)
    assert lint.findings == [], lint.report()


@pytest.mark.parametrize(
    ("options", "found", "words"),
    [
        ({"loss": averaged}, {"beta"}, "the effective beta is 20, declared is 1"),
        ({"loss": lambda *args: summed(*args, weight=4.0)}, {"beta"}, "the effective beta is 4, declared is 1"),
        ({"loss": without_kl}, {"beta", "deviation"}, "there is no KL"),
        ({"likelihood": "gaussian"}, {"beta"}, "the effective beta is 0.5"),
        ({"reparameterize": lambda mu, log_var: mu + log_var * 0.0}, {"sampling"}, "nothing is sampled"),
        ({"reparameterize": tenth}, {"deviation"}, "times the standard deviation exp(log_var / 2)"),
        ({"loss": of_standard_deviation}, {"deviation"}, "of another standard deviation than z"),
        ({"loss": wrong_likelihood}, {"likelihood"}, "not that of the likelihood 'logits'"),
        ({"shift": 0.5}, {"target"}, "Bernoulli targets lie in [0, 1], these in"),
    ],
)
def test_a_mistake_in_a_vae(options, found, words):
    lint = vae(**options)
    assert rules(lint) <= found and words in lint.report(), lint.report()


def test_what_is_declared_must_fit():
    with pytest.raises(ValueError, match="likelihood: expected 'logits', 'probabilities' or 'gaussian', got 'mse'"):
        vae(likelihood="mse", loss=lambda *args: args[1].sum())
