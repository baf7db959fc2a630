"""Entry points made of formulas: in place, their names, and the disk cache."""

import os
import subprocess
import sys

import numpy as np
import pytest

from kernels.cpu import elementwise
from kernels.cpu.memory import empty
from kernels.cpu.pointwise import pointwise

UNARY = (elementwise._relu, elementwise._sigmoid, elementwise._tanh, elementwise._softplus, elementwise._gelu)
BINARY = (elementwise._add, elementwise._relu_backward, elementwise._tanh_backward, elementwise._gelu_backward)
SIZE = 5003  # more than is left to one thread, and no whole number of vectors

PROGRAM = """
import numpy as np
from kernels.cpu.pointwise import pointwise

@pointwise
def _times(x):
    return x * np.float32({factor})

output = np.empty(3, np.float32)
_times(np.ones(3, np.float32), output)
print(output[0], *_times.compiled.stats.cache_hits.values())
"""


def numbers(seed):
    array = empty((SIZE,), np.float32)
    array[:] = np.random.default_rng(seed).standard_normal(SIZE)
    return array


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("core", [*UNARY, *BINARY], ids=lambda core: core.__name__)
def test_an_output_may_be_an_input(core, place):
    inputs = [numbers(seed) for seed in range(2 if core in BINARY else 1)]
    expected = np.empty_like(inputs[0])
    core(*inputs, expected)
    core(*inputs, inputs[place % len(inputs)])
    np.testing.assert_array_equal(inputs[place % len(inputs)], expected)


def test_two_formulas_of_one_name_are_refused():
    def _relu(x):
        return x

    _relu.__qualname__ = "_relu"
    with pytest.raises(ValueError, match=r"_relu.* already"):
        pointwise(_relu)


def test_the_cache_knows_a_changed_formula(tmp_path):
    def run(factor):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.format(factor=factor))
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [sys.executable, str(path)], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout.split()

    assert run(2) == ["2.0"]
    assert run(2) == ["2.0", "1"]
    assert run(5) == ["5.0"]
