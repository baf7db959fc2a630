"""The model whose weights cross between scratchnet and PyTorch, its input, and the state that is written."""

import numpy as np


def model(nn):
    """The same listing for both libraries' nn."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False),
        nn.Flatten(),
        nn.Linear(3 * 8 * 8, 5),
    )


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)


def state(shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    """Values for every entry; those of a variance are positive, those of a count integers."""
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sorted(shapes.items())}
    for name in arrays:
        if name.endswith("running_var"):
            arrays[name] = np.abs(arrays[name]) + np.float32(0.5)
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.array(3)
    return arrays
