"""Losses. Each has a finite value and the right gradient for any finite logits: logs are never taken of a
probability that rounding may have made 0.

Targets of classification are integer class indices (N, ...) for inputs (N, C, ...). ``reduction`` is "mean",
"sum" or "none". Values out of range, such as a label that is no class, raise on the CPU; on a GPU, where a look at them
would wait for all work before it, they make the loss NaN.
"""

import math

import numpy as np

import kernels
from kernels.sealed import check
from scratchnet.device import on_host, one_device, to_device
from scratchnet.ops.activations import sigmoid, softplus
from scratchnet.ops.elementwise import abs, astype, clamp, exp, log, maximum, neg, not_equal, square, where
from scratchnet.ops.indexing import gather
from scratchnet.ops.reductions import log_softmax, mean, sum
from scratchnet.ops.registry import Bad, Kink, S, elementwise, op
from scratchnet.ops.shape import unsqueeze
from scratchnet.recording import call, constant, noted
from scratchnet.tensor import Tensor


def _reduce(loss, reduction):
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _constant(value, like):
    """A weight given as tensor, array or list, in the dtype of ``like`` and, unless it is a tensor, on its device."""
    if isinstance(value, Tensor):
        one_device("weight", {"input": like.device, "weight": value.device})
        value = value.detach()
    elif hasattr(value, "dtype"):
        value = Tensor(call(to_device, [value], where=like.device))
    else:
        value = Tensor(constant(to_device(np.asarray(value, like.dtype), like.device)))
    return value if value.dtype == like.dtype else astype(value, like.dtype)


def _same_shape(name, input, target):
    """Losses do not broadcast: a target of another shape is nearly always a mistake, and a silent one."""
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"{name}: input has shape {tuple(input.shape)}, target {tuple(target.shape)}; they must agree")


def _reduced_reference(function):
    def reference(*arrays, reduction="mean", **params):
        loss = elementwise(function)(*arrays, **params)
        return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](loss)

    return reference


def _regression_samples(r):
    return [S(r.normal(3, 4), r.normal(3, 4)), S(r.normal(5), r.normal(5), reduction="sum")]


def _regression_errors(r):
    return [
        Bad(ValueError, r"\(3, 1\).*\(3,\)", S(r.normal(3, 1), r.normal(3))),
        Bad(ValueError, "reduction.*'none', got 'avg'", S(r.normal(3), r.normal(3), reduction="avg")),
    ]


@op(
    vjp="derived",
    samples=lambda r: [*_regression_samples(r), S(r.normal(3), r.normal(3), reduction="none")],
    reference=_reduced_reference(lambda x, t: (x - t) ** 2),
    errors=_regression_errors,
)
def mse_loss(input, target, /, reduction="mean"):
    """(x - t)^2."""
    _same_shape("mse_loss", input, target)
    return _reduce(square(input - target), reduction)


def _apart(r):
    x = r.normal(3, 4)
    return [S(x, x + r.away(3, 4)), S(x, x + r.away(3, 4), reduction="sum")]


@op(
    vjp="derived",
    samples=_apart,
    reference=_reduced_reference(lambda x, t: math.fabs(x - t)),
    errors=_regression_errors,
    kinks=[Kink("x = t", S(np.ones(2), np.ones(2), reduction="sum"), (np.zeros(2), np.zeros(2)))],
)
def l1_loss(input, target, /, reduction="mean"):
    """|x - t|."""
    _same_shape("l1_loss", input, target)
    return _reduce(abs(input - target), reduction)


def _smooth_l1(x, t, beta=1.0):
    d = math.fabs(x - t)
    return 0.5 * d * d / beta if d < beta else d - 0.5 * beta


def _away_from_one(r, beta=1.0):
    x = r.normal(3, 4)
    return S(x, x + r.away(3, 4, points=(-beta, 0.0, beta)))


@op(
    vjp="derived",
    samples=lambda r: [_away_from_one(r), S(*_away_from_one(r, 0.5).arrays, beta=0.5, reduction="sum")],
    reference=_reduced_reference(_smooth_l1),
    errors=lambda r: [
        *_regression_errors(r),
        Bad(ValueError, "beta", S(r.normal(2), r.normal(2), beta=-1.0)),
    ],
    kinks=[
        Kink(
            "|x - t| = beta",
            S(np.array([1.0, -1.0]), np.zeros(2), reduction="sum"),
            (np.array([1.0, -1.0]), np.array([-1.0, 1.0])),
            order=2,
        ),
        Kink("x = t, beta = 0", S(np.ones(2), np.ones(2), reduction="sum", beta=0.0), (np.zeros(2), np.zeros(2))),
    ],
)
def smooth_l1_loss(input, target, /, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where d = |x - t| < beta, else d - beta / 2 (Girshick 2015). beta 0 is l1_loss."""
    _same_shape("smooth_l1_loss", input, target)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    difference = input - target
    distance = abs(difference)  # its square would have second derivative 0 at 0
    return _reduce(where(distance < beta, square(difference) * (0.5 / beta), distance - 0.5 * beta), reduction)


def _bce(p, t):
    return -(t * math.log(p) + (1 - t) * math.log(1 - p))


_BCE_FLOOR = float(np.float32(1e-12))  # of p (1 - p) in the gradient; PyTorch's constant, a float32


def _log_or_floor(p):
    """log p, but no smaller than -100: PyTorch's floor, which keeps the loss finite."""
    occurs = p > 0
    return clamp(where(occurs, log(where(occurs, p, 1.0)), -100.0), min=-100.0)


def _bce_ends(**options):
    """At p = 0 and p = 1 the function ends; the denominator p (1 - p) and the logs are limited there."""
    return Kink(
        "p = 0 and p = 1",
        S(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]), **options),
        (np.array([0.0, -1 / _BCE_FLOOR, 1 / _BCE_FLOOR, 0.0]), np.array([100.0, 100.0, -100.0, -100.0])),
        torch="the same for p, inf and -inf for the target",
    )


@op(
    vjp={
        "input": lambda g, input, target: g * (input - target) / maximum(input * (1.0 - input), _BCE_FLOOR),
        "target": lambda g, input: g * (_log_or_floor(1.0 - input) - _log_or_floor(input)),
    },
    samples=lambda r: [S(r.uniform(0.1, 0.9, 3, 4), r.uniform(0.1, 0.9, 3, 4))],
    reference=elementwise(_bce),
    errors=lambda r: [
        Bad(ValueError, r"between 0 and 1.*1\.5", S(np.array([1.5]), np.array([1.0]))),
    ],
    kinks=[_bce_ends()],
)
def _bce_elementwise(input, target, /):
    """-(t log p + (1 - t) log(1 - p)), each log no smaller than -100."""
    if on_host(input) and input.size and not (input.min() >= 0 and input.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy: input must lie between 0 and 1, got {input.min()} to {input.max()}; "
            "for logits use binary_cross_entropy_with_logits"
        )
    return -(target * np.maximum(np.log(input), -100) + (1 - target) * np.maximum(np.log(1 - input), -100))


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.uniform(0.1, 0.9, 3, 4), r.uniform(0.1, 0.9, 3, 4)),
        S(r.uniform(0.1, 0.9, 3), r.uniform(0.1, 0.9, 3), reduction="sum"),
    ],
    reference=_reduced_reference(_bce),
    errors=lambda r: [
        Bad(ValueError, r"\(3, 1\).*\(3,\)", S(r.uniform(0, 1, 3, 1), r.uniform(0, 1, 3))),
        Bad(ValueError, "between 0 and 1", S(np.array([-0.5]), np.array([1.0]))),
    ],
    kinks=[_bce_ends(reduction="sum")],
)
def binary_cross_entropy(input, target, /, weight=None, reduction="mean"):
    """-(t log p + (1 - t) log(1 - p)) of probabilities p, each log no smaller than -100 as in PyTorch."""
    _same_shape("binary_cross_entropy", input, target)
    loss = _bce_elementwise(input, target)
    return _reduce(loss if weight is None else loss * _constant(weight, input), reduction)


def _sigmoid_of(x):
    return 1 / (1 + math.exp(-x))


@op(
    vjp={
        "input": lambda g, input, target: g * _logistic_slope(input, target),
        "target": lambda g, input: -g * input,  # log(1 + e^-x) - log(1 + e^x)
    },
    samples=lambda r: [S(r.normal(3, 4), r.uniform(0, 1, 3, 4))],
    reference=elementwise(lambda x, t: t * math.log1p(math.exp(-x)) + (1 - t) * math.log1p(math.exp(x))),
    errors=lambda r: [Bad(ValueError, "shape", S(r.normal(3), r.normal(2)))],
)
def _logistic_loss(input, target, /):
    """t softplus(-x) + (1 - t) softplus(x) of logits x and targets t, in one pass."""
    return kernels.binary_cross_entropy(input, target)


@op(
    vjp={
        "input": lambda g, input: g * (sigmoid(input) * sigmoid(-input)),
        "target": lambda g: -g,  # sigmoid(x) + sigmoid(-x) is 1
    },
    samples=lambda r: [S(r.normal(3, 4), r.uniform(0, 1, 3, 4))],
    reference=elementwise(lambda x, t: (1 - t) * _sigmoid_of(x) - t * _sigmoid_of(-x)),
    errors=lambda r: [Bad(ValueError, "shape", S(r.normal(3), r.normal(2)))],
)
def _logistic_slope(input, target, /):
    """(1 - t) sigmoid(x) - t sigmoid(-x), the derivative of the logistic loss by x."""
    return kernels.binary_cross_entropy_slope(input, target)


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(3, 4), r.uniform(0, 1, 3, 4)),
        S(r.normal(3, 4), r.uniform(0, 1, 3, 4), pos_weight=np.array([1.0, 2.0, 0.5, 1.5]), reduction="sum"),
    ],
    reference=lambda x, t, pos_weight=1.0, reduction="mean": {"mean": np.mean, "sum": np.sum}[reduction](
        pos_weight * t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))
    ),
    errors=_regression_errors,
)
def binary_cross_entropy_with_logits(input, target, /, weight=None, reduction="mean", pos_weight=None):
    """w (t softplus(-x) + (1 - t) softplus(x)), the binary cross entropy of sigmoid(x).

    In this form nothing cancels: value and gradient keep full relative accuracy in both tails.
    """
    _same_shape("binary_cross_entropy_with_logits", input, target)
    if pos_weight is None and input.dtype.kind == "f":
        loss = _logistic_loss(input, target)
    else:
        positive = target if pos_weight is None else target * _constant(pos_weight, input)
        loss = positive * softplus(neg(input)) + (1.0 - target) * softplus(input)
    return _reduce(loss if weight is None else loss * _constant(weight, input), reduction)


def _class_axis(name, input, target):
    """1, or 0 for a single sample. Raises unless the target has the shape and the kind of labels."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: class targets must be integers, got {target.dtype}")
    dim = 1 if input.ndim > 1 else 0
    if input.ndim < 1 or input.shape[:dim] + input.shape[dim + 1 :] != target.shape:
        raise ValueError(
            f"{name}: input {input.shape} needs a target of shape {input.shape[:dim] + input.shape[dim + 1 :]}, "
            f"got {target.shape}"
        )
    return dim


@check
def _check_labels(labels, name, classes, ignore_index):
    """Every label is a class or the one to ignore."""
    if on_host(labels) and labels.size and not (labels.min() >= 0 and labels.max() < classes):
        wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
        if wrong.any():
            raise IndexError(f"{name}: label {labels[wrong].flat[0]} is out of range for {classes} classes")


_check_target = noted(_check_labels)


def _weighted_mean(loss, weights, reduction):
    """PyTorch's mean of weighted classes divides by the sum of the weights, ignored labels counting nothing."""
    return sum(loss) / sum(Tensor(weights)) if reduction == "mean" else _reduce(loss, reduction)


def _class_weights(weight, classes, like):
    """A tensor of one number a class, ones for None."""
    weight = _constant([1.0] * classes if weight is None else weight, like)
    if weight.shape != (classes,):
        raise ValueError(f"weight must have one element for each of {classes} classes, got shape {weight.shape}")
    return weight


@noted
def _by_label(labels, weight, *, ignore_index):
    """Each label's weight (0 for the ignored ones), and labels with those made class 0."""
    kept = labels != ignore_index
    safe = np.where(kept, labels, 0)
    return weight[safe] * kept, safe


def _nll_by_loops(logp, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    classes = logp.shape[1]
    weight = np.ones(classes) if weight is None else weight
    rows = np.moveaxis(logp, 1, -1).reshape(-1, classes)
    losses, total = [], 0.0
    for row, label in zip(rows, target.ravel(), strict=True):
        if label == ignore_index:
            losses.append(0.0)
            continue
        smooth = -sum_of(weight * row) / classes
        losses.append((1 - label_smoothing) * -weight[label] * row[label] + label_smoothing * smooth)
        total += weight[label]
    losses = np.array(losses)
    return {
        "mean": lambda: losses.sum() / total,
        "sum": losses.sum,
        "none": lambda: losses.reshape(target.shape),
    }[reduction]()


def sum_of(values):
    return math.fsum(np.ravel(values).tolist())


def _log_softmax_rows(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def _class_samples(r):
    return [
        S(r.normal(4, 3), r.integers(0, 3, 4)),
        S(r.normal(2, 3, 2, 2), np.array([[[0, 2], [1, 1]], [[2, -100], [0, 1]]])),
        S(r.normal(3, 3), np.array([0, 2, 1]), weight=np.array([1.0, 2.0, 0.5])),
        S(r.normal(3, 3), np.array([0, 2, 1]), reduction="none"),
    ]


def _class_errors(r):
    return [
        Bad(IndexError, "label 3.*3 classes", S(r.normal(2, 3), np.array([0, 3]))),
        Bad(IndexError, "label -1.*3 classes", S(r.normal(2, 3), np.array([0, -1]))),
        Bad(ValueError, r"\(2,\).*\(3,\)", S(r.normal(2, 3), np.array([0, 1, 2]))),
        Bad(ValueError, "weight.*3 classes", S(r.normal(2, 3), np.array([0, 1]), weight=np.ones(4))),
    ]


@op(
    vjp="derived",
    samples=_class_samples,
    reference=_nll_by_loops,
    errors=lambda r: [
        *_class_errors(r),
        Bad(TypeError, "integers, got float64", S(r.normal(2, 3), np.ones(2))),
    ],
)
def nll_loss(input, target, /, weight=None, ignore_index=-100, reduction="mean"):
    """-weight[t] input[t] of log-probabilities, averaged with the weights; ``ignore_index`` labels count nothing."""
    dim = _class_axis("nll_loss", input, target)
    _check_target(target, name="nll_loss", classes=input.shape[dim], ignore_index=ignore_index)
    every = _class_weights(weight, input.shape[dim], input)
    weights, labels = _by_label(target, every, ignore_index=ignore_index)
    picked = gather(input, unsqueeze(Tensor(labels), dim), dim).squeeze(dim)
    return _weighted_mean(picked * neg(Tensor(weights)), weights, reduction)


@op(
    vjp="derived",
    samples=lambda r: [
        *_class_samples(r),
        S(r.normal(4, 3), np.array([0, 2, -100, 1]), label_smoothing=0.1),
        S(
            r.normal(3, 3),
            np.array([0, 2, 1]),
            weight=np.array([1.0, 2.0, 0.5]),
            label_smoothing=0.2,
            reduction="sum",
        ),
    ],
    reference=lambda x, target, **options: _nll_by_loops(_log_softmax_rows(x), target, **options),
    errors=lambda r: [
        *_class_errors(r),
        Bad(ValueError, "label_smoothing", S(r.normal(2, 3), np.array([0, 1]), label_smoothing=1.5)),
    ],
)
def cross_entropy(input, target, /, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(x)[t] of logits; targets may also be floating class probabilities shaped like the input.

    With ``label_smoothing`` e the target is (1 - e) one-hot + e / C uniform (Szegedy et al. 2016).
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie between 0 and 1, got {label_smoothing}")
    dim = 1 if input.ndim > 1 else 0
    if target.dtype.kind != "f" and weight is None and label_smoothing == 0:
        return _softmax_nll(input, target, ignore_index, reduction)
    logp = log_softmax(input, dim)
    if target.dtype.kind == "f":
        _same_shape("cross_entropy", input, target)
        return _soft_cross_entropy(logp, target, weight, reduction, label_smoothing, dim)
    loss = nll_loss(logp, target, weight, ignore_index, reduction)
    if label_smoothing == 0:
        return loss
    every = _class_weights(weight, input.shape[dim], input)
    weights, _ = _by_label(target, every, ignore_index=ignore_index)
    spread = every.reshape([-1 if d == dim else 1 for d in range(input.ndim)]) / float(-input.shape[dim])
    kept = astype(not_equal(target, ignore_index), input.dtype)
    smooth = _weighted_mean(sum(logp * spread, dim) * kept, weights, reduction)
    return loss * (1 - label_smoothing) + smooth * label_smoothing


def _softmax_nll_in_ops(input, target, *, ignore_index, reduction):
    return nll_loss(log_softmax(input, 1 if input.ndim > 1 else 0), target, None, ignore_index, reduction)


def _softmax_nll_vjp(g, input, target, log_sum, ignore_index, reduction):
    return Tensor(_logit_gradient(g, input, target, log_sum, ignore_index=ignore_index, reduction=reduction)), None


@noted
def _logit_gradient(g, input, target, log_sum, *, ignore_index, reduction):
    logits, labels, count = _as_batch(input, target, ignore_index)
    grad = np.empty_like(log_sum)
    grad[...] = g / np.maximum(count, 1).astype(g.dtype) if reduction == "mean" else g
    return kernels.cross_entropy_backward(grad, logits, labels, log_sum).reshape(input.shape)


def _as_batch(logits, labels, ignore_index):
    """Logits with a batch axis, int64 labels in which the ignored are no class, and how many are not ignored."""
    if logits.ndim == 1:
        logits, labels = logits[None], labels[None]
    kept = labels != ignore_index
    if 0 <= ignore_index < logits.shape[1]:
        labels = np.where(kept, labels, -1)
    return logits, labels.astype(np.int64, copy=False), kept.sum()


@op(
    vjp=_softmax_nll_vjp,
    composite=_softmax_nll_in_ops,
    aux=("log_sum",),
    samples=lambda r: [
        S(r.normal(4, 3), r.integers(0, 3, 4), ignore_index=-100, reduction="mean"),
        S(r.normal(2, 3, 2, 2), np.array([[[0, 2], [1, 1]], [[2, 0], [0, 1]]]), ignore_index=0, reduction="mean"),
        S(r.normal(3, 3), np.array([0, 2, 1]), ignore_index=-100, reduction="none"),
        S(r.normal(3), np.array(2), ignore_index=-100, reduction="sum"),
    ],
    reference=lambda x, target, **options: _nll_by_loops(
        _log_softmax_rows(np.atleast_2d(x)), np.atleast_1d(target), **options
    ),
    errors=lambda r: [
        Bad(IndexError, "label 3.*3 classes", S(r.normal(2, 3), np.array([0, 3]), ignore_index=-100, reduction="sum")),
        Bad(ValueError, "reduction", S(r.normal(2, 3), np.array([0, 2]), ignore_index=-100, reduction="avg")),
    ],
)
def _softmax_nll(input, target, /, ignore_index, reduction):
    """-log softmax(x)[t] in one pass: cross_entropy where classes have no weights and labels are not smoothed."""
    dim = _class_axis("cross_entropy", input, target)
    _check_labels(target, "cross_entropy", input.shape[dim], ignore_index)
    logits, labels, count = _as_batch(input, target, ignore_index)
    loss, log_sum = kernels.cross_entropy(logits, labels)
    if not on_host(target):
        known = (target == ignore_index) | ((target >= 0) & (target < logits.shape[1]))
        loss = np.where(known.reshape(loss.shape), loss, loss.dtype.type(math.nan))
    if reduction == "none":
        return loss.reshape(target.shape), log_sum
    if reduction == "sum":
        return loss.sum(), log_sum
    if reduction == "mean":
        return loss.sum() / count.astype(loss.dtype), log_sum
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _soft_cross_entropy(logp, target, weight, reduction, label_smoothing, dim):
    """Cross entropy against probabilities; the mean is over samples."""
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / logp.shape[dim]
    if weight is not None:
        target = target * _constant(weight, logp).reshape([-1 if d == dim else 1 for d in range(logp.ndim)])
    return _reduce(neg(sum(logp * target, dim)), reduction)


def _gaussian_nll(x, t, v, full=False, eps=1e-6):
    v = max(v, eps)
    return 0.5 * (math.log(v) + (x - t) ** 2 / v + (math.log(2 * math.pi) if full else 0))


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(3, 4), r.normal(3, 4), r.positive(3, 4)),
        S(r.normal(3, 4), r.normal(3, 4), r.positive(3, 4), full=True, reduction="sum"),
    ],
    reference=_reduced_reference(_gaussian_nll),
    errors=lambda r: [
        Bad(ValueError, r"\(3,\).*\(4,\)", S(r.normal(3), r.normal(4), r.positive(3))),
        Bad(ValueError, "negative", S(r.normal(3), r.normal(3), -r.positive(3))),
    ],
    kinks=[
        Kink(
            "var <= eps, where the value is that of eps",
            S(np.ones(2), np.zeros(2), np.array([0.125, 0.25]), eps=0.25, reduction="sum"),
            (np.full(2, 4.0), np.full(2, -4.0), np.full(2, -6.0)),
        )
    ],
)
def gaussian_nll_loss(input, target, var, /, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x - t)^2 / v) / 2 with v = max(var, eps), plus log(2 pi) / 2 if ``full``.

    As in PyTorch, the floor ``eps`` passes the gradient on to ``var``.
    """
    _same_shape("gaussian_nll_loss", input, target)
    var = var + Tensor(_lift(var, eps=eps))
    loss = (log(var) + square(input - target) / var) * 0.5
    return _reduce(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@noted
def _lift(var, *, eps):
    """What is missing to eps."""
    if on_host(var) and var.size and var.min() < 0:
        raise ValueError(f"gaussian_nll_loss: var must not be negative, got {var.min()}")
    lift = np.maximum(eps - var, 0).astype(var.dtype)
    return lift if on_host(lift) else np.where(var < 0, var.dtype.type(math.nan), lift)


def _kl_div_reference(x, t, reduction="mean", log_target=False):
    p = np.exp(t) if log_target else t
    loss = np.array([0.0 if q == 0 else q * (math.log(q) - v) for q, v in zip(p.flat, x.flat, strict=True)])
    total = {"sum": loss.sum(), "mean": loss.mean(), "batchmean": loss.sum() / x.shape[0]}
    return total[reduction]


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(3, 4), r.positive(3, 4), reduction="batchmean"),
        S(r.normal(3, 4), r.normal(3, 4), reduction="sum", log_target=True),
    ],
    reference=_kl_div_reference,
    errors=lambda r: [Bad(ValueError, r"\(3,\).*\(4,\)", S(r.normal(3), r.positive(4)))],
    kinks=[
        Kink(
            "t = 0",
            S(np.array([1.0, 2.0]), np.zeros(2), reduction="sum"),
            (np.zeros(2), np.array([-1.0, -2.0])),
            torch="the same for x, NaN for t",
        )
    ],
)
def kl_div(input, target, /, reduction="mean", log_target=False):
    """t (log t - x) of log-probabilities x, 0 where t = 0. "batchmean" divides the sum by the batch size."""
    _same_shape("kl_div", input, target)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        occurs = target > 0
        loss = target * (where(occurs, log(where(occurs, target, 1.0)), 0.0) - input)
    if reduction == "batchmean":
        return sum(loss) / input.shape[0]
    return _reduce(loss, reduction)
