"""Optimisers, learning-rate schedules and averaged weights, with PyTorch's names, defaults and state layout."""

from scratchnet.errors import explain
from scratchnet.optim import lr_scheduler
from scratchnet.optim.adam import Adam, AdamW
from scratchnet.optim.ema import ExponentialMovingAverage
from scratchnet.optim.optimizer import Optimizer
from scratchnet.optim.rmsprop import RMSprop
from scratchnet.optim.sgd import SGD

explain(globals())
