"""Write weights with PyTorch, and see that PyTorch reads the weights that scratchnet writes.

    python tests/golden/make_weights.py

Needs torch. Writes weights_torch.safetensors, which carries PyTorch's outputs as well, and
weights_scratchnet.safetensors; the second is compared here, byte by byte in the tests from then on.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import scratchnet as sn
import weights
from scratchnet import nn

HERE = Path(__file__).parent


def outputs(model, images) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(images))


theirs, images = weights.model(torch.nn), weights.images()
arrays = weights.state({name: tuple(value.shape) for name, value in theirs.state_dict().items()})
theirs.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
save_file({**theirs.state_dict(), "expected": outputs(theirs, images)}, HERE / "weights_torch.safetensors")

ours = weights.model(nn)
ours.load_state_dict(arrays)
sn.save_file(ours.state_dict(), HERE / "weights_scratchnet.safetensors")

again = weights.model(torch.nn)
again.load_state_dict(load_file(HERE / "weights_scratchnet.safetensors"))  # strict: the same keys
np.testing.assert_array_equal(outputs(again, images), outputs(theirs, images))
print("PyTorch reads what scratchnet writes, and gives the same outputs")
