"""Layers, models and what trains them: PyTorch's ``torch.nn``."""

from scratchnet.errors import explain
from scratchnet.nn import functional, init, utils
from scratchnet.nn.activation import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from scratchnet.nn.container import ModuleDict, ModuleList, Sequential
from scratchnet.nn.conv import Conv2d, ConvTranspose2d
from scratchnet.nn.dropout import Dropout, Dropout2d
from scratchnet.nn.embedding import Embedding
from scratchnet.nn.image import (
    Fold,
    PixelShuffle,
    PixelUnshuffle,
    ReflectionPad2d,
    ReplicationPad2d,
    Unfold,
    Upsample,
    ZeroPad2d,
)
from scratchnet.nn.linear import Flatten, Identity, Linear, Unflatten
from scratchnet.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    GaussianNLLLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from scratchnet.nn.module import Module, Parameter
from scratchnet.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm
from scratchnet.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from scratchnet.nn.summary import summary

explain(globals())
