"""Draw with a trained VAE or GAN: samples, ways between codes, the map of a VAE's plane, and what it learnt from.

    python examples/generate.py runs/digits-vae-plane-0
    python examples/generate.py runs/digits-gan-dcgan-0/step-00000935.safetensors --count 100 --seed 3
    python examples/generate.py runs/mnist-gan-dcgan-0 --data-root DIR   # DIR as in training

Writes next to the checkpoint, or to --out:

    samples.png      samples; of a model that is told the class, a class a row
    classes.png      of such a model: in each column one code, drawn as every class
    linear.png       in every row the way from one code to another, straight
    spherical.png    the same ways along an arc
    manifold.png     of a VAE of two latents: the images of a grid of codes
    neighbours.png   samples, each with the training images that are nearest to it and their distances

A training image that was learnt by heart has a distance near 0. --neighbours 0 leaves that picture out: it alone needs
the data.
"""

import argparse
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

import train_gan
import train_vae
from grids import save_grid
from images import add_data_arguments, load_images
from reporting import save_neighbours
from run import ShowDefaults, add_device_argument, result_folder, seed_number
from scratchnet.data.transforms import Resize
from scratchnet.serialization import load_checkpoint

STEPS = 10  # images of a row
NEIGHBOURS_OF = 8  # samples


def load_model(path: Path, device: str = "cpu"):
    """draw(codes, labels=None) -> images in [0, 1], a code's size, and the config; of a folder, best or last state.

    Raises:
        OSError, ValueError: there is no such state, or it is damaged, or of something that is unknown here.
    """
    if path.is_dir():
        best, steps = path / "best.safetensors", sorted(path.glob("step-*.safetensors"))
        path = best if best.exists() or not steps else steps[-1]
    config = load_checkpoint(path).config
    trainer = config.get("trainer") if isinstance(config, dict) else None
    if trainer not in ("vae", "gan"):
        raise ValueError(f"{path} is a checkpoint neither of train_vae.py nor of train_gan.py")
    shape = {"channels": config.get("channels", 1), "size": config.get("image_size", 28)}
    shape["classes"] = config.get("classes", train_gan.CLASSES)
    try:
        if trainer == "vae":
            model = train_vae.build(config["model"], **shape).to(device)
            load_checkpoint(path, model=model)
            return (lambda codes, labels=None: train_vae.draw(model, codes, labels)), model.latent, config
        generator, _ = train_gan.build(config["model"], **shape)
        load_checkpoint(path, generator=generator.to(device))
        return (lambda codes, labels=None: train_gan.draw(generator, codes, labels)), train_gan.LATENT, config
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is of a model that is unknown here, train_{trainer}.py with {config}") from error


def linear(a, b, t):
    """(1 - t) a + t b: in many dimensions its middle is shorter than any code that was trained on."""
    return (1 - t) * a + t * b


def spherical(a, b, t):
    """(sin((1 - t) w) a + sin(t w) b) / sin w, w being the angle of a and b (Shoemake 1985; White 2016)."""
    cos = (a * b).sum(-1, keepdims=True) / np.linalg.norm(a, axis=-1, keepdims=True)
    angle = np.arccos(np.clip(cos / np.linalg.norm(b, axis=-1, keepdims=True), -1, 1))
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def plane(side: int) -> np.ndarray:
    """Codes (side^2, 2) at equal steps of the normal distribution's probability, to the right, then upwards."""
    z = [NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)]
    return np.array([(right, up) for up in reversed(z) for right in z])


def nearest(samples: np.ndarray, images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the ``count`` nearest images of each sample, nearest first, and their Euclidean distances."""
    flat, points = images.reshape(len(images), -1), samples.reshape(len(samples), -1)
    apart = (flat**2).sum(1) - 2 * points @ flat.T  # |x - y|² less what all images of a sample share
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    distances = np.linalg.norm(points[:, None] - flat[near], axis=2)
    order = distances.argsort(axis=1)
    return np.take_along_axis(near, order, 1), np.take_along_axis(distances, order, 1)


def load_training_images(args, config: dict) -> np.ndarray:
    """The images (N, C, H, W) in [0, 1] that a model with this config was trained on, or those of --data."""
    args.data, args.smoke = args.data or config["data"], args.smoke or config["smoke"]
    args.channels, args.image_size = config.get("channels", 1), config.get("image_size", 28)
    train, _ = load_images(args, Resize((args.image_size, args.image_size)))
    images = train[np.arange(len(train))][0]
    if images.shape[1] != args.channels:
        raise ValueError(f"the model draws {args.channels} channels, the images of {args.data} have {images.shape[1]}")
    return images


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Without --data, the data are those of the training.",
        formatter_class=ShowDefaults,
    )
    parser.add_argument("checkpoint", type=Path, help="the folder of a run, or one of its checkpoints")
    parser.add_argument("--count", type=int, default=80, help="how many samples")
    parser.add_argument("--rows", type=int, default=8, help="how many pairs of codes to go between")
    parser.add_argument("--neighbours", type=int, default=5, help="how many training images to show beside a sample")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    parser.add_argument("--out", type=result_folder, help="folder for the pictures (default: the run's)")
    add_device_argument(parser)
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist", "cifar10", "folder"], channels=False)
    parser.set_defaults(data=None)  # what the model was trained on
    args = parser.parse_args(argv)
    if min(args.count, args.rows) < 1 or args.neighbours < 0:
        parser.error("--count and --rows must be at least 1, --neighbours at least 0")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    try:
        draw, latent, config = load_model(args.checkpoint, args.device)
        training = load_training_images(args, config) if args.neighbours else None
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = args.out or (args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent)
    rng = np.random.default_rng(args.seed)
    classes = config.get("classes", train_gan.CLASSES)
    codes, row_class = rng.standard_normal((args.count, latent)), np.arange(args.count) // STEPS % classes
    samples = draw(codes, row_class)
    save_grid(out / "samples.png", samples, columns=STEPS)
    a, b = rng.standard_normal((2, args.rows, 1, latent))
    t = np.linspace(0, 1, STEPS)[:, None]
    labels = np.repeat(np.arange(args.rows) % classes, STEPS)
    for way in (linear, spherical):
        save_grid(out / f"{way.__name__}.png", draw(way(a, b, t).reshape(-1, latent), labels), columns=STEPS)
    if config["model"] == "conditional":
        same = np.tile(rng.standard_normal((STEPS, latent)), (classes, 1))
        save_grid(out / "classes.png", draw(same, np.repeat(np.arange(classes), STEPS)), columns=STEPS)
    if latent == 2:
        save_grid(out / "manifold.png", draw(plane(15)), columns=15)
    if args.neighbours:
        shown = samples[np.linspace(0, len(samples) - 1, min(NEIGHBOURS_OF, len(samples))).astype(int)]
        near, distances = nearest(shown, training, min(args.neighbours, len(training)))
        save_neighbours(out / "neighbours.png", shown, training[near], distances)
        print(
            "distance of the shown samples to the nearest training image: "
            + ", ".join(f"{d:.2f}" for d in distances[:, 0])
        )
    print(f"pictures in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
