"""Computations written once, for either framework: the library's names are PyTorch's.

A case is a function of (sn, F, *tensors), where ``sn`` and ``F`` are scratchnet and scratchnet.nn.functional, or torch
and torch.nn.functional. ``make_golden.py`` evaluates them with PyTorch and keeps results and gradients;
``test_golden.py`` evaluates them with scratchnet and compares.
"""

import zlib

import numpy as np

CASES = {}


def draw(name, *shapes):
    """A case's inputs from a generator seeded by its name: normal numbers, or integers for (low, high, shape)."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return [
        generator.integers(*s[:2], s[2]) if len(s) == 3 and isinstance(s[2], tuple) else generator.standard_normal(s)
        for s in shapes
    ]


def case(name, *shapes, prepare=lambda *arrays: arrays):
    def declare(function):
        assert name not in CASES, name
        CASES[name] = (function, lambda: list(prepare(*draw(name, *shapes))))
        return function

    return declare


IMAGE = (2, 4, 7, 8)

for _name, _weight, _options in [
    ("plain", (6, 4, 3, 3), {}),
    ("stride_padding", (6, 4, 3, 3), dict(stride=2, padding=1)),
    ("mixed", (6, 4, 2, 3), dict(stride=(1, 2), padding=(2, 0), dilation=(2, 1))),
    ("groups", (6, 2, 3, 3), dict(groups=2, padding=1)),
    ("depthwise", (8, 1, 3, 3), dict(groups=4)),
    ("same", (6, 4, 4, 3), dict(padding="same")),
    ("valid", (6, 4, 4, 3), dict(padding="valid")),
]:
    case(f"conv2d_{_name}", IMAGE, _weight, _weight[:1])(
        lambda sn, F, x, w, b, options=_options: F.conv2d(x, w, b, **options)
    )

for _name, _weight, _options in [
    ("plain", (4, 6, 3, 3), {}),
    ("dcgan", (4, 6, 4, 4), dict(stride=2, padding=1)),
    ("output_padding", (4, 6, 3, 2), dict(stride=(3, 2), padding=1, output_padding=(2, 1))),
    ("dilation", (4, 6, 3, 3), dict(stride=2, dilation=(1, 2), output_padding=(1, 0))),
    ("groups", (4, 3, 3, 3), dict(stride=2, padding=1, groups=2)),
]:
    case(f"conv_transpose2d_{_name}", (2, 4, 5, 6), _weight, (_weight[1] * _options.get("groups", 1),))(
        lambda sn, F, x, w, b, options=_options: F.conv_transpose2d(x, w, b, **options)
    )

for _name, _call in {
    "max_pool2d": lambda sn, F, x: F.max_pool2d(x, 2),
    "max_pool2d_overlapping": lambda sn, F, x: F.max_pool2d(x, 3, 2, 1),
    "max_pool2d_ceil": lambda sn, F, x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), ceil_mode=True),
    "max_pool2d_dilated": lambda sn, F, x: F.max_pool2d(x, 2, 1, dilation=3),
    "avg_pool2d": lambda sn, F, x: F.avg_pool2d(x, 2),
    "avg_pool2d_padded": lambda sn, F, x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool2d_without_padding": lambda sn, F, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg_pool2d_ceil": lambda sn, F, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool2d_divisor": lambda sn, F, x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive_avg_pool2d": lambda sn, F, x: F.adaptive_avg_pool2d(x, (3, 5)),
    "adaptive_avg_pool2d_global": lambda sn, F, x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_max_pool2d": lambda sn, F, x: F.adaptive_max_pool2d(x, (3, 5)),
    "nearest": lambda sn, F, x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "nearest_size": lambda sn, F, x: F.interpolate(x, size=(10, 5), mode="nearest"),
    "bilinear": lambda sn, F, x: F.interpolate(x, size=(11, 5), mode="bilinear", align_corners=False),
    "bilinear_corners": lambda sn, F, x: F.interpolate(x, size=(11, 5), mode="bilinear", align_corners=True),
    "bilinear_scale": lambda sn, F, x: F.interpolate(x, scale_factor=1.7, mode="bilinear", align_corners=False),
    "unfold": lambda sn, F, x: F.unfold(x, (3, 2), dilation=(1, 2), padding=1, stride=(2, 1)),
    "pad_constant": lambda sn, F, x: F.pad(x, (1, 2, 0, 3), value=0.7),
    "pad_negative": lambda sn, F, x: F.pad(x, (-1, 2, 0, -3)),
    "pad_reflect": lambda sn, F, x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "pad_replicate": lambda sn, F, x: F.pad(x, (1, 2, 3, 0), mode="replicate"),
    "pad_circular": lambda sn, F, x: F.pad(x, (1, 2, 3, 0), mode="circular"),
    "pixel_shuffle": lambda sn, F, x: F.pixel_shuffle(x, 2),
    "instance_norm": lambda sn, F, x: F.instance_norm(x),
    "relu": lambda sn, F, x: F.relu(x),
    "leaky_relu": lambda sn, F, x: F.leaky_relu(x, 0.2),
    "elu": lambda sn, F, x: F.elu(x, 1.3),
    "gelu": lambda sn, F, x: F.gelu(x),
    "gelu_tanh": lambda sn, F, x: F.gelu(x, approximate="tanh"),
    "silu": lambda sn, F, x: F.silu(x),
    "softplus": lambda sn, F, x: F.softplus(x),
    "hardtanh": lambda sn, F, x: F.hardtanh(x, -0.5, 0.8),
    "sigmoid": lambda sn, F, x: sn.sigmoid(x),
    "tanh": lambda sn, F, x: sn.tanh(x),
    "softmax": lambda sn, F, x: F.softmax(x, dim=1),
    "log_softmax": lambda sn, F, x: F.log_softmax(x, dim=-1),
    "logsumexp": lambda sn, F, x: sn.logsumexp(x, dim=(1, 2)),
    "variance": lambda sn, F, x: x.var(dim=(0, 2)),
    "std": lambda sn, F, x: x.std(dim=1),
    "cumsum": lambda sn, F, x: sn.cumsum(x, dim=2),
    "amax": lambda sn, F, x: sn.amax(x, dim=(1, 3)),
    "maximum": lambda sn, F, x: sn.maximum(x, x.flip(3)),
    "roll": lambda sn, F, x: sn.roll(x, (1, -2), (2, 3)),
    "slices": lambda sn, F, x: x[:, 1::2, 3:-1, 2:3] * x[:, :1, 1:4, ::3],
    "split_cat": lambda sn, F, x: sn.cat(x.split([1, 3], dim=1)[::-1], dim=1),
    "einsum": lambda sn, F, x: sn.einsum("nchw,nchv->nwv", x, x),
}.items():
    case(_name, IMAGE)(_call)

case("fold", (2, 24, 12))(lambda sn, F, x: F.fold(x, (5, 6), (2, 3), stride=(1, 2), padding=(0, 1)))
case("linear", (2, 3, 5), (4, 5), (4,))(lambda sn, F, x, w, b: F.linear(x, w, b))
case("matmul_batched", (2, 1, 3, 4), (5, 4, 2))(lambda sn, F, a, b: sn.matmul(a, b))
case("layer_norm", (3, 4, 5), (4, 5), (4, 5))(lambda sn, F, x, w, b: F.layer_norm(x, (4, 5), w, b))
case("group_norm", (3, 6, 2, 2), (6,), (6,))(lambda sn, F, x, w, b: F.group_norm(x, 3, w, b))
case("batch_norm", IMAGE, (4,), (4,))(lambda sn, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True))
case("batch_norm_eval", IMAGE, (4,), (4,))(
    lambda sn, F, x, w, b: F.batch_norm(
        x, sn.tensor([0.1, 0.2, 0.3, 0.4]).double(), sn.tensor([1.0, 2.0, 3.0, 0.5]).double(), w, b, training=False
    )
)
case("batch_norm_2d", (5, 3), (3,), (3,))(lambda sn, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True))
case("embedding", (0, 6, (2, 3)), (6, 4))(lambda sn, F, i, w: F.embedding(i, w))

case("mse_loss", (3, 4), (3, 4))(lambda sn, F, x, t: F.mse_loss(x, t))
case("l1_loss", (3, 4), (3, 4))(lambda sn, F, x, t: F.l1_loss(x, t, reduction="sum"))
case("smooth_l1_loss", (3, 4), (3, 4))(lambda sn, F, x, t: F.smooth_l1_loss(x, t, beta=0.7))


def _probabilities(*arrays):
    return [1 / (1 + np.exp(-a)) for a in arrays]


case("bce", (3, 4), (3, 4), prepare=_probabilities)(lambda sn, F, p, t: F.binary_cross_entropy(p, t))
case("bce_certain", (3,), prepare=lambda x: [np.array([0.0, 1.0, 1.0])])(
    lambda sn, F, p: F.binary_cross_entropy(p, sn.tensor([1.0, 0.0, 1.0]).double(), reduction="none")
)
case("bce_logits", (3, 4), (3, 4), prepare=lambda x, t: [x, *_probabilities(t)])(
    lambda sn, F, x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=sn.tensor([1.0, 2.0, 0.5, 3.0]).double())
)
case("bce_logits_extreme", (4,), prepare=lambda x: [np.array([1e4, -1e4, 50.0, -50.0])])(
    lambda sn, F, x: F.binary_cross_entropy_with_logits(x, sn.tensor([1.0, 1.0, 0.0, 0.0]).double(), reduction="none")
)
case("cross_entropy_extreme", (2, 3), prepare=lambda x: [np.array([[1e4, -1e4, 0.0], [0.0, 1e4, 1e4]])])(
    lambda sn, F, x: F.cross_entropy(x, sn.tensor([1, 2]), reduction="none")
)
case("gaussian_nll", (3, 4), (3, 4), (3, 4), prepare=lambda x, t, v: [x, t, v * v])(
    lambda sn, F, x, t, v: F.gaussian_nll_loss(x, t, v, full=True)
)
case("kl_div", (3, 4), (3, 4), prepare=lambda x, t: [x, *_probabilities(t)])(
    lambda sn, F, x, t: F.kl_div(F.log_softmax(x, dim=1), t, reduction="batchmean")
)
for _name, _options in {
    "plain": {},
    "smoothed": dict(label_smoothing=0.1),
    "ignoring": dict(ignore_index=2),
    "weighted": dict(weight=[0.5, 1.0, 2.0, 3.0]),
    "everything": dict(weight=[0.5, 1.0, 2.0, 3.0], ignore_index=1, label_smoothing=0.2),
    "everything_summed": dict(weight=[0.5, 1.0, 2.0, 3.0], ignore_index=1, label_smoothing=0.2, reduction="sum"),
}.items():

    def _cross_entropy(sn, F, x, t, options=_options):
        options = dict(options)
        if "weight" in options:
            options["weight"] = sn.tensor(options["weight"]).double()
        return F.cross_entropy(x, t, **options)

    case(f"cross_entropy_{_name}", (8, 4), (0, 4, (8,)))(_cross_entropy)
    case(f"cross_entropy_2d_{_name}", (2, 4, 3, 2), (0, 4, (2, 3, 2)))(_cross_entropy)
case("cross_entropy_soft", (5, 4), (5, 4))(lambda sn, F, x, t: F.cross_entropy(x, F.softmax(t, dim=1)))
case("nll_loss", (8, 4), (0, 4, (8,)))(lambda sn, F, x, t: F.nll_loss(F.log_softmax(x, dim=1), t))
