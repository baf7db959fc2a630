"""Outputs and gradients equal PyTorch's, recorded in golden.npz by make_golden.py."""

from pathlib import Path

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd
from scratchnet.nn import functional as F
from tests.golden.cases import CASES, draw

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


def test_no_golden_value_is_left_over():
    assert {key.split("/")[0] for key in GOLDEN} == set(CASES)
