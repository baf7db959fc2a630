"""Outputs, gradients and whole trainings equal PyTorch's, recorded in golden.npz by make_golden.py."""

from pathlib import Path

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd, nn, optim
from scratchnet.nn import functional as F
from tests.golden.cases import CASES, draw
from tests.golden.trainings import TRAININGS

GOLDEN = np.load(Path(__file__).parent / "golden.npz", allow_pickle=False)


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name):
    function, inputs = CASES[name]
    tensors = [sn.tensor(a, requires_grad=a.dtype == np.float64) for a in inputs()]
    out = function(sn, F, *tensors)
    np.testing.assert_allclose(out.data, GOLDEN[f"{name}/out"], rtol=1e-11, atol=1e-12)
    floating = [t for t in tensors if t.requires_grad]
    gradients = autograd.grad(out, floating, sn.tensor(draw(name, out.shape)[0]))
    for i, g in enumerate(gradients):
        np.testing.assert_allclose(g.data, GOLDEN[f"{name}/grad{i}"], rtol=1e-10, atol=1e-11, err_msg=f"grad{i}")


@pytest.mark.parametrize("name", TRAININGS)
def test_training_follows_pytorch(name):
    seen = TRAININGS[name](sn, nn, optim)
    assert {f"{name}/{key}" for key in seen} == {key for key in GOLDEN if key.startswith(f"{name}/")}
    for key, value in seen.items():
        np.testing.assert_allclose(value, GOLDEN[f"{name}/{key}"], rtol=1e-10, atol=1e-12, err_msg=key)


def test_no_golden_value_is_left_over():
    assert {key.split("/")[0] for key in GOLDEN} == {*CASES, *TRAININGS}
