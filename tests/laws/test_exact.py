"""Whole numbers make every sum exact: reference, Numba with any number of threads, and a GPU agree bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import exact
import pytest
from hypothesis import given

from scratchnet import cuda
from scratchnet.testing.strategies import dtypes, seeds

HERE = Path(__file__).parent
by_kernel = pytest.mark.parametrize("name", exact.CALLS)


def check_drawn(name, **where):
    @given(exact.CALLS[name][0], seeds(), dtypes())
    def drawn(config, seed, dtype):
        exact.check(name, config, seed, dtype, **where)

    drawn()


@by_kernel
def test_compiled_kernels_give_the_references_bits_to_second_order(name):
    check_drawn(name)


def test_so_they_do_with_any_number_of_threads():
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4", "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [sys.executable, HERE / "exact_threads.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not cuda.is_available(), reason="needs CuPy and an NVIDIA GPU")
@by_kernel
def test_so_they_do_on_a_gpu(name):
    check_drawn(name, device="cuda")
