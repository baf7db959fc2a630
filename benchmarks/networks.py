"""The networks of the benchmarks, written once: scratchnet speaks PyTorch's words, so one listing makes either's."""

import importlib
from itertools import pairwise


def parts(library):
    """(package, nn, nn.functional, optim) of "scratchnet" or "torch", seeded; only what is asked for is imported."""
    package = importlib.import_module(library)
    package.manual_seed(0)
    return package, *(importlib.import_module(f"{library}.{name}") for name in ("nn", "nn.functional", "optim"))


def cnn(nn):
    """The classifier of examples/train_cnn.py: 93,322 parameters."""
    layers = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2))
    layers += (nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(*layers)


def dcgan(nn):
    """Generator and discriminator of DCGAN at 64 x 64 x 1, as in PyTorch's listing; the latter ends with (N, 1)."""
    up, down = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU()], []
    for wide, narrow in pairwise((512, 256, 128, 64)):
        up += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        down = [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2), *down]
    generator = nn.Sequential(*up, nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh())
    first = (nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
    return generator, nn.Sequential(*first, *down, nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten())


def vae(nn):
    """Encoder, its two heads, and decoder of a convolutional VAE at 28 x 28 x 1: 20 latents, 258,025 parameters."""
    encoder = (nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten())
    decoder = (nn.Linear(20, 3136), nn.Unflatten(1, (64, 7, 7)), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1))
    decoder += (nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))
    return nn.Sequential(*encoder), nn.Linear(3136, 20), nn.Linear(3136, 20), nn.Sequential(*decoder)
