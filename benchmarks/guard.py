"""What it costs to refuse every result that is not finite: the CNN's step with somebody who looks, and without.

python benchmarks/guard.py
"""

import argparse

from harness import machine, medians
from scratchnet.observe import observe_ops, refuse_nonfinite
from steps import cnn


def looked_at(step):
    """The step, all of whose results are looked at."""

    def run():
        with observe_ops(refuse_nonfinite):
            return step()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time for each entry")
    args = parser.parse_args()
    print(machine())
    print(f"{'batch':>6} {'step':<11} {'alone':>12} {'looked at':>12} {'times':>6}")
    for library in ("scratchnet", "captured"):
        for n in args.batch_sizes:
            alone, watched = cnn(library, n), looked_at(cnn(library, n))
            losses = [[step() for _ in range(4)] for step in (cnn(library, n), looked_at(cnn(library, n)))]
            if losses[0] != losses[1]:
                raise AssertionError(f"losses {losses[0]} alone, {losses[1]} looked at")
            t = medians({"alone": alone, "watched": watched}, args.seconds)
            print(
                f"{n:>6} {library:<11} {1e3 * t['alone']:9.2f} ms {1e3 * t['watched']:9.2f} ms "
                f"{t['watched'] / t['alone']:6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
