"""Array kernels: arrays in, arrays out. They know nothing of Tensors; see README.md for the contract.

`import kernels` is light: what compiles (Numba, CUDA) is imported when a kernel first runs.
"""

from .reference import (
    adam_step_,
    avg_pool2d,
    avg_pool2d_input,
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_input,
    conv2d_weight,
    erf,
    gather2d,
    gather2d_input,
    matmul,
    max_pool2d,
    rmsprop_step_,
    sgd_step_,
)
from .registry import explain, use

__all__ = [
    "adam_step_",
    "avg_pool2d",
    "avg_pool2d_input",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "erf",
    "explain",
    "gather2d",
    "gather2d_input",
    "matmul",
    "max_pool2d",
    "rmsprop_step_",
    "sgd_step_",
    "use",
]
