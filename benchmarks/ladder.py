"""The ladder: one convolution, step by step faster, in GFLOP/s and as a share of the machine's peak.

    python benchmarks/ladder.py
    python benchmarks/ladder.py --write kernels/README.md    # replaces the table between the file's ladder marks

Every step is compared with the reference in float64 before it is timed. All steps are counted as if they did the
direct method's work, 2 operations for each of its multiply-adds: a step that gets by with fewer may exceed the peak.
"""

import argparse
import math
from pathlib import Path

import numba
import numpy as np

import kernels
from harness import channels_last, check_close, machine, medians, write_section
from machine import peak_flops

STEPS = {
    "naive": "seven loops, the definition",
    "im2col": "copy all patches, one matrix product",
    "tiled": "blocks that stay in cache",
    "direct": "blocks that stay in registers",
    "winograd": "fewer multiplications",
}
LAYERS = {
    "3x3": ((8, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}),
    "4x4, stride 2": ((8, 64, 32, 32), (128, 64, 4, 4), {"stride": 2, "padding": 1}),
}
TOLERANCE = {"winograd": 3e-4}


def measure(input_size, weight_size, options, seconds):
    """{step: (seconds, GFLOP/s)} of the steps that this version has, for one layer."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(input_size, np.float32)
    w = rng.standard_normal(weight_size, np.float32) / np.float32(math.sqrt(math.prod(weight_size[1:])))
    x = channels_last(x)
    with kernels.use("reference"):
        expected = kernels.conv2d(x.astype(np.float64), w.astype(np.float64), **options)

    def runs(step):
        def run():
            with kernels.use(conv2d=step):
                return kernels.conv2d(x, w, **options)

        return run

    functions = {step: runs(step) for step in STEPS if step in kernels.conv2d.implementations()}
    for step, run in functions.items():
        check_close(step, run(), expected, TOLERANCE.get(step, 1e-5))
    operations = 2 * expected.size * math.prod(weight_size[1:])
    return {step: (t, operations / t / 1e9) for step, t in medians(functions, seconds, warmup=1).items()}


def table(results, peak):
    """The results as a Markdown table."""
    layers = " | ".join(f"{layer} | of peak" for layer in results)
    lines = [f"| step | idea | {layers} |", "|---|---|" + "---:|---:|" * len(results)]
    for number, step in enumerate(next(iter(results.values())), 1):
        cells = (f"{rates[step][1]:.3g} | {rates[step][1] / peak:.0%}" for rates in results.values())
        lines.append(f"| {number} `{step}` | {STEPS[step]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="measuring time for each entry")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's marks")
    args = parser.parse_args()
    threads = numba.get_num_threads()
    peak = peak_flops(threads) / 1e9
    results = {name: measure(*layer, args.seconds) for name, layer in LAYERS.items()}
    note = f"{machine()}. Float32, GFLOP/s; peak {peak:.0f}, multiply-adds in registers on {threads} threads."
    shapes = "; ".join(f"{name}: input {x}, weight {w}" for name, (x, w, _) in LAYERS.items())
    text = f"{table(results, peak)}\n\n{note} {shapes}."
    print(text)
    if args.write:
        write_section(args.write, "ladder", text)


if __name__ == "__main__":
    main()
