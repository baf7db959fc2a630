"""A deep-learning library one can read in an evening and still train real image models with."""

from scratchnet import autograd, cuda, methods
from scratchnet.autograd import detect_anomaly, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from scratchnet.creation import *
from scratchnet.ops import *
from scratchnet.random import default_generator, manual_seed
from scratchnet.tensor import Tensor, from_numpy, get_default_dtype, set_default_dtype, tensor
