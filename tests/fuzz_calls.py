"""Wrong calls of public functions: each must work or be refused in words of ours. CI takes some thousands; by night:

    python -m tests.fuzz_calls --calls 200000

A call that is right has one argument replaced by something else: another shape, dtype or type, a number out of range.
It fails if what comes out is not a ValueError, TypeError, IndexError or RuntimeError that this library raised itself:
NumPy's words on operands that could not be broadcast tell nobody which layer was given what. The exit code is 1 then.
"""

import argparse
import linecache
import random
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import scratchnet as sn
from scratchnet import metrics, nn, optim
from scratchnet.data import DataLoader, TensorDataset
from scratchnet.data import transforms as T
from scratchnet.nn import functional as F
from scratchnet.ops import OPS
from scratchnet.ops.registry import Draw
from scratchnet.optim import lr_scheduler as schedules

OURS = tuple(str(Path(sn.__file__).parent.parent / package) for package in ("scratchnet", "kernels"))
REFUSALS = (ValueError, TypeError, IndexError, RuntimeError)


@dataclass
class Call:
    """A call that is right: what is called, with which arguments."""

    name: str
    function: Callable
    args: tuple
    keywords: dict = field(default_factory=dict)

    def __str__(self):
        given = [*map(shown, self.args), *(f"{key}={shown(value)}" for key, value in self.keywords.items())]
        return f"{self.name}({', '.join(given)})"


def shown(value) -> str:
    if isinstance(value, (sn.Tensor, np.ndarray)):
        return f"{type(value).__name__}{value.shape} {value.dtype}"
    return f"{value!r:.60}"


def x(*shape, dtype=np.float32):
    return sn.Tensor((np.random.default_rng(0).standard_normal(shape) * 0.3 + 0.5).astype(dtype))


def labels(*values):
    return sn.tensor(values)


def used(layer):
    """Build a layer and use it, so that both its arguments and its input can be wrong."""

    def build_and_use(inputs, *args, **keywords):
        return layer(*args, **keywords)(*inputs) if isinstance(inputs, tuple) else layer(*args, **keywords)(inputs)

    return build_and_use


IMAGE = x(2, 4, 6, 6)
ROWS = x(3, 4)
LAYERS = [
    (nn.Linear, ROWS, (4, 2), {"bias": True}),
    (nn.Conv2d, IMAGE, (4, 6, 3), {"stride": 2, "padding": 1, "dilation": 1, "groups": 2, "padding_mode": "zeros"}),
    (nn.ConvTranspose2d, IMAGE, (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    (nn.MaxPool2d, IMAGE, (2,), {"stride": 2, "padding": 0, "dilation": 1, "ceil_mode": True}),
    (nn.AvgPool2d, IMAGE, (2,), {"stride": 2, "padding": 0, "ceil_mode": False, "count_include_pad": True}),
    (nn.AdaptiveAvgPool2d, IMAGE, (2,), {}),
    (nn.AdaptiveMaxPool2d, IMAGE, ((2, 3),), {}),
    (nn.BatchNorm1d, ROWS, (4,), {"eps": 1e-5, "momentum": 0.1}),
    (nn.BatchNorm2d, IMAGE, (4,), {"eps": 1e-5, "momentum": 0.1}),
    (nn.InstanceNorm2d, IMAGE, (4,), {"eps": 1e-5}),
    (nn.LayerNorm, ROWS, (4,), {"eps": 1e-5}),
    (nn.GroupNorm, IMAGE, (2, 4), {"eps": 1e-5}),
    (nn.Embedding, labels(0, 2), (5, 3), {"padding_idx": 1}),
    (nn.Dropout, ROWS, (0.5,), {}),
    (nn.Dropout2d, IMAGE, (0.5,), {}),
    (nn.Flatten, IMAGE, (1, -1), {}),
    (nn.Unflatten, ROWS, (1, (2, 2)), {}),
    (nn.Upsample, IMAGE, (), {"scale_factor": 2, "mode": "bilinear", "align_corners": True}),
    (nn.Upsample, IMAGE, (), {"size": (7, 8)}),
    (nn.Unfold, IMAGE, (2,), {"stride": 2, "padding": 1, "dilation": 1}),
    (nn.Fold, x(2, 8, 9), ((6, 6), 2), {"stride": 2}),
    (nn.PixelShuffle, IMAGE, (2,), {}),
    (nn.PixelUnshuffle, IMAGE, (2,), {}),
    (nn.ZeroPad2d, IMAGE, ((1, 2, 1, 0),), {}),
    (nn.ReflectionPad2d, IMAGE, (2,), {}),
    (nn.ReplicationPad2d, IMAGE, (2,), {}),
    *((layer, ROWS, (), {}) for layer in (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.LogSigmoid, nn.GELU)),
    (nn.LeakyReLU, ROWS, (0.2,), {}),
    (nn.ELU, ROWS, (1.0,), {}),
    (nn.Hardtanh, ROWS, (-1.0, 1.0), {}),
    (nn.Softplus, ROWS, (1.0, 20.0), {}),
    (nn.Softmax, ROWS, (1,), {}),
    (nn.LogSoftmax, ROWS, (1,), {}),
    (nn.PReLU, ROWS, (4,), {"init": 0.25}),
    (nn.CrossEntropyLoss, (ROWS, labels(0, 1, 3)), (), {"label_smoothing": 0.1, "reduction": "mean"}),
    (nn.NLLLoss, (ROWS, labels(0, 1, 3)), (), {"weight": x(4), "ignore_index": 1}),
    (nn.BCEWithLogitsLoss, (ROWS, ROWS), (), {"pos_weight": x(4)}),
    (nn.MSELoss, (ROWS, ROWS), (), {"reduction": "sum"}),
    (nn.L1Loss, (ROWS, ROWS), (), {}),
    (nn.SmoothL1Loss, (ROWS, ROWS), (), {"beta": 0.5}),
    (nn.GaussianNLLLoss, (ROWS, ROWS, sn.ones(3, 4)), (), {"full": True}),
    (nn.KLDivLoss, (ROWS, sn.sigmoid(ROWS)), (), {"log_target": False}),
]
FUNCTIONS = [
    (F.linear, (ROWS, x(2, 4), x(2)), {}),
    (F.conv2d, (IMAGE, x(6, 2, 3, 3), x(6)), {"stride": (1, 2), "padding": "valid", "dilation": 2, "groups": 2}),
    (F.conv_transpose2d, (IMAGE, x(4, 3, 3, 3), x(6)), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    (F.max_pool2d, (IMAGE, 2), {"stride": 1, "padding": 1}),
    (F.avg_pool2d, (IMAGE, 2), {"stride": 1, "padding": 1}),
    (F.batch_norm, (IMAGE, x(4), x(4)), {"weight": x(4), "bias": x(4), "training": True, "momentum": 0.1}),
    (F.instance_norm, (IMAGE,), {"weight": x(4), "bias": x(4)}),
    (F.layer_norm, (ROWS, (4,)), {"weight": x(4), "bias": x(4)}),
    (F.group_norm, (IMAGE, 2), {"weight": x(4), "bias": x(4)}),
    (F.embedding, (labels(0, 1), x(3, 2)), {"padding_idx": 0}),
    (F.one_hot, (labels(0, 1),), {"num_classes": 3}),
    (F.normalize, (ROWS,), {"p": 2, "dim": 1, "eps": 1e-12}),
    (F.cosine_similarity, (ROWS, ROWS), {"dim": 1, "eps": 1e-8}),
    (F.pad, (IMAGE, (1, 1, 2, 0)), {"mode": "reflect"}),
    (F.interpolate, (IMAGE,), {"size": (3, 4), "mode": "nearest"}),
    (F.unfold, (IMAGE, 2), {"stride": 2}),
    (F.fold, (x(2, 8, 9), 6, 2), {"stride": 2}),
    (F.pixel_shuffle, (IMAGE, 2), {}),
    (F.dropout, (ROWS,), {"p": 0.5, "training": True}),
    (F.dropout2d, (IMAGE,), {"p": 0.5, "training": True}),
    (F.cross_entropy, (ROWS, labels(0, 1, 3)), {"weight": x(4), "ignore_index": 1}),
    (F.binary_cross_entropy, (sn.sigmoid(ROWS), sn.sigmoid(ROWS)), {"weight": x(3, 4)}),
    (F.binary_cross_entropy_with_logits, (ROWS, ROWS), {"weight": x(3, 4), "pos_weight": x(4)}),
    (F.softmax, (ROWS, 1), {}),
    (F.prelu, (ROWS, x(4)), {}),
    (F.gan_discriminator_loss, (ROWS, ROWS), {"reduction": "sum"}),
    (F.non_saturating_generator_loss, (ROWS,), {}),
    (F.hinge_discriminator_loss, (ROWS, ROWS), {}),
    (F.wasserstein_critic_loss, (ROWS, ROWS), {}),
    (F.least_squares_generator_loss, (ROWS,), {}),
    (F.reparameterize, (ROWS, ROWS), {}),
    (F.gaussian_kl, (ROWS, ROWS), {"reduction": "sum"}),
    (F.bernoulli_nll, (ROWS, sn.sigmoid(ROWS)), {"reduction": "mean"}),
    (F.gaussian_nll, (ROWS, ROWS), {"std": 0.5}),
    (nn.utils.clip_grad_norm_, ([sn.ones(2, requires_grad=True)], 1.0), {"norm_type": 2.0}),
    (nn.utils.parameters_to_vector, ([x(2), x(3)],), {}),
    (nn.init.kaiming_normal_, (x(3, 4),), {"a": 0.1, "mode": "fan_in", "nonlinearity": "leaky_relu"}),
    (nn.init.xavier_uniform_, (x(3, 4),), {"gain": 1.0}),
    (nn.init.orthogonal_, (x(3, 4),), {"gain": 1.0}),
    (nn.init.uniform_, (x(3, 4),), {"a": 0.0, "b": 1.0}),
    (nn.init.trunc_normal_, (x(3, 4),), {"std": 1.0, "a": -1.0, "b": 1.0}),
    (nn.init.dirac_, (x(4, 4, 3, 3),), {"groups": 2}),
    (sn.zeros, (2, 3), {"dtype": np.float32}),
    (sn.ones, ((2, 3),), {"dtype": np.float32}),
    (sn.full, ((2, 3), 1.5), {"dtype": np.float32}),
    (sn.eye, (3, 4), {}),
    (sn.arange, (0, 5, 2), {"dtype": np.float32}),
    (sn.linspace, (0, 1, 5), {"dtype": np.float32}),
    (sn.rand, (2, 3), {"dtype": np.float32}),
    (sn.randn, (2, 3), {"dtype": np.float32}),
    (sn.randint, (0, 5, (2, 3)), {}),
    (sn.randperm, (5,), {}),
    (sn.zeros_like, (ROWS,), {"dtype": np.float64}),
    (sn.full_like, (ROWS, 1.5), {}),
    (sn.tensor, ([[1.0, 2.0]],), {"dtype": np.float32, "device": "cpu"}),
    (sn.split, (ROWS, 2), {"dim": 1}),
    (sn.split, (ROWS, [1, 2]), {"dim": 0}),
    (sn.chunk, (ROWS, 2), {"dim": 1}),
    (sn.unbind, (ROWS,), {"dim": 1}),
    (sn.flatten, (IMAGE,), {"start_dim": 1, "end_dim": 2}),
    (sn.max, (ROWS,), {"dim": 1, "keepdim": True}),
    (sn.min, (ROWS,), {"dim": 0}),
    (sn.manual_seed, (0,), {}),
    (metrics.accuracy, (ROWS, labels(0, 1, 3)), {}),
    (metrics.confusion_matrix, (labels(0, 1), labels(1, 1), 2), {}),
]
METHODS = [
    ("reshape", (2, 6), {}),
    ("permute", (1, 0), {}),
    ("expand", (3, 4), {}),
    ("transpose", (0, 1), {}),
    ("squeeze", (0,), {}),
    ("unsqueeze", (0,), {}),
    ("sum", (), {"dim": 1, "keepdim": True}),
    ("mean", (), {"dim": (0, 1)}),
    ("std", (), {"dim": 1, "correction": 1, "keepdim": True}),
    ("clamp", (0.0, 1.0), {}),
    ("masked_fill", (sn.tensor([True, False, True, False]), 1.0), {}),
    ("matmul", (x(4, 2),), {}),
    ("pow", (2.0,), {}),
    ("gather", (sn.tensor([[0, 1], [1, 2], [3, 3]]), 1), {}),
    ("to", ("cpu",), {}),
    ("astype", (np.float64,), {}),
    ("__getitem__", ((slice(0, 2), 1),), {}),
    ("__getitem__", (np.array([0, 2]),), {}),
    ("__getitem__", (sn.tensor([True, False, True]),), {}),
    ("__setitem__", ((slice(0, 2), 1), 3.0), {}),
    ("copy_", (x(3, 4),), {}),
    ("fill_", (1.0,), {}),
    ("clamp_", (0.0, 1.0), {}),
    ("add_", (x(3, 4),), {}),
    ("normal_", (0.0, 1.0), {}),
    ("uniform_", (0.0, 1.0), {}),
    ("size", (1,), {}),
]
PARAMETERS = [sn.ones(2, 3, requires_grad=True)]
OBJECTS = [
    (optim.SGD, (PARAMETERS,), {"lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": True}),
    (optim.Adam, (PARAMETERS,), {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0}),
    (optim.RMSprop, (PARAMETERS,), {"lr": 0.1, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0}),
    (optim.ExponentialMovingAverage, (PARAMETERS, 0.9), {}),
    (schedules.StepLR, (optim.SGD(PARAMETERS, lr=0.1), 3), {"gamma": 0.1}),
    (schedules.LambdaLR, (optim.SGD(PARAMETERS, lr=0.1), lambda step: 1.0), {}),
    (schedules.CosineAnnealingLR, (optim.SGD(PARAMETERS, lr=0.1),), {"T_max": 3, "eta_min": 0.0}),
    (DataLoader, (TensorDataset(np.zeros(5)), 2), {"shuffle": True, "drop_last": True, "prefetch": 2}),
    (TensorDataset, (np.zeros((3, 2)), np.zeros(3)), {}),
    (T.Resize, ((4, 4),), {}),
    (T.Normalize, (0.5, 0.5), {}),
    (T.RandomCrop, (4,), {"padding": 1}),
    (T.GaussianNoise, (), {"sigma": 0.1}),
]


def right_calls() -> list[Call]:
    calls = []
    for op in OPS.values():
        for sample in op.samples(Draw(np.random.default_rng(0))):
            arrays = tuple(sn.Tensor(np.asarray(a)) for a in sample.arrays)
            calls.append(Call(op.name, op, (list(arrays),) if op.variadic else arrays, sample.params))
    calls += [Call(f"nn.{layer.__name__}", used(layer), (inputs, *args), kw) for layer, inputs, args, kw in LAYERS]
    calls += [Call(function.__name__, function, args, kw) for function, args, kw in FUNCTIONS]
    calls += [
        Call(f"Tensor.{name}", lambda *a, _name=name, **k: getattr(x(3, 4), _name)(*a, **k), args, kw)
        for name, args, kw in METHODS
    ]
    return calls + [Call(kind.__name__, kind, args, kw) for kind, args, kw in OBJECTS]


PLAIN = [
    *(None, True, -1, 0, 1, 2, 5, 9, -7, 2.5, -0.5, float("nan"), float("inf"), "a", b"a", "", (), [], {}, 1j),
    *((0,), (1, 2), (1, 2, 3), (-1, -1), (2.0, 1.0), ("a", "b"), [1, [2]], [None], slice(1, 2), object, np.float32(2)),
    *(np.arange(3), np.zeros((2, 2), np.float32), np.array("a"), np.array([None]), ROWS, labels(7), "float33"),
]


def other_tensor(value: sn.Tensor, rng: random.Random):
    """A tensor of another shape, dtype or place in memory, or no tensor at all."""
    shape = list(value.shape)
    change = rng.randrange(8)
    if change == 0 and shape:
        del shape[rng.randrange(len(shape))]
    elif change == 1:
        shape.insert(rng.randint(0, len(shape)), rng.choice([0, 1, 2, 3]))
    elif change == 2 and shape:
        shape[rng.randrange(len(shape))] = rng.choice([0, 1, 2, 3, 7])
    elif change == 3:
        return sn.Tensor(value.data.astype(rng.choice(["f4", "f8", "i8", "i4", "u1", "?"])))
    elif change == 4:
        return sn.Tensor(np.full(value.shape, rng.choice([-3, 0, 5, 100])).astype(value.dtype))
    elif change == 5:
        return value.data.astype(rng.choice(["O", "U4", "c16", "f2", "M8[s]"])) if value.dtype.kind != "b" else None
    elif change == 6:
        return rng.choice(PLAIN)
    else:
        shape = [rng.choice([0, 1, 2, 3, 4]) for _ in range(rng.randint(0, 5))]
    return sn.Tensor(np.resize(value.data, shape).astype(value.dtype) if value.data.size else np.ones(shape))


def other_value(value, rng: random.Random):
    if isinstance(value, sn.Tensor):
        return other_tensor(value, rng)
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.6:
        parts = list(value)
        i = rng.randrange(len(parts))
        if rng.random() < 0.2:
            del parts[i]
        else:
            parts[i] = other_value(parts[i], rng)
        return type(value)(parts)
    return rng.choice(PLAIN)


def wrong(call: Call, rng: random.Random) -> Call:
    """The call with one or two arguments replaced."""
    args, keywords = list(call.args), dict(call.keywords)
    for _ in range(rng.choice([1, 1, 1, 2])):
        place = rng.choice([*range(len(args)), *keywords] or [None])
        if isinstance(place, int):
            args[place] = other_value(args[place], rng)
        elif place is not None:
            keywords[place] = other_value(keywords[place], rng)
    return Call(call.name, call.function, tuple(args), keywords)


def leak(call: Call) -> str | None:
    """What came out of a call, unless it is a result or a refusal in words of ours."""
    try:
        call.function(*call.args, **call.keywords)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = linecache.getline(frame.filename, frame.lineno).strip()
        ours = frame.filename.startswith(OURS) and (line.startswith("raise ") or "positional argument" in str(error))
        if isinstance(error, REFUSALS) and ours:
            return None
        return f"{type(error).__name__}: {error!s:.160} [{frame.filename.rpartition('/')[2]}:{frame.lineno} {line:.60}]"
    return None


def fuzz_calls(count: int, seed: int, only: str = "") -> dict[str, tuple[int, str]]:
    """The leaks of ``count`` wrong calls: for each place, how often it was found and the first call that did."""
    calls = [call for call in right_calls() if only in call.name]
    rng, found = random.Random(seed), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(count):
            call = wrong(calls[i % len(calls)], rng)
            problem = leak(call)
            if problem:
                key = f"{call.name} {problem.partition(':')[0]} {problem.rpartition('[')[2]}"
                times, first = found.get(key, (0, f"{call}\n    {problem}"))
                found[key] = times + 1, first
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only calls whose name contains this")
    args = parser.parse_args()
    found = fuzz_calls(args.calls, args.seed, args.only)
    for times, first in found.values():
        print(f"{times} x {first}")
    print(f"{len(found)} places where {args.calls} wrong calls met with words that are not ours")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
