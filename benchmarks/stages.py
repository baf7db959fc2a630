"""Training steps cut into stages, which a CUDA graph can hold but for the optimiser's step.

A stage is (loss, modules, optimizer, arguments): `loss(*arguments)` is computed and differentiated, then the optimizer
steps. Everything random is an argument, since a graph's replay draws nothing.
"""

import numpy as np

import networks
import scratchnet as sn
from networks import parts


def _given(device, *shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return sn.from_numpy(values).to(device)


def cnn(device: str, batch: int) -> list:
    """The classifier."""
    _, nn, F, optim = parts("scratchnet")
    model = networks.cnn(nn).to(device)
    labels = sn.from_numpy(np.arange(batch) % 10).to(device)
    optimizer = optim.Adam(model.parameters())
    arguments = (_given(device, batch, 1, 28, 28), labels)
    return [(lambda images, labels: F.cross_entropy(model(images), labels), [model], optimizer, arguments)]


def dcgan(device: str, batch: int) -> list:
    """The discriminator's step, then the generator's; each draws its fakes anew."""
    _, nn, F, optim = parts("scratchnet")
    generator, discriminator = (network.to(device) for network in networks.dcgan(nn))
    g_optimizer, d_optimizer = (
        optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (generator, discriminator)
    )
    real, codes = _given(device, batch, 1, 64, 64), _given(device, batch, 100, 1, 1)

    def discriminator_loss(real, codes):
        on_real, on_fake = discriminator(real), discriminator(generator(codes).detach())
        return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()

    def generator_loss(codes):
        return F.softplus(-discriminator(generator(codes))).mean()

    both = [generator, discriminator]
    return [
        (discriminator_loss, both, d_optimizer, (real, codes)),
        (generator_loss, both, g_optimizer, (codes,)),
    ]


def vae(device: str, batch: int) -> list:
    """The variational autoencoder."""
    _, nn, F, optim = parts("scratchnet")
    encode, mean, spread, decode = modules = [network.to(device) for network in networks.vae(nn)]
    images = sn.from_numpy(np.random.default_rng(0).random((batch, 1, 28, 28), np.float32)).to(device)

    def loss(images, noise):
        hidden = encode(images)
        mu, log_var = mean(hidden), spread(hidden)
        logits = decode(mu + sn.exp(log_var / 2) * noise)
        nll = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        return (nll + (mu * mu + sn.exp(log_var) - log_var - 1).sum() / 2) / batch

    optimizer = optim.Adam([p for module in modules for p in module.parameters()])
    return [(loss, modules, optimizer, (images, _given(device, batch, 20)))]


STAGES = {"cnn": cnn, "dcgan": dcgan, "vae": vae}


def run(stages, computed=None) -> list:
    """One step; returns the losses. ``computed``, captured stages, take the place of forward and backward pass."""
    found = []
    for i, (loss, _, optimizer, arguments) in enumerate(stages):
        optimizer.zero_grad()
        if computed is None:
            value = loss(*arguments)
            value.backward()
        else:
            value = computed[i](*arguments)
        optimizer.step()
        found.append(value)
    return found


def captured(stages) -> list:
    """scratchnet's stages, each as one CUDA graph."""

    def compute(loss):
        def step(*arguments):
            value = loss(*arguments)
            value.backward()
            return value

        return step

    return [sn.cuda.capture(compute(loss), *arguments, modules=modules) for loss, modules, _, arguments in stages]
