"""Evaluate every case with PyTorch and write golden.npz beside this file.

    pip install torch==2.13.0
    python tests/golden/make_golden.py

For each case: its output (``<case>/out``) and, for a cotangent of random numbers, the gradient of every floating
input (``<case>/grad<i>``); for each training what it saw. All in float64. No test imports PyTorch; they read the file.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from cases import CASES, draw
from trainings import TRAININGS


def main():
    arrays = {}
    for name, (function, inputs) in CASES.items():
        tensors = [torch.tensor(a, requires_grad=a.dtype == np.float64) for a in inputs()]
        out = function(torch, F, *tensors)
        floating = [t for t in tensors if t.requires_grad]
        gradients = torch.autograd.grad(out, floating, torch.tensor(draw(name, tuple(out.shape))[0]))
        arrays[f"{name}/out"] = out.detach().numpy()
        arrays |= {f"{name}/grad{i}": g.numpy() for i, g in enumerate(gradients)}
    for name, training in TRAININGS.items():
        arrays |= {f"{name}/{key}": value for key, value in training(torch, torch.nn, torch.optim).items()}
    np.savez_compressed(Path(__file__).parent / "golden.npz", **arrays)
    print(f"{len(CASES)} cases, {len(TRAININGS)} trainings, {len(arrays)} arrays, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
