import pytest

import kernels


@pytest.fixture(autouse=True)
def _reference_kernels():
    """The formulas are at stake here, not their implementations: spare the compilation."""
    with kernels.use("reference"):
        yield
