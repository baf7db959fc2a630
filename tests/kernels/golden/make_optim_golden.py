"""Write optim.json: what PyTorch's optimisers make of the same parameters and gradients. Needs torch.

python tests/kernels/golden/make_optim_golden.py
"""

import json
from pathlib import Path

import torch

STEPS = {
    "sgd": (torch.optim.SGD, dict(lr=0.1)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1)),
    "sgd_nesterov": (torch.optim.SGD, dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)),
    "adam": (torch.optim.Adam, dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "adamw": (torch.optim.AdamW, dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "rmsprop": (torch.optim.RMSprop, dict(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0.1)),
    "rmsprop_centered": (torch.optim.RMSprop, dict(lr=0.1, alpha=0.9, eps=1e-3, momentum=0.5, centered=True)),
}


def trajectory(make, options):
    generator = torch.Generator().manual_seed(0)
    param = torch.nn.Parameter(torch.randn(2, 3, generator=generator, dtype=torch.float64))
    optimiser = make([param], **options)
    record = {"options": options, "start": param.tolist(), "grads": [], "params": []}
    for _ in range(4):
        param.grad = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        optimiser.step()
        record["grads"].append(param.grad.tolist())
        record["params"].append(param.tolist())
    return record


if __name__ == "__main__":
    golden = {"torch": torch.__version__} | {name: trajectory(*step) for name, step in STEPS.items()}
    Path(__file__).with_name("optim.json").write_text(json.dumps(golden, indent=1) + "\n")
