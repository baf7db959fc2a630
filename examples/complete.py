"""Fill holes in images: search a generator's codes for the image that fits what is left.

    python examples/complete.py                               # trains a VAE on drawn digits first
    python examples/complete.py --hole lower                  # finds that VAE trained
    python examples/complete.py --data mnist --checkpoint runs/mnist-vae-dense-0
    python examples/complete.py --data mnist --checkpoint runs/mnist-gan-dcgan-0
    python examples/complete.py --smoke                       # a few steps, to see that everything works

After Yeh et al. (CVPR 2017): no network is trained to fill holes. For every image the code z is sought, by Adam through
the fixed generator, whose image agrees with the pixels that are known and is likely by itself, and the hole is filled
with that image's pixels. What is minimised over z is, with a VAE, -log p(known pixels | z) - log p(z), up to constants
the sum of Bernoulli nats over known pixels plus |z|^2 / 2; with a GAN, as in the paper but without its weights, the sum
of |G(z) - x| over known pixels plus lambda log(1 - D(G(z))). The landscape has many valleys, so every image has several
starts, and the lowest end counts.

Writes completed.png (rows of ten: the image, what is known, the mean fill, the completion) and completed.json. The
script asserts at its end that the PSNR over missing pixels is higher than that of the mean training image in the hole.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import grids
import scratchnet as sn
import train_gan
from images import add_data_arguments, load_images
from run import REFUSED, ShowDefaults, add_device_argument, amount, fail, result_folder, seed_number
from scratchnet import metrics, optim
from scratchnet.data.transforms import Resize
from scratchnet.nn import functional as F
from trained import load_networks, vae_folder

GAN_PRIOR = 0.003  # lambda
WANTED = {"digits": 1.0, "mnist": 1.0}  # dB over the mean fill, for the centre
COLUMNS = 10  # of the picture


def centre(side: int, rng) -> np.ndarray:
    """A square of half the side, a quarter of the pixels."""
    inside = (np.arange(side) >= side // 4) & (np.arange(side) < side - side // 4)
    return inside & inside[:, None]


def lower(side: int, rng) -> np.ndarray:
    """The lower half."""
    return np.repeat(np.arange(side)[:, None] >= side // 2, side, 1)


def scattered(side: int, rng) -> np.ndarray:
    """Four pixels of five, at random."""
    return rng.random((side, side)) < 0.8


HOLES = {"centre": centre, "lower": lower, "scattered": scattered}


class VAEDrawer:
    """Images of codes, and how well they go with what is known of others, for a VAE."""

    def __init__(self, model):
        self.model, self.latent = model, model.latent

    def energy(self, z, images, known):
        """Nats (N,) of the known pixels and of the code."""
        nats = F.binary_cross_entropy_with_logits(self.model.decode(z), images, reduction="none")
        return (nats * known).sum((1, 2, 3)) + sn.square(z).sum(1) / 2

    def draw(self, z):
        return sn.sigmoid(self.model.decode(z))


class GANDrawer:
    """The same for a GAN, whose discriminator says what is likely."""

    def __init__(self, generator, discriminator):
        self.generator, self.discriminator, self.latent = generator, discriminator, train_gan.LATENT

    def energy(self, z, images, known):
        """The context loss plus lambda log(1 - D(G(z))), (N,)."""
        fake = self.generator(z)
        context = (sn.abs((fake + 1) / 2 - images) * known).sum((1, 2, 3))
        return context - GAN_PRIOR * F.softplus(self.discriminator(fake))

    def draw(self, z):
        return (self.generator(z) + 1) / 2


def load_drawer(path: Path, device: str = "cpu"):
    networks, config = load_networks(path, device)
    if config["model"] in ("conditional", "gaussian", "wgan-gp"):
        raise ValueError(f"{path}: completion is not written for the {config['model']} model")
    return (VAEDrawer if config["trainer"] == "vae" else GANDrawer)(**networks)


def search(drawer, images, known, starts: int, steps: int, lr: float, rng, device: str = "cpu") -> np.ndarray:
    """The images of the codes with the least energy that Adam finds from ``starts`` random codes each.

    ``images`` are (N, C, H, W); ``known`` is (H, W), 1 where their pixels may be seen, 0 where not. The search runs on
    ``device``, where the drawer is.
    """
    n = len(images)
    target, mask = (sn.tensor(a, device=device) for a in (np.tile(images * known, (starts, 1, 1, 1)), known))
    codes = rng.standard_normal((starts * n, drawer.latent), np.float32)
    z = sn.tensor(codes, device=device, requires_grad=True)
    optimizer = optim.Adam([z], lr=lr)
    for _ in range(steps):
        energy = drawer.energy(z, target, mask)  # of every code on its own: their sum sends each its own gradient
        optimizer.zero_grad()
        energy.sum().backward()
        optimizer.step()
    with sn.no_grad():
        best = drawer.energy(z, target, mask).cpu().data.reshape(starts, n).argmin(0)
        found = z.cpu().data.reshape(starts, n, -1)[best, np.arange(n)]
        return drawer.draw(sn.tensor(found, device=device)).cpu().data


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist"])
    parser.add_argument("--checkpoint", type=Path, help="of train_vae.py or train_gan.py (default: train a VAE)")
    parser.add_argument("--hole", choices=HOLES, default="centre", help="what is missing")
    parser.add_argument("--count", type=int, default=500, help="how many test images")
    parser.add_argument("--starts", type=int, default=4, help="searches for each image")
    parser.add_argument("--steps", type=int, default=200, help="of Adam, in a search")
    parser.add_argument("--lr", type=amount, default=0.1, help="Adam's learning rate")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    parser.add_argument("--out", type=result_folder, help="result folder (default: one below runs/)")
    add_device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-complete-{args.seed}"
    if args.count < 2 or min(args.starts, args.steps) < 1:
        parser.error("--count must be at least 2, --starts and --steps at least 1")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    rng = np.random.default_rng(args.seed)
    try:
        drawer = load_drawer(args.checkpoint or vae_folder(args), args.device)
        with sn.no_grad():
            shape = drawer.draw(sn.zeros(1, drawer.latent, device=args.device)).shape[1:]
        train_data, test_data = load_images(args, Resize(shape[1:]))
        if (channels := train_data[0][0].shape[0]) != shape[0]:
            raise ValueError(f"the model draws {shape[0]} channels, the images of {args.data} have {channels}")
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    images = test_data[rng.permutation(len(test_data))[: args.count]][0]
    mean = train_data[np.arange(len(train_data))][0].mean(0)
    hole = HOLES[args.hole](shape[1], rng)

    known = 1 - hole.astype(np.float32)
    drawn = search(drawer, images, known, args.starts, args.steps, args.lr, rng, args.device)
    mean_fill, completed = np.where(hole, mean, images), np.where(hole, drawn, images)
    before, after = (
        metrics.psnr(filled[:, :, hole], images[:, :, hole], data_range=1) for filled in (mean_fill, completed)
    )
    gain = after - before
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    result = {"mean_fill_psnr": before.mean(), "completed_psnr": after.mean(), "gain": gain.mean(), "error": error}

    columns = min(COLUMNS, len(images))
    few = slice(0, min(3, len(images) // columns) * columns)
    kinds = (images, np.where(hole, 0.5, images), mean_fill, completed)
    rows = np.stack([kind[few].reshape(-1, columns, *shape) for kind in kinds], 1)
    grids.save_grid(args.out / "completed.png", rows.reshape(-1, *shape), columns)
    settings = ("data", "hole", "count", "starts", "steps", "lr", "seed", "smoke")
    facts = {name: getattr(args, name) for name in settings} | {"count": len(images)}
    facts |= {name: float(x) for name, x in result.items()}
    (args.out / "completed.json").write_text(json.dumps(facts, indent=1) + "\n")
    if not args.quiet:
        print(
            f"missing pixels of {len(images)} images: mean fill {before.mean():.2f} dB, completed {after.mean():.2f} "
            f"dB, gain {gain.mean():.2f} dB (standard error {error:.2f}); better in {np.mean(gain > 0):.0%}"
        )
        print(f"results in {args.out}")

    if args.smoke:
        wanted = -1  # a VAE of a few steps draws little more than the mean
    else:
        wanted = WANTED.get(args.data, 0) if args.hole == "centre" and args.checkpoint is None else 0
    assert gain.mean() > wanted, f"the gain over the mean fill of {gain.mean():.2f} dB is not above {wanted}"
    return result


if __name__ == "__main__":
    main()
