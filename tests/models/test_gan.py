"""The small pairs, the conditional pair and the critic: what they can and cannot see, and that they learn."""

import tracemalloc

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import data, models, nn, optim
from scratchnet.nn import functional as F

PAIRS = {
    "small": (models.SmallGenerator, models.SmallDiscriminator),
    "tiny": (models.TinyGenerator, models.LinearDiscriminator),
    "wide": (
        lambda: models.WideGenerator(features=4, image_size=20),
        lambda: models.WideDiscriminator(features=4, image_size=20, hidden=16),
    ),
    "dcgan": (lambda: models.Generator(features=4, image_size=28), lambda: models.Discriminator(1, 4, 28)),
    "wasserstein": (lambda: models.Generator(features=4, image_size=28), lambda: models.Critic(features=4)),
}


@pytest.fixture
def draw():
    generator = np.random.default_rng(0)
    return lambda *shape: sn.tensor(generator.standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_reach_the_generator_through_the_discriminator(name, draw):
    sn.manual_seed(1)
    generator, discriminator = (make() for make in PAIRS[name])
    fake = generator(draw(4, 100))
    logits = discriminator(fake)
    assert np.abs(fake.data).max() <= 1 and logits.shape == (4,)
    F.non_saturating_generator_loss(logits).backward()
    for model in (generator, discriminator):
        for key, p in model.named_parameters():
            assert np.isfinite(p.grad.data).all() and (p.grad.data != 0).any(), key


def test_the_small_discriminator_pads_at_the_end_as_tensorflow_does(draw):
    conv, x = models.SmallDiscriminator()[0], draw(2, 1, 28, 28)
    at_the_end = F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
    np.testing.assert_allclose(conv(x).data, at_the_end.data, rtol=1e-5, atol=1e-6)
    on_all_sides = F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1)
    assert conv(x).shape == on_all_sides.shape and np.abs(conv(x).data - on_all_sides.data).max() > 0.1


def test_the_small_discriminator_tells_digits_from_untrained_images():
    sn.manual_seed(2)
    digits = data.Digits(train=True, size=64)
    real = sn.tensor(np.stack([digits[i][0] for i in range(64)]) * 2 - 1)
    generator, discriminator = models.SmallGenerator(), models.SmallDiscriminator()
    optimizer = optim.Adam(discriminator.parameters(), lr=1e-3)
    fake = generator(sn.randn(64, 100)).detach()
    for _ in range(20):
        optimizer.zero_grad()
        F.gan_discriminator_loss(discriminator(real), discriminator(fake)).backward()
        optimizer.step()
    discriminator.eval()
    right = np.concatenate([discriminator(real).data > 0, discriminator(fake).data < 0])
    assert right.mean() > 0.95


def test_a_linear_discriminator_sees_nothing_but_means(draw):
    """The mean logit is the logit of the mean image: distributions of one mean are all the same to it."""
    discriminator, images = models.LinearDiscriminator().double(), draw(10, 3, 8, 8).double()
    mean = images.mean(0, keepdim=True)
    assert discriminator(images).mean().item() == pytest.approx(discriminator(mean).item(), rel=1e-12)
    real, collapsed = discriminator(images).mean(), discriminator(mean.expand((10, 3, 8, 8))).mean()
    assert F.wasserstein_critic_loss(real, collapsed).item() == pytest.approx(0, abs=1e-14)


def test_a_generator_against_it_learns_the_mean_image_and_no_more():
    """Real images are -0.5 or 0.9 everywhere, by a coin's toss: their mean 0.2 is learnt, their two modes are not."""
    sn.manual_seed(4)
    generator, discriminator = models.TinyGenerator(), models.LinearDiscriminator()
    opt_g, opt_d = (optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999)) for model in (generator, discriminator))
    coins = np.random.default_rng(5).integers(0, 2, (400, 64, 1, 1, 1))
    means = []
    for values in (1.4 * coins - 0.5).astype(np.float32):
        real, fake = sn.tensor(values).expand((64, 3, 8, 8)), generator(sn.randn(64, 100))
        opt_d.zero_grad()
        F.gan_discriminator_loss(discriminator(real), discriminator(fake.detach())).backward()
        opt_d.step()
        opt_g.zero_grad()
        F.non_saturating_generator_loss(discriminator(fake)).backward()
        opt_g.step()
        means.append(fake.data.mean(axis=0))
    assert np.abs(np.mean(means[200:], axis=0) - 0.2).max() < 0.1  # the game goes round its equilibrium
    assert fake.data.std(axis=0).max() < 0.5  # real images: 0.7


def test_the_wide_discriminator_trains_in_the_memory_of_four_copies():
    """Weights, gradients and Adam's two moments stay; a step holds one more copy at a time."""
    tracemalloc.start()
    try:
        model = models.WideDiscriminator()
        assert nn.utils.count_parameters(model) == 37_789_505
        copy = 4 * 37_789_505
        tracemalloc.reset_peak()
        optimizer = optim.Adam(model.parameters())
        F.non_saturating_generator_loss(model(sn.zeros(1, 3, 100, 100))).backward()
        optimizer.step()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4.05 * copy and peak < 5.05 * copy, f"{held / copy:.2f} and {peak / copy:.2f} copies"


def test_a_label_is_a_one_hot_part_of_the_code_and_a_plane_of_the_image(draw):
    sn.manual_seed(6)
    generator = models.ConditionalGenerator(num_classes=3, latent=5, features=2).eval()
    discriminator = models.ConditionalDiscriminator(num_classes=3, features=2).eval()
    z, labels = draw(2, 5), sn.tensor([2, 0])
    code = np.concatenate([z.data, [[0, 0, 1], [1, 0, 0]]], axis=1).astype(np.float32)
    images = generator(z, labels)
    np.testing.assert_array_equal(images.data, generator.generator(sn.tensor(code)).data)
    stack = np.zeros((2, 4, 28, 28), np.float32)
    stack[:, :1] = images.data
    stack[0, 3] = stack[1, 1] = 1
    logits = discriminator(images, labels)
    np.testing.assert_array_equal(logits.data, discriminator.discriminator(sn.tensor(stack)).data)
    other = sn.tensor([1, 1])
    assert (generator(z, other).data != images.data).any() and (discriminator(images, other).data != logits.data).all()


@pytest.mark.parametrize(
    ("error", "match", "labels"),
    [
        (IndexError, r"labels 0\.\.3 are out of range for 3 classes", [0, 3]),
        (TypeError, "expected integers, got float32", [0.0, 1.0]),
        (ValueError, r"cat: shapes .* differ outside dim 1", [0]),
    ],
)
def test_wrong_labels(error, match, labels, draw):
    with pytest.raises(error, match=match):
        models.ConditionalGenerator(3, 5, features=2)(draw(2, 5), sn.tensor(labels))
    with pytest.raises(error, match=match):
        models.ConditionalDiscriminator(3, features=2)(draw(2, 1, 28, 28), sn.tensor(labels))


def test_a_critics_score_does_not_depend_on_the_rest_of_the_batch(draw):
    images = draw(4, 1, 28, 28).double()
    critic, discriminator = models.Critic(features=4).double(), models.Discriminator(1, 4, 28).double()
    alone = [critic(images[i : i + 1]).item() for i in range(4)]
    np.testing.assert_allclose(critic(images).data, alone, rtol=1e-12)
    assert abs(discriminator(images)[0].item() - discriminator(images[:2])[0].item()) > 1e-6


def test_the_gradient_of_the_penalty_reaches_every_weight_of_the_critic(draw):
    """Against finite differences, along one random direction a weight: a second derivative through convolutions."""
    sn.manual_seed(7)
    critic = models.Critic(features=2).double()
    real, fake, mix = (draw(*shape).double() for shape in [(3, 1, 28, 28)] * 2 + [(3,)])

    def penalty():
        return F.gradient_penalty(critic, real, fake, mix=mix)

    penalty().backward()
    for name, p in critic.named_parameters():
        if name.endswith("weight"):
            direction, start, h = draw(*p.shape).data, p.data.copy(), 1e-6
            values = []
            for sign in (1, -1):
                p.data[...] = start + sign * h * direction
                values.append(penalty().item())
            p.data[...] = start
            slope = (values[0] - values[1]) / (2 * h)
            assert (p.grad.data * direction).sum() == pytest.approx(slope, rel=1e-5), name
