"""Training steps written once for both libraries: scratchnet speaks PyTorch's words, so one listing runs in either.

Each function returns `step()`, one training step on fixed data on `device`, which returns a loss. `library` is
"scratchnet", "captured", which is scratchnet through `scratchnet.capture`, or "torch"; only what is asked for is
imported.
"""

import importlib

import numpy as np

import networks
from networks import parts


def _images(package, device, *shape):
    return package.from_numpy(np.random.default_rng(0).random(shape, np.float32)).to(device)


def _package(library):
    return "scratchnet" if library == "captured" else library


def _read(library, step):
    """The step, captured where that is asked for, and its loss as a number."""
    step = importlib.import_module("scratchnet").capture(step) if library == "captured" else step
    return lambda: step().item()


def cnn(library, batch_size, device="cpu"):
    """The classifier: cross entropy, Adam."""
    package, nn, F, optim = parts(_package(library))
    model = networks.cnn(nn).to(device)
    optimizer = optim.Adam(model.parameters())
    images = _images(package, device, batch_size, 1, 28, 28)
    labels = package.from_numpy(np.arange(batch_size) % 10).to(device)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return _read(library, step)


def dcgan(library, batch_size, device="cpu"):
    """One step of the discriminator and one of the generator, as in PyTorch's listing."""
    package, nn, F, optim = parts(_package(library))
    generator, discriminator = (network.to(device) for network in networks.dcgan(nn))
    optimizers = [optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (generator, discriminator)]
    real, ones = _images(package, device, batch_size, 1, 64, 64), package.ones(batch_size, 1, device=device)
    zeros = package.zeros(batch_size, 1, device=device)

    def step():
        fake = generator(package.randn(batch_size, 100, 1, 1, device=device))
        optimizers[1].zero_grad()
        loss = F.binary_cross_entropy_with_logits(discriminator(real), ones)
        loss = loss + F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros)
        loss.backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake), ones).backward()
        optimizers[0].step()
        return loss

    return _read(library, step)


def vae(library, batch_size, device="cpu"):
    """The variational autoencoder, with Bernoulli pixels."""
    package, nn, F, optim = parts(_package(library))
    encoder, *heads, decoder = modules = [network.to(device) for network in networks.vae(nn)]
    optimizer = optim.Adam([p for m in modules for p in m.parameters()])
    images = _images(package, device, batch_size, 1, 28, 28)

    def step():
        optimizer.zero_grad()
        hidden = encoder(images)
        mu, log_var = (head(hidden) for head in heads)
        z = mu + package.exp(log_var / 2) * package.randn(batch_size, 20, device=device)
        nll = F.binary_cross_entropy_with_logits(decoder(z), images, reduction="sum")
        kl = (mu * mu + package.exp(log_var) - log_var - 1).sum() / 2
        loss = (nll + kl) / batch_size
        loss.backward()
        optimizer.step()
        return loss

    return _read(library, step)


STEPS = {"cnn": (cnn, 128), "dcgan": (dcgan, 32), "vae": (vae, 128)}  # name -> step maker, batch size
