"""Losses. ``reduction`` is "mean", "sum" or "none"; the options are keywords, as PyTorch's deprecated ones are gone.

All raise ValueError or TypeError where shapes, dtypes or options do not fit; nothing is broadcast silently.
"""

from scratchnet import ops
from scratchnet.nn import checks
from scratchnet.tensor import Tensor


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target] of logits (N, C, ...), finite for any finite logits.

    ``target`` holds class indices (N, ...) or probabilities (N, C, ...). ``weight`` (C,) weighs classes; the mean
    divides by the sum of the weights. Labels equal to ``ignore_index`` count nothing. With ``label_smoothing`` e the
    target becomes (1 - e) target + e / C. Raises IndexError for a label out of range; on a GPU it makes the loss NaN.
    """
    checks.floating("cross_entropy", input=input)
    checks.tensors("cross_entropy", target=target, weight=weight)
    return ops.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target] of log-probabilities (N, C, ...); otherwise as ``cross_entropy``."""
    checks.floating("nll_loss", input=input)
    checks.tensors("nll_loss", target=target, weight=weight)
    return ops.nll_loss(input, target, weight, ignore_index, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) of probabilities p, each log no smaller than -100, times ``weight``."""
    checks.floating("binary_cross_entropy", input=input, target=target)
    checks.tensors("binary_cross_entropy", weight=weight)
    return ops.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), finite for any finite logits; ``pos_weight`` weighs the term with t."""
    checks.floating("binary_cross_entropy_with_logits", input=input, target=target)
    checks.tensors("binary_cross_entropy_with_logits", weight=weight, pos_weight=pos_weight)
    return ops.binary_cross_entropy_with_logits(input, target, weight, reduction, pos_weight)


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(x - t)^2."""
    checks.tensors("mse_loss", input=input, target=target)
    return ops.mse_loss(input, target, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """|x - t|."""
    checks.tensors("l1_loss", input=input, target=target)
    return ops.l1_loss(input, target, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - t| < beta, else d - beta / 2 (Girshick 2015)."""
    checks.tensors("smooth_l1_loss", input=input, target=target)
    return ops.smooth_l1_loss(input, target, reduction, beta)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log v + (x - t)^2 / v) / 2 with v = max(var, eps), plus log(2 pi) / 2 if ``full``.

    ``var`` has the input's shape, that shape with a last size of 1, or that shape without its last axis.
    """
    checks.floating("gaussian_nll_loss", input=input, target=target, var=var)
    if var.shape == input.shape[:-1] != input.shape:
        var = var.unsqueeze(-1)
    if var.shape not in (input.shape, (*input.shape[:-1], 1)):
        raise ValueError(f"gaussian_nll_loss: expected var of shape {input.shape}, got {var.shape}")
    return ops.gaussian_nll_loss(input, target, var, full, eps, reduction)


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - x) of log-probabilities x, 0 where t = 0; with ``log_target`` the target is log t.

    "mean" divides by the number of elements; "batchmean" by the batch size, which is the divergence's definition.
    """
    checks.floating("kl_div", input=input, target=target)
    return ops.kl_div(input, target, reduction, log_target)
