"""Training steps (forward, backward, Adam) against PyTorch in the same process: the CNN, DCGAN-64, a convolutional VAE.

    python benchmarks/train_step.py

The CNNs start from the same weights and see the same batch; loss and gradients are compared before anything is timed.
PyTorch's CNN is measured in both memory formats, and its better time counts. The other two are one listing each that
runs in both libraries (steps.py); that the models compute the same is for tests/golden to show. `captured` is the same
step through `scratchnet.capture`, which the trainers use too; its losses must have the bits of the plain one's.
"""

import argparse

import numpy as np

import networks
import scratchnet as sn
from harness import check_close, equal_threads, machine, medians, torch
from scratchnet import nn, optim
from scratchnet.models import CNN
from steps import STEPS

OURS = ("scratchnet", "captured")


def torch_cnn(state):
    model = networks.cnn(torch.nn)
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return model


def scratchnet_step(model, images, labels, capture=lambda step: step):
    optimizer = optim.Adam(model.parameters())
    images, labels = sn.from_numpy(images), sn.from_numpy(labels)

    @capture
    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return lambda: step().item()


def torch_step(model, images, labels, memory_format):
    model = model.to(memory_format=memory_format)
    optimizer = torch.optim.Adam(model.parameters())
    images = torch.from_numpy(images).to(memory_format=memory_format)
    labels = torch.from_numpy(labels)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def check_captured(losses):
    """The captured step's losses have the bits of the plain one's, also after the two that it recorded."""
    if losses["captured"] != losses["scratchnet"]:
        raise AssertionError(f"captured losses {losses['captured']}, plain ones {losses['scratchnet']}")


def measure(batch_size, seconds):
    sn.manual_seed(0)
    generator = np.random.default_rng(0)
    images = generator.random((batch_size, 1, 28, 28), np.float32)
    labels = generator.integers(0, 10, batch_size)
    model = CNN()
    state = {name: value.data.copy() for name, value in model.state_dict().items()}
    captured = CNN()
    captured.load_state_dict(state)
    steps = {
        "scratchnet": scratchnet_step(model, images, labels),
        "captured": scratchnet_step(captured, images, labels, sn.capture),
    }
    if torch:
        formats = {"torch NCHW": torch.contiguous_format, "torch channels_last": torch.channels_last}
        twins = {name: torch_cnn(state) for name in formats}
        steps |= {name: torch_step(twins[name], images, labels, formats[name]) for name in formats}
        losses = {name: step() for name, step in steps.items()}
        check_close("loss", losses["scratchnet"], np.array(losses["torch NCHW"]), 1e-5)
        for (name, ours), theirs in zip(model.named_parameters(), twins["torch NCHW"].parameters(), strict=True):
            check_close(name, ours.grad.data, theirs.grad.numpy(), 1e-4)
    check_captured({name: [steps[name]() for _ in range(4)] for name in OURS})
    return medians(steps, seconds)


def measure_listing(name, seconds):
    """The same listing in both libraries (see steps.py), each with initial weights of its own."""
    make, batch_size = STEPS[name]
    steps, losses = {}, {}
    for library in OURS:
        steps[library] = make(library, batch_size)  # which seeds: so one after the other
        losses[library] = [steps[library]() for _ in range(4)]
    check_captured(losses)
    if torch:
        steps["torch NCHW"] = make("torch", batch_size)
    return medians(steps, seconds, warmup=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128], help="of the CNN")
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time for each entry")
    args = parser.parse_args()
    equal_threads()
    print(machine())
    print(
        f"{'step':<12} {'scratchnet':>12} {'captured':>12} {'torch NCHW':>12} {'channels_last':>14} "
        f"{'torch / scratchnet':>20} {'torch / captured':>18}"
    )
    rows = [(f"CNN, {n}", lambda n=n: measure(n, args.seconds)) for n in args.batch_sizes]
    rows += [
        (f"{name}, {STEPS[name][1]}", lambda name=name: measure_listing(name, args.seconds))
        for name in ("dcgan", "vae")
    ]
    for name, run in rows:
        t = run()
        ours, theirs = [t["scratchnet"], t["captured"]], [t.get("torch NCHW"), t.get("torch channels_last")]
        cells = [f"{1e3 * x:9.2f} ms" if x else "-" for x in (*ours, *theirs)]
        cells += [f"{min(filter(None, theirs)) / x:.2f}" if torch else "-" for x in ours]
        widths = (12, 12, 12, 14, 20, 18)
        print(
            f"{name:<12} " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True
        )


if __name__ == "__main__":
    main()
