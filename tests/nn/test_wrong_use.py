"""Wrong uses are refused in words: who complains, what was wanted, what was given."""

import re

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn
from scratchnet.nn import functional as F


def x(*shape, dtype=np.float32):
    return sn.zeros(*shape, dtype=dtype)


def labels(*values):
    return sn.tensor(values, dtype=np.int64)


NAN = float("nan")
IN_CALL = [
    (
        lambda: nn.Conv2d(3, 8, 3)(x(8, 1, 28, 28)),
        ValueError,
        "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1)): expected input (N, 3, H, W), got shape (8, 1, 28, 28)",
    ),
    (
        lambda: nn.Conv2d(3, 8, 3)(x(3, 28, 28)),
        ValueError,
        "expected input (N, 3, H, W), got shape (3, 28, 28); a single sample needs a batch axis: x.unsqueeze(0)",
    ),
    (
        lambda: nn.Conv2d(3, 8, 5)(x(1, 3, 4, 9)),
        ValueError,
        "Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1)): the kernel must fit in the padded input: kernel_size (5, 5) "
        "with dilation (1, 1) is too large for input size (4, 9)",
    ),
    (
        lambda: nn.Conv2d(1, 1, 3)(x(1, 1, 4, 4, dtype=np.float64)),
        TypeError,
        "expected one floating dtype, got input float64, weight float32, bias float32; convert with .float()",
    ),
    (
        lambda: nn.Conv2d(1, 1, 3)(x(1, 1, 4, 4, dtype=np.uint8)),
        TypeError,
        "Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1)): expected one floating dtype, got input uint8, weight float32",
    ),
    (
        lambda: nn.Conv2d(1, 1, 3)(np.zeros((1, 1, 4, 4))),
        TypeError,
        "expected input to be a Tensor, got ndarray; scratchnet.tensor() or from_numpy() makes one",
    ),
    (lambda: nn.Conv2d(1, 1, 3)(), TypeError, "missing 1 required positional argument: 'input'"),
    (
        lambda: nn.Conv2d(2, 2, 3, padding=2, padding_mode="reflect")(x(1, 2, 2, 2)),
        ValueError,
        "reflect padding (2, 2) must be non-negative and smaller than 2 for an axis of size 2",
    ),
    (
        lambda: nn.ConvTranspose2d(100, 8, 4)(x(2, 100)),
        ValueError,
        "ConvTranspose2d(100, 8, kernel_size=(4, 4), stride=(1, 1)): expected input (N, 100, H, W), got shape (2, 100)",
    ),
    (
        lambda: nn.ConvTranspose2d(1, 1, 1, padding=2)(x(1, 1, 4, 4)),
        ValueError,
        "padding ((2, 2), (2, 2)) leaves nothing of input (1, 1, 4, 4): size (0, 0)",
    ),
    (
        lambda: nn.ConvTranspose2d(1, 1, 2, 2, padding="same")(x(1, 1, 4, 4), output_size=(9, 9)),
        ValueError,
        "output_size is fixed by padding='same'",
    ),
    (
        lambda: nn.Linear(576, 64)(x(8, 64, 3, 3)),
        ValueError,
        "Linear(in_features=576, out_features=64, bias=True): expected input (*, 576), got shape (8, 64, 3, 3)",
    ),
    (lambda: nn.Linear(2, 2)(sn.tensor([1, 2])), TypeError, "got input int64, weight float32, bias float32"),
    (
        lambda: nn.Unflatten(1, (7, 7, 128))(x(8, 100)),
        ValueError,
        "Unflatten(dim=1, unflattened_size=(7, 7, 128)): expected 6272 elements on dim 1, got 100 (input shape",
    ),
    (lambda: nn.Unflatten(1, (4, -1))(x(2, 6)), ValueError, "expected a multiple of 4 elements on dim 1, got 6"),
    (lambda: nn.Unflatten(3, (4, -1))(x(2, 8)), IndexError, "dim 3 is out of range for a tensor with 2 dimensions"),
    (lambda: nn.Flatten(2)(x(2, 8)), IndexError, "dim 2 is out of range for a tensor with 2 dimensions"),
    (
        lambda: nn.MaxPool2d(2)(x(3, 8, 8)),
        ValueError,
        "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False): expected input (N, C, H, W)",
    ),
    (lambda: nn.MaxPool2d(5)(x(1, 1, 4, 4)), ValueError, "input size (4, 4) is too small for kernel_size (5, 5)"),
    (lambda: nn.AvgPool2d(2)(labels(1, 2)), ValueError, "expected input (N, C, H, W), got shape (2,)"),
    (lambda: nn.AdaptiveAvgPool2d(2)(x(1, 1, 0, 4)), ValueError, "expected a non-empty (N, C, H, W) input"),
    (
        lambda: nn.BatchNorm2d(4)(x(2, 3, 5, 5)),
        ValueError,
        "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True): "
        "expected input (N, 4, H, W), got shape (2, 3, 5, 5)",
    ),
    (lambda: nn.BatchNorm1d(4)(x(2, 3, 5)), ValueError, "expected input (N, 4, L), got shape (2, 3, 5)"),
    (lambda: nn.BatchNorm1d(4)(x(2, 4, 5, 5)), ValueError, "expected input (N, 4), got shape (2, 4, 5, 5)"),
    (
        lambda: nn.BatchNorm2d(4)(x(1, 4, 1, 1)),
        ValueError,
        "expected more than one value per channel in training, got shape (1, 4, 1, 1)",
    ),
    (lambda: nn.BatchNorm1d(4)(x(0, 4)), ValueError, "expected more than one value per channel in training"),
    (lambda: nn.BatchNorm2d(1).eval()(x(1, 1, 2, 2).double()), TypeError, "got input float64, running_mean float32"),
    (lambda: nn.InstanceNorm2d(3)(x(2, 3, 1, 1)), ValueError, "expected more than one value per channel"),
    (lambda: nn.GroupNorm(2, 4)(x(2, 6, 3)), ValueError, "expected input (N, 4, ...), got shape (2, 6, 3)"),
    (lambda: nn.LayerNorm((3, 4))(x(2, 4)), ValueError, "normalized_shape (3, 4) is not the end of input shape (2, 4)"),
    (lambda: nn.Embedding(5, 3)(labels(0, 5)), IndexError, "Embedding(5, 3): index 5 is out of range for 5 rows"),
    (lambda: nn.Embedding(5, 3)(x(2)), TypeError, "Embedding(5, 3): indices must be integers, got float32"),
    (lambda: nn.Dropout2d()(x(2, 3)), ValueError, "Dropout2d(p=0.5, inplace=False): expected input (N, C, H, W)"),
    (lambda: nn.Tanh()(labels(1)), TypeError, "Tanh(): expected a floating dtype, got input int64"),
    (
        lambda: nn.Softmax(2)(x(2, 3)),
        IndexError,
        "Softmax(dim=2): dim 2 is out of range for a tensor with 2 dimensions",
    ),
    (lambda: nn.PReLU(4)(x(2, 3)), ValueError, "PReLU(num_parameters=4): weight must have 1 or (3,) elements"),
    (lambda: nn.PixelShuffle(2)(x(1, 6, 2, 2)), ValueError, "6 channels are no multiple of upscale_factor^2 = 4"),
    (lambda: nn.Upsample(scale_factor=0.1)(x(1, 1, 4, 4)), ValueError, "cannot resize (4, 4) to (0, 0)"),
    (
        lambda: nn.Fold(4, 2)(x(1, 8, 8)),
        ValueError,
        "expected (N, multiple of 4, 9) for 9 columns, got shape (1, 8, 8)",
    ),
    (
        lambda: nn.CrossEntropyLoss()(x(2, 3), labels(0, 3)),
        IndexError,
        "CrossEntropyLoss(): label 3 is out of range for 3 classes",
    ),
    (
        lambda: nn.CrossEntropyLoss()(x(2, 3), labels(0)),
        ValueError,
        "input (2, 3) needs a target of shape (2,), got (1,)",
    ),
    (lambda: nn.CrossEntropyLoss()(x(2, 3), [0, 1]), TypeError, "expected target to be a Tensor, got list"),
    (
        lambda: nn.CrossEntropyLoss(weight=x(2))(x(2, 3), labels(0, 1)),
        ValueError,
        "weight must have one element for each of 3 classes, got shape (2,)",
    ),
    (
        lambda: nn.BCELoss()(x(4, 1, 1, 1), x(4)),
        ValueError,
        "input has shape (4, 1, 1, 1), target (4,); they must agree",
    ),
    (lambda: nn.BCELoss()(x(2) + 1.5, x(2)), ValueError, "input must lie between 0 and 1, got 1.5 to 1.5"),
    (lambda: nn.BCEWithLogitsLoss()(x(2), labels(0, 1)), TypeError, "got input float32, target int64"),
    (
        lambda: nn.MSELoss()(x(2, 1), x(2)),
        ValueError,
        "MSELoss(): input has shape (2, 1), target (2,); they must agree",
    ),
    (lambda: nn.MSELoss()(x(2), 1.0), TypeError, "MSELoss(): expected target to be a Tensor, got float"),
    (lambda: nn.GaussianNLLLoss()(x(4, 3), x(4, 3), x(3)), ValueError, "expected var of shape (4, 3), got (3,)"),
]

IN_CONSTRUCTION = [
    (lambda: nn.Linear(-1, 5), ValueError, "Linear: in_features must be at least 1, got -1"),
    (lambda: nn.Linear(2, 2.5), TypeError, "Linear: out_features must be an int, got 2.5"),
    (lambda: nn.Conv2d(0, 8, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
    (lambda: nn.Conv2d(3, 8, 0), ValueError, "Conv2d: kernel_size must hold ints of at least 1"),
    (lambda: nn.Conv2d(3, 8, (3, 3, 3)), ValueError, "Conv2d: kernel_size must hold 2 ints"),
    (lambda: nn.Conv2d(3, 8, 3, stride=0), ValueError, "Conv2d: stride must hold ints of at least 1"),
    (lambda: nn.Conv2d(3, 8, 3, padding=-1), ValueError, "Conv2d: padding must hold ints of at least 0"),
    (
        lambda: nn.Conv2d(3, 8, 3, padding="full"),
        ValueError,
        "Conv2d: padding must be 'same', 'valid' or numbers, got 'full'",
    ),
    (
        lambda: nn.Conv2d(3, 8, 3, groups=2),
        ValueError,
        "Conv2d: groups must divide in_channels 3 and out_channels 8, got 2",
    ),
    (lambda: nn.Conv2d(3, 8, 3, padding_mode="mirror"), ValueError, "padding_mode must be 'zeros', 'reflect'"),
    (
        lambda: nn.ConvTranspose2d(3, 8, 3, stride=2, output_padding=2),
        ValueError,
        "ConvTranspose2d: output_padding must be smaller than stride or dilation, got (2, 2) with stride (2, 2)",
    ),
    (lambda: nn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding must be at most half of kernel_size 2, got 2"),
    (lambda: nn.AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride must hold ints of at least 1"),
    (lambda: nn.AdaptiveAvgPool2d((0, 1)), ValueError, "AdaptiveAvgPool2d: output_size must hold ints of at least 1"),
    (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be at least 1, got 0"),
    (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups must divide num_channels 4, got 3"),
    (lambda: nn.LayerNorm((2, 0)), ValueError, "LayerNorm: normalized_shape must be at least 1, got 0"),
    (lambda: nn.Dropout(1.5), ValueError, "Dropout: p must lie between 0 and 1, got 1.5"),
    (lambda: nn.Embedding(5, 3, padding_idx=5), ValueError, "Embedding: padding_idx must name one of 5 rows, got 5"),
    (lambda: nn.Upsample(), ValueError, "Upsample: exactly one of size and scale_factor is needed"),
    (lambda: nn.Upsample(2, mode="cubic"), ValueError, "mode must be 'nearest' or 'bilinear', got 'cubic'"),
    (lambda: nn.Unfold(2, stride=0), ValueError, "Unfold: stride must hold ints of at least 1"),
    (lambda: nn.ZeroPad2d((1, 2)), ValueError, "ZeroPad2d: padding must be an int or 4 ints, got (1, 2)"),
    (lambda: nn.PixelShuffle(0), ValueError, "PixelShuffle: upscale_factor must be at least 1, got 0"),
    (lambda: nn.GELU("fast"), ValueError, "GELU: approximate must be 'none' or 'tanh', got 'fast'"),
    (lambda: nn.Hardtanh(1, 1), ValueError, "Hardtanh: min_val must be below max_val, got 1 and 1"),
    (lambda: nn.Unflatten(1, (-1, -1)), ValueError, "at most one -1, got (-1, -1)"),
    (
        lambda: nn.L1Loss(reduction="avg"),
        ValueError,
        "L1Loss: reduction must be one of 'mean', 'sum', 'none', got 'avg'",
    ),
    (lambda: nn.CrossEntropyLoss(label_smoothing=2), ValueError, "CrossEntropyLoss: label_smoothing must lie between"),
    (lambda: nn.CrossEntropyLoss([1.0, 2.0]), TypeError, "'weight' must be a Tensor or None, got list"),
    (lambda: nn.BatchNorm2d(3, eps=-1), ValueError, "BatchNorm2d: eps must be a finite number of at least 0, got -1"),
    (lambda: nn.BatchNorm2d(3, momentum=2), ValueError, "BatchNorm2d: momentum must lie between 0 and 1, got 2"),
    (lambda: nn.LayerNorm(3, eps=NAN), ValueError, "LayerNorm: eps must be a finite number of at least 0, got nan"),
    (lambda: nn.GroupNorm(1, 3, eps="a"), TypeError, "GroupNorm: eps must be a number, got 'a'"),
    (lambda: nn.LeakyReLU(NAN), ValueError, "LeakyReLU: negative_slope must be a finite number, got nan"),
    (lambda: nn.ELU(NAN), ValueError, "ELU: alpha must be a finite number, got nan"),
    (lambda: nn.Hardtanh(NAN, 1), ValueError, "Hardtanh: min_val must be below max_val, got nan and 1"),
    (lambda: nn.Softplus(beta=NAN), ValueError, "Softplus: beta must be a finite number, got nan"),
    (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be a finite number of at least 0, got -1"),
    (lambda: nn.GaussianNLLLoss(eps=NAN), ValueError, "GaussianNLLLoss: eps must be a finite number of at least 0"),
]

IN_FUNCTIONS = [
    (lambda: F.conv2d(x(1, 2, 4, 4), x(3, 2, 3)), ValueError, "conv2d: expected weight (K, C / groups, kH, kW), got"),
    (lambda: F.conv2d(x(1, 2, 4, 4), x(3, 2, 3, 3), x(2)), ValueError, "conv2d: expected bias (3,), got shape (2,)"),
    (
        lambda: F.conv_transpose2d(x(1, 2, 4, 4), x(2, 3, 3, 3), stride=2, padding="same", output_padding=1),
        ValueError,
        "conv_transpose2d: padding 'same' fixes the output size, output_padding must be 0, got (1, 1)",
    ),
    (lambda: F.batch_norm(x(2, 3), None, None), ValueError, "running_mean and running_var are needed unless training"),
    (lambda: F.batch_norm(x(2, 3), x(2), x(3)), ValueError, "batch_norm: expected running_mean (3,), got shape (2,)"),
    (lambda: F.layer_norm(x(2, 3), 3, x(2)), ValueError, "layer_norm: expected weight (3,), got shape (2,)"),
    (lambda: F.linear(x(2, 3), x(2, 3), x(3)), ValueError, "linear: expected bias (2,), got shape (3,)"),
    (lambda: F.one_hot(labels(0, 4), 3), IndexError, "one_hot: labels 0..4 are out of range for 3 classes"),
    (lambda: F.one_hot(x(2)), TypeError, "one_hot: expected integers, got float32"),
    (lambda: F.one_hot(x(0, dtype=np.int64)), ValueError, "one_hot: an empty tensor needs num_classes"),
    (lambda: F.normalize(x(2, 2), p=3), ValueError, "normalize: p must be 1 or 2, got 3"),
    (lambda: F.dropout(x(2), 2), ValueError, "dropout: p must lie between 0 and 1, got 2"),
    (
        lambda: F.max_unpool2d(x(1, 1, 2, 2), x(1, 1, 2, 1, dtype=np.int64), 2),
        ValueError,
        "max_unpool2d: expected indices (1, 1, 2, 2), got shape (1, 1, 2, 1)",
    ),
    (
        lambda: F.pad(x(1, 2), (1, 1), mode="mirror"),
        ValueError,
        "mode must be constant, reflect, replicate or circular",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), IN_CALL)
def test_in_a_call(call, error, message):
    """The message of a layer begins with its repr."""
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert re.match(r"[A-Z]\w+\(.*\): ", str(caught.value))


@pytest.mark.parametrize(("call", "error", "message"), IN_CONSTRUCTION)
def test_in_construction(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("call", "error", "message"), IN_FUNCTIONS)
def test_in_functions(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
