"""Tests in this folder run CUDA kernels on the CPU; without g++ they are skipped, and say so."""

import pytest

from tests.emulator import emulate
from tests.emulator.device import emulated_device


@pytest.fixture(autouse=True, scope="session")
def device():
    reason = emulate.why_not()
    if reason:
        pytest.skip(reason)
    with emulated_device() as cupy:
        yield cupy
