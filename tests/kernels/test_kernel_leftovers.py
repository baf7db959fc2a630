"""No kernel computes with memory that it has not written.

What was there before would not reach the result. But it may be subnormal numbers, each product of which takes a
hundred cycles: a layer took 0.1 or 1.2 ms, depending on who had used the memory before.

So all memory that kernels get is filled with signalling NaNs here. To copy one is nothing special; to compute with
one raises the processor's flag for invalid operations, which finite inputs do not.
"""

import ctypes
import functools
import itertools
import platform
import sys

import kernel_cases as cases
import numba
import numpy as np
import pytest

import kernels
from kernels.cpu import memory
from kernels.cpu.matmul import matmul as on_the_tile

INVALID = 1  # FE_INVALID of x86
SIGNALLING = {4: (np.uint32, 0x7FA00000), 8: (np.uint64, 0x7FF4000000000000)}
PRODUCTS = [(128, 3136, 20), (128, 20, 3136), (7, 500, 300), (33, 77, 65), (130, 64, 10)]

pytestmark = pytest.mark.skipif(
    (platform.machine(), platform.libc_ver()[0]) != ("x86_64", "glibc"), reason="reads the flags of x86 through glibc"
)


@pytest.fixture
def spoilt(monkeypatch):
    """All memory that kernels ask for is full of signalling NaNs; their work is done by this thread."""
    empty, threads = memory.empty, numba.get_num_threads()

    def spoilt_empty(shape, dtype):
        array = empty(shape, dtype)
        if array.dtype.kind == "f":
            word, pattern = SIGNALLING[array.itemsize]
            array.view(word)[...] = pattern
        return array

    for name, module in list(sys.modules.items()):
        if name.startswith("kernels.cpu") and hasattr(module, "empty"):
            monkeypatch.setattr(module, "empty", spoilt_empty)
    numba.set_num_threads(1)
    yield spoilt_empty
    numba.set_num_threads(threads)


@functools.cache
def flags():
    return ctypes.CDLL("libm.so.6")


def computes_with_leftovers(kernel, *args, **options):
    kernel(*args, **options)  # what it must compile raises flags of its own
    flags().feclearexcept(INVALID)
    kernel(*args, **options)
    return flags().fetestexcept(INVALID) != 0


def test_a_leftover_would_be_noticed(spoilt):
    """relu passes NaN on; the tile multiplies it."""
    array = spoilt((64, 64), np.float32)
    assert computes_with_leftovers(on_the_tile, array, array)
    assert not computes_with_leftovers(on_the_tile, np.ones_like(array), np.ones_like(array))


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("call", cases.CONVOLUTIONS)
def test_convolutions(spoilt, call, dtype):
    options, calls = cases.convolution(call, dtype)
    for kernel, args in calls.items():
        for name in kernel.implementations()[:-1]:
            with kernels.use(**{kernel.__name__: name}):
                if kernels.explain(kernel, *args, **options).implementation == name:
                    assert not computes_with_leftovers(kernel, *args, **options), (kernel.name, name)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("n, k, m", PRODUCTS)
def test_products(spoilt, n, k, m, dtype):
    a, b = np.ones((n, k), dtype), np.ones((k, m), dtype)
    for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
        assert not computes_with_leftovers(on_the_tile, left, right)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_kernel(spoilt, dtype):
    for kernel, (args, options) in cases.sample_calls(np.random.default_rng(0), dtype, batch=150).items():
        assert not computes_with_leftovers(kernel, *args, **options), kernel.name
