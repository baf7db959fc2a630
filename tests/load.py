"""Train for long and see that memory does not grow. By night, from the project's folder:

    python -m tests.load --steps 10000

Linux only: the memory in use is read from /proc. The exit code is 1 where it grew by more than 1 %.
"""

import argparse
import gc
import itertools
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

import scratchnet as sn
from scratchnet import data, metrics, nn, optim
from scratchnet.checkpoint import CheckpointFolder
from scratchnet.jsonlines import JsonLines
from scratchnet.observe import observe_ops, refuse_nonfinite

WARM = 100  # steps until caches and pools are filled
ALLOWED = 0.01


def train(steps: int, folder: Path, sample_every: int = 50) -> list[int]:
    """Train with all that a trainer uses; the bytes in use after the warm-up and every ``sample_every`` steps."""
    sn.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (512, 1, 16, 16), dtype=np.uint8)
    dataset = data.ImageDataset(images, np.arange(512) % 10, "0123456789", data.transforms.RandomHorizontalFlip())
    loader = data.DataLoader(dataset, 16, shuffle=True, prefetch=2)
    features = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    model = nn.Sequential(*features, nn.Flatten(), nn.Dropout(), nn.Linear(392, 10))
    optimizer = optim.Adam(model.parameters())
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    ema, mean = optim.ExponentialMovingAverage(model, 0.99), metrics.Mean()
    parts = dict(model=model, optimizer=optimizer, scheduler=scheduler, ema=ema, loader=loader, mean=mean)
    used = []
    log = JsonLines(folder / "log.jsonl", "load/1", {})
    with CheckpointFolder(folder) as checkpoints, observe_ops(refuse_nonfinite):
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        for step, (x, y) in enumerate(itertools.islice(batches, steps), 1):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            ema.update()
            mean.update(loss.item(), len(y))
            log.write(step=step, loss=loss.item())
            if step % 50 == 0:
                checkpoints.save(step, score=-mean.value, **parts)
            if step >= WARM and step % sample_every == 0:
                used.append(memory())
        batches = None  # closes the loader's thread
    log.close()
    return used


def memory() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        used = train(args.steps, Path(folder))
    growth = used[-1] / used[0] - 1
    print(f"{used[0] / 2**20:.1f} MB after {WARM} steps, {used[-1] / 2**20:.1f} MB after {args.steps}: {growth:+.2%}")
    return int(growth > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
