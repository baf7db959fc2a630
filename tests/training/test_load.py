"""Long trainings, and several at once: memory stays, nothing is left open, nobody disturbs another."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scratchnet as sn
from scratchnet.data import DataLoader, ImageFolder

HERE = Path(__file__).parent


ROOT = HERE.parent.parent


def run(*arguments, **variables):
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_stays_as_it_is():
    """300 steps; the nightly run of 10,000 is `python -m tests.load`."""
    result = run("-m", "tests.load", "--steps", 300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_loader_that_is_closed_half_way_leaves_no_file_and_no_thread(tmp_path, prefetch):
    for i in range(12):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / str(i % 2) / f"{i}.png")
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    iterator = iter(DataLoader(ImageFolder(tmp_path), 2, prefetch=prefetch))
    next(iterator)
    del iterator
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_each_thread_that_seeds_itself_has_its_own_numbers():
    def draw(seed):
        sn.manual_seed(seed)
        barrier.wait()
        drawn[seed] = [sn.randn(3).tolist() for _ in range(50)]

    barrier, drawn = threading.Barrier(2), {}
    state = sn.default_generator().bit_generator.state
    threads = [threading.Thread(target=draw, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sn.default_generator().bit_generator.state == state
    for seed in (1, 2):
        sn.manual_seed(seed)
        assert drawn[seed] == [sn.randn(3).tolist() for _ in range(50)]


@pytest.mark.parametrize(
    ("method", "layer"), [("spawn", "omp"), ("forkserver", "omp"), ("fork", "omp"), ("fork", "workqueue")]
)
def test_children_train_or_are_refused_in_words(method, layer):
    if method != "spawn" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    result = run(HERE / "forked.py", method, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in result.stderr:
        pytest.skip(f"Numba has no {layer} here")
    if method == "fork" and layer == "omp" and "equal" not in result.stdout:  # GNU's, which does not bear it
        assert "RuntimeError: conv2d: this process was forked from one that had run compiled kernels" in result.stderr
        assert "start it by 'spawn' or 'forkserver'" in result.stderr
        assert result.stdout.strip() == "omp the child ended with 1"
    else:
        assert result.stdout.strip() == f"{layer} equal", result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_its_parents_loader():
    code = """
        import os, numpy as np
        from scratchnet.data import DataLoader, TensorDataset
        loader = DataLoader(TensorDataset(np.arange(9)), 1, prefetch=2)
        iterator = iter(loader)
        next(iterator)
        if os.fork() == 0:
            try:
                next(iterator)
            except RuntimeError as error:
                print(error, flush=True)
            print(len(list(loader)), flush=True)
            os._exit(0)
        os.wait()
    """
    result = run("-c", textwrap.dedent(code))
    words = "DataLoader: its thread did not come along with fork(): begin a new iteration"
    assert result.stdout.split("\n") == [words, "9", ""], result.stderr
