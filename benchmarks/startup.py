"""How long until something happens: the import over NumPy's, and the first training step with a cold and a warm cache.

    python benchmarks/startup.py

The step is that of examples/train_cnn.py's model at batch 32. All times are of fresh processes, from their start.
Python keeps its bytecode, as it does by default: PYTHONDONTWRITEBYTECODE would make each of them compile all sources.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

STEP = """
from steps import cnn
print(cnn("scratchnet", 32)())
"""


def run_time(code, **environment):
    """Seconds from the start of a Python process that runs the code to its end."""
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="how often each import is timed")
    args = parser.parse_args()
    imports = {"numpy": [], "scratchnet": []}
    for _ in range(args.repeats):
        for name, times in imports.items():
            times.append(run_time(f"import {name}"))
    numpy, ours = (statistics.median(times) for times in imports.values())
    print(f"import numpy {numpy:.3f} s, import scratchnet {ours:.3f} s: {ours - numpy:.3f} s more")
    with tempfile.TemporaryDirectory() as folder:
        cold = run_time(STEP, NUMBA_CACHE_DIR=folder)
        warm = statistics.median(run_time(STEP, NUMBA_CACHE_DIR=folder) for _ in range(3))
    print(f"process start to the end of the first training step: cold {cold:.1f} s, warm {warm:.2f} s")


if __name__ == "__main__":
    main()
