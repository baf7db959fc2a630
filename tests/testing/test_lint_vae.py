"""The lint finds the mistakes of published listings of VAEs, and nothing in what they should have been.

What each does to a training is shown in tests/models/test_symptoms_vae.py.
"""

import pytest
from watched import adam, descend, noise, rules

import kernels
import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import functional as F
from scratchnet.testing.lint import Lint


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def vae(*, likelihood="logits", loss=None, reparameterize=F.reparameterize, beta=1.0, shift=0.0, zero=None, **declared):
    sn.manual_seed(2)
    encoder = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 6))
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 20))
    model = nn.Sequential(encoder, decoder)
    if zero is not None:
        nn.init.zeros_(model[zero][2].weight)
        nn.init.zeros_(model[zero][2].bias)
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


def summed_over_the_batch(term, output, images, mu, log_var):
    """The KL is not averaged over the 32 images: beside a mean over pixels, beta is 20 * 32."""
    return term(output, images) + F.gaussian_kl(mu, log_var, reduction="sum")


def rewarded_for_misfit(term, output, images, mu, log_var):
    """min +E log p(x | z) + KL: the sign of the reconstruction is wrong."""
    return F.gaussian_kl(mu, log_var) - term(output, images, reduction="sum") / 32.0


def without_kl(term, output, images, mu, log_var):
    return term(output, images, reduction="sum") / 32.0


def wrong_likelihood(term, output, images, mu, log_var):
    return (output - images).abs().sum() / 32.0 + F.gaussian_kl(mu, log_var)


def of_standard_deviation(term, output, images, mu, log_var):
    """The KL takes log_var for the logarithm of the standard deviation."""
    return term(output, images, reduction="sum") / 32.0 + F.gaussian_kl(mu, log_var * 2.0)


def mean_alone(mu, log_var):
    """The decoder is given the mean; the log-variance is used by the KL only."""
    return mu + log_var * 0.0


def scaled_alone(mu, log_var):
    """x * std: no noise at all."""
    return mu * sn.exp(log_var * 0.5)


def variance_for_deviation(mu, log_var):
    return mu + sn.exp(log_var) * noise(*mu.shape, seed=9)


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
        {"zero": 0},
        {"zero": 1},
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
        ({"loss": summed_over_the_batch}, {"beta"}, "the effective beta is 640"),
        ({"reparameterize": mean_alone}, {"sampling"}, "nothing is sampled"),
        ({"reparameterize": scaled_alone}, {"deviation"}, "times the standard deviation exp(log_var / 2)"),
        ({"reparameterize": variance_for_deviation}, {"deviation"}, "of another standard deviation than z"),
        ({"reparameterize": tenth}, {"deviation"}, "times the standard deviation exp(log_var / 2)"),
        ({"loss": of_standard_deviation}, {"deviation"}, "of another standard deviation than z"),
        ({"loss": wrong_likelihood}, {"likelihood"}, "not that of the likelihood 'logits'"),
        ({"loss": rewarded_for_misfit}, {"likelihood"}, "not that of the likelihood 'logits'"),
        ({"shift": 0.5}, {"target"}, "Bernoulli targets lie in [0, 1], these in"),
    ],
)
def test_a_mistake_in_a_vae(options, found, words):
    lint = vae(**options)
    assert rules(lint) <= found and words in lint.report(), lint.report()


def test_what_is_declared_must_fit():
    with pytest.raises(ValueError, match="likelihood: expected 'logits', 'probabilities' or 'gaussian', got 'mse'"):
        vae(likelihood="mse", loss=lambda *args: args[1].sum())
