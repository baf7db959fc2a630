"""A GPU for tests: ``cuda`` puts a stand-in for CuPy in its place, and the reference where CUDA kernels would run."""

import pytest

import kernels
from scratchnet.device import find_cupy
from tests.device import fake_cupy


@pytest.fixture
def cuda(monkeypatch):
    cupy = fake_cupy.install(monkeypatch)
    with kernels.use("reference"):
        yield cupy
    find_cupy.cache_clear()
