"""A small trainer with everything that has a state: run as a process of its own by the tests, and killed by them.

    python small_training.py --out FOLDER [options of examples/run.py] [--die-at EVENT] [--poison STEP]

With --die-at N the process sends itself SIGKILL at the N-th time that it is about to write, flush, rename or delete a
file, or to begin a step: also in the middle of a file.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import numpy as np

import kernels
import scratchnet as sn
from scratchnet import data, metrics, nn, optim

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))
from dying import die_at

import run

EPOCHS = 4


def main():
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--poison", type=int, default=0, help="the step whose batch holds a NaN")
    parser.add_argument("--explode", type=int, default=0, help="the step whose learning rate is infinite")
    parser.add_argument("--interrupt", type=int, default=0, help="the step at which a SIGINT comes")
    parser.add_argument("--twice", action="store_true", help="and another one at once")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--width", type=int, default=6)
    args = parser.parse_args()
    if args.die_at:
        die_at(args.die_at)

    generator = sn.manual_seed(3)
    noise = data.transforms.GaussianNoise(sigma=0.1)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (30, 1, 6, 6), dtype=np.uint8)
    dataset = data.ImageDataset(images, np.arange(30) % 3, "abc", noise)
    loader = data.DataLoader(dataset, 8, shuffle=True, prefetch=2)
    model = nn.Sequential(
        nn.Conv2d(1, args.width, 3),
        nn.BatchNorm2d(args.width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3, generator=generator),
        nn.Linear(16 * args.width, 3),
    )
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader))
    ema = optim.ExponentialMovingAverage(model, 0.9)
    mean = metrics.Mean()

    parts = dict(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema, loader=loader, mean=mean)
    with run.Run(args, {"lr": args.lr, "width": args.width}, parts) as this, kernels.use("reference"):
        this.say("ready")
        while loader.epoch < EPOCHS:
            for x, y in this.steps(loader):
                if this.step == args.poison:
                    x.data[0] = np.nan
                if this.step == args.explode:
                    optimizer.param_groups[0]["lr"] = 1e39
                if this.step == args.interrupt:
                    os.kill(os.getpid(), signal.SIGINT)
                    if args.twice:
                        os.kill(os.getpid(), signal.SIGINT)
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                ema.update()
                mean.update(loss.item(), len(y))
                average = float(ema.averages[0].sum())
                this.log(loss=loss.item(), mean=mean.value, average=average, lr=scheduler.get_last_lr()[0])
            score = -mean.value
            mean.reset()
            this.save(score=score)


if __name__ == "__main__":
    main()
