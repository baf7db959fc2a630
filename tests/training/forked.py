"""Train, then train again in a child process that was started in the given way; prints whether the losses agree."""

import multiprocessing
import sys

import numba
import numpy as np

import scratchnet as sn
from scratchnet import nn, optim


def train(answer=None):
    sn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 26 * 26, 10))
    optimizer = optim.Adam(model.parameters())
    images, labels = sn.Tensor(np.ones((32, 1, 28, 28), np.float32)), sn.tensor(np.arange(32) % 10)
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if answer is not None:
        answer.put(loss.item())
    return loss.item()


if __name__ == "__main__":
    before = train()
    context = multiprocessing.get_context(sys.argv[1])
    answer = context.Queue()
    child = context.Process(target=train, args=(answer,))
    child.start()
    child.join()
    equal = child.exitcode == 0 and answer.get() == before
    print(numba.threading_layer(), "equal" if equal else f"the child ended with {child.exitcode}")
