"""Train a generative adversarial network and watch it learn to draw.

    python examples/train_gan.py                              # DCGAN on drawn digits, no network needed
    python examples/train_gan.py --model small                # fewer features, faster
    python examples/train_gan.py --data mnist --image-size 64 --epochs 6 --r1 3
    python examples/train_gan.py --model conditional          # told which digit to draw
    python examples/train_gan.py --model linear --data cifar10   # learns the mean image, and nothing else
    python examples/train_gan.py --data folder --data-root DIR   # your DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg
    python examples/train_gan.py --model wgan-gp --smoke      # a few steps, to see that everything works

Every batch the discriminator learns that real images are 1 and the generator's are 0, then the generator learns to be
taken for 1. The result folder gets metrics.jsonl, curves.png, a grid of samples from the same codes after every epoch,
samples.gif of those grids, and checkpoints. The script ends with an assertion: the samples' mean image is near the test
images' and they vary about as much, which a collapsed generator's do not; for models and data that nobody has measured
yet, and for fewer epochs than the default, less is asked.
"""

import argparse
from pathlib import Path

import numpy as np

import grids
import reporting
import scratchnet as sn
from images import add_data_arguments, agreement, left_out, load_images
from run import REFUSED, Run, ShowDefaults, add_arguments, amount, fail, seed_number
from scratchnet import data, metrics, models, nn, optim
from scratchnet.data.transforms import Compose, Normalize, Resize
from scratchnet.nn import functional as F

LATENT, CLASSES = 100, 10
DEFAULT_EPOCHS = 5
EPOCHS = {("linear", "digits"): 25, ("wide", "digits"): 1}  # the others': DEFAULT_EPOCHS
CRITIC_STEPS = 5  # of WGAN-GP, for each of the generator
R1_EVERY = 8  # steps: as often does the penalty come, eight times as heavy (Karras et al. 2020, section 3.1)
SIZES = {"small": 28, "linear": 8, "wide": 100}  # the others have --image-size
# Rates of discriminator and generator (two time scales: Heusel et al. 2017). A linear discriminator that is no faster
# than its generator follows it around the mean image, at twice the distance.
RATES = {"linear": (1e-3, 2e-4)}
DEFAULT_RATES = (2e-4, 2e-4)
MODELS = ("dcgan", "small", "linear", "wide", "conditional", "wgan-gp")
# The least and the most of what ``compare`` and ``agreement`` measure after the default epochs.
WANTED = {
    ("dcgan", "digits"): {"mean_gap": (0, 0.2), "spread": (0.7, 1.4)},  # 0.11, 0.84
    ("dcgan", "mnist"): {"mean_gap": (0, 0.2), "spread": (0.7, 1.4)},  # 0.04, 1.00 after 12 epochs
    ("small", "digits"): {"mean_gap": (0, 0.25), "spread": (0.7, 1.4)},  # 0.15, 0.97
    ("conditional", "digits"): {"mean_gap": (0, 0.3), "spread": (0.7, 1.4), "agreement": (0.6, 1)},  # 0.14, 1.02, 0.79
    # Linear: the mean is right and nothing else, above all not the spread.
    ("linear", "digits"): {"mean_gap": (0, 0.1), "spread": (0.05, 0.7)},  # 0.04, 0.31
    ("linear", "cifar10"): {"mean_gap": (0, 0.05), "spread": (0.05, 0.7)},  # 0.042, 0.32; 0.044, 0.18
}
NOT_COLLAPSED = {"spread": (0.05, np.inf)}  # of the others
COLUMNS = ("d_loss", "g_loss", "d_real", "d_fake", "d_fake_after")


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    parser.add_argument("--model", choices=MODELS, default="dcgan", help="what is trained")
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist", "cifar10", "folder"])
    parser.add_argument("--image-size", type=int, choices=[28, 32, 64], help="height and width of images (default: 28)")
    parser.add_argument("--epochs", type=int, help=f"default: {DEFAULT_EPOCHS}, but for some models")
    parser.add_argument("--batch-size", type=int, default=64, help="images of a step")
    parser.add_argument("--lr", type=amount, help="Adam's learning rate (default: 2e-4, but for some models)")
    parser.add_argument("--generator-lr", type=amount, metavar="LR", help="the generator's, where it is not --lr")
    parser.add_argument("--decay", action="store_true", help="let the rates fall to 0 in the second half of the steps")
    parser.add_argument("--r1", type=amount, default=0.0, metavar="GAMMA", help="weight of an R1 penalty")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-gan-{args.model}-{args.seed}"
    if args.model in SIZES and args.image_size not in (None, SIZES[args.model]):
        parser.error(f"--image-size {args.image_size}: the {args.model} model is for {SIZES[args.model]} pixels")
    args.image_size = SIZES.get(args.model, args.image_size or 28)
    args.default_epochs = EPOCHS.get((args.model, args.data), DEFAULT_EPOCHS)
    args.epochs = args.default_epochs if args.epochs is None else args.epochs
    rates = RATES.get(args.model, DEFAULT_RATES) if args.lr is None else (args.lr, args.lr)
    args.lr, args.generator_lr = rates[0], rates[1] if args.generator_lr is None else args.generator_lr
    if min(args.epochs, args.save_every, args.keep) < 1 or args.batch_size < 2:
        parser.error("--epochs, --save-every and --keep must be at least 1, --batch-size at least 2")
    if args.r1 and args.model == "wgan-gp":
        parser.error(f"--r1 {args.r1:g}: wgan-gp has a gradient penalty of its own")
    return args


def build(model: str, channels: int, size: int, classes: int = CLASSES):
    """Generator and discriminator."""
    shape = {"channels": channels, "image_size": size}
    if model == "small":
        return models.SmallGenerator(LATENT, channels), models.SmallDiscriminator(channels)
    if model == "linear":
        return models.TinyGenerator(LATENT, channels), models.LinearDiscriminator(channels)
    if model == "wide":
        return models.WideGenerator(LATENT, **shape), models.WideDiscriminator(**shape)
    if model == "conditional":
        return models.ConditionalGenerator(classes, LATENT, **shape), models.ConditionalDiscriminator(classes, **shape)
    if model not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {model!r}")
    return models.Generator(LATENT, **shape), (models.Critic if model == "wgan-gp" else models.Discriminator)(**shape)


def draw(generator, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] of codes (N, latent); ``labels``, where it wants any, go through the classes."""
    generator.eval()
    conditional = hasattr(generator, "num_classes")
    if conditional and labels is None:
        labels = np.arange(len(codes)) % generator.num_classes
    images, device = [], next(generator.parameters()).device
    with sn.no_grad():
        for part in (slice(start, start + 100) for start in range(0, len(codes), 100)):
            z = sn.tensor(codes[part].astype(np.float32), device=device)
            label = [sn.tensor(labels[part], device=device)] if conditional else []
            images.append(generator(z, *label).cpu().data)
    return (np.concatenate(images) + 1) / 2


def descend(loss, optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def discriminator_step(discriminator, optimizer, real, fake, label, wasserstein: bool, gamma: float = 0.0) -> dict:
    """One step on a real and a fake batch; no gradient reaches the generator. ``label`` is [labels], or [] without.

    gamma is the weight of an R1 penalty, which is not counted in d_loss.
    """
    fake = fake.detach()
    on_real, on_fake = discriminator(real, *label), discriminator(fake, *label)
    if wasserstein:
        loss = F.wasserstein_critic_loss(on_real, on_fake) + F.gradient_penalty(discriminator, real, fake)
    else:
        loss = F.gan_discriminator_loss(on_real, on_fake)
        on_real, on_fake = sn.sigmoid(on_real), sn.sigmoid(on_fake)
    penalised = loss + F.r1_penalty(lambda x: discriminator(x, *label), real, gamma=gamma) if gamma else loss
    descend(penalised, optimizer)
    return {"d_loss": loss, "d_real": on_real.mean(), "d_fake": on_fake.mean()}


def generator_step(discriminator, optimizer, fake, label, wasserstein: bool) -> dict:
    """One step of the generator through the discriminator, whose weights get no gradients."""
    on_fake = discriminator(fake, *label)
    if wasserstein:
        loss = F.wasserstein_generator_loss(on_fake)
    else:
        loss = F.non_saturating_generator_loss(on_fake)
        on_fake = sn.sigmoid(on_fake)
    descend(loss, optimizer)
    return {"g_loss": loss, "d_fake_after": on_fake.mean()}


def decay(optimizer, steps: int, wanted: bool):
    """A schedule that, where wanted, lets the rate fall linearly to 0 over the second half of the steps."""
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / steps) if wanted else 1.0)


def compare(fake: np.ndarray, real: np.ndarray) -> dict:
    """How far images in [0, 1] are from real ones.

    mean_gap: the largest difference of the mean images; spread: the variance over all pixels, as a share of the real.
    """
    gap = np.abs(fake.mean(0) - real.mean(0)).max()
    return {"mean_gap": float(gap), "spread": float(fake.var(0).sum() / real.var(0).sum())}


def check(row: dict, args) -> None:
    """Assert that what an epoch's row says is what this model is known to reach."""
    if args.model != "linear":  # which ends at telling nothing apart
        assert row["d_fake_after"] < row["d_fake"], f"its steps do not turn the discriminator against samples: {row}"
        assert args.smoke or row["d_real"] > row["d_fake"], f"it takes generated images for real ones: {row}"
    if not args.smoke and args.epochs >= args.default_epochs:
        reporting.assert_within(row, WANTED.get((args.model, args.data), NOT_COLLAPSED))


def save_curves(args, rows: list[dict]) -> None:
    of_both = {"D(x)": "d_real", "D(G(z)) before": "d_fake", "D(G(z)) after": "d_fake_after"}
    panels = {
        "loss": {"discriminator": "d_loss", "generator": "g_loss"},
        "score" if args.model == "wgan-gp" else "probability of being real": of_both,
        "samples against test images": {"mean gap": "mean_gap", "spread": "spread"},
    }
    if args.model == "conditional":
        panels["nearest to the mean of their class"] = {"samples": "agreement"}
    reporting.save_curves(args.out / "curves.png", rows, panels)


def main(argv=None):
    args = parse_arguments(argv)
    sn.manual_seed(args.seed)
    try:
        train, test = load_images(args, Compose([Resize((args.image_size, args.image_size)), Normalize(0.5, 0.5)]))
        if len(train) < args.batch_size:
            raise ValueError(f"there are {len(train)} training images, fewer than --batch-size {args.batch_size}")
        if args.model == "wgan-gp" and len(train) < CRITIC_STEPS * args.batch_size:
            raise ValueError(
                f"there are {len(train)} training images: with --batch-size {args.batch_size} an epoch has fewer than "
                f"the {CRITIC_STEPS} steps that the critic takes for one of the generator"
            )
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    channels, classes = train[0][0].shape[0], len(train.classes)
    settings = ("model", "data", "image_size", "epochs", "batch_size", "lr", "generator_lr", "decay", "r1")
    config = {"trainer": "gan", "channels": channels, "classes": classes}
    config |= {name: getattr(args, name) for name in (*settings, "seed", "smoke")}

    networks = build(args.model, channels, args.image_size, classes)
    generator, discriminator = (network.to(args.device) for network in networks)
    wasserstein, conditional = args.model == "wgan-gp", args.model == "conditional"
    label = [sn.tensor([0], device=args.device)] if conditional else []
    shapes = (1, LATENT), (1, channels, args.image_size, args.image_size)
    pair = zip((generator, discriminator), shapes, strict=True)
    tables = "\n\n".join(str(nn.summary(net, shape, *label)) for net, shape in pair)
    betas = (0.0, 0.9) if wasserstein else (0.5, 0.999)
    g_optimizer = optim.Adam(generator.parameters(), lr=args.generator_lr, betas=betas)
    d_optimizer = optim.Adam(discriminator.parameters(), lr=args.lr, betas=betas)
    loader = data.DataLoader(train, args.batch_size, shuffle=True, drop_last=True)
    schedules = [decay(optimizer, args.epochs * len(loader), args.decay) for optimizer in (g_optimizer, d_optimizer)]
    means = {name: metrics.Mean() for name in COLUMNS}
    rng = np.random.default_rng(args.seed)
    fixed, row_class = rng.standard_normal((100, LATENT)), np.repeat(np.arange(10) % classes, 10)
    trial, trial_class = rng.standard_normal((len(test), LATENT)), np.arange(len(test)) % classes
    real = test[np.arange(len(test))][0] / 2 + 0.5

    parts = {"generator": generator, "discriminator": discriminator, "loader": loader, "means": means}
    parts |= {"g_optimizer": g_optimizer, "d_optimizer": d_optimizer}
    parts |= {"g_schedule": schedules[0], "d_schedule": schedules[1]}

    @sn.capture
    def step(images, labels, gamma, both):
        """A step of the discriminator and, if ``both``, one of the generator."""
        label = [labels] if conditional else []
        fake = generator(sn.randn(len(images), LATENT, device=args.device), *label)
        seen = discriminator_step(discriminator, d_optimizer, images, fake, label, wasserstein, gamma)
        if both:
            discriminator.requires_grad_(False)
            seen |= generator_step(discriminator, g_optimizer, fake, label, wasserstein)
            discriminator.requires_grad_(True)
        else:
            del seen["d_fake"]  # whose mean is over the same batches as d_fake_after's
        return seen

    with Run(args, config, parts) as run:
        if left_out(train, test):
            run.skipped(left_out(train, test))
        run.say(tables)
        while loader.epoch < args.epochs:
            generator.train()
            for images, labels in run.steps(loader, f"epoch {loader.epoch + 1}/{args.epochs}"):
                gamma = 0.0 if run.step % R1_EVERY else R1_EVERY * args.r1
                both = not wasserstein or run.step % CRITIC_STEPS == 0
                terms = step(images.to(args.device), labels.to(args.device), gamma, both)
                seen = {name: term.item() for name, term in terms.items()}
                for schedule in schedules:
                    schedule.step()
                for name, value in seen.items():
                    means[name].update(value)
                run.show(**seen)
            samples = draw(generator, trial, trial_class)
            row = {name: mean.value for name, mean in means.items()} | compare(samples, real)
            if conditional:
                row["agreement"] = agreement(samples, trial_class, real, test.labels)
            run.log(epoch=loader.epoch, **row)
            run.say(f"epoch {loader.epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))
            for mean in means.values():
                mean.reset()
            grids.save_grid(grids.frame(args.out, loader.epoch), draw(generator, fixed, row_class), columns=10)
            run.save()

    grids.save_animation(args.out, args.epochs)
    save_curves(args, run.rows)
    run.say(f"results in {args.out}")
    check(run.rows[-1], args)
    return run.rows[-1]


if __name__ == "__main__":
    main()
