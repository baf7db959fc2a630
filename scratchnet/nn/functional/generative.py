"""The losses of generative adversarial networks and of variational autoencoders, as their papers have them.

A GAN's losses are averages over a batch, the real and the fake batch each over its own; ``reduction`` is "mean", "sum"
or "none". *Logits* a stand for the discriminator D = sigmoid(a), whose sigmoid is part of the loss: values and
gradients are finite for any finite logits and keep full relative accuracy in both tails. *Scores* are outputs with no
sigmoid at all. A VAE's losses are summed over everything but axis 0, the batch: pixels, channels, latents. Their
``reduction`` says what becomes of the batch: "mean" is the paper's, "none" gives one value a sample.

All raise TypeError or ValueError where dtypes, shapes or options do not fit.
"""

import math
from collections.abc import Callable

import numpy as np

from scratchnet import ops, random
from scratchnet.autograd import enable_grad, grad, is_grad_enabled
from scratchnet.device import on_host
from scratchnet.nn import checks
from scratchnet.recording import noted
from scratchnet.tensor import Tensor


def gan_discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, reduction: str = "mean") -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))) = E softplus(-real) + E softplus(fake) (Goodfellow et al. 2014, eq. 1).

    The discriminator *maximises* V(D, G) = E log D(x) + E log(1 - D(G(z))); this is -V, to be minimised. At the best
    discriminator p / (p + q) it is log 4 - 2 JSD(p, q).
    """
    _check_scores("gan_discriminator_loss", reduction, real_logits=real_logits, fake_logits=fake_logits)
    return _reduced(ops.softplus(-real_logits), reduction) + _reduced(ops.softplus(fake_logits), reduction)


def minimax_generator_loss(fake_logits: Tensor, *, reduction: str = "mean") -> Tensor:
    """E log(1 - D(G(z))) = -E softplus(fake) (Goodfellow et al. 2014, eq. 1).

    The gradient by a logit is -D: it vanishes while the discriminator wins, which is when it is needed.
    """
    checks.floating("minimax_generator_loss", fake_logits=fake_logits)
    return _reduced(-ops.softplus(fake_logits), reduction)


def non_saturating_generator_loss(fake_logits: Tensor, *, reduction: str = "mean") -> Tensor:
    """-E log D(G(z)) = E softplus(-fake) (Goodfellow et al. 2014, section 3).

    The gradient by a logit is -(1 - D): largest while the discriminator wins.
    """
    checks.floating("non_saturating_generator_loss", fake_logits=fake_logits)
    return _reduced(ops.softplus(-fake_logits), reduction)


def least_squares_discriminator_loss(real_scores: Tensor, fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """E (real - 1)^2 / 2 + E fake^2 / 2 (Mao et al. 2017, with their targets 0 and 1)."""
    _check_scores("least_squares_discriminator_loss", reduction, real_scores=real_scores, fake_scores=fake_scores)
    return _reduced(ops.square(real_scores - 1.0) * 0.5, reduction) + _reduced(ops.square(fake_scores) * 0.5, reduction)


def least_squares_generator_loss(fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """E (fake - 1)^2 / 2 (Mao et al. 2017, with their targets 0 and 1)."""
    checks.floating("least_squares_generator_loss", fake_scores=fake_scores)
    return _reduced(ops.square(fake_scores - 1.0) * 0.5, reduction)


def hinge_discriminator_loss(real_scores: Tensor, fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """E max(0, 1 - real) + E max(0, 1 + fake) (Lim and Ye 2017). Its minimum is 2 - 2 TV(p, q), at sign(p - q)."""
    _check_scores("hinge_discriminator_loss", reduction, real_scores=real_scores, fake_scores=fake_scores)
    return _reduced(ops.relu(1.0 - real_scores), reduction) + _reduced(ops.relu(1.0 + fake_scores), reduction)


def hinge_generator_loss(fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """-E fake (Lim and Ye 2017)."""
    checks.floating("hinge_generator_loss", fake_scores=fake_scores)
    return _reduced(-fake_scores, reduction)


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """E fake - E real (Arjovsky et al. 2017). Over critics of slope at most 1 its minimum is -W1(p, q)."""
    _check_scores("wasserstein_critic_loss", reduction, real_scores=real_scores, fake_scores=fake_scores)
    return _reduced(-real_scores, reduction) + _reduced(fake_scores, reduction)


def wasserstein_generator_loss(fake_scores: Tensor, *, reduction: str = "mean") -> Tensor:
    """-E fake (Arjovsky et al. 2017)."""
    checks.floating("wasserstein_generator_loss", fake_scores=fake_scores)
    return _reduced(-fake_scores, reduction)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    reduction: str = "mean",
    generator: np.random.Generator | None = None,
    mix: Tensor | None = None,
) -> Tensor:
    """weight E (|grad D(x)| - 1)^2 at x = mix real + (1 - mix) fake (Gulrajani et al. 2017).

    The norm is each sample's own, over all its pixels; a norm of 0 has the finite gradient 0. ``mix`` (N,) is
    uniform in [0, 1) unless given. The critic must treat the samples of a batch independently: no batch norm.
    Gradients reach the critic's parameters alone, not ``real`` or ``fake``.
    """
    owner = "gradient_penalty"
    checks.floating(owner, real=real, fake=fake, mix=mix)
    checks.shape(owner, fake, *real.shape, name="fake")
    if mix is None:
        drawn = Tensor(random.draw("random", len(real), generator=generator))
        mix = drawn.to(real.dtype).to(real.device)
    checks.shape(owner, mix, len(real), name="mix")
    share = mix.detach().reshape(-1, *[1] * (real.ndim - 1))
    norm = _safe_sqrt(_squared_slopes(critic, share * real.detach() + (1 - share) * fake.detach()))
    return _reduced(ops.square(norm - 1.0) * weight, reduction)


def r1_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, *, gamma: float = 10.0, reduction: str = "mean"
) -> Tensor:
    """gamma / 2 E |grad D(x)|^2 on real images, D being the logits (Mescheder et al. 2018, section 4.1)."""
    checks.floating("r1_penalty", real=real)
    return _reduced(_squared_slopes(discriminator, real) * (gamma / 2), reduction)


def reparameterize(
    mu: Tensor, log_var: Tensor, *, generator: np.random.Generator | None = None, noise: Tensor | None = None
) -> Tensor:
    """mu + exp(log_var / 2) noise: a sample of N(mu, exp(log_var)) with gradients (Kingma and Welling 2014, 2.4).

    ``noise`` is standard normal unless given, and drawn in float64, so that one seed means one noise in any dtype.
    """
    _same_shapes("reparameterize", mu=mu, log_var=log_var, noise=noise)
    if noise is None:
        drawn = Tensor(random.draw("standard_normal", mu.shape, generator=generator))
        noise = drawn.to(mu.dtype).to(mu.device)
    return mu + ops.exp(log_var * 0.5) * noise


def gaussian_kl(mu: Tensor, log_var: Tensor, *, reduction: str = "mean") -> Tensor:
    """KL(N(mu, exp(log_var)) | N(0, I)) = sum (mu^2 + exp(log_var) - 1 - log_var) / 2, in nats, summed over latents.

    (Kingma and Welling 2014, appendix B.) Never negative, also where a collapsed posterior makes everything cancel.
    """
    _same_shapes("gaussian_kl", mu=mu, log_var=log_var)
    nats = (ops.square(mu) + (ops.expm1(log_var) - log_var)) * 0.5
    return _reduced(_sum_per_sample("gaussian_kl", nats), reduction)


def bernoulli_nll(logits: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """-log p(target) of Bernoulli pixels given by logits, in nats, summed over pixels. Targets lie in [0, 1]."""
    _same_shapes("bernoulli_nll", logits=logits, target=target)
    _check_probabilities(target)
    nats = ops.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _reduced(_sum_per_sample("bernoulli_nll", nats), reduction)


@noted
def _check_probabilities(target):
    if on_host(target) and target.size and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(f"bernoulli_nll: target must lie between 0 and 1, got {target.min()} to {target.max()}")


def gaussian_nll(mean: Tensor, target: Tensor, *, std: float = 1.0, reduction: str = "mean") -> Tensor:
    """-log p(target) of N(mean, std^2 I) = sum (target - mean)^2 / (2 std^2) + log(2 pi std^2) / 2, in nats.

    A sum of squared errors with no factor is, but for a constant, std = sqrt(1/2).
    """
    _same_shapes("gaussian_nll", mean=mean, target=target)
    if not std > 0:
        raise ValueError(f"gaussian_nll: std must be positive, got {std}")
    nats = ops.square(target - mean) * (0.5 / std**2) + 0.5 * math.log(2 * math.pi * std**2)
    return _reduced(_sum_per_sample("gaussian_nll", nats), reduction)


def negative_elbo(
    output: Tensor,
    target: Tensor,
    mu: Tensor,
    log_var: Tensor,
    *,
    likelihood: str = "bernoulli",
    std: float = 1.0,
    beta: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """-log p(target | z) + beta KL(q(z | target) | N(0, I)) in nats, z being the one sample behind ``output``.

    With beta = 1 its expectation is an upper bound of -log p(target) (Kingma and Welling 2014, eq. 3); other values
    are those of a beta-VAE (Higgins et al. 2017). ``likelihood`` is "bernoulli", of which ``output`` is the logits, or
    "gaussian", of which it is the mean and ``std`` the standard deviation.
    """
    if likelihood == "bernoulli":
        nll = bernoulli_nll(output, target, reduction=reduction)
    elif likelihood == "gaussian":
        nll = gaussian_nll(output, target, std=std, reduction=reduction)
    else:
        raise ValueError(f"negative_elbo: likelihood must be 'bernoulli' or 'gaussian', got {likelihood!r}")
    checks.shape("negative_elbo", mu, len(output), *mu.shape[1:], name="mu")
    return nll + gaussian_kl(mu, log_var, reduction=reduction) * beta


def effective_beta(
    nll_reduction: str, kl_reduction: str, *, pixels: int, latents: int, batch_size: int, beta: float = 1.0
) -> float:
    """The beta of a beta-VAE that a loss ``nll + beta kl`` really minimises, its two terms being reduced as said.

    Reductions: "sum" adds up everything, "mean" divides that by all elements (pixels or latents, times the batch),
    "batchmean" by the batch alone. The negative ELBO (beta 1) has "batchmean" twice, or "sum" twice; this module's
    "mean" is "batchmean" here. With 784 pixels, cross entropy averaged over pixels ("mean") and KL summed over latents
    ("batchmean") make beta 784: the posterior collapses onto the prior, and the decoder ignores its code.
    """
    divisors = []
    for name, reduction, elements in (("nll", nll_reduction, pixels), ("kl", kl_reduction, latents)):
        known = {"sum": 1, "batchmean": batch_size, "mean": batch_size * elements}
        if reduction not in known:
            raise ValueError(
                f"effective_beta: {name}_reduction must be 'sum', 'mean' or 'batchmean', got {reduction!r}"
            )
        divisors.append(known[reduction])
    return beta * divisors[0] / divisors[1]


def _check_scores(owner, reduction, **both) -> None:
    checks.floating(owner, **both)
    real, fake = (scores.shape for scores in both.values())
    if reduction == "none" and real != fake:
        raise ValueError(f"{owner}: reduction 'none' needs batches of one shape, got real {real} and fake {fake}")


def _reduced(loss, reduction) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else getattr(ops, reduction)(loss)


def _sum_per_sample(owner, x) -> Tensor:
    if x.ndim == 0:
        raise ValueError(f"{owner}: expected a batch axis, got shape ()")
    return x.sum(tuple(range(1, x.ndim))) if x.ndim > 1 else x


def _same_shapes(owner, **values) -> None:
    checks.floating(owner, **values)
    (first, wanted), *others = values.items()
    for name, value in others:
        if value is not None and value.shape != wanted.shape:
            raise ValueError(f"{owner}: {name} has shape {value.shape}, {first} {wanted.shape}; they must agree")


def _squared_slopes(critic, images) -> Tensor:
    """|grad D(x)|^2 of every sample, (N,), recorded if gradients are."""
    record = is_grad_enabled()
    x = Tensor(images.data, requires_grad=True)
    with enable_grad():
        (slope,) = grad(critic(x).sum(), x, create_graph=record)
    return _sum_per_sample("the penalty on gradients", ops.square(slope))


def _safe_sqrt(x) -> Tensor:
    """sqrt(x) with the gradient 0 at 0, where the root itself has an infinite one."""
    positive = ops.greater(x, 0.0)
    return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), 0.0)
