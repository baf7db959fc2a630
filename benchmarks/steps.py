"""Training steps written once for both libraries: scratchnet speaks PyTorch's words, so one listing runs in either.

Each function returns `step()`, one training step on fixed data on `device`, which returns a loss. `library` is
"scratchnet" or "torch"; only what is asked for is imported.
"""

import importlib
from itertools import pairwise

import numpy as np


def _parts(library):
    """(the package, nn, nn.functional, optim) of a library."""
    package = importlib.import_module(library)
    names = ("nn", "nn.functional", "optim")
    return package, *(importlib.import_module(f"{library}.{name}") for name in names)


def _images(package, device, *shape):
    return package.from_numpy(np.random.default_rng(0).random(shape, np.float32)).to(device)


def cnn(library, batch_size, device="cpu"):
    """The classifier of examples/train_cnn.py: cross entropy, Adam; 93,322 parameters."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    layers = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2))
    layers += (nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))
    model = nn.Sequential(*layers).to(device)
    optimizer = optim.Adam(model.parameters())
    images = _images(package, device, batch_size, 1, 28, 28)
    labels = package.from_numpy(np.arange(batch_size) % 10).to(device)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def dcgan(library, batch_size, device="cpu"):
    """One discriminator and one generator step of DCGAN at 64 x 64 x 1, as in PyTorch's listing."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    widths = (512, 256, 128, 64)
    up, down = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU()], []
    for wide, narrow in pairwise(widths):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        down = [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2), *down]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh()).to(device)
    first = (nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
    discriminator = nn.Sequential(*first, *down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten())
    discriminator.to(device)
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
        return loss.item()

    return step


def vae(library, batch_size, device="cpu"):
    """A convolutional variational autoencoder at 28 x 28 x 1: Bernoulli pixels, 20 latents; 258,025 parameters."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten())
    heads = nn.Linear(64 * 7 * 7, 20), nn.Linear(64 * 7 * 7, 20)
    decoder = nn.Sequential(nn.Linear(20, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.ReLU())
    grow = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))
    modules = (encoder, *heads, decoder, grow)
    for module in modules:
        module.to(device)
    optimizer = optim.Adam([p for m in modules for p in m.parameters()])
    images = _images(package, device, batch_size, 1, 28, 28)

    def step():
        optimizer.zero_grad()
        hidden = encoder(images)
        mu, log_var = (head(hidden) for head in heads)
        z = mu + package.exp(log_var / 2) * package.randn(batch_size, 20, device=device)
        nll = F.binary_cross_entropy_with_logits(grow(decoder(z)), images, reduction="sum")
        kl = (mu * mu + package.exp(log_var) - log_var - 1).sum() / 2
        loss = (nll + kl) / batch_size
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


STEPS = {"cnn": (cnn, 128), "dcgan": (dcgan, 32), "vae": (vae, 128)}  # name -> step maker, batch size
