"""Variational autoencoders: sampling, the two heads, and that they learn."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import data, models, optim
from scratchnet.nn import functional as F

MODELS = [models.DenseVAE, models.PlaneVAE, models.ConvVAE, models.SmallConvVAE]


@pytest.fixture(scope="module")
def digits():
    drawn = data.Digits(train=True, size=128)
    return sn.tensor(np.stack([drawn[i][0] for i in range(len(drawn))]))


@pytest.mark.parametrize("make", MODELS)
def test_a_code_is_the_mean_plus_noise_times_the_standard_deviation(make, digits):
    sn.manual_seed(1)
    model, images = make().double(), digits[:5].double()
    noise = sn.tensor(np.random.default_rng(0).standard_normal((5, model.latent)))
    output, mu, log_var = model(images, noise=noise)
    assert output.shape == images.shape and mu.shape == log_var.shape == (5, model.latent)
    code = mu.data + np.exp(0.5 * log_var.data) * noise.data  # the root of the variance: not the variance
    np.testing.assert_allclose(output.data, model.decode(sn.tensor(code)).data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", MODELS)
def test_without_noise_it_is_an_autoencoder_and_with_noise_it_is_not(make, digits):
    sn.manual_seed(1)
    model, images = make(), digits[:3]
    mu, _ = model.encode(images)
    autoencoder = model.decode(mu)
    np.testing.assert_array_equal(model(images, noise=sn.zeros_like(mu))[0].data, autoencoder.data)
    first, again, other = (model(images, generator=np.random.default_rng(seed))[0].data for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any() and (first != autoencoder.data).any()


@pytest.mark.parametrize("make", MODELS)
def test_heads_and_output_are_linear(make):
    """A tanh on a head bounds the code, and a sigmoid on the output is the loss's: adding to a bias would do less."""
    sn.manual_seed(1)
    model, blank = make().double(), sn.zeros(1, 1, 28, 28).double()
    before = *model.encode(blank), model.decode(sn.zeros(1, model.latent).double())
    for bias in (model.mu.bias, model.log_var.bias, list(model.decoder.parameters())[-1]):
        bias.data[...] += 50
    after = *model.encode(blank), model.decode(sn.zeros(1, model.latent).double())
    for x, y in zip(before, after, strict=True):
        np.testing.assert_allclose(y.data - x.data, 50, rtol=1e-12)


@pytest.mark.parametrize("make", MODELS)
def test_gradients_reach_every_parameter(make, digits):
    sn.manual_seed(1)
    model = make()
    output, mu, log_var = model(digits[:8])
    F.negative_elbo(output, digits[:8], mu, log_var).backward()
    for name, p in model.named_parameters():
        assert np.isfinite(p.grad.data).all() and (p.grad.data != 0).any(), name


@pytest.mark.parametrize(
    ("make", "fall", "options"),
    [
        (models.DenseVAE, 250, {}),
        (models.PlaneVAE, 250, {}),
        (models.ConvVAE, 250, {}),
        (models.SmallConvVAE, 100, dict(likelihood="gaussian", std=0.3)),
    ],
)
def test_thirty_steps_on_digits_take_many_nats_off_the_loss(make, fall, options, digits):
    sn.manual_seed(1)
    model = make()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        output, mu, log_var = model(digits)
        loss = F.negative_elbo(output, digits, mu, log_var, **options)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert F.gaussian_kl(mu, log_var, reduction="none").data.min() >= 0
    assert losses[-1] < losses[0] - fall


def test_a_label_is_a_one_hot_part_of_the_image_and_of_the_code(digits):
    sn.manual_seed(1)
    model = models.ConditionalVAE(num_classes=3, latent=4, width=6).eval()
    images, labels = digits[:2], sn.tensor([2, 0])
    one_hot = np.array([[0, 0, 1], [1, 0, 0]], np.float32)
    output, mu, log_var = model(images, labels, noise=sn.ones(2, 4))
    seen = model.encoder(sn.tensor(np.concatenate([images.data.reshape(2, -1), one_hot], axis=1)))
    np.testing.assert_array_equal(mu.data, model.mu(seen).data)
    code = sn.cat([mu + sn.exp(log_var / 2), sn.tensor(one_hot)], dim=1)
    np.testing.assert_allclose(output.data, model.decoder(code).data, rtol=1e-5, atol=1e-6)
    other = model(images, sn.tensor([1, 1]), noise=sn.ones(2, 4))
    assert all((a.data != b.data).any() for a, b in zip((output, mu, log_var), other, strict=True))


@pytest.mark.parametrize(
    ("error", "match", "labels"),
    [
        (IndexError, r"labels 0\.\.3 are out of range for 3 classes", [0, 3]),
        (TypeError, "expected integers, got float32", [0.0, 1.0]),
        (ValueError, r"cat: shapes .* differ outside dim 1", [0]),
    ],
)
def test_wrong_labels(error, match, labels, digits):
    with pytest.raises(error, match=match):
        models.ConditionalVAE(3)(digits[:2], sn.tensor(labels))
