"""Kernels that wait for memory rather than for arithmetic: times, bandwidth, and PyTorch in the same process.

    python benchmarks/memory_table.py

Where PyTorch is installed, every result is compared with its before it is timed. Ours see channels-last memory, as they
do inside of a network; PyTorch is measured in both memory formats, its Adam also fused, and its better time counts.
"share" is the least traffic an operation needs (each operand read and each result written once a pass), divided by the
time, over the bandwidth of copying large arrays with as many threads: above 1 where arrays stay in the caches.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

import kernels
import scratchnet as sn
from harness import check_close, equal_threads, machine, medians, torch
from kernels.cpu.memory import empty
from machine import copy_bandwidth

SIZES = {"in cache": (32, 32, 26, 26), "in memory": (128, 64, 32, 32)}  # 3 MB and 34 MB
POOLS = ((2, 2, 0), (3, 2, 1))  # kernel, stride, padding
LOGITS = ((128, 10), (512, 1000))
DCGAN = ((128, 1, 4, 4), (256, 128, 4, 4), (256,), (512, 256, 4, 4), (512,), (1, 512, 4, 4))
SLOPE = 0.2

F = torch.nn.functional if torch else None
aten = torch.ops.aten if torch else None


@dataclass
class Case:
    """One row: our call and theirs, of the same arrays; `passes` counts arrays of the first one's size that move."""

    name: str
    arrays: tuple
    passes: float
    ours: Callable
    theirs: Callable
    tolerance: float = 2e-6


def normal(generator, *shape):
    """Normal numbers; images in channels-last memory that begins at a cache line, as the results of kernels do."""
    n, *channels, height, width = shape if len(shape) == 4 else (*shape, 1, 1)
    array = empty((n, height, width, *channels), np.float32)
    array[...] = generator.standard_normal(array.shape, np.float32)
    return array.transpose(0, 3, 1, 2) if len(shape) == 4 else array.reshape(shape)


def activations(generator, size):
    x, g = normal(generator, *size), normal(generator, *size)
    s, t, slope = kernels.sigmoid(x), kernels.tanh(x), {"negative_slope": SLOPE}
    yield Case("relu", (x,), 2, kernels.relu, lambda x: torch.relu(x))
    yield Case("  gradient", (g, x), 3, kernels.relu_backward, lambda g, x: aten.threshold_backward(g, x, 0))
    yield Case("leaky_relu", (x,), 2, lambda x: kernels.leaky_relu(x, **slope), lambda x: F.leaky_relu(x, SLOPE))
    yield Case(
        "  gradient",
        (g, x),
        3,
        lambda g, x: kernels.leaky_relu_backward(g, x, **slope),
        lambda g, x: aten.leaky_relu_backward(g, x, SLOPE, False),
    )
    yield Case("sigmoid", (x,), 2, kernels.sigmoid, lambda x: torch.sigmoid(x))
    yield Case("  gradient", (g, s), 3, kernels.sigmoid_backward, lambda g, y: aten.sigmoid_backward(g, y))
    yield Case("tanh", (x,), 2, kernels.tanh, lambda x: torch.tanh(x))
    yield Case("  gradient", (g, t), 3, kernels.tanh_backward, lambda g, y: aten.tanh_backward(g, y))
    yield Case("gelu", (x,), 2, kernels.gelu, lambda x: F.gelu(x))
    yield Case("  gradient", (g, x), 3, kernels.gelu_backward, lambda g, x: aten.gelu_backward(g, x))


def pooling(generator, size, kernel, stride, padding):
    x = normal(generator, *size)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    y, indices = kernels.max_pool2d(x, **options)
    g, part = normal(generator, *y.shape), y.size / x.size
    window = [[kernel] * 2, [stride] * 2, [padding] * 2]
    yield Case(
        f"max_pool2d {kernel} x {kernel} / {stride}",
        (x,),
        1 + 3 * part,  # indices take 8 bytes
        lambda x: kernels.max_pool2d(x, **options),
        lambda x: aten.max_pool2d_with_indices(x, *window),
    )
    yield Case(
        "  gradient",
        (x, g, indices),
        1 + 3 * part,
        lambda x, g, i: kernels.max_pool2d_input(x.shape, i, g, **options),
        lambda x, g, i: aten.max_pool2d_with_indices_backward(g, x, *window, [1, 1], False, i),
    )
    yield Case(
        f"avg_pool2d {kernel} x {kernel} / {stride}",
        (x,),
        1 + part,
        lambda x: kernels.avg_pool2d(x, **options),
        lambda x: aten.avg_pool2d(x, *window),
    )
    yield Case(
        "  gradient",
        (x, g),
        1 + part,
        lambda x, g: kernels.avg_pool2d_input(x.shape, g, **options),
        lambda x, g: aten.avg_pool2d_backward(g, x, *window, False, True, None),
    )


def batch_norm(generator, size):
    x, g, (weight, bias) = normal(generator, *size), normal(generator, *size), normal(generator, 2, size[1])
    _, mean, invstd = kernels.batch_norm(x, weight, bias, eps=1e-5)
    yield Case(
        "batch_norm",
        (x, weight, bias),
        3,
        lambda x, w, b: kernels.batch_norm(x, w, b, eps=1e-5),
        lambda x, w, b: aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5),
        tolerance=1e-5,
    )
    yield Case(
        "  gradient",
        (g, x, weight, mean, invstd),
        5,
        kernels.batch_norm_backward,
        lambda g, x, w, m, s: aten.native_batch_norm_backward(g, x, w, None, None, m, s, True, 1e-5, [True] * 3),
        tolerance=1e-5,
    )


def cross_entropy(generator, samples, classes):
    """Forward and backward through Tensors, theirs too."""
    x, labels = normal(generator, samples, classes), generator.integers(0, classes, samples)

    def ours(x, labels):
        x = sn.from_numpy(x).requires_grad_()
        sn.nn.functional.cross_entropy(x, sn.from_numpy(labels)).backward()
        return x.grad.data

    def theirs(x, labels):
        x = x.detach().requires_grad_()
        F.cross_entropy(x, labels).backward()
        return x.grad

    yield Case(f"cross_entropy {samples} x {classes}, both", (x, labels), 3, ours, theirs)


def adam(generator):
    """Both optimisers, on the parameters of a DCGAN's discriminator; theirs in two forms."""
    arrays = [[normal(generator, *shape).copy() for shape in DCGAN] for _ in range(2)]
    flat = np.concatenate([a.ravel() for a in arrays[0]])

    def stepper(optimizer, tensors, gradients):
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient

        def step():
            optimizer.step()
            return np.concatenate([t.detach().numpy().ravel() for t in tensors])

        return step, optimizer.step

    mine = [sn.tensor(a, requires_grad=True) for a in arrays[0]]
    runs = {"ours": stepper(sn.optim.Adam(mine), mine, [sn.tensor(g) for g in arrays[1]])}
    for fused in (False, True) if torch else ():
        tensors = [torch.tensor(a, requires_grad=True) for a in arrays[0]]
        optimizer = torch.optim.Adam(tensors, fused=fused)
        runs[f"torch, fused {fused}"] = stepper(optimizer, tensors, [torch.tensor(g) for g in arrays[1]])
    results = {name: check() for name, (check, _) in runs.items()}
    for name, result in results.items():
        check_close(name, results["ours"], result, 2e-6)
    return f"Adam, {flat.size / 1e6:.1f} million", 7 * flat.nbytes, {name: step for name, (_, step) in runs.items()}


def run_of(case):
    """(name, bytes moved, functions to time) of a case whose result was found right."""
    functions = {"ours": lambda: case.ours(*case.arrays)}
    if torch:
        tensors = [torch.from_numpy(a) for a in case.arrays]
        doubles = [t.double() if t.is_floating_point() else t for t in tensors]
        for ours, theirs in zip(as_tuple(functions["ours"]()), as_tuple(case.theirs(*doubles)), strict=True):
            check_close(case.name, ours, theirs.numpy(), case.tolerance)
        for name, memory_format in (("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last)):
            operands = [t.contiguous(memory_format=memory_format) if t.ndim == 4 else t for t in tensors]
            functions[name] = lambda operands=operands: case.theirs(*operands)
    return case.name, case.passes * case.arrays[0].nbytes, functions


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def rows(generator):
    """(heading, cases) of each part of the table."""
    for where, size in SIZES.items():
        cases = [*activations(generator, size)]
        for pool in POOLS:
            cases += pooling(generator, size, *pool)
        yield f"{where}: {size}", [run_of(case) for case in (*cases, *batch_norm(generator, size))]
    losses = [run_of(case) for shape in LOGITS for case in cross_entropy(generator, *shape)]
    yield "losses and optimisers", [*losses, adam(generator)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="measuring time for each entry")
    args = parser.parse_args()
    equal_threads()
    bandwidth = copy_bandwidth(numba.get_num_threads())
    print(f"{machine()}; copying moves {bandwidth / 1e9:.1f} GB/s")
    print(f"{'':<28} {'ours':>10} {'torch':>10} {'torch / ours':>13} {'GB/s':>8} {'share':>7}")
    for heading, part in rows(np.random.default_rng(0)):
        print(heading)
        for name, moved, functions in part:
            t = medians(functions, args.seconds)
            best = min((t[name] for name in t if name != "ours"), default=math.nan)
            speed = moved / t["ours"]
            print(
                f"{name:<28} {1e3 * t['ours']:7.3f} ms {1e3 * best:7.3f} ms {best / t['ours']:13.2f} "
                f"{speed / 1e9:8.1f} {speed / bandwidth:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
