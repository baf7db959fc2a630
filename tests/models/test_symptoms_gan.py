"""The classic mistakes in GANs, each with the symptom by which one knows it. See docs/generative.md."""

from typing import NamedTuple

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet import autograd, nn, optim
from scratchnet.nn import functional as F
from scratchnet.testing.fixtures import DiscreteGAN


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


def rng(*seed):
    return np.random.default_rng(seed)


# Points of a line, real ones around 2, generated ones around -1 at first.


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


def game(d_loss=F.gan_discriminator_loss, g_loss=F.non_saturating_generator_loss, every=1, shared=False):
    """Play with a generator a z + b, from N(-1, 0.5^2); what the last 20 of 120 steps are on average.

    ``every``: steps of the discriminator for one of the generator. ``shared``: the latter moves both.
    """
    noise, d, g = rng(10), discriminator(), nn.Linear(1, 1).double()
    g.weight.data[...], g.bias.data[...] = 0.5, -1
    d_optimizer, g_optimizer = (
        optim.Adam([p for net in nets for p in net.parameters()], lr=0.05, betas=(0.5, 0.999))
        for nets in ([d], [g, d] if shared else [g])
    )
    rows = []
    for step in range(120):
        real = sn.tensor(noise.normal(2, 0.5, (32, 1)))
        fake = g(sn.tensor(noise.standard_normal((32, 1))))
        seen = d_loss(d(real), d(fake.detach()))
        d_optimizer.zero_grad()
        seen.backward()
        d_optimizer.step()
        wanted = g_loss(d(fake))
        if step % every == every - 1:
            g_optimizer.zero_grad()
            wanted.backward()
            g_optimizer.step()
        rows.append([x.mean().item() for x in (fake, F.sigmoid(d(real)), F.sigmoid(d(fake)), seen, wanted)])
    return Game(*np.mean(rows[-20:], axis=0))


class Game(NamedTuple):
    """Where generated points are, D(x), D(G(z)), and both losses."""

    place: float
    real: float
    fake: float
    d_loss: float
    g_loss: float


def test_the_right_game_ends_near_the_data_at_the_losses_of_a_coin():
    right = game()
    assert right.place == pytest.approx(2, abs=0.3)
    assert right.real == pytest.approx(0.5, abs=0.05) and right.fake == pytest.approx(0.5, abs=0.05)
    assert right.d_loss == pytest.approx(np.log(4), abs=0.1) and right.g_loss == pytest.approx(np.log(2), abs=0.1)


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


def test_with_exchanged_labels_both_networks_win_and_the_images_run_away():
    wrong = game(d_loss=lambda real, fake: F.gan_discriminator_loss(fake, real))
    assert max(wrong.d_loss, wrong.g_loss) < 0.01
    assert wrong.real < 0.01 < 0.99 < wrong.fake and wrong.place < -1.5


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_with_a_discriminator_that_sees_ones_alone_the_generator_stops_where_it_happens_to_be(kind):
    def ones_alone(real, fake):
        return F.non_saturating_generator_loss(real if kind == "real" else fake)  # -E log D

    wrong = game(d_loss=ones_alone)
    assert wrong.fake > 0.99 and (kind == "fake" or wrong.real > 0.99)
    assert max(wrong.d_loss, wrong.g_loss) < 0.01 and abs(wrong.place - 2) > 1


def test_a_generator_that_moves_once_an_epoch_is_left_behind():
    wrong = game(every=100)
    assert wrong.fake < 0.01 and wrong.d_loss < 0.05 and wrong.g_loss > 5
    assert wrong.place == pytest.approx(-1, abs=0.2)


def test_a_discriminator_that_the_generators_step_moves_as_well_does_worse_than_a_coin():
    """It is pulled both ways on generated images, and only upward on real ones: it says "real" of everything."""
    wrong = game(shared=True)
    assert wrong.d_loss > np.log(4) + 0.1
    assert wrong.real == pytest.approx(wrong.fake, abs=0.05) and min(wrong.real, wrong.fake) > 0.65


def test_verdicts_that_broadcast_against_labels_are_all_the_mean_label():
    """(N, 1) - (N,) is (N, N): every verdict is compared with every label."""
    x = sn.cat([points(2), points(-1)], 0)
    labels = sn.tensor(np.repeat([1.0, 0.0], 64))
    verdicts = {}
    for target in (labels.reshape(-1, 1), labels):
        net = discriminator()
        optimizer = optim.Adam(net.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            ((net(x) - target) ** 2).mean().backward()
            optimizer.step()
        verdicts[target.shape] = net(x).data[:, 0]
    right, wrong = verdicts[128, 1], verdicts[128,]
    assert right[:64].mean() > 0.9 and right[64:].mean() < 0.1
    np.testing.assert_allclose(wrong, 0.5, atol=0.02)


def penalty(critic, real, fake):
    return F.gradient_penalty(critic, real, fake, mix=sn.tensor(rng(11).random(len(real))))


def penalty_on_the_batch(critic, real, fake):
    """10 (|grad D| - 1)^2, the norm being that of all samples together."""
    x = ((real + fake) * 0.5).requires_grad_()
    (slopes,) = autograd.grad(critic(x).sum(), x, create_graph=True)
    return 10.0 * (sn.sqrt((slopes**2).sum()) - 1.0) ** 2


@pytest.mark.parametrize(
    ("penalty", "least", "most"),
    [
        (penalty, -3.6, -2.5),  # W1 is 3, and the penalty is soft
        (lambda *args: 0.0, -np.inf, -20),
        (lambda *args: penalty(*args).detach(), -np.inf, -20),
        (penalty_on_the_batch, -1, 0),
    ],
    ids=["right", "none", "detached", "of the batch's norm"],
)
def test_a_critics_loss_is_a_distance_only_under_the_right_penalty(penalty, least, most):
    critic = discriminator()
    optimizer = optim.Adam(critic.parameters(), lr=0.1)
    real, fake = points(2), points(-1)
    for _ in range(60):
        loss = F.wasserstein_critic_loss(critic(real), critic(fake))
        optimizer.zero_grad()
        (loss + penalty(critic, real, fake)).backward()
        optimizer.step()
    assert least < loss.item() < most


def test_a_discriminator_that_is_not_told_the_label_lets_the_generator_exchange_the_classes():
    """Class 0 lies around 2, class 1 around -1; the generator draws each where the other one is."""
    x = sn.cat([points(2), points(-1)], 0)
    labels = sn.tensor(np.repeat([[1.0, 0.0], [0.0, 1.0]], 64, axis=0))
    anywhere = sn.tensor(rng(9).uniform(-3, 4, (128, 1)))
    loss = {}
    for told in (0.0, 1.0):
        net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        for parameter in net.parameters():
            nn.init.normal_(parameter, 0, 0.2, generator=rng(8))
        optimizer = optim.Adam(net.parameters(), lr=0.1)

        def verdict(x, labels, net=net, told=told):
            return net(sn.cat([x, labels * told], 1))

        for _ in range(60):
            optimizer.zero_grad()
            F.gan_discriminator_loss(verdict(x, labels), verdict(anywhere, labels)).backward()
            optimizer.step()
        loss[told] = [F.non_saturating_generator_loss(verdict(x, y)).item() for y in (labels, labels.flip(0))]
    assert loss[0.0][0] == pytest.approx(loss[0.0][1], rel=1e-12)
    assert loss[1.0][1] > loss[1.0][0] + 2


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


def wants(image, sharpness=4.0):
    """A discriminator that finds images real near one image."""
    return lambda x: 1 - ((x - sn.tensor(np.array(image))) ** 2).sum(1) * sharpness


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


def test_a_generator_that_is_its_own_target_never_moves():
    net = nn.Linear(2, 4).double()
    images = net(sn.tensor(rng(3).standard_normal((32, 2))))
    loss = F.mse_loss(images, images.detach())
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.data.any() for p in net.parameters())


LOSING = [F.minimax_generator_loss, lambda logits: -F.sigmoid(logits).mean()]


@pytest.mark.parametrize("loss", LOSING, ids=["minimax", "minus the output"])
def test_a_generator_stands_still_while_the_discriminator_wins(loss):
    """E log(1 - D) and -E D are flat where D is 0; -E log D is steepest there."""
    fake = sn.tensor(np.full(4, -12.0), requires_grad=True)
    weak, strong = (np.abs(autograd.grad(f(fake), fake)[0].data).sum() for f in (loss, F.non_saturating_generator_loss))
    assert weak < 1e-5 and strong > 0.999
    image = [0.5, -0.5, 0.5, -0.5]
    judge = wants(image, sharpness=100.0)
    arrived = generator_after(lambda x: F.non_saturating_generator_loss(judge(x)))
    np.testing.assert_allclose(arrived.mean(0), image, atol=0.05)
    untrained = generator_after(loss, steps=0)
    np.testing.assert_allclose(generator_after(lambda x: loss(judge(x)), steps=30), untrained, atol=1e-3)


@pytest.mark.parametrize("norm", [False, True])
def test_behind_batch_norm_a_tanh_paints_every_batch_equally_bright(norm):
    """A batch of codes that ask for bright images, then one for dark ones: the norm takes away what they ask for."""
    sn.manual_seed(0)
    layers = [nn.Linear(2, 4), *([nn.BatchNorm1d(4)] if norm else []), nn.Tanh()]
    net = nn.Sequential(*layers).double()
    nn.init.normal_(net[0].weight, 0, 0.5, generator=rng(1))
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    bright = sn.tensor(np.stack([np.ones(32), rng(2).standard_normal(32)], axis=1))
    batches = [(bright, 0.6), (-bright, -0.6)]
    for step in range(120):
        codes, brightness = batches[step % 2]
        optimizer.zero_grad()
        ((net(codes) - brightness) ** 2).mean().backward()
        optimizer.step()
    difference = net(bright).mean().item() - net(-bright).mean().item()
    assert difference == pytest.approx(0 if norm else 1.2, abs=0.05)


def test_an_optimiser_made_anew_in_every_step_never_comes_to_rest():
    """Adam's first step is the learning rate long whatever the gradient is; so then are all."""
    ends = {}
    for anew in (False, True):
        weight = sn.tensor([0.35], requires_grad=True)
        optimizer = optim.Adam([weight], lr=0.1)
        places = [weight.item()]
        for _ in range(150):
            optimizer = optim.Adam([weight], lr=0.1) if anew else optimizer
            optimizer.zero_grad()
            ((weight - 1.0) ** 2).sum().backward()
            optimizer.step()
            places.append(weight.item())
        ends[anew] = np.array(places)
    np.testing.assert_allclose(np.abs(np.diff(ends[True])), 0.1, rtol=1e-4)
    assert np.abs(ends[True][-20:] - 1).min() > 0.04 and np.abs(ends[False][-20:] - 1).max() < 0.01
