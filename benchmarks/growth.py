"""Does time grow in proportion to the batch, and does a second thread halve it? The CNN's step and one convolution.

PyTorch's step stands beside ours: where cores share caches, memory or a host, two do less than twice as much.

python benchmarks/growth.py
"""

import argparse

import numba
import numpy as np
import torch

import kernels
from harness import machine, medians
from steps import cnn


def convolution(batch_size):
    """Forward of (N, 64, 32, 32) by 64 kernels of 3 x 3."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, 32, 32, 64), np.float32).transpose(0, 3, 1, 2)
    w = rng.standard_normal((64, 64, 3, 3), np.float32)
    return lambda: kernels.conv2d(x, w, padding=1)


WORK = {
    "CNN step": lambda n: cnn("scratchnet", n),
    "CNN step, captured": lambda n: cnn("captured", n),
    "CNN step, PyTorch": lambda n: cnn("torch", n),
    "conv 64-64 3x3 at 32": convolution,
}


def on_threads(threads, function):
    """The function, run on so many threads."""

    def run():
        numba.set_num_threads(threads)
        torch.set_num_threads(threads)
        return function()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--seconds", type=float, default=0.5, help="measuring time for each entry")
    args = parser.parse_args()
    print(machine())
    every = numba.get_num_threads()
    for name, make in WORK.items():
        print(f"{name}\n{'batch':>6} {'1 thread':>12} {f'{every} threads':>12} {'speed-up':>9} {'us an image':>12}")
        for n in args.batch_sizes:
            # a step of its own for each: one that is captured is bound for the number of threads it ran on
            t = medians({str(k): on_threads(k, make(n)) for k in sorted({1, every})}, args.seconds)
            one, all_ = t["1"], t[str(every)]
            print(
                f"{n:>6} {1e3 * one:9.2f} ms {1e3 * all_:9.2f} ms {one / all_:9.2f} {1e6 * all_ / n:12.1f}", flush=True
            )


if __name__ == "__main__":
    main()
