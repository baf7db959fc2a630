"""The laws are about sums of products: kernels that transform their input (Winograd) round in another way."""

import pytest

import kernels


@pytest.fixture(autouse=True)
def direct_sums():
    with kernels.use("direct"):
        yield
