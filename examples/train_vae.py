"""Train a variational autoencoder and watch it learn to draw.

    python examples/train_vae.py                              # drawn digits, no network needed
    python examples/train_vae.py --data mnist                 # 784-400-20-400-784, the best known one
    python examples/train_vae.py --data mnist --model plane --epochs 30   # two latents: generate.py draws their map
    python examples/train_vae.py --reduction mean             # a classic mistake: see beta, and the codes die
    python examples/train_vae.py --model conv --smoke         # a few steps, to see that everything works

The loss is the negative ELBO, -log p(x | z) + KL(q(z | x) | N(0, I)), with Bernoulli pixels whose targets are the
grey values; both terms are sums, over pixels and over latents, averaged over the batch. The result folder gets
metrics.jsonl, curves.png, a grid of samples from the same codes after every epoch, samples.gif of those grids, and
checkpoints. The script ends with an assertion on the test -ELBO.
"""

import argparse
from pathlib import Path

import numpy as np

import grids
import reporting
import scratchnet as sn
from images import add_data_arguments, load_images
from run import REFUSED, Run, add_arguments, fail
from scratchnet import data, metrics, nn, optim
from scratchnet.models import ConvVAE, DenseVAE, PlaneVAE
from scratchnet.nn import functional as F

MODELS = {"dense": DenseVAE, "plane": PlaneVAE, "conv": ConvVAE}
DEFAULT_EPOCHS = 10
# Test -ELBO in nats after the default epochs: a little above the highest that was measured.
WANTED = {("dense", "digits"): 172}
ACTIVE = 0.01  # a latent is active if its posterior mean varies more than this over the data (Burda et al. 2016)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="dense")
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist"])
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3, help="Adam's learning rate")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL; 1 is the ELBO")
    parser.add_argument(
        "--reduction",
        choices=["batchmean", "mean"],
        default="batchmean",
        help="of the reconstruction: summed over pixels, as it must be, or averaged over them",
    )
    parser.add_argument("--seed", type=int, default=0)
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-vae-{args.model}-{args.seed}"
    if min(args.epochs, args.batch_size, args.save_every, args.keep) < 1:
        parser.error("--epochs, --batch-size, --save-every and --keep must be at least 1")
    return args


def draw(model, codes: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1], the pixels' probabilities, of codes (N, latent)."""
    model.eval()
    with sn.no_grad():
        return sn.sigmoid(model.decode(sn.Tensor(codes.astype(np.float32)))).data


def evaluate(model, loader, seed: int) -> dict:
    """-ELBO, reconstruction and KL in nats an image, at the same noise every time, and the number of active units."""
    model.eval()
    noise = np.random.default_rng(seed)
    reconstruction, kl, means = 0.0, 0.0, []
    with sn.no_grad():
        for images, _ in loader:
            logits, mu, log_var = model(images, generator=noise)
            reconstruction += F.bernoulli_nll(logits, images, reduction="sum").item()
            kl += F.gaussian_kl(mu, log_var, reduction="sum").item()
            means.append(mu.data)
    means = np.concatenate(means)
    reconstruction, kl = reconstruction / len(means), kl / len(means)
    active = int(np.sum(means.var(0) > ACTIVE))
    return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl, "active": active}


def ignoring_codes(train, test) -> float:
    """The least -ELBO without codes: every pixel of the test images is told by its mean over the training images."""
    mean = np.clip(train[np.arange(len(train))][0].mean(0, dtype=np.float64), 1e-6, 1 - 1e-6)
    target = test[np.arange(len(test))][0].mean(0, dtype=np.float64)
    return float(-(target * np.log(mean) + (1 - target) * np.log(1 - mean)).sum())


def main(argv=None):
    args = parse_arguments(argv)
    sn.manual_seed(args.seed)
    try:
        train, test = load_images(args)
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    settings = ("model", "data", "epochs", "batch_size", "lr", "beta", "reduction", "seed", "smoke")
    config = {"trainer": "vae"} | {name: getattr(args, name) for name in settings}

    model = MODELS[args.model]()
    table = nn.summary(model, (1, *train[0][0].shape))  # runs the model, which draws noise: before a state is loaded
    loader = data.DataLoader(train, args.batch_size, shuffle=True)
    test_loader = data.DataLoader(test, 256)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    means = {"loss": metrics.Mean(), "reconstruction": metrics.Mean(), "kl": metrics.Mean()}
    pixels = train[0][0].size
    nll_weight = 1 / pixels if args.reduction == "mean" else 1.0
    sizes = {"pixels": pixels, "latents": model.latent, "batch_size": args.batch_size}
    beta = F.effective_beta(args.reduction, "batchmean", **sizes, beta=args.beta)
    fixed = np.random.default_rng(args.seed).standard_normal((64, model.latent))

    parts = {"model": model, "optimizer": optimizer, "loader": loader, "means": means}
    with Run(args, config, parts) as run:
        run.say(table)
        run.say(f"reconstruction reduced by {args.reduction}, KL by batchmean: effective beta {beta:g}")
        while loader.epoch < args.epochs:
            model.train()
            for images, _ in run.steps(loader, f"epoch {loader.epoch + 1}/{args.epochs}"):
                logits, mu, log_var = model(images)
                reconstruction, kl = F.bernoulli_nll(logits, images), F.gaussian_kl(mu, log_var)
                loss = reconstruction * nll_weight + kl * args.beta
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                nats = {"reconstruction": reconstruction.item(), "kl": kl.item()}
                for name, value in (nats | {"loss": sum(nats.values())}).items():
                    means[name].update(value, len(images))
                run.show(**{name: mean.value for name, mean in means.items()})
            result = evaluate(model, test_loader, args.seed)
            run.log(
                epoch=loader.epoch,
                **{f"train_{name}": mean.value for name, mean in means.items()},
                **{f"test_{name}": value for name, value in result.items()},
            )
            run.say(
                f"epoch {loader.epoch}: train -ELBO {means['loss'].value:.2f}, test -ELBO {result['loss']:.2f} nats = "
                f"reconstruction {result['reconstruction']:.2f} + KL {result['kl']:.2f}, "
                f"{result['active']} of {model.latent} units active"
            )
            for mean in means.values():
                mean.reset()
            grids.save_grid(grids.frame(args.out, loader.epoch), draw(model, fixed), columns=8)
            run.save(score=-result["loss"])

    grids.save_animation(args.out, args.epochs)
    panels = {
        title: {part: f"{part}_{key}" for part in ("train", "test")}
        for title, key in (("-ELBO (nats)", "loss"), ("reconstruction (nats)", "reconstruction"), ("KL (nats)", "kl"))
    }
    reporting.save_curves(args.out / "curves.png", run.rows, panels | {"active units": {"test": "test_active"}})
    run.say(f"results in {args.out}")

    result = evaluate(model, test_loader, args.seed)
    if args.smoke or beta != 1:
        wanted = pixels * np.log(2)  # every pixel 1/2
    else:
        wanted = WANTED.get((args.model, args.data), ignoring_codes(train, test))
    assert result["loss"] <= wanted, f"test -ELBO {result['loss']:.2f} is above {wanted:.2f} nats"
    return result


if __name__ == "__main__":
    main()
