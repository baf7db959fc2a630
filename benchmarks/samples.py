"""Draw samples of a trained generator as a judge of 28 x 28 grey pixels sees them."""

import sys
from pathlib import Path

import numpy as np

from judge import as_seen
from scratchnet.models import Generator
from scratchnet.serialization import load_file

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
import generate

CLASSES = 10
CHUNK = 500  # samples drawn at a time


def draw_samples(path: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Samples as a judge sees them, the classes asked for (None of a model that is not told any), and the size drawn.

    Args:
        path: a run's folder, a checkpoint, or a .safetensors file with the weights of a DCGAN generator.
        count, seed: how many samples, of which codes; conditional generators are asked for all classes in turn.
    """
    draw, latent, conditional = load_generator(path)
    codes, labels = np.random.default_rng(seed).standard_normal((count, latent)), np.arange(count) % CLASSES
    size = draw(codes[:1], labels[:1]).shape[-1]
    parts = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    samples = np.concatenate([as_seen(draw(codes[part], labels[part])) for part in parts])
    return samples, labels if conditional else None, size


def load_generator(path: Path):
    """draw(codes, labels=None) -> images in [0, 1], a code's size, and whether labels are heeded."""
    if path.is_dir() or path.name.startswith(("step-", "best")):
        draw, latent, config = generate.load_model(path)
        return draw, latent, config["model"] == "conditional"
    generator = load_dcgan(path)
    return (lambda codes, labels=None: generate.train_gan.draw(generator, codes)), generator.latent, False


def load_dcgan(path: Path) -> Generator:
    """A DCGAN generator from its weights alone: the sizes of the layers are read off them."""
    weights = load_file(path)
    convolutions = [weights[name].shape for name in sorted(weights, key=_layer) if weights[name].ndim == 4]
    latent, _, size, _ = convolutions[0]
    for *_, kernel in convolutions[1:]:
        size = 2 * size + kernel - 4  # of stride 2 and padding 1
    features, channels = convolutions[-1][:2]
    generator = Generator(latent, channels, features, size)
    generator.load_state_dict(weights)
    return generator


def _layer(name: str) -> int:
    return int(name.split(".")[-2])  # 5 of main.5.weight
