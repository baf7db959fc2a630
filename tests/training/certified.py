"""Train a small CNN, GAN and VAE with the compiled kernels and write a certificate of each.

python certified.py FOLDER STEPS              goes on from the checkpoints in FOLDER, if there are any
python certified.py FOLDER STEPS together     all three at once, each in a thread of its own
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import scratchnet as sn
from scratchnet import nn, optim
from scratchnet.checkpoint import CheckpointFolder
from scratchnet.data import DataLoader, Digits
from scratchnet.nn import functional as F
from scratchnet.replay import Certificate


class Training:
    """Parts that have a state, and one step of training. ``manual_seed`` comes first."""

    def __init__(self):
        self.parts = {"generator": sn.manual_seed(5)}
        self.parts["loader"] = DataLoader(Digits(size=96), 32, shuffle=True)

    def add(self, name, *layers):
        """A model with its optimiser."""
        model = nn.Sequential(*layers)
        optimizer = optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
        self.parts |= {name: model, f"{name}_optimizer": optimizer}
        return model, optimizer


def descend(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class Classifier(Training):
    def __init__(self):
        super().__init__()
        self.model, self.optimizer = self.add(
            "model", nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Dropout(0.2, generator=self.parts["generator"]), nn.Linear(16 * 13 * 13, 10),
        )  # fmt: skip

    def step(self, images, labels):
        descend(F.cross_entropy(self.model(images), labels), self.optimizer)


class GAN(Training):
    def __init__(self):
        super().__init__()
        self.g, self.g_optimizer = self.add(
            "g", nn.Linear(8, 16 * 49), nn.Unflatten(1, (16, 7, 7)), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        self.d, self.d_optimizer = self.add(
            "d", nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 16, 4, 2, 1), nn.BatchNorm2d(16),
            nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16 * 49, 1),
        )  # fmt: skip

    def step(self, images, _):
        judge, noise = F.binary_cross_entropy_with_logits, sn.randn(len(images), 8, generator=self.parts["generator"])
        ones = sn.ones(len(images), 1)
        fake = self.g(noise)
        real = self.d(images * 2.0 - 1.0)
        descend(judge(real, ones) + judge(self.d(fake.detach()), ones * 0.0), self.d_optimizer)
        descend(judge(self.d(fake), ones), self.g_optimizer)


class VAE(Training):
    def __init__(self):
        super().__init__()
        self.model, self.optimizer = self.add(
            "model", nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 196, 12)),
            nn.Sequential(nn.Linear(6, 784), nn.ReLU(), nn.Unflatten(1, (16, 7, 7)),
                          nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)),
        )  # fmt: skip

    def step(self, images, _):
        encoder, decoder = self.model
        code = encoder(images)
        mean, log_var = code[:, :6], code[:, 6:]
        noise = sn.randn(*mean.shape, generator=self.parts["generator"])
        logits = decoder(mean + sn.exp(log_var * 0.5) * noise)
        divergence = (mean**2 + sn.exp(log_var) - log_var - 1.0).sum() * 0.5
        loss = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") + divergence
        descend(loss / float(len(images)), self.optimizer)


def train(folder: Path, training: Training, steps: int) -> None:
    with CheckpointFolder(folder) as checkpoints:
        found = checkpoints.load(**training.parts)
        step = found.step if found else 0
        certificate = Certificate(folder / "certificate.jsonl", resume_at=step if found else None)
        with certificate.watch():
            while step < steps:
                for images, labels in training.parts["loader"]:
                    step += 1
                    training.step(images, labels)
                    certificate.write(step, **training.parts)
                    if step == steps:
                        break
        checkpoints.save(step, **training.parts)
        certificate.close()


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")

    def run(kind):
        train(Path(sys.argv[1]) / kind.__name__, kind(), int(sys.argv[2]))

    with ThreadPoolExecutor(3 if "together" in sys.argv else 1) as pool:
        list(pool.map(run, (Classifier, GAN, VAE)))
