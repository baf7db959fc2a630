"""Draw with a trained VAE or GAN: samples, ways between codes, and the map of a VAE's plane.

    python examples/generate.py runs/digits-vae-plane-0
    python examples/generate.py runs/digits-gan-dcgan-0/step-00000935.safetensors --count 100 --seed 3

Writes next to the checkpoint, or to --out: samples.png; linear.png and spherical.png, in which every row leads from one
code to another, straight and along an arc; and for a VAE of two latents manifold.png, the images of a grid of codes.
"""

import argparse
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np

import train_gan
import train_vae
from grids import save_grid
from scratchnet.serialization import load_checkpoint

STEPS = 10  # images of a row from one code to another


def load_drawer(path: Path):
    """draw(codes, labels=None) -> images in [0, 1], and a code's size; of a folder, its best or last checkpoint."""
    if path.is_dir():
        best, steps = path / "best.safetensors", sorted(path.glob("step-*.safetensors"))
        path = best if best.exists() or not steps else steps[-1]
    config = load_checkpoint(path).config
    if config.get("trainer") == "vae":
        model = train_vae.MODELS[config["model"]]()
        load_checkpoint(path, model=model)
        return (lambda codes, labels=None: train_vae.draw(model, codes)), model.latent
    if config.get("trainer") == "gan":
        generator, _ = train_gan.build(config["model"], config["channels"], config["image_size"])
        load_checkpoint(path, generator=generator)
        return (lambda codes, labels=None: train_gan.draw(generator, codes, labels)), train_gan.LATENT
    raise ValueError(f"{path} is a checkpoint neither of train_vae.py nor of train_gan.py")


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


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="the folder of a run, or one of its checkpoints")
    parser.add_argument("--count", type=int, default=80, help="how many samples")
    parser.add_argument("--rows", type=int, default=8, help="how many pairs of codes to go between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    args = parser.parse_args(argv)
    if min(args.count, args.rows) < 1:
        parser.error("--count and --rows must be at least 1")
    try:
        draw, latent = load_drawer(args.checkpoint)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    out = args.out or (args.checkpoint if args.checkpoint.is_dir() else args.checkpoint.parent)
    rng = np.random.default_rng(args.seed)
    save_grid(out / "samples.png", draw(rng.standard_normal((args.count, latent))), columns=10)
    a, b = rng.standard_normal((2, args.rows, 1, latent))
    t = np.linspace(0, 1, STEPS)[:, None]
    labels = np.repeat(np.arange(args.rows) % train_gan.CLASSES, STEPS)  # for a conditional generator: a class a row
    for way in (linear, spherical):
        save_grid(out / f"{way.__name__}.png", draw(way(a, b, t).reshape(-1, latent), labels), columns=STEPS)
    if latent == 2:
        save_grid(out / "manifold.png", draw(plane(15)), columns=15)
    print(f"pictures in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
