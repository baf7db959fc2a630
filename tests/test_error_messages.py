"""Wrong uses, and the words they are answered with: the argument, what was given, what was wanted.

Layers, losses and their functions have a table of their own in nn/test_wrong_use.py, ops in their records.
"""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import data, metrics, nn, optim
from scratchnet.data import transforms as T
from scratchnet.nn import functional as F
from scratchnet.optim import lr_scheduler as LR


def x(*shape, dtype=np.float32):
    return sn.zeros(*shape, dtype=dtype)


def p(*shape):
    return sn.ones(*shape, requires_grad=True)


def sgd():
    return optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def three():
    return data.TensorDataset(np.zeros(3))


def assign(index, value):
    x(2, 3)[index] = value


def backward_twice():
    a = p(3)
    loss = (a * a).sum()
    loss.backward()
    loss.backward()


def inplace_saved():
    b = p(3) * 2.0
    c = (b * b).sum()
    b.data[0] = 5
    c.backward()


def badgrad():
    m = nn.Linear(2, 2)
    m.weight.grad = x(3, 3)
    optim.SGD(m.parameters(), lr=0.1).step()


TENSORS = [
    (
        lambda: x(2, 3).reshape(4, 2),
        ValueError,
        "reshape: a tensor of shape (2, 3) has 6 elements, shape (4, 2) needs 8",
    ),
    (
        lambda: x(2, 3).reshape(-1, 4),
        ValueError,
        "reshape: a tensor of shape (2, 3) has 6 elements, shape (-1, 4) needs 4 times a whole number",
    ),
    (
        lambda: x(2, 3).reshape(-1, -1),
        ValueError,
        "reshape: sizes must be non-negative, with at most one -1, got (-1, -1)",
    ),
    (lambda: x(2, 3).view(7), ValueError, "reshape: a tensor of shape (2, 3) has 6 elements, shape (7,) needs 7"),
    (lambda: x(2, 3).permute(0, 0), ValueError, "permute: dim (0, 0) names an axis twice"),
    (lambda: x(2, 3, 4).permute(0, 1), ValueError, "permute: a tensor with 3 dimensions needs 3 dims, got (0, 1)"),
    (lambda: x(2, 3).transpose(0, 5), IndexError, "transpose: dim 5 is out of range for a tensor with 2 dimensions"),
    (lambda: sn.cat([x(2, 3), x(2, 4)], 0), ValueError, "cat: shapes (2, 3) and (2, 4) differ outside dim 0"),
    (lambda: sn.cat([], 0), ValueError, "cat: at least one tensor is needed"),
    (lambda: sn.stack([x(2), x(3)], 0), ValueError, "stack: shapes (2,) and (3,) differ"),
    (lambda: x(2, 3) + x(2, 4), ValueError, "add: shapes do not broadcast: a (2, 3) and b (2, 4)"),
    (lambda: x(2) + "a", TypeError, "add: expected tensors, arrays or numbers, got str"),
    (lambda: x(2) * [1, 2], TypeError, "mul: expected tensors, arrays or numbers, got list"),
    (lambda: x(2) + None, TypeError, "add: expected tensors, arrays or numbers, got NoneType"),
    (
        lambda: x(2) + x(2, dtype=np.float64),
        TypeError,
        "add: mixed floating dtypes (a is float32, b is float64); convert one with .float() or .double()",
    ),
    (lambda: x(2, 3) @ x(4, 5), ValueError, "matmul: shapes do not broadcast: a (2, 3) and b (4, 5)"),
    (lambda: x() @ x(2), ValueError, "matmul: 0-d operands have no product, got shapes () and (2,)"),
    (lambda: x(3)[5], IndexError, "getitem: index 5 is out of bounds for axis 0 with size 3 (tensor of shape (3,))"),
    (
        lambda: x(3)[np.array([7])],
        IndexError,
        "getitem: index 7 is out of bounds for axis 0 with size 3 (tensor of shape (3,))",
    ),
    (lambda: x(2, 3).sum(5), IndexError, "sum: dim 5 is out of range for a tensor with 2 dimensions"),
    (lambda: sn.tensor([1, 2]).mean(), TypeError, "mean: expected a floating tensor, got int64"),
    (lambda: x(2, 3).max(4), IndexError, "argmax: dim 4 is out of range for a tensor with 2 dimensions"),
    (lambda: sn.softmax(x(2, 3), 3), IndexError, "softmax: dim 3 is out of range for a tensor with 2 dimensions"),
    (lambda: sn.softmax(x(2, 3)), TypeError, "softmax: missing arguments ['dim']; expected softmax(x, /, dim)"),
    (lambda: x(2, 3).squeeze(4), IndexError, "squeeze: dim 4 is out of range for a tensor with 2 dimensions"),
    (lambda: x(2, 3).unsqueeze(7), IndexError, "unsqueeze: dim 7 is out of range for a tensor with 3 dimensions"),
    (lambda: x(2, 3).expand(2, 5), ValueError, "expand: shape (2, 3) does not broadcast to (2, 5)"),
    (lambda: x(2).item(), ValueError, "item() needs exactly one element, the tensor has shape (2,)"),
    (
        lambda: (p(3) * 2.0).backward(),
        ValueError,
        "backward: an output of shape (3,) is no scalar and needs a grad_output",
    ),
    (lambda: x().backward(), RuntimeError, "backward: the output of shape () does not require a gradient"),
    (lambda: p(3).backward("a"), TypeError, "backward: a grad_output must be a tensor or None, got str"),
    (lambda: sn.autograd.backward(None), TypeError, "backward: tensors must be a tensor or a sequence of them, got No"),
    (lambda: sn.autograd.grad("a", p(2)), TypeError, "grad: outputs must be a tensor or a sequence of them, got str"),
    (lambda: sn.autograd.grad(p(2).sum(), [1]), TypeError, "grad: inputs must be a tensor or a sequence of them, got"),
    (lambda: p(3).backward(np.ones(3)), TypeError, "backward: a grad_output must be a tensor or None, got ndarray"),
    (lambda: metrics.Mean().update(1.0, -1), ValueError, "Mean: weight must be a number of at least 0, got -1"),
    (lambda: sn.autograd.grad(p(2), p(2), 5), TypeError, "grad: a grad_output must be a tensor or None, got int"),
    (lambda: (p(3) * 2.0).backward(x(4)), ValueError, "backward: grad_output has shape (4,), its output (3,)"),
    (
        backward_twice,
        RuntimeError,
        "mul: its saved arrays were freed by an earlier backward pass; pass retain_graph=True to that",
    ),
    (
        inplace_saved,
        RuntimeError,
        "mul: its saved 'a' (shape (3,)) was modified in place after the op ran; write into a copy, or",
    ),
    (
        lambda: p(3).add_(1.0),
        RuntimeError,
        "add_: a tensor that requires a gradient cannot be written in place; use no_grad() or an op",
    ),
    (
        lambda: sn.autograd.grad(p(2).sum(), p(2)),
        RuntimeError,
        "grad: inputs[0] (leaf, shape (2,)) is not reached from the outputs; allow_unused=True returns",
    ),
    (
        lambda: sn.autograd.grad(p(2).sum(), x(2)),
        RuntimeError,
        "grad: inputs[0] (shape (2,)) does not require a gradient",
    ),
    (
        lambda: sn.tensor([1, 2], requires_grad=True),
        TypeError,
        "only floating tensors can require gradients, this one is int64",
    ),
    (lambda: sn.tensor("abc"), TypeError, "tensor: expected numbers, got <U3 data"),
    (lambda: sn.tensor(None), TypeError, "tensor: expected numbers, got object data"),
    (lambda: sn.from_numpy([1, 2]), TypeError, "from_numpy: expected a NumPy array, got list"),
    (lambda: p(2).numpy(), RuntimeError, "numpy() of a tensor that requires a gradient: use detach().numpy()"),
    (lambda: x(2).to("tpu"), ValueError, "to: expected a device ('cpu', 'cuda') or a dtype, got 'tpu'"),
    (lambda: sn.zeros(-1), ValueError, "size: expected non-negative integers, got (-1,)"),
    (lambda: sn.zeros(1.5), ValueError, "size: expected non-negative integers, got (1.5,)"),
    (lambda: sn.randn("a"), ValueError, "size: expected non-negative integers, got ('a',)"),
    (lambda: sn.arange(0, 1, 0), ValueError, "step not 0, got start 0, end 1, step 0"),
    (lambda: sn.set_default_dtype(np.int32), TypeError, "set_default_dtype: expected float32 or float64, got int32"),
    (lambda: sn.manual_seed("a"), ValueError, "manual_seed: expected an integer of at least 0, got 'a'"),
    (lambda: sn.manual_seed(-1), ValueError, "manual_seed: expected an integer of at least 0, got -1"),
    (
        lambda: sn.tensor([1.0], dtype="float33"),
        TypeError,
        "tensor: dtype must be a NumPy dtype such as np.float32, got 'float33'",
    ),
    (lambda: sn.einsum("ij,j", x(2, 3)), ValueError, "einsum: 'ij,j' has 2 operands, 1 were given"),
    (
        lambda: sn.where(x(2) > 0, x(3), x(2)),
        ValueError,
        "where: shapes do not broadcast: condition (2,) and a (3,) and b (2,)",
    ),
    (lambda: x(2) ** "a", TypeError, "pow: expected tensors, arrays or numbers, got str"),
    (lambda: sn.flip(x(2), 3), IndexError, "flip: dim 3 is out of range for a tensor with 1 dimensions"),
    (lambda: sn.roll(x(2), 1, 3), IndexError, "roll: dim 3 is out of range for a tensor with 1 dimensions"),
    (lambda: x(2, 3).var(7), IndexError, "var: dim 7 is out of range for a tensor with 2 dimensions"),
    (lambda: x(2).cumsum(4), IndexError, "cumsum: dim 4 is out of range for a tensor with 1 dimensions"),
    (lambda: x(2).argmax(4), IndexError, "argmax: dim 4 is out of range for a tensor with 1 dimensions"),
    (lambda: x(6).split(0), ValueError, "split: split_size must be at least 1, got 0"),
    (
        lambda: sn.sum(x(2), axes=1),
        TypeError,
        "sum: unknown arguments ['axes']; expected sum(x, /, dim=None, keepdim=False)",
    ),
    (lambda: len(x()), TypeError, "len() of a 0-d tensor"),
    (
        lambda: sn.einsum("ij,jk->ik", x(2, 3), x(4, 5)),
        ValueError,
        "einsum: 'j' is 3 in one operand of 'ij,jk->ik' and 4",
    ),
    (
        lambda: sn.einsum("ij->ik", x(2, 3)),
        ValueError,
        "einsum: the result of 'ij->ik' has 'k' twice, or no operand has",
    ),
    (lambda: sn.chunk(x(2, 3), 0), ValueError, "chunk: chunks must be an integer of at least 1, got 0"),
    (lambda: x(3)[1.5], IndexError, "getitem: only integers, slices"),
    (
        lambda: x(3)[0, 0],
        IndexError,
        "getitem: too many indices for array: array is 1-dimensional, but 2 were indexed (ten",
    ),
    (lambda: x(3)[np.array([True])], IndexError, "getitem: boolean index did not match indexed array along axis 0"),
    (lambda: x(3)[[1, [2]]], IndexError, "getitem: the rows of the list in index [1, [2]] are of unequal length"),
    (
        lambda: assign(0, [1, 2]),
        ValueError,
        "assignment: could not broadcast input array from shape (2,) into shape (3,) (t",
    ),
    (
        lambda: assign(5, 1.0),
        IndexError,
        "assignment: index 5 is out of bounds for axis 0 with size 2 (tensor of shape (2",
    ),
    (lambda: x(2).to("cuda:9"), ValueError, "device: expected 'cpu' or 'cuda', got 'cuda:9'"),
    (lambda: sn.zeros(2, device="gpu"), ValueError, "device: expected 'cpu' or 'cuda', got 'gpu'"),
    (lambda: x(3).view("a"), TypeError, "(given x: (3,) float32, shape: ('a',); expected reshape(x, /, shape))"),
    (
        lambda: x(2).astype("float33"),
        TypeError,
        "astype: data type 'float33' not understood (given self: (2,) float32, d",
    ),
    (lambda: x(2).size(4), IndexError, "size: tuple index out of range (given self: (2,) float32, dim: 4"),
    (
        lambda: sn.cat(3),
        TypeError,
        "cat: 'int' object is not iterable (given tensors: 3; expected cat(*tensors, dim=0))",
    ),
    (
        lambda: sn.stack([x(2), "a"]),
        TypeError,
        "stack: 'str' object has no attribute 'shape' (given tensors: [(2,) float32",
    ),
    (
        lambda: sn.tensor([1], dtype=np.uint8) * -3,
        ValueError,
        "mul: Python integer -3 out of bounds for uint8 (given a: (1,)",
    ),
    (lambda: sn.where(x(2), x(2), x(2)), TypeError, "where: condition must be bool, got float32"),
    (lambda: sn.softmax("a", 1), TypeError, "softmax: expected tensors, arrays or numbers, got str"),
    (lambda: x(2) + np.array(["a", "b"]), TypeError, "add: expected numbers, got <U1 data"),
    (lambda: sn.randn(2, generator=3), TypeError, "generator: expected a numpy.random.Generator, got 3"),
]

OPTIMISERS = [
    (lambda: optim.SGD([], lr=0.1), ValueError, "SGD: got no parameters"),
    (
        lambda: optim.SGD(p(2), lr=0.1),
        TypeError,
        "SGD: params must be an ordered iterable of tensors or dicts, got Tensor",
    ),
    (
        lambda: optim.SGD([x(2)], lr=0.1),
        ValueError,
        "SGD: parameter 0 of group 0 (shape (2,)) requires no gradient: leave it out or call",
    ),
    (
        lambda: optim.SGD([p(2) * 2.0], lr=0.1),
        ValueError,
        "SGD: parameter 0 of group 0 is the result of mul, not a leaf: optimise what it was computed",
    ),
    (
        lambda: (lambda a: optim.SGD([a, a], lr=0.1))(p(2)),
        ValueError,
        "SGD: parameter 1 of group 0 (shape (2,)) is given twice",
    ),
    (lambda: optim.SGD([p(2)], lr=-1), ValueError, "SGD: lr must lie in [0, inf), got -1"),
    (lambda: optim.SGD([p(2)], lr="a"), TypeError, "SGD: lr must be a number, got 'a'"),
    (
        lambda: optim.SGD([p(2)], lr=0.1, nesterov=True),
        ValueError,
        "SGD: nesterov needs a momentum above 0 and a dampening of 0, got 0 and 0",
    ),
    (lambda: optim.Adam([p(2)], betas=(1.0, 0.9)), ValueError, "Adam: betas[0] must lie in [0, 1), got 1.0"),
    (lambda: optim.Adam([p(2)], betas=0.9), ValueError, "Adam: betas must be a pair, got 0.9"),
    (lambda: optim.Adam([p(2)], eps=-1), ValueError, "Adam: eps must lie in [0, inf), got -1"),
    (
        lambda: optim.Adam(nn.Linear(2, 2)),
        TypeError,
        "Adam: params must be an ordered iterable of tensors or dicts, got Linear",
    ),
    (
        lambda: optim.Adam(nn.Linear(2, 2).named_parameters()),
        TypeError,
        "Adam: parameter 0 of group 0 is no tensor but tuple",
    ),
    (badgrad, ValueError, "SGD: grad of parameter 0 of group 0 has shape (3, 3), the parameter (2, 2)"),
    (
        lambda: optim.SGD([{"params": [p(2)], "foo": 1}], lr=0.1),
        ValueError,
        "SGD: unknown options ['foo'] in a parameter group; there are ['lr', 'momentum', 'dampening',",
    ),
    (lambda: sgd().load_state_dict({"a": 1}), ValueError, "SGD: a state_dict has the keys 'state' and 'param_groups'"),
    (
        lambda: sgd().load_state_dict({"state": [], "param_groups": [1]}),
        ValueError,
        "SGD: a state_dict's 'param_groups' are a list of dicts with 'params', its 'state' is a dict of dicts",
    ),
    (
        lambda: sgd().load_state_dict({**sgd().state_dict(), "state": {0: 5}}),
        ValueError,
        "SGD: a state_dict's 'param_groups' are a list of dicts with 'params', its 'state' is a dict of dicts",
    ),
    (
        lambda: nn.utils.clip_grad_norm_([p(2)], float("nan")),
        ValueError,
        "clip_grad_norm_: max_norm must be a number of at least 0, got nan",
    ),
    (lambda: nn.Sequential(nn.ReLU())["a"], TypeError, "Sequential: an index must be an int or a slice, got 'a'"),
    (
        lambda: sgd().load_state_dict(optim.SGD([p(2)], lr=0.1).state_dict()),
        ValueError,
        "SGD: the state_dict has groups of [1] parameters, the optimiser has groups of [2]",
    ),
    (lambda: LR.StepLR("a", 3), TypeError, "StepLR: expected an Optimizer, got str"),
    (lambda: LR.StepLR(sgd(), 0), ValueError, "StepLR: step_size must be an integer above 0, got 0"),
    (lambda: LR.StepLR(sgd(), 3, float("nan")), ValueError, "StepLR: gamma must lie in [0, inf), got nan"),
    (lambda: LR.MultiStepLR(sgd(), [3], -1), ValueError, "MultiStepLR: gamma must lie in [0, inf), got -1"),
    (
        lambda: LR.CosineAnnealingLR(sgd(), T_max=0),
        ValueError,
        "CosineAnnealingLR: T_max must be an integer above 0, got 0",
    ),
    (lambda: LR.LambdaLR(sgd(), 3), TypeError, "LambdaLR: lr_lambda must be a function of the step, got 3"),
    (lambda: LR.OneCycleLR(sgd(), 0.1, 0), ValueError, "OneCycleLR: total_steps must be an integer above 0, got 0"),
    (lambda: LR.StepLR(sgd(), 3).load_state_dict(None), TypeError, "StepLR: a state_dict must be a dict, got NoneType"),
    (
        lambda: LR.StepLR(sgd(), 3).load_state_dict({}),
        ValueError,
        "StepLR: the state_dict has [], expected ['_last_lr', 'base_lrs', 'gamma', 'last_epoch',",
    ),
    (lambda: optim.ExponentialMovingAverage([], 0.9), ValueError, "ExponentialMovingAverage: got no parameters"),
    (
        lambda: optim.ExponentialMovingAverage([p(2)], 1.5),
        ValueError,
        "ExponentialMovingAverage: decay must lie in [0, 1), got 1.5",
    ),
    (
        lambda: nn.utils.clip_grad_norm_([p(2)], -1),
        ValueError,
        "clip_grad_norm_: max_norm must be a number of at least 0, got -1",
    ),
]

MODULES = [
    (lambda: F.embedding(sn.tensor([9]), x(3, 2)), IndexError, "embedding: index 9 is out of range for 3 rows"),
    (
        lambda: nn.Linear(2, 2).load_state_dict({}),
        ValueError,
        "load_state_dict: nothing was loaded into Linear\n    missing: weight, bias",
    ),
    (
        lambda: nn.Linear(2, 2).load_state_dict({**nn.Linear(2, 2).state_dict(), "a": x(1)}),
        ValueError,
        "load_state_dict: nothing was loaded into Linear\n    unexpected: a",
    ),
    (
        lambda: nn.Linear(2, 2).load_state_dict(nn.Linear(3, 2).state_dict()),
        ValueError,
        "load_state_dict: nothing was loaded into Linear\n    weight: has shape (2, 3), the module needs",
    ),
    (
        lambda: nn.Linear(2, 2).load_state_dict("a"),
        TypeError,
        "load_state_dict: expected a mapping of names to tensors, got str",
    ),
    (lambda: nn.Linear(2, 2).wieght, AttributeError, "'Linear' object has no attribute 'wieght'"),
    (
        lambda: setattr(nn.Linear(2, 2), "weight", x(2, 2)),
        TypeError,
        "Linear.weight holds a Parameter and takes another one or None, got Tensor",
    ),
    (lambda: nn.Sequential(1), TypeError, "Sequential: expected Modules, got int"),
    (lambda: nn.Sequential(nn.ReLU())[3], IndexError, "Sequential: index 3 is out of range for 1 modules"),
    (lambda: nn.Linear(2, 2).to(np.int64), TypeError, "Linear.to: expected a floating dtype, got int64"),
    (lambda: nn.Linear(2, 2).train(3), TypeError, "train: mode must be a bool, got 3"),
    (
        lambda: F.interpolate(x(1, 1, 4, 4), scale_factor=-1),
        ValueError,
        "interpolate: cannot resize (4, 4) to (-4, -4)",
    ),
    (lambda: F.interpolate(x(1, 1, 4, 4), size=(0, 1)), ValueError, "interpolate: cannot resize (4, 4) to (0, 1)"),
    (
        lambda: nn.Dropout(0.5, generator=3)(x(4)),
        TypeError,
        "Dropout(p=0.5, inplace=False): generator: expected a numpy.random.Generator, got 3",
    ),
    (
        lambda: nn.init.kaiming_normal_(x(3)),
        ValueError,
        "kaiming_normal_: fans need at least 2 dimensions, got shape (3,)",
    ),
    (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU()).load_state_dict(nn.Sequential(nn.Linear(2, 3)).state_dict()),
        ValueError,
        "nothing was loaded into Sequential\n    0.weight: has shape (3, 2), the module needs (2, 2)\n    0.bias: has",
    ),
    (
        lambda: nn.Linear(1, 1).load_state_dict({"weight": "a", "bias": x(1)}),
        ValueError,
        "weight: expected a tensor or array of numbers, got str",
    ),
    (lambda: nn.Linear(2, 2, device="tpu"), ValueError, "device: expected 'cpu' or 'cuda', got 'tpu'"),
    (lambda: nn.Linear(2, 2)(), TypeError, "Linear.forward() missing 1 required positional argument: 'input'"),
    (
        lambda: nn.Linear(2, 2)(np.zeros((1, 2))),
        TypeError,
        "expected input to be a Tensor, got ndarray; scratchnet.tensor() or",
    ),
    (lambda: F.one_hot(sn.tensor([0]), (5,)), TypeError, "one_hot: num_classes must be an int, got (5,)"),
    (lambda: nn.init.normal_(x(3), std=-1), ValueError, "normal_: std must not be negative, got -1"),
]

DATA = [
    (lambda: data.DataLoader(three(), 0), ValueError, "batch_size: expected an integer of at least 1, got 0"),
    (lambda: data.DataLoader(3, 1), TypeError, "dataset: expected a Dataset, with a length and an index, got int"),
    (
        lambda: list(data.DataLoader([1, 2, 3], 2)),
        TypeError,
        "dataset: a list takes one index at a time; make a TensorDataset of it, or give",
    ),
    (
        lambda: data.DataLoader(three(), 1, generator=3),
        TypeError,
        "generator: expected a numpy.random.Generator, got 3",
    ),
    (lambda: data.DataLoader(three(), "4"), ValueError, "batch_size: expected an integer of at least 1, got '4'"),
    (lambda: data.DataLoader(three(), 1, shuffle="yes"), TypeError, "shuffle: expected True or False, got 'yes'"),
    (
        lambda: data.DataLoader(three(), 1).load_state_dict({}),
        ValueError,
        "load_state_dict: the state lacks ['batch', 'batch_size', 'bit_generator', 'drop_last',",
    ),
    (
        lambda: data.DataLoader(three(), 1).load_state_dict(None),
        TypeError,
        "load_state_dict: expected a dict, got NoneType",
    ),
    (
        lambda: data.TensorDataset(np.zeros(3), np.zeros(4)),
        ValueError,
        "TensorDataset: the arrays must have one length, got [3, 4]",
    ),
    (lambda: three()[5], IndexError, "index: 5 is out of range for 3 samples"),
    (
        lambda: data.ImageDataset(np.zeros((2, 3, 3), np.uint8), [0, 1], "ab"),
        ValueError,
        "images: expected uint8 of shape (N, C, H, W), got uint8 of shape (2, 3, 3)",
    ),
    (
        lambda: data.ImageDataset(np.zeros((2, 1, 3, 3), np.uint8), [0, 7], "ab"),
        ValueError,
        "ImageDataset: label 7 of sample 1 is not in 0..1",
    ),
    (
        lambda: data.ImageDataset(np.zeros((2, 1, 3, 3), np.uint8), [0.5, 1], "ab"),
        TypeError,
        "labels: expected integers, got float64",
    ),
    (lambda: data.Subset(three(), [9]), IndexError, "index: 9 is out of range for 3 samples"),
    (
        lambda: data.random_split(three(), [1, 1]),
        ValueError,
        "lengths: must be 0 or more and sum to the 3 samples of the dataset, got [1, 1]",
    ),
    (lambda: data.MNIST(3, download=False), TypeError, "root: expected a folder's path, got 3"),
    (lambda: data.ImageFolder("nowhere"), FileNotFoundError, "nowhere: no such folder"),
    (lambda: data.ImageFolder("."), FileNotFoundError, ".: expected one subfolder a class, there is none"),
    (
        lambda: data.ImageFolder(".", on_error="ignore"),
        ValueError,
        "on_error: expected 'raise' or 'skip', got 'ignore'",
    ),
    (lambda: data.ImageFolder(".", size=0), ValueError, "size: expected (height, width), got 0"),
    (lambda: data.ImageFolder(3), TypeError, "root: expected a folder's path, got 3"),
    (lambda: data.TensorDataset([1, [2]]), ValueError, "TensorDataset: an array's rows are of unequal length"),
    (lambda: data.Digits(size=-1), ValueError, "size: expected an integer of at least 0, got -1"),
    (lambda: data.Digits(size=1.5), ValueError, "size: expected an integer of at least 0, got 1.5"),
    (lambda: T.Resize(0), ValueError, "size: expected an integer of at least 1 or a pair of them, got 0"),
    (
        lambda: T.RandomCrop(40)(np.zeros((1, 8, 8), np.float32)),
        ValueError,
        "RandomCrop: cannot cut (40, 40) out of an image of (8, 8)",
    ),
    (
        lambda: T.Normalize([0.5, 0.5], [0.5, 0.5])(np.zeros((1, 8, 8), np.float32)),
        ValueError,
        "Normalize: 2 means and 2 deviations for images of 1 channels",
    ),
    (lambda: T.Normalize([0.5], [0]), ValueError, "std: must be above 0, got [0]"),
    (lambda: T.RandomHorizontalFlip(2), ValueError, "p: must be in [0, 1], got 2"),
    (
        lambda: T.RandomHorizontalFlip(1)(np.zeros((8, 8))),
        TypeError,
        "RandomHorizontalFlip: expected an array (C, H, W) or (N, C, H, W), got shape (8, 8)",
    ),
    (lambda: T.Compose([3]), TypeError, "Compose: transform 0 is no function: 3"),
    (
        lambda: metrics.accuracy(x(2, 3), sn.tensor([0])),
        ValueError,
        "accuracy: labels must have shape (2,), one a prediction, got (1,)",
    ),
    (lambda: metrics.accuracy(x(2, 3), x(2)), TypeError, "accuracy: labels must be integers, got float32"),
    (
        lambda: metrics.confusion_matrix(np.array([0, 5]), np.array([0, 1]), 2),
        ValueError,
        "confusion_matrix: predictions must lie between 0 and 1, found 0 to 5",
    ),
    (lambda: metrics.Mean().load_state_dict({}), ValueError, "Mean: a state_dict has total and weight, got {}"),
    (lambda: metrics.Mean().update("a"), TypeError, "Mean: value must be a number, got 'a'; take item() of a tensor"),
]

FILES = [
    (lambda: sn.load_file(3), TypeError, "path: expected a file's path, got 3"),
    (lambda: sn.load_file("."), IsADirectoryError, "is a folder, not a file"),
    (lambda: sn.save_file({"a": 3}, "a"), TypeError, "save_file: a must be a tensor or an array, got int"),
    (lambda: sn.save_file([1], "a"), TypeError, "save_file: expected a dict of names to tensors, got list"),
    (lambda: sn.save_checkpoint("a", step="x"), TypeError, "save_checkpoint: step must be an integer, got 'x'"),
    (lambda: sn.save_checkpoint("a", score="x"), TypeError, "save_checkpoint: score must be a number or None, got 'x'"),
    (
        lambda: sn.save_checkpoint("a", model=3),
        TypeError,
        "model must have a state_dict() or be a numpy Generator, got int",
    ),
    (
        lambda: sn.save_checkpoint("a", config=object()),
        TypeError,
        "config: a object cannot be saved; numbers, strings, arrays, lists and dicts can",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), TENSORS + OPTIMISERS + MODULES + DATA + FILES)
def test_a_wrong_use_is_answered_in_words(call, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(message)):
        call()
    assert list(tmp_path.iterdir()) == []


UNKNOWN = [
    ("train_cnn", ["--model", "resnet"], "argument --model: invalid choice: 'resnet' (choose from "),
    ("train_cnn", ["--data", "svhn"], "argument --data: invalid choice: 'svhn' (choose from "),
    ("train_cnn", ["--data", "folder"], "--data folder needs --data-root"),
    ("train_cnn", ["--corrupt", "ignore"], "argument --corrupt: invalid choice: 'ignore' (choose from "),
    ("train_cnn", ["--keep", "0"], "--epochs, --batch-size, --save-every and --keep must be at least 1"),
    ("train_gan", ["--model", "stylegan"], "argument --model: invalid choice: 'stylegan' (choose from "),
    ("train_gan", ["--image-size", "29"], "argument --image-size: invalid choice: 29 (choose from "),
    ("train_gan", ["--resume", "last"], "argument --resume: invalid int value: 'last'"),
    ("train_vae", ["--model", "vq"], "argument --model: invalid choice: 'vq' (choose from "),
    ("train_vae", ["--reduction", "median"], "argument --reduction: invalid choice: 'median' (choose from "),
    ("predict", ["nowhere", "x.png"], "there is no file nowhere"),
    ("generate", ["nowhere"], "there is no file nowhere"),
]
EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if "\ndef main(" in path.read_text())


NONSENSE = [(script, ["--no-such-option"], "unrecognized arguments|arguments are required") for script in SCRIPTS]


@pytest.mark.parametrize(
    ("script", "arguments", "message"), [*((a, b, re.escape(c)) for a, b, c in UNKNOWN), *NONSENSE]
)
def test_a_wrong_command_line_is_answered_in_words(script, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = importlib.import_module(script).main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert re.search(f"error: .*({message})", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
