"""Run every generative model with PyTorch and write generative.npz beside this file.

    pip install torch==2.13.0
    python tests/golden/make_generative.py

In float64 all that a run records is kept. In float32 it is how far PyTorch's losses are from its own float64's, at the
worst step so far and the worst of three ways to convolve: Adam makes full steps of rounding errors, so the distance
grows, and how fast is chance. No test imports PyTorch; they read the file.
"""

from pathlib import Path

import numpy as np
import torch

import torch_twins as twins
from generative import RUNS


def trained(run, dtype):
    return run(torch, torch.nn, torch.optim, twins, twins, dtype)


class ChannelsLast:
    """The twins with their weights, and so their activations, in the other memory format."""

    def __getattr__(self, name):
        make = getattr(twins, name)
        return lambda *args, **kwargs: make(*args, **kwargs).to(memory_format=torch.channels_last)


def single_losses(run):
    """The losses of three float32 runs that differ in rounding alone: oneDNN in both formats, and PyTorch's own."""
    yield trained(run, "float32")["losses"]
    yield run(torch, torch.nn, torch.optim, ChannelsLast(), twins, "float32")["losses"]
    with torch.backends.mkldnn.flags(enabled=False):
        yield trained(run, "float32")["losses"]


def main():
    arrays = {}
    for name, run in RUNS.items():
        seen = trained(run, "float64")
        arrays |= {f"{name}/{key}": value for key, value in seen.items()}
        gaps = np.array([np.abs(losses - seen["losses"]) for losses in single_losses(run)])
        arrays[f"{name}/float32 distance"] = np.maximum.accumulate(gaps.max(axis=0))
        print(f"{name}: losses {seen['losses'][-1]} at last, float32 parts by {gaps.max(axis=(1, 2))}", flush=True)
    np.savez_compressed(Path(__file__).parent / "generative.npz", **arrays)
    print(f"{len(RUNS)} runs, {len(arrays)} arrays, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
