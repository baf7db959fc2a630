"""Kernels that wait for memory rather than for arithmetic: times, bandwidth, and PyTorch in the same process.

    python benchmarks/memory_table.py

Every result is compared with PyTorch's in float64 before it is timed. Both sides see channels-last memory, PyTorch also
NCHW, and its better time counts. "share" is the least traffic an operation needs (each operand read once, each result
written once), divided by the time, over the bandwidth measured by copying one array to another on all threads.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

import kernels
from harness import check_close, machine, medians, torch
from kernels.cpu.memory import empty

F = torch.nn.functional if torch else None
aten = torch.ops.aten if torch else None
IMAGES = (128, 64, 32, 32)
SLOPE = 0.2


@dataclass
class Case:
    """One row: our call, theirs on tensors in a given memory format, and the arrays both get.

    `results` counts the elements of what is written besides the inputs that are read; both in bytes.
    """

    name: str
    ours: Callable
    theirs: Callable
    arrays: tuple
    results: int
    tolerance: float = 2e-6


def normal(*shape):
    rng = np.random.default_rng(abs(hash(shape)) % 2**32)
    array = rng.standard_normal(shape, np.float32)
    return channels_last(array) if array.ndim == 4 else array


def channels_last(array):
    """A copy in channels-last memory, which begins at a cache line as the results of kernels do."""
    n, c, h, w = array.shape
    copy = empty((n, h, w, c), array.dtype).transpose(0, 3, 1, 2)
    copy[...] = array
    return copy


def activations():
    x, g = normal(*IMAGES), normal(*IMAGES)
    size = x.nbytes
    y = {name: getattr(kernels, name)(x) for name in ("relu", "sigmoid", "tanh")}
    slope = {"negative_slope": SLOPE}
    return [
        Case("relu", kernels.relu, lambda x: torch.relu(x), (x,), size),
        Case(
            "relu, gradient", kernels.relu_backward, lambda g, y: aten.threshold_backward(g, y, 0), (g, y["relu"]), size
        ),
        Case("leaky_relu", lambda x: kernels.leaky_relu(x, **slope), lambda x: F.leaky_relu(x, SLOPE), (x,), size),
        Case(
            "leaky_relu, gradient",
            lambda g, x: kernels.leaky_relu_backward(g, x, **slope),
            lambda g, x: aten.leaky_relu_backward(g, x, SLOPE, False),
            (g, x),
            size,
        ),
        Case("sigmoid", kernels.sigmoid, lambda x: torch.sigmoid(x), (x,), size),
        Case(
            "sigmoid, gradient",
            kernels.sigmoid_backward,
            lambda g, y: aten.sigmoid_backward(g, y),
            (g, y["sigmoid"]),
            size,
        ),
        Case("tanh", kernels.tanh, lambda x: torch.tanh(x), (x,), size),
        Case("tanh, gradient", kernels.tanh_backward, lambda g, y: aten.tanh_backward(g, y), (g, y["tanh"]), size),
        Case("gelu", kernels.gelu, lambda x: F.gelu(x), (x,), size),
        Case("gelu, gradient", kernels.gelu_backward, lambda g, x: aten.gelu_backward(g, x), (g, x), size),
    ]


def pooling():
    x = normal(*IMAGES)
    cases = []
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1)):
        options = {"kernel_size": kernel, "stride": stride, "padding": padding}
        y, indices = kernels.max_pool2d(x, **options)
        g = normal(*y.shape)
        window = [[kernel] * 2, [stride] * 2, [padding] * 2]
        what = f"{kernel}x{kernel} / {stride}"
        cases += [
            Case(
                f"max_pool2d {what}",
                lambda x, options=options: kernels.max_pool2d(x, **options),
                lambda x, window=window: aten.max_pool2d_with_indices(x, *window),
                (x,),
                y.nbytes + indices.nbytes,
            ),
            Case(
                f"max_pool2d {what}, gradient",
                lambda g, x, i, options=options: kernels.max_pool2d_input(x.shape, i, g, **options),
                lambda g, x, i, window=window: aten.max_pool2d_with_indices_backward(g, x, *window, [1, 1], False, i),
                (g, x, indices),
                0,  # x counts as the result: only its shape is read
            ),
            Case(
                f"avg_pool2d {what}",
                lambda x, options=options: kernels.avg_pool2d(x, **options),
                lambda x, window=window: aten.avg_pool2d(x, *window),
                (x,),
                y.nbytes,
            ),
            Case(
                f"avg_pool2d {what}, gradient",
                lambda g, x, options=options: kernels.avg_pool2d_input(x.shape, g, **options),
                lambda g, x, window=window: aten.avg_pool2d_backward(g, x, *window, False, True, None),
                (g, x),
                0,
            ),
        ]
    return cases


def batch_norm():
    x, g = normal(*IMAGES), normal(*IMAGES[::-1]).transpose(3, 2, 1, 0)
    x, g = x + np.float32(0.5), channels_last(g)
    weight, bias = normal(2, x.shape[1])
    _, mean, invstd = kernels.batch_norm(x, weight, bias, eps=1e-5)
    return [
        Case(
            "batch_norm",
            lambda x, w, b: kernels.batch_norm(x, w, b, eps=1e-5),
            lambda x, w, b: aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5),
            (x, weight, bias),
            2 * x.nbytes,  # the input is read twice
            tolerance=1e-5,
        ),
        Case(
            "batch_norm, gradient",
            kernels.batch_norm_backward,
            lambda g, x, w, mean, invstd: aten.native_batch_norm_backward(
                g, x, w, None, None, mean, invstd, True, 1e-5, [True, True, True]
            ),
            (g, x, weight, mean, invstd),
            3 * x.nbytes,  # both are read twice
            tolerance=1e-5,
        ),
    ]


def copy_bandwidth(seconds):
    """Bytes per second, read and written, of copying an array larger than the caches with our threads."""
    source, target = empty((1 << 24,), np.float32), empty((1 << 24,), np.float32)
    source[:] = 1
    return 2 * source.nbytes / medians({"copy": lambda: _copy(source, target)}, seconds)["copy"]


@numba.njit(parallel=True)
def _copy(source, target):
    for i in numba.prange(len(source)):
        target[i] = source[i]


def measure(case, seconds):
    runs = {"ours": lambda: case.ours(*case.arrays)}
    if torch:
        formats = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
        doubles = [torch.from_numpy(a.astype(np.float64) if a.dtype == np.float32 else a) for a in case.arrays]
        for ours, theirs in zip(as_tuple(runs["ours"]()), as_tuple(case.theirs(*doubles)), strict=True):
            check_close(case.name, ours, theirs.numpy(), case.tolerance)
        for name, memory_format in formats.items():
            tensors = [in_format(torch.from_numpy(a), memory_format) for a in case.arrays]
            runs[name] = lambda tensors=tensors: case.theirs(*tensors)
    return medians(runs, seconds)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def in_format(tensor, memory_format):
    return tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor.contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="measuring time for each entry")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    args = parser.parse_args()
    if torch:
        torch.set_num_threads(numba.get_num_threads())
    bandwidth = copy_bandwidth(args.seconds)
    print(f"{machine()}; copying moves {bandwidth / 1e9:.1f} GB/s")
    print("{:<28} {:>10} {:>10} {:>13} {:>8} {:>7}".format("", "ours", "torch", "torch / ours", "GB/s", "share"))
    for case in [*activations(), *pooling(), *batch_norm()]:
        if args.only not in case.name:
            continue
        t = measure(case, args.seconds)
        best = min((t[name] for name in t if name != "ours"), default=math.nan)
        speed = (sum(a.nbytes for a in case.arrays) + case.results) / t["ours"]
        print(
            f"{case.name:<28} {1e3 * t['ours']:7.3f} ms {1e3 * best:7.3f} ms {best / t['ours']:13.2f} "
            f"{speed / 1e9:8.1f} {speed / bandwidth:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
