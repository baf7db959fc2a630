"""Convolution in three directions over a table of layers, against PyTorch in the same process.

    python benchmarks/conv_table.py

Where PyTorch is installed, every result is compared with its in float64 before it is timed, and PyTorch is measured in
both memory formats; its better time counts. GFLOP/s count 2 operations for each multiply-add of the direct method.
"""

import argparse
import math

import numpy as np

import kernels
from harness import channels_last, check_close, equal_threads, machine, medians, torch

# N, C, H = W, K, kernel, stride, padding, groups
LAYERS = [
    (128, 1, 28, 32, 3, 1, 0, 1),
    (128, 32, 13, 64, 3, 1, 0, 1),
    (32, 64, 32, 64, 3, 1, 1, 1),
    (16, 256, 14, 256, 3, 1, 1, 1),
    (8, 128, 28, 128, 3, 1, 1, 1),
    (32, 1, 64, 64, 4, 2, 1, 1),
    (32, 64, 32, 128, 4, 2, 1, 1),
    (32, 128, 16, 256, 4, 2, 1, 1),
    (32, 256, 8, 512, 4, 2, 1, 1),
    (8, 64, 56, 256, 1, 1, 0, 1),
    (4, 3, 224, 64, 7, 2, 3, 1),
    (16, 32, 32, 32, 5, 1, 2, 1),
    (16, 64, 32, 64, 3, 1, 1, 64),
    (32, 512, 4, 100, 4, 1, 0, 1),  # its input gradient is DCGAN's first transposed layer; the others are above
]
DIRECTIONS = ("forward", "input", "weight")


def ours(direction, x, w, g, options):
    """The kernels see channels-last memory, as they do inside a network."""
    x, g = channels_last(x), channels_last(g)
    return {
        "forward": lambda: kernels.conv2d(x, w, **options),
        "input": lambda: kernels.conv2d_input(x.shape, w, g, **options),
        "weight": lambda: kernels.conv2d_weight(x, w.shape, g, **options),
    }[direction]


def theirs(direction, x, w, g, options, memory_format):
    x, w, g = (torch.from_numpy(a).contiguous(memory_format=memory_format) for a in (x, w, g))
    s, p = [options["stride"]] * 2, [options["padding"]] * 2
    if direction == "forward":
        return lambda: torch.conv2d(x, w, None, s, p, groups=options["groups"])
    mask = [direction == "input", direction == "weight", False]
    index = DIRECTIONS.index(direction) - 1
    return lambda: torch.ops.aten.convolution_backward(
        g, x, w, None, s, p, [1, 1], False, [0, 0], options["groups"], mask
    )[index]


def measure(direction, layer, seconds):
    n, c, size, k, kernel, stride, padding, groups = layer
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, c, size, size), np.float32)
    w = generator.standard_normal((k, c // groups, kernel, kernel), np.float32) / math.sqrt(c // groups) / kernel
    w = w.astype(np.float32)
    options = {"stride": stride, "padding": padding, "groups": groups}
    g = generator.standard_normal(kernels.conv2d(x, w, **options).shape, np.float32)
    flops = 2 * g.size * (c // groups) * kernel * kernel
    runs = {"ours": ours(direction, x, w, g, options)}
    if torch:
        formats = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
        doubles = [a.astype(np.float64) for a in (x, w, g)]
        expected = theirs(direction, *doubles, options, torch.contiguous_format)().numpy()
        check_close(direction, runs["ours"](), expected, 3e-4)  # Winograd's; see accuracy.py
        runs |= {name: theirs(direction, x, w, g, options, f) for name, f in formats.items()}
    return flops, medians(runs, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="measuring time for each entry")
    args = parser.parse_args()
    equal_threads()
    print(machine())
    head = ("N, C, H, K, k, s, p, groups", "direction", "ours", "GFLOP/s", "torch", "torch / ours")
    print("{:<32} {:<9} {:>10} {:>8} {:>10} {:>13}".format(*head))
    ratios = []
    for layer in LAYERS:
        for direction in DIRECTIONS:
            flops, t = measure(direction, layer, args.seconds)
            best = min((t[name] for name in t if name != "ours"), default=math.nan)
            ratios.append(best / t["ours"])
            print(
                f"{str(layer)[1:-1]:<32} {direction:<9} {1e3 * t['ours']:7.2f} ms {flops / t['ours'] / 1e9:8.0f} "
                f"{1e3 * best:7.2f} ms {ratios[-1]:13.2f}",
                flush=True,
            )
    print(f"geometric mean {math.exp(np.mean(np.log(ratios))):.2f}, lowest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
