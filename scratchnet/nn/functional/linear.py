"""Functions of vectors: the linear map, table look-up, and vectors' lengths and angles."""

import math

import numpy as np

from scratchnet import ops
from scratchnet.device import on_host
from scratchnet.nn import checks
from scratchnet.recording import noted
from scratchnet.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias over the last axis: (*, in), (out, in), (out,) to (*, out).

    Raises:
        ValueError, TypeError: a shape or dtype does not fit.
    """
    checks.floating("linear", input=input, weight=weight, bias=bias)
    checks.shape("linear", weight, "out", "in", name="weight")
    size_out, size_in = weight.shape
    if input.ndim == 0 or input.shape[-1] != size_in:
        raise ValueError(f"linear: expected input (*, {size_in}), got shape {input.shape}")
    rows = input if input.ndim == 2 else input.reshape((math.prod(input.shape[:-1]), size_in))
    if bias is None:
        out = rows @ weight.T
    else:
        checks.shape("linear", bias, size_out, name="bias")
        out = ops.linear(rows, weight, bias)
    return out if input.ndim == 2 else out.reshape((*input.shape[:-1], size_out))


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of ``weight`` (V, D) picked by integers of any shape: (*) to (*, D).

    The row ``padding_idx`` gets no gradient. Raises IndexError for an index outside 0..V - 1, whose row on a GPU is
    NaN instead, TypeError for indices that are no integers.
    """
    checks.tensors("embedding", input=input)
    checks.floating("embedding", weight=weight)
    rows = ops.embedding(input, weight)
    if padding_idx is None:
        return rows
    trained = ops.unsqueeze(ops.not_equal(input, padding_idx), -1)
    return ops.where(trained, rows, rows.detach())


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integers (*) to int64 rows (*, num_classes) with a 1 at that place; -1 takes the largest label + 1.

    Raises:
        IndexError: a label lies outside 0..num_classes - 1. On a GPU its row is 0 instead.
        TypeError: the labels are no integers.
        ValueError: there are no labels to infer num_classes from.
    """
    checks.tensors("one_hot", tensor=tensor)
    if tensor.dtype.kind not in "iu":
        raise TypeError(f"one_hot: expected integers, got {tensor.dtype}")
    checks.size("one_hot", -1, num_classes=num_classes)
    return Tensor(_one_hot(tensor, num_classes=num_classes))


@noted
def _one_hot(labels, *, num_classes):
    if num_classes == -1:
        if labels.size == 0:
            raise ValueError("one_hot: an empty tensor needs num_classes")
        num_classes = int(labels.max()) + 1
    if on_host(labels) and labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise IndexError(f"one_hot: labels {labels.min()}..{labels.max()} are out of range for {num_classes} classes")
    return (labels[..., None] == np.arange(num_classes, like=labels)).astype(np.int64)


def _length(x: Tensor, p: float, dim: int, eps: float) -> Tensor:
    """max(p-norm, eps), with a finite gradient also at 0."""
    if p == 2:
        return ops.maximum(ops.sum(ops.square(x), dim, True), eps**2) ** 0.5
    if p == 1:
        return ops.maximum(ops.sum(ops.abs(x), dim, True), eps)
    raise ValueError(f"normalize: p must be 1 or 2, got {p}")


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(its p-norm along ``dim``, eps), p being 1 or 2."""
    checks.floating("normalize", input=input)
    return input / _length(input, p, dim, eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """<x1, x2> / (max(|x1|, eps) max(|x2|, eps)) along ``dim``; the shapes broadcast."""
    checks.floating("cosine_similarity", x1=x1, x2=x2)
    lengths = _length(x1, 2, dim, eps) * _length(x2, 2, dim, eps)
    return (ops.sum(x1 * x2, dim, True) / lengths).squeeze(dim)
