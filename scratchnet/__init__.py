"""A deep-learning library one can read in an evening and still train real image models with.

    import scratchnet as sn
    from scratchnet import nn, optim

The names are PyTorch's. Start reading at ``tensor.py`` and ``autograd.py``, then ``ops/registry.py``.
"""

import kernels as _kernels

__version__ = "0.1.0"

if not hasattr(_kernels, "conv2d_weight"):
    raise ImportError(
        f"scratchnet needs its own package 'kernels', but another one was found first, at {_kernels.__file__}: "
        "uninstall that distribution, or put scratchnet's folder before it on sys.path"
    )

import numpy as _np

from scratchnet import autograd, cuda, methods, nn, optim
from scratchnet.autograd import detect_anomaly, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from scratchnet.capture import capture
from scratchnet.creation import *
from scratchnet.device import device
from scratchnet.ops import *
from scratchnet.random import default_generator, manual_seed
from scratchnet.serialization import load_checkpoint, load_file, save_checkpoint, save_file
from scratchnet.tensor import Tensor, from_numpy, get_default_dtype, set_default_dtype, tensor

float = float32 = _np.dtype(_np.float32)
double = float64 = _np.dtype(_np.float64)
long = int64 = _np.dtype(_np.int64)
uint8 = _np.dtype(_np.uint8)
bool = _np.dtype(_np.bool_)
