"""Twenty steps of every generative model, written once for either framework.

A run is a function of (sn, nn, optim, models, losses, dtype): ``models`` and ``losses`` are scratchnet.models and
scratchnet.nn.functional, or torch_twins both. It returns a dict of arrays: all losses and, after each step, the
fingerprints of every gradient and of every entry of the state dicts. Weights and batches are drawn by NumPy from
fixed seeds, so that none of them need be stored.
"""

from functools import cache

import numpy as np

STEPS = 20
PARTS = 4


@cache
def _signs(size):
    return np.random.default_rng(size).choice([-1.0, 1.0], size)


def fingerprint(array):
    """Four signed sums, each over every fourth element: an element that is off by e moves one of them by e.

    The signs are random, so that errors of neighbours do not cancel; up to four elements are all kept.
    """
    flat = np.asarray(array, np.float64).ravel()
    signs = _signs(flat.size)
    return [signs[i::PARTS] @ flat[i::PARTS] for i in range(PARTS)]


class Record:
    """What a run sees: losses (steps, n), and for each model's gradients and state (steps, tensors, 4)."""

    def __init__(self, **models):
        self.models = models
        self.tables = {"losses": []}
        for tag, model in models.items():
            self.tables |= {f"{tag}.gradients": [], f"{tag}.state": []}
            self.tables[f"{tag}.names"] = sorted(model.state_dict())

    def gradients(self, tag):
        named = sorted(self.models[tag].named_parameters(), key=lambda pair: pair[0])
        self.tables[f"{tag}.gradients"].append([fingerprint(p.grad.detach().numpy()) for _, p in named])

    def step(self, *losses):
        self.tables["losses"].append([loss.item() for loss in losses])
        for tag, model in self.models.items():
            state = model.state_dict()
            self.tables[f"{tag}.state"].append([fingerprint(state[name].detach().numpy()) for name in sorted(state)])

    def arrays(self):
        return {name: np.array(table) for name, table in self.tables.items()}


class Batches:
    """Random tensors of one framework and dtype, drawn in float64."""

    def __init__(self, sn, dtype, seed):
        self.sn, self.dtype, self.generator = sn, dtype, np.random.default_rng(seed)

    def normal(self, *shape):
        return self.sn.from_numpy(self.generator.standard_normal(shape).astype(self.dtype))

    def uniform(self, *shape, low=0.0, high=1.0):
        return self.sn.from_numpy(self.generator.uniform(low, high, shape).astype(self.dtype))

    def labels(self, classes, size):
        return self.sn.from_numpy(self.generator.integers(0, classes, size))


def fill(sn, model, seed, dtype):
    """Weights N(0, 1 / fan), biases N(0, 0.01), batch norm's weights N(1, 0.02^2), alike in both frameworks."""
    generator = np.random.default_rng(seed)
    state = model.state_dict()
    for name in sorted(state):
        if name.endswith(("weight", "bias")):
            drawn = generator.standard_normal(tuple(state[name].shape))
            if drawn.ndim > 1:
                drawn /= np.sqrt(np.prod(drawn.shape[1:]))
            else:
                drawn = 0.1 * drawn if name.endswith("bias") else 1 + 0.02 * drawn
            state[name] = sn.from_numpy(drawn.astype(dtype))
    model = model.double() if dtype == "float64" else model.float()
    model.load_state_dict(state)
    return model


def fixed_dropout(nn, batches, p=0.25):
    """Dropout whose masks do not depend on the framework."""

    class FixedDropout(nn.Module):
        def forward(self, input):
            kept = batches.uniform(*input.shape) >= p
            return input * kept.to(input.dtype) / (1 - p)

    return FixedDropout()


def adversarial(record, optimizers, draw, d_loss, g_loss):
    """Alternate a step of the discriminator on real and on fake images and a step of the generator.

    ``draw()`` returns (real, z, labels), labels being a tuple of no or one tensor that both networks take.
    """
    G, D = record.models["G"], record.models["D"]
    opt_g, opt_d = optimizers
    for _ in range(STEPS):
        real, z, labels = draw()
        fake = G(z, *labels)

        loss_d = d_loss(lambda x, labels=labels: D(x, *labels), real, fake.detach())
        opt_d.zero_grad()
        loss_d.backward()
        record.gradients("D")
        opt_d.step()

        loss_g = g_loss(D(fake, *labels))
        opt_g.zero_grad()
        loss_g.backward()
        record.gradients("G")
        opt_g.step()
        record.step(loss_d, loss_g)
    return record.arrays()


def gan(make, image_shape, batch_size, *, lr=2e-4, beta1=0.5):
    """A run of an unconditional GAN on Goodfellow's losses; ``make(models)`` returns (generator, discriminator)."""

    def run(sn, nn, optim, models, losses, dtype):
        batches = Batches(sn, dtype, 11)
        G, D = (fill(sn, model, seed, dtype) for seed, model in enumerate(make(models)))
        for i, layer in enumerate(D.children()):
            if type(layer) is nn.Dropout:
                D[i] = fixed_dropout(nn, batches)
        optimizers = [optim.Adam(model.parameters(), lr=lr, betas=(beta1, 0.999)) for model in (G, D)]
        return adversarial(
            Record(G=G, D=D),
            optimizers,
            lambda: (batches.uniform(batch_size, *image_shape, low=-1), batches.normal(batch_size, 100), ()),
            lambda critic, real, fake: losses.gan_discriminator_loss(critic(real), critic(fake)),
            losses.non_saturating_generator_loss,
        )

    return run


def conditional(sn, nn, optim, models, losses, dtype):
    """The conditional GAN, on the hinge loss with the R1 penalty."""
    batches = Batches(sn, dtype, 12)
    G = fill(sn, models.ConditionalGenerator(features=8), 0, dtype)
    D = fill(sn, models.ConditionalDiscriminator(features=8), 1, dtype)

    def d_loss(critic, real, fake):
        return losses.hinge_discriminator_loss(critic(real), critic(fake)) + losses.r1_penalty(critic, real, gamma=0.1)

    return adversarial(
        Record(G=G, D=D),
        [optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999)) for model in (G, D)],
        lambda: (batches.uniform(4, 1, 28, 28, low=-1), batches.normal(4, 100), (batches.labels(10, 4),)),
        d_loss,
        losses.hinge_generator_loss,
    )


def wasserstein(sn, nn, optim, models, losses, dtype):
    """The critic with its gradient penalty, against a DCGAN generator.

    The penalty sees LeakyReLU's slopes: one pre-activation that rounding takes over the kink moves a float32 loss by
    1e-3. With 8 features one of 916,480 is that near (-3e-6, at step 11), with 4 of 458,240 none.
    """
    batches = Batches(sn, dtype, 13)
    G = fill(sn, models.Generator(features=4, image_size=28), 0, dtype)
    D = fill(sn, models.Critic(features=4), 1, dtype)

    def d_loss(critic, real, fake):
        penalty = losses.gradient_penalty(critic, real, fake, mix=batches.uniform(len(real)))
        return losses.wasserstein_critic_loss(critic(real), critic(fake)) + penalty

    return adversarial(
        Record(G=G, D=D),
        [optim.Adam(model.parameters(), lr=1e-4, betas=(0.0, 0.9)) for model in (G, D)],
        lambda: (batches.uniform(4, 1, 28, 28, low=-1), batches.normal(4, 100), ()),
        d_loss,
        losses.wasserstein_generator_loss,
    )


def vae(name, likelihood, *, labelled=False):
    """A run of a VAE of that class on the negative ELBO with that likelihood and given noise."""

    def run(sn, nn, optim, models, losses, dtype):
        batches = Batches(sn, dtype, 14)
        model = fill(sn, getattr(models, name)(), 0, dtype)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        record = Record(VAE=model)
        for _ in range(STEPS):
            images, noise = batches.uniform(4, 1, 28, 28), batches.normal(4, model.latent)
            labels = (batches.labels(10, 4),) if labelled else ()
            output, mu, log_var = model(images, *labels, noise=noise)
            if likelihood == "bernoulli":
                nll = losses.bernoulli_nll(output, images)
            else:
                nll = losses.gaussian_nll(output, images, std=0.3)
            kl = losses.gaussian_kl(mu, log_var)
            optimizer.zero_grad()
            (nll + kl).backward()
            record.gradients("VAE")
            optimizer.step()
            record.step(nll, kl)
        return record.arrays()

    return run


RUNS = {
    "small_gan": gan(lambda m: (m.SmallGenerator(), m.SmallDiscriminator()), (1, 28, 28), 4),
    "tiny_gan": gan(lambda m: (m.TinyGenerator(), m.LinearDiscriminator()), (3, 8, 8), 8),
    "wide_gan": gan(
        lambda m: (m.WideGenerator(features=8, image_size=20), m.WideDiscriminator(3, 8, 20, hidden=32)), (3, 20, 20), 4
    ),
    "dcgan": gan(lambda m: (m.Generator(), m.Discriminator()), (1, 64, 64), 4),
    "conditional": conditional,
    "wasserstein": wasserstein,
    "dense_vae": vae("DenseVAE", "bernoulli"),
    "plane_vae": vae("PlaneVAE", "bernoulli"),
    "conv_vae": vae("ConvVAE", "bernoulli"),
    "small_conv_vae": vae("SmallConvVAE", "gaussian"),
    "conditional_vae": vae("ConditionalVAE", "bernoulli", labelled=True),
}
