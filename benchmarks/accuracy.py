"""The error of each algorithm of convolution in float32, against the definition in float64.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --write kernels/README.md

Inputs, weights and output gradients are standard normal. An error is relative to the largest value of the result.
"""

import argparse
from pathlib import Path

import numpy as np

import kernels
from harness import write_section

LAYERS = {
    "3x3, 64 to 64 channels": ((4, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}),
    "3x3, 256 to 256 channels": ((4, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}),
    "4x4 stride 2, 64 to 128": ((4, 64, 32, 32), (128, 64, 4, 4), {"stride": 2, "padding": 1}),
    "4x4 stride 2, 32 to 64, 7x7 left": ((64, 32, 14, 14), (64, 32, 4, 4), {"stride": 2, "padding": 1}),
    "5x5, 32 to 32 channels": ((4, 32, 32, 32), (32, 32, 5, 5), {"padding": 2}),
}


def errors(input_size, weight_size, options):
    """{algorithm: largest errors of output, input gradient and weight gradient}."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(input_size), rng.standard_normal(weight_size)
    with kernels.use("reference"):
        g = rng.standard_normal(kernels.conv2d(x, w, **options).shape)
        exact = directions(x, w, g, options)
    found = {}
    for algorithm in ("direct", "winograd"):
        with kernels.use(algorithm):
            results = directions(*(a.astype(np.float32) for a in (x, w, g)), options)
        found[algorithm] = [np.abs(r - e).max() / np.abs(e).max() for r, e in zip(results, exact, strict=True)]
    return found


def directions(x, w, g, options):
    return (
        kernels.conv2d(x, w, **options),
        kernels.conv2d_input(x.shape, w, g, **options),
        kernels.conv2d_weight(x, w.shape, g, **options),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's marks")
    args = parser.parse_args()
    lines = ["| layer | algorithm | output | input gradient | weight gradient |", "|---|---|---:|---:|---:|"]
    for name, layer in LAYERS.items():
        for algorithm, found in errors(*layer).items():
            lines.append(f"| {name} | `{algorithm}` | " + " | ".join(f"{e:.1e}" for e in found) + " |")
    print("\n".join(lines))
    if args.write:
        write_section(args.write, "accuracy", "\n".join(lines))


if __name__ == "__main__":
    main()
