"""The lint finds the mistakes of published listings of GANs, and nothing in what they should have been.

Some mistakes of these listings the library refuses by itself, see ``test_wrong_shapes_are_refused``. What each does to
a training is shown in tests/models/test_symptoms_gan.py.
"""

import numpy as np
import pytest
from watched import N, adam, descend, noise, rules

import kernels
import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import functional as F
from scratchnet.testing.lint import Lint
from scratchnet.testing.lint_gan import Verdict, minus_probability, one_label


@pytest.fixture(autouse=True)
def _reference_kernels():
    """Nothing to compile."""
    with kernels.use("reference"):
        yield


class GAN:
    def __init__(self, *, sigmoid=False):
        sn.manual_seed(1)
        self.g = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 6), nn.Tanh())
        self.d = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.loss = F.binary_cross_entropy_with_logits
        if sigmoid:
            self.d.append(nn.Sigmoid())
            self.loss = F.binary_cross_entropy
        self.g_optimizer, self.d_optimizer = adam(self.g), adam(self.d)
        self.ones, self.zeros = sn.ones(N, 1), sn.zeros(N, 1)

    def verdict(self, images, target):
        return self.loss(self.d(images), target)

    def learn_to_judge(self, real, fake):
        descend(self.verdict(real, self.ones) + self.verdict(fake.detach(), self.zeros), self.d_optimizer)

    def step(self, real, z):
        fake = self.g(z)
        self.learn_to_judge(real, fake)
        descend(self.verdict(fake, self.ones), self.g_optimizer)


def watch(gan, step, steps=4):
    lint = Lint({"generator": gan.g, "discriminator": gan.d})
    with lint:
        for i in range(steps):
            step(gan, noise(N, 6, seed=i), noise(N, 4, seed=100 + i))
    return lint


# Right ones


def two_backwards(gan, real, z):
    fake = gan.g(z)
    gan.d_optimizer.zero_grad()
    gan.verdict(real, gan.ones).backward()
    gan.verdict(fake.detach(), gan.zeros).backward()
    gan.d_optimizer.step()
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def two_steps(gan, real, z):
    descend(gan.verdict(real, gan.ones), gan.d_optimizer)
    descend(gan.verdict(gan.g(z).detach(), gan.zeros), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def one_batch_of_both(gan, real, z):
    both = sn.cat([real, gan.g(z).detach()], 0)
    descend(gan.verdict(both, sn.cat([gan.ones, gan.zeros], 0)), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def frozen(gan, real, z):
    gan.learn_to_judge(real, gan.g(z))
    gan.d.requires_grad_(False)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)
    gan.d.requires_grad_(True)


def real_is_zero(gan, real, z):
    """The other convention, followed throughout."""
    fake = gan.g(z)
    descend(gan.verdict(real, gan.zeros) + gan.verdict(fake.detach(), gan.ones), gan.d_optimizer)
    descend(gan.verdict(fake, gan.zeros), gan.g_optimizer)


def smooth_labels(gan, real, z):
    fake = gan.g(z)
    descend(gan.verdict(real, gan.ones * 0.9) + gan.verdict(fake.detach(), gan.zeros), gan.d_optimizer)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def penalised(gan, real, z):
    """The penalty asks the discriminator for slopes, which is no verdict."""
    fake = gan.g(z)
    loss = gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros)
    descend(loss + F.r1_penalty(gan.d, real, gamma=1000.0), gan.d_optimizer)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def of_the_library(d_loss, g_loss, penalty=None):
    def step(gan, real, z):
        fake = gan.g(z)
        loss = d_loss(gan.d(real), gan.d(fake.detach()))
        descend(loss if penalty is None else loss + penalty(gan.d, real, fake), gan.d_optimizer)
        descend(g_loss(gan.d(fake)), gan.g_optimizer)

    step.__name__ = f"{d_loss.__name__}-{g_loss.__name__}"
    return step


least_squares = of_the_library(F.least_squares_discriminator_loss, F.least_squares_generator_loss)
RIGHT = [
    GAN.step,
    two_backwards,
    two_steps,
    one_batch_of_both,
    frozen,
    real_is_zero,
    smooth_labels,
    least_squares,
    of_the_library(F.gan_discriminator_loss, F.non_saturating_generator_loss),
    of_the_library(F.gan_discriminator_loss, F.minimax_generator_loss, lambda d, real, fake: F.r1_penalty(d, real)),
    of_the_library(F.hinge_discriminator_loss, F.hinge_generator_loss),
    of_the_library(F.wasserstein_critic_loss, F.wasserstein_generator_loss, F.gradient_penalty),
]


@pytest.mark.parametrize("step", RIGHT, ids=lambda step: step.__name__)
def test_nothing_is_found_in_a_gan(step):
    lint = watch(GAN(), step)
    assert lint.findings == [], lint.report()


@pytest.mark.parametrize(
    "step", [GAN.step, two_steps, real_is_zero, smooth_labels, penalised], ids=lambda step: step.__name__
)
def test_nothing_is_found_in_a_gan_of_probabilities(step):
    lint = watch(GAN(sigmoid=True), step)
    assert lint.findings == [], lint.report()


@pytest.mark.parametrize("step", [least_squares, one_batch_of_both], ids=lambda step: step.__name__)
@pytest.mark.parametrize("start", [-3.0, 3.0])
def test_scores_beyond_both_labels_are_no_mistake(step, start):
    """Least squares then push all verdicts the same way, though they have two labels."""
    gan = GAN()
    nn.init.constant_(gan.d[2].bias, start)
    lint = watch(gan, step)
    assert lint.findings == [], lint.report()


# Mistakes


def real_alone(gan, real, z):
    """The discriminator is fitted to real images, labelled 1, and never sees another."""
    descend(gan.verdict(real, gan.ones), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def classes_for_labels(gan, real, z):
    """The discriminator is fitted to real images and their classes, 0 to 9."""
    classes = sn.tensor(np.arange(N) % 10).float().reshape(N, 1)
    descend(gan.verdict(real, classes), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def generated_alone(gan, real, z):
    """The discriminator is shown generated images alone, twice, labelled 1."""
    for _ in range(2):
        descend(gan.verdict(gan.g(z).detach(), gan.ones), gan.d_optimizer)
    descend(gan.verdict(gan.g(z), gan.ones), gan.g_optimizer)


def all_are_real(gan, real, z):
    """Both kinds of images, all labelled 1."""
    fake = gan.g(z)
    descend(gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.ones), gan.d_optimizer)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def labels_exchanged(gan, real, z):
    fake = gan.g(z)
    descend(gan.verdict(real, gan.zeros) + gan.verdict(fake.detach(), gan.ones), gan.d_optimizer)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def value_minimised(gan, real, z):
    """min over D of E log D(x) + E log(1 - D(G(z))), which D is to maximise; the generator is right."""
    fake = gan.g(z)
    descend(-F.gan_discriminator_loss(gan.d(real), gan.d(fake.detach())), gan.d_optimizer)
    descend(F.non_saturating_generator_loss(gan.d(fake)), gan.g_optimizer)


def critic_negated(gan, real, z):
    fake = gan.g(z)
    descend(-F.wasserstein_critic_loss(gan.d(real), gan.d(fake.detach())), gan.d_optimizer)
    descend(F.wasserstein_generator_loss(gan.d(fake)), gan.g_optimizer)


def critic_of_one_kind(gan, real, z):
    fake = gan.g(z)
    penalty = F.gradient_penalty(gan.d, real, fake)
    descend(penalty - gan.d(real).mean(), gan.d_optimizer)
    descend(F.wasserstein_generator_loss(gan.d(fake)), gan.g_optimizer)


def towards_ones(gan, real, z):
    """The generator's images themselves are compared with ones."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    descend(F.mse_loss(fake, sn.ones(N, 6)), gan.g_optimizer)


def towards_itself(gan, real, z):
    """The generator's target is its own output."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    descend(F.mse_loss(gan.g(z), fake.detach()), gan.g_optimizer)


def towards_the_verdict(gan, real, z):
    """The generator is fitted to the discriminator's output, as if that were an image."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    descend(((fake - gan.d(fake).detach()) ** 2).mean(), gan.g_optimizer)


def minus_the_output(gan, real, z):
    """The generator's loss is -D(G(z)), no logarithm; D is a probability."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    verdict = gan.d(fake)
    p = verdict if isinstance(gan.d[-1], nn.Sigmoid) else sn.sigmoid(verdict)
    descend(-p.mean(), gan.g_optimizer)


def minus_the_output_on_real(gan, real, z):
    """The generator's loss is minus what the discriminator says of real images."""
    gan.learn_to_judge(real, gan.g(z))
    gan.g_optimizer.zero_grad()
    (-gan.d(real).mean()).backward()
    gan.g_optimizer.step()


def minus_the_loss_on_real(gan, real, z):
    """The generator's loss is minus the discriminator's, of which it can change nothing: its part is detached."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    loss = gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros)
    descend(-loss, gan.g_optimizer)


def detached_fake(gan, real, z):
    gan.learn_to_judge(real, gan.g(z))
    gan.g_optimizer.zero_grad()
    gan.verdict(gan.g(z).detach(), gan.ones).backward()
    gan.g_optimizer.step()


def discriminator_alone(gan, real, z):
    """One step of the generator an epoch: none while these batches pass."""
    gan.learn_to_judge(real, gan.g(z))


def frozen_in_vain(gan, real, z):
    """The generator's step moves the discriminator as well: it was to be frozen, but that came too late."""
    fake = gan.g(z)
    gan.learn_to_judge(real, fake)
    descend(gan.verdict(fake, gan.ones), gan.combined_optimizer)


def restarted(gan, real, z):
    """Optimisers made anew in every step."""
    gan.d_optimizer, gan.g_optimizer = adam(gan.d), adam(gan.g)
    gan.step(real, z)


def never_attached(gan, real, z):
    """Losses and gradients, but no optimiser for either."""
    fake = gan.g(z)
    (gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros)).backward()
    gan.verdict(fake, gan.ones).backward()


def polluted(gan, real, z):
    """The discriminator keeps what the generator's step sent through it."""
    fake = gan.g(z)
    loss = gan.verdict(real, gan.ones) + gan.verdict(fake.detach(), gan.zeros)
    descend(loss, gan.d_optimizer, zero=False)
    descend(gan.verdict(fake, gan.ones), gan.g_optimizer)


def broadcast(gan, real, z):
    """Verdicts of shape (N, 1) against labels of shape (N,)."""
    fake = gan.g(z)
    loss = (gan.d(real) - sn.ones(N)) ** 2 + (gan.d(fake.detach()) - sn.zeros(N)) ** 2
    descend(loss.mean(), gan.d_optimizer)
    descend(F.least_squares_generator_loss(gan.d(fake)), gan.g_optimizer)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (real_alone, {"one-label"}),
        (classes_for_labels, {"target"}),
        (generated_alone, {"one-label"}),
        (all_are_real, {"one-label"}),
        (labels_exchanged, {"inverted"}),
        (value_minimised, {"inverted"}),
        (critic_negated, {"inverted"}),
        (critic_of_one_kind, {"one-label"}),
        (towards_ones, {"independent"}),
        (towards_itself, {"independent", "unreached"}),
        (towards_the_verdict, {"independent"}),
        (minus_the_output, {"no-log"}),
        (minus_the_output_on_real, {"no-gradient", "unreached"}),
        (minus_the_loss_on_real, {"no-gradient", "unreached"}),
        (detached_fake, {"no-gradient", "unreached"}),
        (discriminator_alone, {"never-updated", "not-optimised"}),
        (frozen_in_vain, {"shared"}),
        (restarted, {"restarted"}),
        (never_attached, {"no-step"}),
        (polluted, {"accumulated"}),
        (broadcast, {"broadcast"}),
    ],
    ids=lambda value: getattr(value, "__name__", "-"),
)
@pytest.mark.parametrize("sigmoid", [False, True], ids=["logits", "probabilities"])
def test_a_mistake_in_a_gan(step, found, sigmoid):
    gan = GAN(sigmoid=sigmoid)
    gan.combined_optimizer = adam(gan.g, gan.d)
    lint = watch(gan, step)
    assert rules(lint) == found, lint.report()


# What is concluded from outputs and slopes


def judged(outputs, slope, fake=False):
    """A batch with these verdicts, and a mean loss of this slope."""
    outputs = np.asarray(outputs, np.float64)
    return Verdict.of(outputs, slope(outputs) / len(outputs), fake)


def test_one_label_is_seen_in_probabilities_of_any_size_and_batches_of_any_length():
    batches = [np.linspace(0.001, 0.9, 16), np.linspace(0.05, 0.999, 5)]
    assert one_label([judged(p, lambda p: -1 / p) for p in batches]) == "real"
    assert one_label([judged(p, lambda p: 1 / (1 - p)) for p in batches]) == "fake"
    assert (
        one_label([judged(p, lambda p, up=up: -1 / p if up else 1 / (1 - p)) for up, p in enumerate(batches)]) is None
    )


def test_a_discriminator_that_says_the_same_of_everything_does_not_tell_what_the_generators_loss_is():
    same, different = np.full(8, 0.3), np.linspace(-1.0, 1.0, 8)
    for outputs, found in ((same, False), (different, True)):
        assert minus_probability([], [judged(outputs, lambda a: -np.exp(a) / (1 + np.exp(a)) ** 2)]) == found


def test_wrong_shapes_are_refused():
    """An image for a label, labels (N,) for verdicts (N, 1, 1, 1), a number for a label."""
    verdicts = sn.ones(N, 1, 1, 1)
    for target in (sn.ones(N, 28, 28, 1), sn.ones(N)):
        with pytest.raises(ValueError, match="input has shape .*, target .*; they must agree"):
            F.binary_cross_entropy_with_logits(verdicts, target)
    with pytest.raises(TypeError, match="expected target to be a Tensor, got float"):
        F.binary_cross_entropy_with_logits(verdicts, 1.0)
