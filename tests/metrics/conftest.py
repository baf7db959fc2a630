"""Drawn digits and a small CNN that knows them, made once for all tests of the metrics."""

import sys
from pathlib import Path

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import data, nn, optim

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))
COUNT = 4000
RATES = (3e-3, 3e-3, 3e-3, 1e-3)  # Adam's, epoch by epoch


@pytest.fixture(scope="session")
def digits():
    """Training and test data: images (4000, 1, 28, 28) in [0, 1] and labels."""
    sets = data.Digits(True, COUNT), data.Digits(False, COUNT)
    return [(part.images.astype(np.float32) / 255, part.labels) for part in sets]


@pytest.fixture(scope="session")
def model(digits):
    """A small CNN that gets about 97 % of the test digits right; layer "6" has 64 features."""
    images, labels = digits[0]
    sn.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters())
    for rate in RATES:
        optimizer.param_groups[0]["lr"] = rate
        for i in range(0, len(images), 50):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(sn.Tensor(images[i : i + 50])), sn.Tensor(labels[i : i + 50]))
            loss.backward()
            optimizer.step()
    return model
