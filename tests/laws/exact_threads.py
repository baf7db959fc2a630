"""Run by test_exact.py in a process with four threads: every number of threads gives the reference's bits."""

import exact
import numba
import numpy as np
from hypothesis import given, settings

import kernels.cpu
from scratchnet.testing.strategies import AvgPool2dConfig, Conv2dConfig, MaxPool2dConfig, dtypes, seeds

# Large enough for every kernel to be cut into several pieces of work.
CONVOLUTIONS = (
    Conv2dConfig((4, 48, 17, 16), (40, 48, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    Conv2dConfig((5, 32, 30, 31), (48, 16, 4, 4), (2, 2), ((1, 1), (2, 0)), (1, 1), 2),
)
WINDOWS = ((7, 5, 19, 18), (3, 2), (2, 1), ((1, 0), (1, 1)))
MAXIMA = (MaxPool2dConfig(*WINDOWS, (1, 2), True),)
AVERAGES = (AvgPool2dConfig(*WINDOWS, True, False, None),)
LARGE = {"mat": [(512, 640, 48)], "con": CONVOLUTIONS, "avg": AVERAGES, "max": MAXIMA, "gat": MAXIMA}


pieces = []


def watch(module):
    """Note into how many pieces a module's kernels cut their work."""
    cut = module.tasks_for
    module.tasks_for = lambda items: pieces.append(cut(items)) or pieces[-1]


def check(name, threads):
    @settings(max_examples=5, deadline=None, derandomize=True, database=None)
    @given(exact.CALLS[name][0], seeds(), dtypes())
    def drawn(config, seed, dtype):
        exact.check(name, config, seed, dtype)

    numba.set_num_threads(threads)
    drawn()
    for config in LARGE[name[:3]]:
        exact.check(name, config, 0, np.dtype("float32"))
    assert name.startswith("gather") or max(pieces) == threads, f"{name}: not every thread had work"
    pieces.clear()


if __name__ == "__main__":
    assert numba.config.NUMBA_NUM_THREADS == 4
    kernels.cpu.compile._SMALL = 0  # small work, too, goes to all threads here
    watch(kernels.cpu.conv)
    watch(kernels.cpu.matmul)
    watch(kernels.cpu.pool)
    for name in exact.CALLS:
        for threads in (1, 2, 4):
            check(name, threads)
