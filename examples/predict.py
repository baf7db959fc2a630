"""Say what a trained classifier sees in image files.

    python examples/predict.py runs/digits-cnn-0 mine.png another.jpg
    python examples/predict.py RUN scan.png --invert   # dark ink on light paper; MNIST is light ink on dark

Images are converted to the colours and the size that the network was trained on. A file that cannot be read is named;
the others are classified all the same, and the exit code is 1.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import scratchnet as sn
from run import ShowDefaults, add_device_argument
from scratchnet.data import read_image
from scratchnet.models import CNN, ShallowCNN
from scratchnet.serialization import load_checkpoint

MODELS = {"cnn": CNN, "shallow": ShallowCNN}


def load_classifier(path, device="cpu"):
    """The model of a checkpoint of train_cnn.py, or the best one of its folder, in evaluation mode, and its config."""
    path = path / "best.safetensors" if path.is_dir() else path
    config = load_checkpoint(path).config
    if not isinstance(config, dict) or config.get("model") not in MODELS:
        raise ValueError(f"{path} is no checkpoint of train_cnn.py")
    model = MODELS[config["model"]](config["in_channels"], config["image_size"], len(config["classes"]))
    load_checkpoint(path, model=model)
    return model.eval().to(device), config


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    parser.add_argument("checkpoint", type=Path, help="the folder of a run, or one of its checkpoints")
    parser.add_argument("images", type=Path, nargs="+", help="image files")
    parser.add_argument("--invert", action="store_true", help="swap dark and light")
    parser.add_argument("--top", type=int, default=3, help="how many classes to name")
    add_device_argument(parser)
    args = parser.parse_args(argv)

    try:
        model, config = load_classifier(args.checkpoint, args.device)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    mode = "L" if config["in_channels"] == 1 else "RGB"
    size = (config["image_size"], config["image_size"])
    width = max(len(str(path)) for path in args.images)
    unreadable = 0
    for path in args.images:
        try:
            image = read_image(path, mode, size)
        except (OSError, ValueError) as error:
            print(f"{path!s:<{width}}  not read: {error}", file=sys.stderr)
            unreadable += 1
            continue
        pixels = image.astype(np.float32) / 255
        with sn.no_grad():
            batch = sn.from_numpy(1 - pixels if args.invert else pixels).unsqueeze(0)
            probabilities = sn.softmax(model(batch.to(args.device)), 1).cpu().data[0]
        best = np.argsort(-probabilities)[: args.top]
        print(f"{path!s:<{width}}  " + ", ".join(f"{config['classes'][i]} {probabilities[i]:.1%}" for i in best))
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
