"""Train a small convolutional autoencoder to take noise out of images.

    python examples/denoise.py                                # drawn digits, no network needed
    python examples/denoise.py --data mnist --sigma 0.5
    python examples/denoise.py --data cifar10 --sigma 0.1
    python examples/denoise.py --smoke                        # a few steps, to see that everything works

The noise is Gaussian, of standard deviation sigma for pixels in [0, 1], new in every epoch. The network sees the noisy
image as it is, below 0 and above 1 too. To clip that to [0, 1] is already half a denoiser where most pixels are 0, so
the gain in PSNR asserted at the end is over the clipped noisy image; over the unclipped one it is larger, and printed.

The result folder gets metrics.jsonl, curves.png, denoised.png (rows of eight: clean, noisy, denoised) and checkpoints.
"""

import argparse
from pathlib import Path

import numpy as np

import grids
import reporting
import scratchnet as sn
from images import add_data_arguments, load_images
from run import REFUSED, Run, ShowDefaults, add_arguments, amount, fail, seed_number
from scratchnet import data, metrics, nn, optim
from scratchnet.models import DenoisingAutoencoder
from scratchnet.nn import functional as F

DEFAULT_EPOCHS = 5
WANTED = {("digits", 0.3): 9.0, ("mnist", 0.3): 9.0}  # gain over the clipped noisy images in dB; 10.3 was measured
COLUMNS = 8  # of the picture


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ShowDefaults)
    add_data_arguments(parser, ["digits", "mnist", "fashion-mnist", "cifar10"])
    parser.add_argument("--sigma", type=amount, default=0.3, help="standard deviation of the noise, pixels in [0, 1]")
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS, help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=64, help="images of a step")
    parser.add_argument("--lr", type=amount, default=2e-3, help="Adam's learning rate")
    parser.add_argument("--seed", type=seed_number, default=0, help="of all random numbers")
    add_arguments(parser)
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"{args.data}-denoise-{args.seed}"
    if min(args.epochs, args.batch_size, args.save_every, args.keep) < 1 or args.sigma <= 0:
        parser.error("--epochs, --batch-size, --save-every and --keep must be at least 1, --sigma above 0")
    return args


def denoise(model, noisy: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] of noisy ones."""
    device = next(model.parameters()).device
    with sn.no_grad():
        batches = (sn.Tensor(noisy[i : i + 250]).to(device) for i in range(0, len(noisy), 250))
        parts = [model(batch).cpu().data for batch in batches]
    return np.clip(np.concatenate(parts), 0, 1)


def evaluate(model, clean: np.ndarray, noisy: np.ndarray) -> dict:
    """Mean PSNR over images in dB: of the noisy ones, of the same clipped to [0, 1], and of the denoised."""
    kinds = {"noisy": noisy, "clipped": np.clip(noisy, 0, 1), "denoised": denoise(model, noisy)}
    return {f"{name}_psnr": metrics.psnr(images, clean, data_range=1).mean() for name, images in kinds.items()}


def main(argv=None):
    args = parse_arguments(argv)
    sn.manual_seed(args.seed)
    try:
        train, test = load_images(args)
    except (OSError, ValueError) as error:
        fail(error, REFUSED)
    settings = ("data", "sigma", "epochs", "batch_size", "lr", "seed", "smoke")
    config = {"trainer": "denoise"} | {name: getattr(args, name) for name in settings}

    clean = test[np.arange(len(test))][0]
    noise = np.random.default_rng(args.seed).standard_normal(clean.shape, np.float32)
    noisy = clean + np.float32(args.sigma) * noise
    model = DenoisingAutoencoder(clean.shape[1]).to(args.device)
    loader = data.DataLoader(train, args.batch_size, shuffle=True)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    mean = metrics.Mean()

    @sn.capture
    def step(images):
        loss = F.mse_loss(model(images + args.sigma * sn.randn_like(images)), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    with Run(args, config, {"model": model, "optimizer": optimizer, "loader": loader, "mean": mean}) as run:
        run.say(nn.summary(model, (1, *clean.shape[1:])))
        while loader.epoch < args.epochs:
            for images, _ in run.steps(loader, f"epoch {loader.epoch + 1}/{args.epochs}"):
                mean.update(step(images.to(args.device)).item(), len(images))
                run.show(loss=mean.value)
            result = evaluate(model, clean, noisy)
            run.log(epoch=loader.epoch, train_loss=mean.value, **result)
            words = ", ".join(f"{name.removesuffix('_psnr')} {value:.2f} dB" for name, value in result.items())
            run.say(f"epoch {loader.epoch}: train loss {mean.value:.5f}, test PSNR: {words}")
            mean.reset()
            run.save(score=result["denoised_psnr"])

    few = slice(0, 3 * COLUMNS)
    rows = [kind[few].reshape(3, COLUMNS, *clean.shape[1:]) for kind in (clean, noisy, denoise(model, noisy[few]))]
    grids.save_grid(args.out / "denoised.png", np.stack(rows, 1).reshape(-1, *clean.shape[1:]), COLUMNS)
    lines = {name: f"{name}_psnr" for name in ("noisy", "clipped", "denoised")}
    reporting.save_curves(args.out / "curves.png", run.rows, {"loss": {"train": "train_loss"}, "test PSNR (dB)": lines})

    result = evaluate(model, clean, noisy)
    gain = result["denoised_psnr"] - result["clipped_psnr"]
    raw_gain = result["denoised_psnr"] - result["noisy_psnr"]
    run.say(f"gain {gain:.2f} dB over the clipped noisy images, {raw_gain:.2f} dB over the unclipped")
    run.say(f"results in {args.out}")
    wanted = 0 if args.smoke or args.epochs < DEFAULT_EPOCHS else WANTED.get((args.data, args.sigma), 0)
    assert gain >= wanted, f"the gain in PSNR of {gain:.2f} dB is below {wanted:.2f}"
    return result | {"gain": gain}


if __name__ == "__main__":
    main()
