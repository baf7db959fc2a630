"""Train the DCGAN of examples/train_gan.py in PyTorch: the yardstick of benchmarks/generators.py.

    python benchmarks/gan_twin.py OUT --image-size 28 --epochs 12 --generator-lr 6e-4 --decay --data-root DIR

The same layers, initial distributions, losses, optimisers, images and number of epochs; only the framework and the
random numbers are others. OUT gets the generator's weights as safetensors, whose names are those of scratchnet's.
"""

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import autograd, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from scratchnet import data
from scratchnet.data.transforms import Compose, Normalize, Resize

LATENT = 100
R1_EVERY = 8  # steps, as in examples/train_gan.py


def networks(size: int, features: int = 64):
    """Generator and discriminator (Radford et al. 2016, section 3), as scratchnet/models/dcgan.py builds them."""
    sizes = [size]
    while sizes[-1] > 4:
        sizes.append((sizes[-1] + 1) // 2)
    *sizes, smallest = sizes
    scales = [(features * 2**i, 3 if size % 2 else 4) for i, size in enumerate(sizes)]
    discriminator, before = [], 1
    for width, kernel in scales:
        norm = [nn.BatchNorm2d(width)] if before > 1 else []
        discriminator += [nn.Conv2d(before, width, kernel, 2, 1, bias=False), *norm, nn.LeakyReLU(0.2)]
        before = width
    discriminator += [nn.Conv2d(before, 1, smallest, 1, 0, bias=False), nn.Flatten(0)]
    generator = [nn.ConvTranspose2d(LATENT, before, smallest, 1, 0, bias=False)]
    for (width, kernel), (after, _) in zip(reversed(scales), [*reversed(scales[:-1]), (1, 0)], strict=True):
        generator += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, after, kernel, 2, 1, bias=False)]
    pair = nn.Sequential(*generator, nn.Tanh()), nn.Sequential(*discriminator)
    for net in pair:
        net.apply(weights_init)
    return pair


def weights_init(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def r1_penalty(discriminator, real):
    """E |grad D(x)|^2 / 2 on real images."""
    real = real.detach().requires_grad_()
    (slope,) = autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean() / 2


def train_step(generator, discriminator, g_optimizer, d_optimizer, real, gamma) -> tuple[float, float]:
    """One step of both; returns their losses, without the R1 penalty of weight gamma."""
    ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
    fake = generator(torch.randn(len(real), LATENT, 1, 1))
    d_optimizer.zero_grad()
    on_real, on_fake = discriminator(real), discriminator(fake.detach())
    d_loss = F.binary_cross_entropy_with_logits(on_real, ones) + F.binary_cross_entropy_with_logits(on_fake, zeros)
    (d_loss + gamma * r1_penalty(discriminator, real) if gamma else d_loss).backward()
    d_optimizer.step()
    g_optimizer.zero_grad()
    discriminator.requires_grad_(False)
    g_loss = F.binary_cross_entropy_with_logits(discriminator(fake), ones)
    g_loss.backward()
    discriminator.requires_grad_(True)
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write, .safetensors")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--generator-lr", type=float, help="the generator's, where it is not --lr")
    parser.add_argument("--decay", action="store_true", help="let the rates fall to 0 in the second half of the steps")
    parser.add_argument("--r1", type=float, default=0.0, help="weight of the discriminator's R1 penalty")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    size = (args.image_size, args.image_size)
    train = data.MNIST(args.data_root, train=True, transform=Compose([Resize(size), Normalize(0.5, 0.5)]))
    loader = data.DataLoader(train, args.batch_size, shuffle=True, drop_last=True)
    pair = networks(args.image_size)
    rates = args.generator_lr or args.lr, args.lr
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999)) for net, lr in zip(pair, rates, strict=True)
    ]
    steps = args.epochs * len(loader)
    schedules = [
        LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / steps) if args.decay else 1.0)
        for optimizer in optimizers
    ]
    for epoch in range(args.epochs):
        started = time.perf_counter()
        losses = []
        for step, (images, _) in enumerate(loader, epoch * len(loader)):
            gamma = 0.0 if step % R1_EVERY else R1_EVERY * args.r1
            losses.append(train_step(*pair, *optimizers, torch.from_numpy(images.numpy().copy()), gamma))
            for schedule in schedules:
                schedule.step()
        d_loss, g_loss = (sum(column) / len(losses) for column in zip(*losses, strict=True))
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1}: d_loss {d_loss:.3f}, g_loss {g_loss:.3f}, {seconds:.0f} s", flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        save_file({f"main.{name}": value for name, value in pair[0].state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
