"""Training steps cut into stages, which a CUDA graph can hold but for the optimiser's step.

A stage is (loss, modules, optimizer, arguments): `loss(*arguments)` is computed and differentiated, then the optimizer
steps. Everything random is an argument, since a graph's replay draws nothing. Written once for both libraries.
"""

import importlib
from itertools import pairwise

import numpy as np


def _parts(library: str):
    names = ("nn", "nn.functional", "optim")
    return importlib.import_module(library), *(importlib.import_module(f"{library}.{name}") for name in names)


def _given(package, device, *shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return package.from_numpy(values).to(device)


def cnn(library: str, device: str, batch: int) -> list:
    """The classifier of examples/train_cnn.py."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    layers = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2))
    layers += (nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))
    model = nn.Sequential(*layers).to(device)
    labels = package.from_numpy(np.arange(batch) % 10).to(device)
    optimizer = optim.Adam(model.parameters())
    arguments = (_given(package, device, batch, 1, 28, 28), labels)
    return [(lambda images, labels: F.cross_entropy(model(images), labels), [model], optimizer, arguments)]


def dcgan(library: str, device: str, batch: int) -> list:
    """The discriminator's step, then the generator's, at 64 x 64 x 1; each draws its fakes anew."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    widths = (512, 256, 128, 64)
    up, down = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU()], []
    for wide, narrow in pairwise(widths):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        down = [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2), *down]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh()).to(device)
    first = (nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
    discriminator = nn.Sequential(*first, *down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten()).to(device)
    g_optimizer, d_optimizer = (
        optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (generator, discriminator)
    )
    real, codes = _given(package, device, batch, 1, 64, 64), _given(package, device, batch, 100, 1, 1)

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


def vae(library: str, device: str, batch: int) -> list:
    """A convolutional variational autoencoder at 28 x 28 x 1."""
    package, nn, F, optim = _parts(library)
    package.manual_seed(0)
    encoder = (nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten())
    decoder = (nn.Linear(20, 3136), nn.Unflatten(1, (64, 7, 7)), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1))
    decoder += (nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))
    parts = nn.Sequential(*encoder), nn.Linear(3136, 20), nn.Linear(3136, 20), nn.Sequential(*decoder)
    encode, mean, spread, decode = modules = [part.to(device) for part in parts]
    images = package.from_numpy(np.random.default_rng(0).random((batch, 1, 28, 28), np.float32)).to(device)

    def loss(images, noise):
        hidden = encode(images)
        mu, log_var = mean(hidden), spread(hidden)
        logits = decode(mu + package.exp(log_var / 2) * noise)
        nll = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        return (nll + (mu * mu + package.exp(log_var) - log_var - 1).sum() / 2) / batch

    optimizer = optim.Adam([p for module in modules for p in module.parameters()])
    return [(loss, modules, optimizer, (images, _given(package, device, batch, 20)))]


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
    import scratchnet as sn

    def compute(loss):
        def step(*arguments):
            value = loss(*arguments)
            value.backward()
            return value

        return step

    return [sn.cuda.capture(compute(loss), *arguments, modules=modules) for loss, modules, _, arguments in stages]
