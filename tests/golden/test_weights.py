"""Weights cross between scratchnet and PyTorch through safetensors files, both ways; see make_weights.py."""

from pathlib import Path

import numpy as np

import kernels
import scratchnet as sn
from scratchnet import nn
from tests.golden import weights

HERE = Path(__file__).parent


def test_weights_that_pytorch_wrote_give_its_outputs():
    state = sn.load_file(HERE / "weights_torch.safetensors")
    expected = state.pop("expected").data
    model = weights.model(nn)
    model.load_state_dict(state)  # strict: the same keys
    with kernels.use("reference"), sn.no_grad():
        found = model.eval()(sn.from_numpy(weights.images())).data
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_is_written_today_is_what_pytorch_has_read(tmp_path):
    model = weights.model(nn)
    model.load_state_dict(weights.state({name: value.shape for name, value in model.state_dict().items()}))
    sn.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").read_bytes() == (HERE / "weights_scratchnet.safetensors").read_bytes()
