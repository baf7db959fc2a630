"""What the tests of the lint train with."""

import numpy as np

import scratchnet as sn
from scratchnet import optim

N = 16  # images in a batch


def rules(lint):
    return {finding.rule for finding in lint.findings}


def noise(*shape, seed=0):
    return sn.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def descend(loss, *optimizers, zero=True):
    for optimizer in optimizers:
        if zero:
            optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def adam(*models, lr=2e-3):
    return optim.Adam([p for model in models for p in model.parameters()], lr=lr, betas=(0.5, 0.999))
