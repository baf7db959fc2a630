"""Does a classifier with few labelled images get better if a generator draws it some more?

    python examples/augment.py                                # drawn digits, no network needed
    python examples/augment.py --data mnist --per-class 20 --generated 200
    python examples/augment.py --smoke                        # a few steps, to see that everything works

For every seed: some images of each class are chosen from the training data, and nothing else is seen of them. A
conditional VAE is trained on these alone and draws more of each class. Then two CNNs with the same initial weights are
trained for the same number of steps, one on the chosen images, one on both, and take the whole test set. The difference
of their accuracies, with over without, is given as the mean over seeds and a 95 % confidence interval (Student's t, for
pairs). It may be anything: a generator knows no more than the images that it saw.

The result folder gets metrics.jsonl, a row a seed, and images.png: a class a column, chosen ones above generated ones.
The script asserts at its end that both classifiers work and that the interval is from at least five pairs; what it says
is not asserted.
"""

import argparse
from pathlib import Path

import numpy as np

import grids
import scratchnet as sn
import train_vae
from images import add_data_arguments, load_images
from run import REFUSED, Run, ShowDefaults, add_arguments, amount, fail, seed_number
from scratchnet import data, metrics, optim
from scratchnet.models import CNN, ConditionalVAE
from scratchnet.nn import functional as F

LEAST_PAIRS = 5
SHOWN = 5  # rows of the picture, of each kind


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist"])
    parser.add_argument("--per-class", type=int, default=100, help="labelled images of each class")
    parser.add_argument("--generated", type=int, default=100, help="generated images of each class")
    parser.add_argument("--pairs", type=int, default=LEAST_PAIRS, help="how many seeds, from --seed on")
    parser.add_argument("--epochs", type=int, default=50, help="of the generator")
    parser.add_argument("--beta", type=amount, default=4.0, help="weight of its KL; at 1 it heeds the label less")
    parser.add_argument("--steps", type=int, default=400, help="of each classifier, in batches of 32")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    add_arguments(parser)
    parser.set_defaults(save_every=1)  # a step of this run is a pair
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-augment-{args.seed}"
    counts = (args.per_class, args.generated, args.epochs, args.steps, args.save_every, args.keep)
    if min(counts) < 1 or args.pairs < LEAST_PAIRS:
        parser.error(f"--pairs must be at least {LEAST_PAIRS}, all other numbers at least 1")
    return args


def choose(dataset, classes: int, per_class: int, rng):
    """Images and labels of ``per_class`` samples of each class, class by class."""
    labels = dataset[np.arange(len(dataset))][1]
    chosen = np.stack([rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(classes)])
    return dataset[chosen.ravel()]


def train_generator(images, labels, classes: int, epochs: int, beta: float, device: str = "cpu") -> ConditionalVAE:
    model = ConditionalVAE(classes, image_shape=images.shape[1:]).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    loader = data.DataLoader(data.TensorDataset(images, labels), 50, shuffle=True, device=device)
    for _ in range(epochs):
        for batch, label in loader:
            logits, mu, log_var = model(batch, label)
            loss = F.bernoulli_nll(logits, batch) + beta * F.gaussian_kl(mu, log_var)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def train_classifier(images, labels, classes: int, steps: int, device: str = "cpu") -> CNN:
    model = CNN(images.shape[1], images.shape[2], classes).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    loader = data.DataLoader(data.TensorDataset(images, labels), 32, shuffle=True, device=device)
    done = 0
    while done < steps:
        for batch, label in loader:
            loss = F.cross_entropy(model(batch), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            done += 1
            if done == steps:
                break
    return model


def accuracy(model, dataset) -> float:
    """The share of a data set that a classifier gets right."""
    model.eval()
    loader = data.DataLoader(dataset, 250, device=next(model.parameters()).device)
    with sn.no_grad():
        logits = [model(images).cpu().data for images, _ in loader]
    return metrics.accuracy(np.concatenate(logits), dataset[np.arange(len(dataset))][1])


def t_quantile(p: float, df: int) -> float:
    """Quantile p of Student's t with ``df`` degrees of freedom.

    At t = sqrt(df) tan(angle) the density is proportional to cos(angle)^(df - 1): it is summed up to p.
    """
    angle = np.linspace(0, np.pi / 2, 10_001)
    density = np.cos(angle) ** (df - 1)
    mass = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(df) * np.tan(np.interp(2 * p - 1, mass / mass[-1], angle)))


def interval(differences) -> tuple[float, float, float]:
    """Mean of paired differences, and the two ends of its 95 % confidence interval."""
    mean = np.mean(differences)
    half = t_quantile(0.975, len(differences) - 1) * np.std(differences, ddof=1) / np.sqrt(len(differences))
    return float(mean), float(mean - half), float(mean + half)


def pair(args, seed: int, train, test, classes: int):
    """Accuracy without and with generated images, and the chosen and generated images."""
    rng = np.random.default_rng(seed)
    sn.manual_seed(seed)
    images, labels = choose(train, classes, args.per_class, rng)
    generator = train_generator(images, labels, classes, args.epochs, args.beta, args.device)
    asked = np.repeat(np.arange(classes), args.generated)
    drawn = train_vae.draw(generator, rng.standard_normal((len(asked), generator.latent)), asked)
    found = []
    for extra, extra_labels in ((drawn[:0], asked[:0]), (drawn, asked)):
        sn.manual_seed(seed)  # the same initial weights
        both = np.concatenate([images, extra]), np.concatenate([labels, extra_labels])
        found.append(accuracy(train_classifier(*both, classes, args.steps, args.device), test))
    return *found, images, drawn


def main(argv=None):
    args = parse_arguments(argv)
    if args.smoke:
        args.per_class, args.generated, args.epochs, args.steps = 20, 10, 2, 10
    try:
        train, test = load_images(args)
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    classes = len(train.classes)
    settings = ("data", "per_class", "generated", "pairs", "epochs", "beta", "steps", "seed", "smoke")
    config = {"trainer": "augment"} | {name: getattr(args, name) for name in settings}

    loader = data.DataLoader(data.TensorDataset(np.arange(args.pairs)), 1)
    with Run(args, config, {"loader": loader}) as run:
        while loader.epoch < 1:
            for (number,) in run.steps(loader, "pairs"):
                seed = args.seed + number.item()
                without, with_generated, images, drawn = pair(args, seed, train, test, classes)
                run.log(seed=seed, without=without, with_generated=with_generated)
                run.say(f"seed {seed}: {without:.2%} right without, {with_generated:.2%} with generated images")
                kinds = (kind.reshape(classes, -1, *kind.shape[1:])[:, :SHOWN] for kind in (images, drawn))
                rows = np.concatenate([kind.swapaxes(0, 1).reshape(-1, *images.shape[1:]) for kind in kinds])
                grids.save_grid(args.out / "images.png", rows, classes)

    without, with_generated = (np.array([row[name] for row in run.rows]) for name in ("without", "with_generated"))
    mean, low, high = interval(with_generated - without)
    run.say(
        f"{len(without)} pairs, {args.per_class} labelled and {args.generated} generated images a class: "
        f"{without.mean():.2%} without, {with_generated.mean():.2%} with; difference {100 * mean:+.2f} points, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
    )
    run.say(f"results in {args.out}")

    worst = min(without.min(), with_generated.min())
    assert args.smoke or worst > 5 / classes, f"a classifier is right about {worst:.1%} only"
    return {"difference": mean, "low": low, "high": high}


if __name__ == "__main__":
    main()
