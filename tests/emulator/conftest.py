"""Tests in this folder run CUDA kernels on the CPU; without g++ they are skipped, and say so."""

import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from kernels.gpu import module
from tests.emulator import emulate, planted
from tests.emulator.device import emulated_device

if (
    planted.ENVIRONMENT_VARIABLE in os.environ
):  # sources with a planted fault; whether it is found matters, not how small
    module.FOLDER = Path(os.environ[planted.ENVIRONMENT_VARIABLE])
    settings.register_profile("planted", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
    settings.load_profile("planted")


@pytest.fixture(autouse=True, scope="module")  # no longer: other tests must find no CuPy
def device():
    reason = emulate.why_not()
    if reason:
        pytest.skip(reason)
    with emulated_device() as cupy:
        yield cupy
