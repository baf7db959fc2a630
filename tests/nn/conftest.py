"""Layers are tested over the reference kernels: nothing to compile, and no fault of a fast kernel hides here."""

import numpy as np
import pytest

import kernels
import scratchnet as sn


@pytest.fixture(autouse=True)
def _reference_kernels():
    with kernels.use("reference"):
        yield


@pytest.fixture
def draw():
    """draw(*shape): normal numbers as a float64 tensor, the same in every run."""
    generator = np.random.default_rng(0)
    return lambda *shape: sn.tensor(generator.standard_normal(shape))
