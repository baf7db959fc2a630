"""The losses of GANs and VAEs: formulas, gradients of both orders, far tails, penalties, bad input."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd, nn
from scratchnet.nn import functional as F
from scratchnet.testing import gradcheck, gradgradcheck

REAL, FAKE = np.array([[1.7], [-0.4], [0.3]]), np.array([-2.1, 0.6])


def sigmoid(a):
    return math.exp(min(a, 0)) / (1 + math.exp(-abs(a)))


def log_sigmoid(a):
    return min(a, 0) - math.log1p(math.exp(-abs(a)))


# For each loss: one term as a formula of a logit or score a, and that term's derivative.
REAL_TERMS = {
    F.gan_discriminator_loss: (lambda a: -log_sigmoid(a), lambda a: -sigmoid(-a)),
    F.least_squares_discriminator_loss: (lambda a: (a - 1) ** 2 / 2, lambda a: a - 1),
    F.hinge_discriminator_loss: (lambda a: max(0, 1 - a), lambda a: -1.0 * (a < 1)),
    F.wasserstein_critic_loss: (lambda a: -a, lambda a: -1.0),
}
FAKE_TERMS = {
    F.gan_discriminator_loss: (lambda a: -log_sigmoid(-a), sigmoid),
    F.least_squares_discriminator_loss: (lambda a: a**2 / 2, lambda a: a),
    F.hinge_discriminator_loss: (lambda a: max(0, 1 + a), lambda a: 1.0 * (a > -1)),
    F.wasserstein_critic_loss: (lambda a: a, lambda a: 1.0),
    F.minimax_generator_loss: (lambda a: log_sigmoid(-a), lambda a: -sigmoid(a)),
    F.non_saturating_generator_loss: (lambda a: -log_sigmoid(a), lambda a: -sigmoid(-a)),
    F.least_squares_generator_loss: (lambda a: (a - 1) ** 2 / 2, lambda a: a - 1),
    F.hinge_generator_loss: (lambda a: -a, lambda a: -1.0),
    F.wasserstein_generator_loss: (lambda a: -a, lambda a: -1.0),
}
GENERATOR_LOSSES = [loss for loss in FAKE_TERMS if loss not in REAL_TERMS]
NAME = dict(ids=lambda f: getattr(f, "__name__", None))


def terms(table, loss, arrays, which):
    return [table[loss][which](float(a)) for a in np.ravel(arrays)]


@pytest.mark.parametrize("loss", REAL_TERMS, **NAME)
def test_discriminator_losses_average_each_batch_over_its_own_size(loss):
    real, fake = (sn.tensor(x, requires_grad=True) for x in (REAL, FAKE))
    value, slope = 0, 1
    for reduction, average in (("mean", np.mean), ("sum", np.sum)):
        expected = average(terms(REAL_TERMS, loss, REAL, value)) + average(terms(FAKE_TERMS, loss, FAKE, value))
        np.testing.assert_allclose(loss(real, fake, reduction=reduction).item(), expected, rtol=1e-14)
    to_real, to_fake = autograd.grad(loss(real, fake), [real, fake])
    np.testing.assert_allclose(to_real.data.ravel(), np.divide(terms(REAL_TERMS, loss, REAL, slope), 3), rtol=1e-14)
    np.testing.assert_allclose(to_fake.data, np.divide(terms(FAKE_TERMS, loss, FAKE, slope), 2), rtol=1e-14)
    one_by_one = loss(real[:2, 0], fake, reduction="none")
    expected = np.add(terms(REAL_TERMS, loss, REAL[:2], value), terms(FAKE_TERMS, loss, FAKE, value))
    np.testing.assert_allclose(one_by_one.data, expected, rtol=1e-14)
    with pytest.raises(ValueError, match=r"'none' needs batches of one shape, got real \(3, 1\) and fake \(2,\)"):
        loss(real, fake, reduction="none")


@pytest.mark.parametrize("loss", GENERATOR_LOSSES, **NAME)
def test_generator_losses(loss):
    fake = sn.tensor(FAKE, requires_grad=True)
    np.testing.assert_allclose(loss(fake, reduction="none").data, terms(FAKE_TERMS, loss, FAKE, 0), rtol=1e-14)
    assert loss(fake).item() == pytest.approx(np.mean(terms(FAKE_TERMS, loss, FAKE, 0)), rel=1e-14)
    (gradient,) = autograd.grad(loss(fake), fake)
    np.testing.assert_allclose(gradient.data, np.divide(terms(FAKE_TERMS, loss, FAKE, 1), 2), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", FAKE_TERMS, **NAME)
def test_far_logits_have_finite_values_and_right_gradients(loss, dtype):
    a = np.array([-1e4, -50, 50, 1e4]).astype(dtype)
    x = sn.tensor(a, requires_grad=True)
    if loss in REAL_TERMS:
        value = loss(sn.tensor(-a), x, reduction="sum")
        expected = sum(terms(REAL_TERMS, loss, -a, 0)) + sum(terms(FAKE_TERMS, loss, a, 0))
    else:
        value, expected = loss(x, reduction="sum"), sum(terms(FAKE_TERMS, loss, a, 0))
    precision = 8 * np.finfo(dtype).eps
    assert value.dtype == dtype
    np.testing.assert_allclose(value.item(), expected, rtol=precision)
    (gradient,) = autograd.grad(value, x)
    # also e^-50 to full relative accuracy; e^-10000 is 0
    np.testing.assert_allclose(gradient.data, terms(FAKE_TERMS, loss, a, 1), rtol=precision, atol=0)


def test_hinge_has_no_gradient_at_its_kink():
    ones = sn.ones(2, requires_grad=True)
    real, fake = autograd.grad(F.hinge_discriminator_loss(ones, -ones * 1.0), [ones, ones])
    assert real.tolist() == fake.tolist() == [0, 0]


def test_the_gan_losses_are_cross_entropies(draw):
    real, fake = draw(4, 1), draw(5, 1)
    ones, zeros = sn.ones_like, sn.zeros_like
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, ones(real)) + bce(fake, zeros(fake))
    np.testing.assert_allclose(F.gan_discriminator_loss(real, fake).item(), expected.item(), rtol=1e-14)
    assert F.non_saturating_generator_loss(fake).item() == bce(fake, ones(fake)).item()
    assert F.minimax_generator_loss(fake).item() == -bce(fake, zeros(fake)).item()


NOISE = np.random.default_rng(5).standard_normal((3, 4))
SMOOTH = {
    **{
        f"{f.__name__} {r}": (lambda x, y, f=f, r=r: f(x, y, reduction=r)) for f in REAL_TERMS for r in ("mean", "none")
    },
    **{f"{f.__name__} {r}": (lambda x, y, f=f, r=r: f(x * y, reduction=r)) for f in GENERATOR_LOSSES for r in ("sum",)},
    "gaussian_kl": lambda x, y: F.gaussian_kl(x, y, reduction="none"),
    "bernoulli_nll": lambda x, y: F.bernoulli_nll(x, F.sigmoid(y), reduction="none"),
    "gaussian_nll": lambda x, y: F.gaussian_nll(x, y, std=0.7, reduction="none"),
    "reparameterize": lambda x, y: F.reparameterize(x, y, noise=sn.tensor(NOISE)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_first_and_second_order(name):
    g = np.random.default_rng(1)
    inputs = [np.where(np.abs(np.abs(x) - 1) < 0.2, 0.5, x) for x in g.standard_normal((2, 3, 4))]  # off the hinges
    assert gradcheck(SMOOTH[name], inputs)
    assert gradgradcheck(lambda x, y: SMOOTH[name](x, y) * (x * y).sum(), inputs)


def test_gaussian_kl_is_zero_at_the_prior_and_never_negative():
    """exp(v) - 1 - v cancels for small v: float32 makes it negative unless it is taken from expm1."""
    v = np.concatenate([s * np.logspace(-8, 1, 20_000) for s in (-1, 1)]).astype(np.float32)
    kl = F.gaussian_kl(sn.zeros(len(v), 1), sn.tensor(v[:, None]), reduction="none").data
    assert kl.min() >= 0 and F.gaussian_kl(sn.zeros(2, 3), sn.zeros(2, 3)).item() == 0
    exact = (np.expm1(v.astype(np.float64)) - v) / 2
    large = np.abs(v) > 1e-2
    np.testing.assert_allclose(kl[large], exact[large], rtol=1e-4)


def test_vae_losses_add_up_a_sample_and_average_the_batch(draw):
    mu, log_var = draw(4, 3), draw(4, 3)
    m, v = mu.data, log_var.data
    kl = (0.5 * (m**2 + np.exp(v) - 1 - v)).sum(1)
    np.testing.assert_allclose(F.gaussian_kl(mu, log_var, reduction="none").data, kl, rtol=1e-13)
    logits, target = draw(4, 1, 2, 3), F.sigmoid(draw(4, 1, 2, 3))
    p, t = F.sigmoid(logits).data, target.data
    bernoulli = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum((1, 2, 3))
    np.testing.assert_allclose(F.bernoulli_nll(logits, target, reduction="none").data, bernoulli, rtol=1e-13)
    density = np.exp(-0.5 * ((p - t) / 0.3) ** 2) / (0.3 * math.sqrt(2 * math.pi))
    gaussian = F.gaussian_nll(sn.tensor(p), target, std=0.3, reduction="none")
    np.testing.assert_allclose(gaussian.data, -np.log(density).sum((1, 2, 3)), rtol=1e-13)
    for reduction, average in (("mean", np.mean), ("sum", np.sum)):
        assert F.gaussian_kl(mu, log_var, reduction=reduction).item() == pytest.approx(average(kl), rel=1e-14)
    flat = F.gaussian_kl(mu[:, 0], log_var[:, 0], reduction="none")
    assert flat.shape == (4,)


def test_reparameterize_follows_the_seed_in_any_dtype(draw):
    mu, log_var = draw(3, 2), draw(3, 2)
    wide = F.reparameterize(mu, log_var, generator=np.random.default_rng(4))
    narrow = F.reparameterize(mu.float(), log_var.float(), generator=np.random.default_rng(4))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow.data, wide.data, rtol=1e-5, atol=1e-6)
    noise = np.random.default_rng(4).standard_normal((3, 2))
    np.testing.assert_allclose(wide.data, mu.data + np.exp(log_var.data / 2) * noise, rtol=1e-14)
    np.testing.assert_array_equal(F.reparameterize(mu, log_var, noise=sn.zeros_like(mu)).data, mu.data)
    sn.manual_seed(4)
    np.testing.assert_array_equal(F.reparameterize(mu, log_var).data, wide.data)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 2, 2)])
def test_penalties_of_a_linear_critic(draw, shape):
    """Its slope is its weight everywhere: both penalties and their gradients are formulas of its length."""
    w = draw(4).requires_grad_()
    length, real, fake = np.linalg.norm(w.data), draw(*shape), draw(*shape)

    def critic(x):
        return x.reshape(len(x), -1) @ w

    penalty = F.gradient_penalty(critic, real, fake)
    np.testing.assert_allclose(penalty.item(), 10 * (length - 1) ** 2, rtol=1e-13)
    (gradient,) = autograd.grad(penalty, w)
    np.testing.assert_allclose(gradient.data, 20 * (length - 1) * w.data / length, rtol=1e-12)
    penalty = F.r1_penalty(critic, real, gamma=3.0)
    np.testing.assert_allclose(penalty.item(), 1.5 * length**2, rtol=1e-13)
    np.testing.assert_allclose(autograd.grad(penalty, w)[0].data, 3 * w.data, rtol=1e-13)


def test_the_norm_is_each_samples_own_at_its_own_mixture(draw):
    """D(x) = |x|^2 / 2 has the slope x: the penalty shows the points where it was taken."""
    real, fake, mix = draw(5, 3), draw(5, 3), sn.tensor(np.linspace(0, 1, 5))

    def critic(x):
        return (x * x).sum(1) * 0.5

    x = mix.data[:, None] * real.data + (1 - mix.data[:, None]) * fake.data
    lengths = np.linalg.norm(x, axis=1)
    each = F.gradient_penalty(critic, real, fake, mix=mix, weight=1.0, reduction="none")
    np.testing.assert_allclose(each.data, (lengths - 1) ** 2, rtol=1e-12)
    total = F.gradient_penalty(critic, real, fake, mix=mix, weight=2.0, reduction="sum")
    np.testing.assert_allclose(total.item(), 2 * ((lengths - 1) ** 2).sum(), rtol=1e-12)
    squares = F.r1_penalty(critic, real, gamma=2.0, reduction="none")
    np.testing.assert_allclose(squares.data, (real.data**2).sum(1), rtol=1e-12)


def test_mixtures_lie_between_real_and_fake_and_follow_the_generator():
    seen = []

    def critic(x):
        seen.append(x.data.copy())
        return x.sum(1)

    for seed in (1, 1, 2):
        F.gradient_penalty(critic, sn.ones(50, 2), sn.zeros(50, 2), generator=np.random.default_rng(seed))
    assert seen[0].dtype == np.float32 and seen[0].min() >= 0 and seen[0].max() <= 1
    assert (seen[0][:, 0] == seen[0][:, 1]).all() and len(np.unique(seen[0])) == 50
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_critic_without_slope_gets_a_finite_gradient(dtype):
    """At slope 0 the root has an infinite derivative, which times 0 is NaN where nothing is done about it."""
    w = sn.zeros(3, 1, dtype=dtype, requires_grad=True)
    x = sn.ones(2, 3, dtype=dtype)
    penalty = F.gradient_penalty(lambda v: v @ w, x, x * 2.0)
    (gradient,) = autograd.grad(penalty, w)
    assert penalty.item() == 10 and gradient.data.tolist() == [[0]] * 3 and gradient.dtype == dtype


def conv_critic(x, w1, w2):
    return F.tanh(F.conv2d(x, w1, stride=2, padding=1)).reshape(len(x), -1) @ w2


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_penalties_have_right_gradients_through_a_convolution(draw, reduction):
    real, fake, mix = draw(2, 1, 4, 4), draw(2, 1, 4, 4), sn.tensor(np.array([0.2, 0.7]))
    weights = [draw(2, 1, 4, 4), draw(8, 1)]

    def wgan_gp(w1, w2):
        return F.gradient_penalty(lambda x: conv_critic(x, w1, w2), real, fake, mix=mix, reduction=reduction)

    def r1(w1, w2):
        return F.r1_penalty(lambda x: conv_critic(x, w1, w2), real, reduction=reduction)

    assert gradcheck(wgan_gp, weights) and gradcheck(r1, weights)
    assert gradgradcheck(wgan_gp, weights) and gradgradcheck(r1, weights)


def test_penalties_can_be_evaluated_without_recording(draw):
    critic = nn.Linear(3, 1).double()
    x = draw(4, 3)
    with sn.no_grad():
        penalty = F.r1_penalty(critic, x) + F.gradient_penalty(critic, x, x)
    assert not penalty.requires_grad
    assert F.r1_penalty(critic, x).requires_grad


def gaussian_log_density(x, mean, std):
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std * math.sqrt(2 * math.pi))


def test_the_elbo_is_a_bound_that_the_true_posterior_attains():
    """Where log p(x) is known: z ~ N(0, 1), x | z ~ N(w z, s^2), so x ~ N(0, w^2 + s^2) and z | x is normal too.

    The loss is quadratic in the noise, so that its mean over the noises -1 and 1 is its expectation.
    """
    w, s = 1.3, 0.6
    x = np.array([[-0.7], [0.2], [2.5]])
    evidence = gaussian_log_density(x, 0, math.sqrt(w**2 + s**2)).ravel()
    mean, variance = w * x / (w**2 + s**2), np.full_like(x, s**2 / (w**2 + s**2))

    def bound(mu, log_var):
        mu, log_var = sn.tensor(mu), sn.tensor(log_var)
        sides = (F.reparameterize(mu, log_var, noise=sn.tensor(np.full_like(x, e))) for e in (-1.0, 1.0))
        terms = [
            F.negative_elbo(z * w, sn.tensor(x), mu, log_var, likelihood="gaussian", std=s, reduction="none")
            for z in sides
        ]
        return -(terms[0] + terms[1]).data / 2

    np.testing.assert_allclose(bound(mean, np.log(variance)), evidence, rtol=1e-13)
    assert (bound(mean + 0.1, np.log(variance)) < evidence - 1e-3).all()
    assert (bound(mean, np.log(variance) - 0.3) < evidence - 1e-3).all()


def test_negative_elbo_is_the_sum_of_its_terms(draw):
    logits, target, mu, log_var = draw(3, 1, 2, 2), F.sigmoid(draw(3, 1, 2, 2)), draw(3, 5), draw(3, 5)
    for reduction in ("mean", "sum", "none"):
        kl = F.gaussian_kl(mu, log_var, reduction=reduction).data
        bernoulli = F.negative_elbo(logits, target, mu, log_var, beta=4.0, reduction=reduction)
        expected = F.bernoulli_nll(logits, target, reduction=reduction).data + 4 * kl
        np.testing.assert_allclose(bernoulli.data, expected, rtol=1e-14)
        gaussian = F.negative_elbo(logits, target, mu, log_var, likelihood="gaussian", std=0.2, reduction=reduction)
        expected = F.gaussian_nll(logits, target, std=0.2, reduction=reduction).data + kl
        np.testing.assert_allclose(gaussian.data, expected, rtol=1e-14)


def test_effective_beta_of_mixed_reductions():
    sizes = dict(pixels=784, latents=20, batch_size=128)
    assert F.effective_beta("mean", "batchmean", **sizes) == 784
    assert F.effective_beta("sum", "sum", **sizes) == F.effective_beta("batchmean", "batchmean", **sizes) == 1
    assert F.effective_beta("mean", "sum", **sizes) == 784 * 128
    assert F.effective_beta("mean", "mean", **sizes) == pytest.approx(784 / 20)
    assert F.effective_beta("mean", "batchmean", **sizes, beta=0.5) == 392


@pytest.mark.parametrize(("nll", "kl"), [(n, k) for n in ("sum", "mean", "batchmean") for k in ("sum", "mean")])
def test_effective_beta_is_the_ratio_of_the_terms_as_reduced(draw, nll, kl):
    logits, target = draw(3, 5), F.sigmoid(draw(3, 5))
    reduce = {"sum": lambda x: x.sum(), "mean": lambda x: x.mean(), "batchmean": lambda x: x.sum() / 3}
    pixelwise = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    latentwise = draw(3, 2) ** 2
    weight = reduce[kl](latentwise) / latentwise.sum() / (reduce[nll](pixelwise) / pixelwise.sum())
    assert F.effective_beta(nll, kl, pixels=5, latents=2, batch_size=3) == pytest.approx(weight.item(), rel=1e-12)


def ints():
    return sn.tensor([1, 2])


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (TypeError, "gan_discriminator_loss.*fake_logits.*ndarray", lambda: F.gan_discriminator_loss(sn.ones(2), FAKE)),
        (
            TypeError,
            "one floating dtype.*float32.*float64",
            lambda: F.hinge_discriminator_loss(sn.ones(2), sn.tensor(FAKE)),
        ),
        (TypeError, "hinge_generator_loss.*int64", lambda: F.hinge_generator_loss(ints())),
        (TypeError, "minimax_generator_loss.*int64", lambda: F.minimax_generator_loss(ints())),
        (
            ValueError,
            "'mean', 'sum' or 'none', got 'avg'",
            lambda: F.minimax_generator_loss(sn.ones(2), reduction="avg"),
        ),
        (ValueError, r"log_var has shape \(3,\), mu \(2,\)", lambda: F.gaussian_kl(sn.ones(2), sn.ones(3))),
        (ValueError, r"noise has shape \(1,\)", lambda: F.reparameterize(sn.ones(2), sn.ones(2), noise=sn.ones(1))),
        (
            ValueError,
            "between 0 and 1, got -1.0 to 1.0",
            lambda: F.bernoulli_nll(sn.ones(1, 2), sn.tensor([[-1.0, 1.0]])),
        ),
        (ValueError, "between 0 and 1", lambda: F.bernoulli_nll(sn.ones(1, 2), sn.tensor([[math.nan, 1.0]]))),
        (ValueError, "std must be positive, got 0", lambda: F.gaussian_nll(sn.ones(1), sn.ones(1), std=0)),
        (ValueError, "expected a batch axis", lambda: F.gaussian_kl(sn.tensor(1.0), sn.tensor(1.0))),
        (
            ValueError,
            r"fake \(2, 3\), got shape \(1, 3\)",
            lambda: F.gradient_penalty(None, sn.ones(2, 3), sn.ones(1, 3)),
        ),
        (ValueError, r"mix \(2,\)", lambda: F.gradient_penalty(None, sn.ones(2, 3), sn.ones(2, 3), mix=sn.ones(2, 1))),
        (
            ValueError,
            "likelihood must be 'bernoulli' or 'gaussian', got 'mse'",
            lambda: F.negative_elbo(*[sn.ones(1, 2)] * 4, likelihood="mse"),
        ),
        (
            ValueError,
            r"mu \(3, 2\), got shape \(1, 2\)",
            lambda: F.negative_elbo(*[sn.ones(3, 4)] * 2, *[sn.ones(1, 2)] * 2),
        ),
        (
            ValueError,
            "kl_reduction must be 'sum', 'mean' or 'batchmean', got 'none'",
            lambda: F.effective_beta("sum", "none", pixels=1, latents=1, batch_size=1),
        ),
    ],
)
def test_wrong_use(error, match, call):
    with pytest.raises(error, match=match):
        call()
