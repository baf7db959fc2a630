"""Peak resident memory of a training step, in a fresh process for each library and model, and its growth over steps.

    python benchmarks/memory.py
    python benchmarks/memory.py --models cnn --steps 10000

`start` is the resident set before the first step, with everything imported and data and parameters made; `peak` the
largest ever. Growth is taken between the state after a tenth of the steps and the last. Linux only.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from steps import STEPS

MIB = 1 << 20


def resident():
    """This process's resident set in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def child(library, model, batch_size, steps):
    """Run the steps and print {start, peak, early, late}, all in bytes."""
    if library != "torch":
        import kernels.cpu  # noqa: F401 - the first kernel would import it, with Numba
    make, _ = STEPS[model]
    step = make(library, batch_size)
    start = resident()
    for i in range(steps):
        step()
        if i == steps // 10:
            early = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"start": start, "peak": peak, "early": early, "late": resident()}))


def measure(library, model, batch_size, steps):
    command = [sys.executable, __file__, "--child", library, model, str(batch_size), str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--libraries", nargs="+", default=["scratchnet", "captured", "torch"])
    parser.add_argument("--steps", type=int, default=50, help="how many steps to take, at least 20")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        library, model, batch_size, steps = args.child
        child(library, model, int(batch_size), int(steps))
        return
    print(f"{args.steps} steps, MiB")
    print(f"{'model':<8} {'batch':>5} {'library':<12} {'start':>8} {'peak':>8} {'growth':>8}")
    for model in args.models:
        batch_size = STEPS[model][1]
        for library in args.libraries:
            if library != "torch":
                measure(library, model, batch_size, 20)  # compiles; a compiler's memory is not a training step's
            m = measure(library, model, batch_size, max(args.steps, 20))
            row = (m["start"], m["peak"], m["late"] - m["early"])
            cells = " ".join(f"{value / MIB:8.1f}" for value in row)
            print(f"{model:<8} {batch_size:>5} {library:<12} {cells}", flush=True)


if __name__ == "__main__":
    main()
