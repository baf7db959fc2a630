"""Say what is drawn: the class by its label, the style by the code, an attribute of the style by a direction.

    python examples/control.py                                # trains a conditional VAE on drawn digits first
    python examples/control.py --data mnist --checkpoint runs/mnist-gan-conditional-0
    python examples/control.py --smoke                        # a few steps, to see that everything works

Writes to the result folder

    classes.png        in every row one code, drawn as each class
    thickness.png      in every row one code and class, its strokes from thin to thick; slant.png likewise
    interpolation.png  in every row the way from one code to another of the same class, along an arc
    control.json       the numbers below

An attribute is anything that can be measured in an image. Its direction in the space of codes is that of its covariance
with the code within classes, over the training images and the means of their posteriors or, for a GAN, which has no
encoder, over generated images. The numbers, which the script asserts at its end: the
share of samples that a CNN trained on the data takes for the class asked for; Spearman's rank correlation between how
far a code was moved along a direction and the attribute measured in what it then draws; and that between how far the
way from one code to another has come and how much nearer the image is to the second than to the first, in the features
of the CNN.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import grids
import scratchnet as sn
from augment import train_classifier
from generate import load_model, spherical
from images import add_data_arguments, load_images
from run import REFUSED, ShowDefaults, add_device_argument, fail, result_folder, seed_number
from scratchnet import metrics
from scratchnet.data.transforms import Resize
from trained import load_networks, vae_folder

REACH = 2.5  # standard deviations of codes that an attribute is moved to either side
STEPS = 10  # images of a row
FITTED = 2000  # images of a GAN that a direction is fitted to
BETA = 4  # weight of the VAE's KL: more than 1, so that codes say less of what the label says already
JUDGE_LAYER = "10"  # of the CNN: its features before the last layer
# The least of each number. A correlation asks for an order only; the changes, of 0.5 and 0.19, for something to see.
WANTED = {"agreement": 0.95, "thickness": 0.9, "slant": 0.9, "interpolation": 0.9}
WANTED |= {"thickness_change": 0.3, "slant_change": 0.1}
SMOKE_WANTED = {"slant": 0.0, "interpolation": 0.9}


def thickness(images: np.ndarray) -> np.ndarray:
    """Mean width of the strokes in pixels, (N,): twice the ink, over the length of its outline.

    The outline is the total variation, which tells nothing of how dark the ink is or how sharp its edges are, once it
    is divided into the ink. Blur that lowers a thin stroke makes it wider.
    """
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down, right = np.diff(padded, axis=2)[:, :, :, :-1], np.diff(padded, axis=3)[:, :, :-1]
    return 2 * images.sum((1, 2, 3)) / np.sqrt(down**2 + right**2).sum((1, 2, 3))


def slant(images: np.ndarray) -> np.ndarray:
    """How far strokes lean to the right for each pixel upwards, (N,): -cov(x, y) / var(y) of the ink's places."""
    ink = images.sum(1)
    ink = ink / ink.sum((1, 2), keepdims=True)
    y, x = np.mgrid[: ink.shape[1], : ink.shape[2]]
    dy, dx = (place - (ink * place).sum((1, 2), keepdims=True) for place in (y, x))
    return -(ink * dx * dy).sum((1, 2)) / (ink * dy**2).sum((1, 2))


ATTRIBUTES = {"thickness": thickness, "slant": slant}


def direction(codes: np.ndarray, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The unit vector of the covariance, within classes, of codes (N, latent) with values (N,)."""
    values, codes = values.astype(np.float64), codes.copy()
    for label in np.unique(labels):
        codes[labels == label] -= codes[labels == label].mean(0)
        values[labels == label] -= values[labels == label].mean()
    covariance = codes.T @ values  # not divided by the codes' variances, which would favour units that do nothing
    return covariance / np.linalg.norm(covariance)


def moved(codes: np.ndarray, along: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Codes (N, K, latent): each of (N, latent) with its part along a unit vector replaced by each of K places."""
    rest = codes - (codes @ along)[:, None] * along
    return rest[:, None] + places[:, None] * along


def spearman(values: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row of (N, K) with its column numbers, (N,).

    Equal values have the mean of their ranks; a row of one value has no correlation, and is NaN.
    """
    before, after = (compare(values[:, :, None], values[:, None]).sum(2) for compare in (np.greater, np.less))
    ranks, columns = (before - after) / 2, np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    with np.errstate(invalid="ignore"):
        return ranks @ columns / (np.linalg.norm(ranks, axis=1) * np.linalg.norm(columns))


def encode(model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The posterior means (N, latent) of images."""
    device, means = next(model.parameters()).device, []
    with sn.no_grad():
        for part in (slice(i, i + 1000) for i in range(0, len(images), 1000)):
            batch = (sn.tensor(array[part], device=device) for array in (images, labels))
            means.append(model.encode(*batch)[0].cpu().data)
    return np.concatenate(means).astype(np.float64)


def judged(judge, images: np.ndarray) -> np.ndarray:
    """The classes (N,) that a classifier takes images for."""
    judge.eval()
    device = next(judge.parameters()).device
    with sn.no_grad():
        batches = (sn.tensor(images[i : i + 250], device=device) for i in range(0, len(images), 250))
        logits = [judge(batch).cpu().data for batch in batches]
    return np.concatenate(logits).argmax(1)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist"])
    parser.add_argument("--checkpoint", type=Path, help="of a conditional VAE or GAN (default: train a VAE)")
    parser.add_argument("--count", type=int, default=200, help="how many codes are measured")
    parser.add_argument("--rows", type=int, default=10, help="how many of them are shown")
    parser.add_argument("--judge-steps", type=int, default=1000, help="of the CNN, in batches of 32")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    parser.add_argument("--out", type=result_folder, help="result folder (default: one below runs/)")
    add_device_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-control-{args.seed}"
    if min(args.count, args.rows, args.judge_steps) < 1:
        parser.error("--count, --rows and --judge-steps must be at least 1")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    try:
        source = args.checkpoint or vae_folder(args, "--model", "conditional", "--beta", str(BETA))
        draw_all, latent, config = load_model(source, args.device)
        if config["model"] != "conditional":
            raise ValueError(f"{source} is of a model that is not told the class")
        size = config["image_size"]
        train, test = load_images(args, Resize((size, size)))
        for name, found in (("channels", train[0][0].shape[0]), ("classes", len(train.classes))):
            if config[name] != found:
                raise ValueError(f"{source} is of a model of {config[name]} {name}, {args.data} has {found}")
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    classes = len(train.classes)
    images, labels = train[np.arange(len(train))]
    sn.manual_seed(args.seed)
    judge_steps = 30 if args.smoke else args.judge_steps
    judge = train_classifier(images, labels, classes, judge_steps, args.device)
    test_images, test_labels = test[np.arange(len(test))]
    result = {"judge": np.mean(judged(judge, test_images) == test_labels)}

    rng = np.random.default_rng(args.seed)
    codes = rng.standard_normal((args.count, latent))
    asked = np.arange(args.count) % classes

    def draw(codes, labels):
        """Images (N, K, C, H, W) of codes (N, K, latent) and labels (N, K)."""
        drawn = draw_all(codes.reshape(-1, latent), labels.ravel())
        return drawn.reshape(*labels.shape, *drawn.shape[1:])

    def show(name, drawn):
        shown = drawn[: args.rows]
        grids.save_grid(args.out / f"{name}.png", shown.reshape(-1, *drawn.shape[2:]), drawn.shape[1])

    every = np.tile(np.arange(classes), (args.count, 1))
    drawn = draw(np.repeat(codes[:, None], classes, 1), every)
    show("classes", drawn)
    result["agreement"] = np.mean(judged(judge, drawn.reshape(-1, *drawn.shape[2:])) == every.ravel())

    if config["trainer"] == "vae":
        known_images, known_labels = images, labels
        known_codes = encode(load_networks(source, args.device)[0]["model"], images, labels)
    else:
        known_codes = rng.standard_normal((FITTED, latent))
        known_labels = np.arange(FITTED) % classes
        known_images = draw_all(known_codes, known_labels)
    same = np.repeat(asked[:, None], STEPS, 1)
    for name, measure in ATTRIBUTES.items():
        along = direction(known_codes, measure(known_images), known_labels)
        drawn = draw(moved(codes, along, np.linspace(-REACH, REACH, STEPS)), same)
        show(name, drawn)
        flat = drawn.reshape(-1, *drawn.shape[2:])
        values = measure(flat).reshape(same.shape)
        result |= {name: spearman(values).mean(), f"{name}_from": values[:, 0].mean()}
        result |= {f"{name}_to": values[:, -1].mean(), f"{name}_change": np.mean(values[:, -1] - values[:, 0])}
        result[f"{name}_agreement"] = np.mean(judged(judge, flat) == same.ravel())

    others = rng.standard_normal(codes.shape)
    drawn = draw(spherical(codes[:, None], others[:, None], np.linspace(0, 1, STEPS)[:, None]), same)
    show("interpolation", drawn)
    features = metrics.FeatureNetwork(judge, f"{args.data}-cnn", JUDGE_LAYER)(drawn.reshape(-1, *drawn.shape[2:]))
    features = features.values.reshape(*same.shape, -1)
    away, to_go = (np.linalg.norm(features - features[:, [end]], axis=2) for end in (0, -1))
    result["interpolation"] = spearman(away - to_go).mean()

    result = {name: float(value) for name, value in result.items()}
    settings = {name: getattr(args, name) for name in ("data", "count", "judge_steps", "seed", "smoke")}
    (args.out / "control.json").write_text(json.dumps(settings | result, indent=1) + "\n")
    if not args.quiet:
        print(f"the judge is right about {result['judge']:.2%} of the test images")
        print(f"class asked for: judged so {result['agreement']:.2%}")
        for name in ATTRIBUTES:
            print(
                f"{name}: rank correlation {result[name]:.3f}, mean from {result[f'{name}_from']:.2f} to "
                f"{result[f'{name}_to']:.2f}, still judged the class asked for {result[f'{name}_agreement']:.2%}"
            )
        print(f"interpolation: rank correlation {result['interpolation']:.3f}")
        print(f"results in {args.out}")

    for name, least in (SMOKE_WANTED if args.smoke else WANTED).items():
        assert result[name] >= least, f"{name} is {result[name]:.3f}, wanted at least {least:g}"
    return result


if __name__ == "__main__":
    main()
