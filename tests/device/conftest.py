"""A GPU for tests: a stand-in for CuPy takes its place.

``cuda`` lets the reference run in place of the CUDA kernels, ``emulated_cuda`` the kernels themselves, in the emulator.
"""

import pytest

import kernels
from scratchnet.device import find_cupy
from tests.device import fake_cupy
from tests.emulator import emulate


@pytest.fixture
def cuda(monkeypatch):
    cupy = fake_cupy.install(monkeypatch)
    with kernels.use("reference"):
        yield cupy
    find_cupy.cache_clear()


@pytest.fixture
def emulated_cuda(monkeypatch):
    if emulate.why_not():
        pytest.skip(emulate.why_not())
    yield fake_cupy.install(monkeypatch)
    find_cupy.cache_clear()
