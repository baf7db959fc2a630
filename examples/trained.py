"""What an application of a generative model starts from: a checkpoint that is given, or a VAE trained on the spot."""

from pathlib import Path

import train_gan
import train_vae
from scratchnet.serialization import load_checkpoint


def vae_folder(args, *options: str) -> Path:
    """The folder args.out/vae of a VAE trained on the data of ``args``, now or when this was last called."""
    folder = args.out / "vae"
    options = [*options, "--data", args.data, "--seed", str(args.seed), "--out", str(folder)]
    options += ["--device", args.device]
    options += ["--data-root", str(args.data_root)] if args.data_root else []
    options += ["--smoke", "--epochs", "4"] if args.smoke else []
    options += ["--quiet"] if args.quiet else []
    options += ["--resume"] if folder.exists() else []
    train_vae.main(options)
    return folder


def load_networks(path: Path, device: str = "cpu") -> tuple[dict, dict]:
    """The networks of train_vae.py (model) or train_gan.py (generator, discriminator) by name, and the config.

    In evaluation mode and with fixed weights; of a folder, its best or last checkpoint.

    Raises:
        OSError, ValueError: there is no such checkpoint, or it is damaged, or not of these trainers.
    """
    if path.is_dir():
        best, steps = path / "best.safetensors", sorted(path.glob("step-*.safetensors"))
        path = best if best.exists() or not steps else steps[-1]
    config = load_checkpoint(path).config or {}
    shape = [config.get("channels", 1), config.get("image_size", 28), config.get("classes", 10)]
    model, trainer = config.get("model"), config.get("trainer")
    if trainer not in ("vae", "gan"):
        raise ValueError(f"{path} is a checkpoint neither of train_vae.py nor of train_gan.py")
    if model not in (train_vae.MODELS if trainer == "vae" else train_gan.MODELS):
        raise ValueError(f"{path} is of a model that is unknown here, {model!r} of train_{trainer}.py")
    if trainer == "vae":
        networks = {"model": train_vae.build(model, *shape)}
    else:
        networks = dict(zip(("generator", "discriminator"), train_gan.build(model, *shape), strict=True))
    load_checkpoint(path, **networks)
    for network in networks.values():
        network.eval().requires_grad_(False).to(device)
    return networks, config
