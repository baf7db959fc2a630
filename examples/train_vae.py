"""Train a variational autoencoder and watch it learn to draw.

    python examples/train_vae.py                              # drawn digits, no network needed
    python examples/train_vae.py --data mnist                 # 784-400-20-400-784, the best known one
    python examples/train_vae.py --data mnist --model plane --epochs 30   # two latents: generate.py draws their map
    python examples/train_vae.py --model conditional          # told which digit to draw
    python examples/train_vae.py --data folder --data-root DIR   # your DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg
    python examples/train_vae.py --reduction mean             # a classic mistake: see beta, and the codes die
    python examples/train_vae.py --model conv --smoke         # a few steps, to see that everything works

The loss is the negative ELBO, -log p(x | z) + KL(q(z | x) | N(0, I)), with Bernoulli pixels whose targets are the
grey values, or for the gaussian model Gaussian ones of standard deviation --std; both terms are sums, over pixels and
over latents, averaged over the batch. The script prints the effective beta, the weight of the KL in such sums, of the
--reduction and --beta that were chosen: 1 is the ELBO.

The result folder gets metrics.jsonl, curves.png, a grid of samples from the same codes after every epoch, samples.gif
of those grids, and checkpoints. The script ends with an assertion on the test -ELBO.
"""

import argparse
from pathlib import Path

import numpy as np

import grids
import reporting
import scratchnet as sn
from images import add_data_arguments, agreement, left_out, load_images
from run import REFUSED, Run, ShowDefaults, add_arguments, amount, fail, seed_number
from scratchnet import data, metrics, nn, optim
from scratchnet.data.transforms import Resize
from scratchnet.models import ConditionalVAE, ConvVAE, DenseVAE, PlaneVAE, SmallConvVAE
from scratchnet.nn import functional as F

MODELS = {
    "dense": DenseVAE,
    "plane": PlaneVAE,
    "conv": ConvVAE,
    "gaussian": SmallConvVAE,
    "conditional": ConditionalVAE,
}
DEFAULT_EPOCHS = 10
# The least and the most of what is measured after the default epochs, at 28 x 28 pixels; see ``evaluate``.
WANTED = {
    ("dense", "digits"): {"loss": (0, 172)},
    ("dense", "mnist"): {"loss": (0, 106.5)},  # 104.9
    ("plane", "digits"): {"loss": (0, 214), "active": (2, 2)},  # 209.5, 209.8
    ("conv", "digits"): {"loss": (0, 167), "active": (10, 20)},  # 162.9, 20
    ("conditional", "digits"): {"loss": (0, 170), "agreement": (0.45, 1)},  # 165.3, 0.54; 165.4, 0.56
    ("gaussian", "digits"): {"psnr": (18, 60), "active": (10, 100)},  # 18.2 after 6 epochs, 100
}
ACTIVE = 0.01  # a latent is active if its posterior mean varies more than this over the data (Burda et al. 2016)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    parser.add_argument("--model", choices=MODELS, default="dense", help="what is trained")
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist", "cifar10", "folder"])
    parser.add_argument("--image-size", type=int, default=28, help="height and width of images")
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=64, help="images of a step")
    parser.add_argument("--lr", type=amount, default=1e-3, help="Adam's learning rate")
    parser.add_argument("--std", type=amount, default=0.3, help="of the gaussian model's pixels")
    parser.add_argument("--beta", type=amount, default=1.0, help="weight of the KL; 1 is the ELBO")
    parser.add_argument(
        "--reduction",
        choices=["batchmean", "mean"],
        default="batchmean",
        help="of the reconstruction: summed over pixels, as it must be, or averaged over them",
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-vae-{args.model}-{args.seed}"
    if min(args.epochs, args.batch_size, args.image_size, args.save_every, args.keep) < 1:
        parser.error("--epochs, --batch-size, --image-size, --save-every and --keep must be at least 1")
    if not args.std > 0:
        parser.error("--std must be above 0")
    return args


def build(model: str, channels: int = 1, size: int = 28, classes: int = 10):
    if model in ("conv", "gaussian"):
        return MODELS[model](channels=channels, image_size=size)
    return MODELS[model](
        image_shape=(channels, size, size), **{"num_classes": classes} if model == "conditional" else {}
    )


def label_of(model, labels) -> list:
    """[labels] for a model that is told them, [] for the others."""
    return [labels] if hasattr(model, "num_classes") else []


def pixel_means(model, output) -> np.ndarray:
    """What a decoder's output says of the pixels: the mean, in [0, 1]."""
    return np.clip((output if model.likelihood == "gaussian" else sn.sigmoid(output)).cpu().data, 0, 1)


def draw(model, codes: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1], the pixels' means, of codes (N, latent); by default the classes take turns."""
    model.eval()
    if labels is None:
        labels = np.arange(len(codes)) % getattr(model, "num_classes", 1)
    device = next(model.parameters()).device
    with sn.no_grad():
        z, labels = sn.tensor(codes.astype(np.float32), device=device), sn.tensor(labels, device=device)
        return pixel_means(model, model.decode(z, *label_of(model, labels)))


def reconstruction_nll(model, output, images, std: float, reduction: str = "mean"):
    """-log p(x | z), summed over pixels; "mean" is over images."""
    if model.likelihood == "gaussian":
        return F.gaussian_nll(output, images, std=std, reduction=reduction)
    return F.bernoulli_nll(output, images, reduction=reduction)


def evaluate(model, loader, seed: int, std: float = 1.0) -> dict:
    """-ELBO, reconstruction and KL in nats an image, PSNR, at the same noise every time; the number of active units."""
    model.eval()
    noise, device = np.random.default_rng(seed), next(model.parameters()).device
    reconstruction, kl, means, psnr = 0.0, 0.0, [], []
    with sn.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            output, mu, log_var = model(images, *label_of(model, labels), generator=noise)
            reconstruction += reconstruction_nll(model, output, images, std, "sum").item()
            kl += F.gaussian_kl(mu, log_var, reduction="sum").item()
            means.append(mu.cpu().data)
            psnr.append(metrics.psnr(pixel_means(model, output), images, data_range=1))
    means, psnr = np.concatenate(means), float(np.concatenate(psnr).mean())
    reconstruction, kl = reconstruction / len(means), kl / len(means)
    active = int(np.sum(means.var(0) > ACTIVE))
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, "active": active, "psnr": psnr}


def without_codes(model, mean: np.ndarray, test, std: float) -> float:
    """The -ELBO, in nats an image, of a model that ignores codes and takes ``mean`` for the mean of every image."""
    images = sn.tensor(test[np.arange(len(test))][0])
    mean = sn.tensor(np.broadcast_to(np.clip(mean, 1e-6, 1 - 1e-6), images.shape).astype(np.float32))
    output = mean if model.likelihood == "gaussian" else sn.log(mean / (1 - mean))
    return reconstruction_nll(model, output, images, std).item()


def check(result: dict, model, args, beta: float, train, test) -> None:
    """Assert that the codes are of use, and that the model does as well as is known of it."""
    grey = args.smoke or beta != 1
    mean = np.full(train[0][0].shape, 0.5) if grey else train[np.arange(len(train))][0].mean(0, dtype=np.float64)
    most = without_codes(model, mean, test, args.std)
    if args.smoke and model.likelihood == "gaussian":
        most = np.inf  # a few steps are not even enough for grey; NaN fails
    assert result["loss"] <= most, f"test -ELBO {result['loss']:.2f}: without codes {most:.2f} nats can be reached"
    if not grey and args.epochs >= DEFAULT_EPOCHS and args.image_size == 28:
        reporting.assert_within(result, WANTED.get((args.model, args.data), {}))


def main(argv=None):
    args = parse_arguments(argv)
    sn.manual_seed(args.seed)
    try:
        train, test = load_images(args, Resize((args.image_size, args.image_size)))
        channels, classes = train[0][0].shape[0], len(train.classes)
        model = build(args.model, channels, args.image_size, classes).to(args.device)
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    settings = (
        "model",
        "data",
        "image_size",
        "epochs",
        "batch_size",
        "lr",
        "std",
        "beta",
        "reduction",
        "seed",
        "smoke",
    )
    config = {"trainer": "vae", "channels": channels, "classes": classes}
    config |= {name: getattr(args, name) for name in settings}

    label = label_of(model, sn.tensor([0], device=args.device))
    table = nn.summary(model, (1, *train[0][0].shape), *label)  # draws noise: before a state is loaded
    loader = data.DataLoader(train, args.batch_size, shuffle=True)
    test_loader = data.DataLoader(test, 256)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    means = {"loss": metrics.Mean(), "reconstruction": metrics.Mean(), "kl": metrics.Mean()}
    pixels = train[0][0].size
    nll_weight = 1 / pixels if args.reduction == "mean" else 1.0
    sizes = {"pixels": pixels, "latents": model.latent, "batch_size": args.batch_size}
    beta = F.effective_beta(args.reduction, "batchmean", **sizes, beta=args.beta)
    rng = np.random.default_rng(args.seed)
    fixed, row_class = rng.standard_normal((100, model.latent)), np.repeat(np.arange(10) % classes, 10)

    parts = {"model": model, "optimizer": optimizer, "loader": loader, "means": means}

    @sn.capture
    def step(images, labels):
        output, mu, log_var = model(images, *label_of(model, labels))
        reconstruction = reconstruction_nll(model, output, images, args.std)
        kl = F.gaussian_kl(mu, log_var)
        loss = reconstruction * nll_weight + kl * args.beta
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"reconstruction": reconstruction, "kl": kl}

    with Run(args, config, parts) as run:
        if left_out(train, test):
            run.skipped(left_out(train, test))
        run.say(table)
        run.say(f"reconstruction reduced by {args.reduction}, KL by batchmean: effective beta {beta:g}")
        while loader.epoch < args.epochs:
            model.train()
            for images, labels in run.steps(loader, f"epoch {loader.epoch + 1}/{args.epochs}"):
                terms = step(images.to(args.device), labels.to(args.device))
                nats = {name: term.item() for name, term in terms.items()}
                for name, value in (nats | {"loss": sum(nats.values())}).items():
                    means[name].update(value, len(images))
                run.show(**{name: mean.value for name, mean in means.items()})
            result = evaluate(model, test_loader, args.seed, args.std)
            run.log(
                epoch=loader.epoch,
                **{f"train_{name}": mean.value for name, mean in means.items()},
                **{f"test_{name}": value for name, value in result.items()},
            )
            run.say(
                f"epoch {loader.epoch}: train -ELBO {means['loss'].value:.2f}, test -ELBO {result['loss']:.2f} nats = "
                f"reconstruction {result['reconstruction']:.2f} + KL {result['kl']:.2f}, "
                f"PSNR {result['psnr']:.1f} dB, {result['active']} of {model.latent} units active"
            )
            for mean in means.values():
                mean.reset()
            grids.save_grid(grids.frame(args.out, loader.epoch), draw(model, fixed, row_class), columns=10)
            run.save(score=-result["loss"])

    grids.save_animation(args.out, args.epochs)
    panels = {
        title: {part: f"{part}_{key}" for part in ("train", "test")}
        for title, key in (("-ELBO (nats)", "loss"), ("reconstruction (nats)", "reconstruction"), ("KL (nats)", "kl"))
    }
    reporting.save_curves(args.out / "curves.png", run.rows, panels | {"active units": {"test": "test_active"}})
    run.say(f"results in {args.out}")

    result = evaluate(model, test_loader, args.seed, args.std)
    if hasattr(model, "num_classes"):
        asked = np.arange(len(test)) % classes
        samples = draw(model, rng.standard_normal((len(test), model.latent)), asked)
        result["agreement"] = agreement(samples, asked, test[np.arange(len(test))][0], test.labels)
        run.say(f"{result['agreement']:.1%} of the samples are nearest to the mean image of the class asked for")
    check(result, model, args, beta, train, test)
    return result


if __name__ == "__main__":
    main()
