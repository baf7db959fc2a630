"""Ops over axes: sums, means, extrema, softmax and its relatives. ``dim`` is an int, several, or None for all."""

import builtins
import math

import numpy as np

import kernels
from scratchnet.ops.elementwise import exp, square
from scratchnet.ops.indexing import gather
from scratchnet.ops.registry import Bad, Kink, S, op
from scratchnet.ops.shape import axes, axis, expand, flip, reshape
from scratchnet.recording import noted


def _spread(g, x_shape, dim, keepdim):
    """The reduced g repeated over the axes it was reduced over."""
    if keepdim or not g.ndim:
        return expand(g, x_shape)
    dims = axes("reduction", dim, len(x_shape))
    return expand(reshape(g, tuple(1 if i in dims else n for i, n in enumerate(x_shape))), x_shape)


def _kept(array, dim):
    """A reduced array with its axes back, of size 1."""
    return array if dim is None else np.expand_dims(array, dim)


def _reduced(r):
    return [
        S(r.normal(2, 3, 4)),
        S(r.normal(2, 3, 4), dim=1),
        S(r.normal(2, 3, 4), dim=(0, -1), keepdim=True),
        S(r.normal()),
    ]


def _wrong_axis(r):
    return [
        Bad(IndexError, "dim 2.*2 dimensions", S(r.normal(2, 3), dim=2)),
        Bad(ValueError, "twice", S(r.normal(2, 3), dim=(0, -2))),
        Bad(TypeError, "int.*1.5", S(r.normal(2, 3), dim=1.5)),
    ]


def _by_rows(function):
    """A reference that reduces one row of Python numbers at a time."""

    def reference(x, dim=None, keepdim=False):
        dims = tuple(range(x.ndim)) if dim is None else tuple(d % x.ndim for d in np.atleast_1d(dim))
        rest = [d for d in range(x.ndim) if d not in dims]
        rows = x.transpose(*rest, *dims).reshape([x.shape[d] for d in rest] + [-1])
        out = np.array([function(rows[i].tolist()) for i in np.ndindex(rows.shape[:-1])])
        shape = [1 if d in dims else n for d, n in enumerate(x.shape)] if keepdim else [x.shape[d] for d in rest]
        return out.reshape(shape)

    return reference


@op(
    vjp={"x": lambda g, x_shape, dim, keepdim: _spread(g, x_shape, dim, keepdim)},
    samples=lambda r: [*_reduced(r), S(r.normal(0, 3), dim=0)],
    reference=_by_rows(math.fsum),
    errors=_wrong_axis,
    degree=1,
)
def sum(x, /, dim=None, keepdim=False):
    """Sum over ``dim``; 0 where there is nothing to add."""
    over = axes("sum", dim, x.ndim)
    if x.ndim > 1 and over == (0, *range(2, x.ndim)) and not keepdim and x.dtype.kind == "f":
        return kernels.channel_sum(x)  # the gradient of a bias
    return np.sum(x, axis=over, keepdims=keepdim)


@op(
    vjp="derived",
    samples=_reduced,
    reference=_by_rows(lambda row: math.fsum(row) / len(row)),
    errors=_wrong_axis,
    degree=1,
)
def mean(x, /, dim=None, keepdim=False):
    """Mean over ``dim``; NaN where there is nothing to average. Floating dtypes only."""
    if x.dtype.kind != "f":
        raise TypeError(f"mean: expected a floating tensor, got {x.dtype}")
    count = math.prod(x.shape[d] for d in axes("mean", dim, x.ndim))
    return sum(x, dim, keepdim) * (1 / count if count else math.nan)


def _variance(row, correction=1):
    mean = math.fsum(row) / len(row)
    return math.fsum((v - mean) ** 2 for v in row) / (len(row) - correction)


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(3, 4)),
        S(r.normal(3, 4), dim=1, correction=0),
        S(r.normal(2, 3, 4), dim=(0, 2), keepdim=True),
    ],
    reference=lambda x, dim=None, correction=1, keepdim=False: _by_rows(lambda row: _variance(row, correction))(
        x, dim, keepdim
    ),
    errors=_wrong_axis,
)
def var(x, /, dim=None, correction=1, keepdim=False):
    """Variance over ``dim``: sum (x - mean)^2 / (n - correction); correction 1 is the unbiased estimate."""
    count = math.prod(x.shape[d] for d in axes("var", dim, x.ndim))
    deviation = x - mean(x, dim, True)
    return sum(square(deviation), dim, keepdim) * (1 / (count - correction) if count > correction else math.nan)


@noted
def _tie_shares(x, out, *, dim, keepdim):
    """1/n at each of the n places that equal the extremum; 0 everywhere where that is NaN, which equals nothing."""
    extreme = out if keepdim or dim is None else np.expand_dims(out, axes("amax", dim, x.ndim))
    ties = (x == extreme).astype(x.dtype)
    return ties / np.maximum(ties.sum(axis=axes("amax", dim, x.ndim), keepdims=True), 1)


def _extremes(r):
    return [
        S(r.distinct(2, 3, 4)),
        S(r.distinct(2, 3, 4), dim=1),
        S(r.distinct(3, 4), dim=(0, 1), keepdim=True),
    ]


def _extreme_errors(r):
    return [*_wrong_axis(r), Bad(ValueError, "nothing to reduce", S(np.zeros((0, 3)), dim=0))]


def _refuse_empty(name, x, dim):
    dims = axes(name, dim, x.ndim)
    if any(x.shape[d] == 0 for d in dims):
        raise ValueError(f"{name}: nothing to reduce over dim {dim} of shape {x.shape}")
    return dims


@op(
    vjp={
        "x": lambda g, x, out, x_shape, dim, keepdim: (
            _spread(g, x_shape, dim, keepdim) * _tie_shares(x, out, dim=dim, keepdim=keepdim)
        )
    },
    samples=_extremes,
    reference=_by_rows(builtins.max),
    errors=_extreme_errors,
    kinks=[Kink("ties", S(np.array([1.0, 1.0, 0.0])), (np.array([0.5, 0.5, 0.0]),))],
)
def amax(x, /, dim=None, keepdim=False):
    """Largest value over ``dim``; tied places share the gradient equally. NaN wins."""
    return np.max(x, axis=_refuse_empty("amax", x, dim), keepdims=keepdim)


@op(
    vjp={
        "x": lambda g, x, out, x_shape, dim, keepdim: (
            _spread(g, x_shape, dim, keepdim) * _tie_shares(x, out, dim=dim, keepdim=keepdim)
        )
    },
    samples=_extremes,
    reference=_by_rows(builtins.min),
    errors=_extreme_errors,
    kinks=[Kink("ties", S(np.array([1.0, 1.0, 2.0])), (np.array([0.5, 0.5, 0.0]),))],
)
def amin(x, /, dim=None, keepdim=False):
    """Smallest value over ``dim``; tied places share the gradient equally. NaN wins."""
    return np.min(x, axis=_refuse_empty("amin", x, dim), keepdims=keepdim)


def _first_index(best):
    def reference(x, dim=None, keepdim=False):
        if dim is None:
            return np.array(best(range(x.size), key=x.ravel().tolist().__getitem__)).reshape(
                (1,) * x.ndim if keepdim else ()
            )
        return _by_rows(lambda row: best(range(len(row)), key=row.__getitem__))(x, dim, keepdim)

    return reference


def _single_axis_errors(r):
    return [
        Bad(IndexError, "dim 2", S(r.normal(2, 3), dim=2)),
        Bad(ValueError, "nothing", S(np.zeros((0, 3)), dim=0)),
    ]


@op(
    vjp=None,
    samples=lambda r: [
        S(r.distinct(3, 4)),
        S(r.distinct(3, 4), dim=1),
        S(np.ones((2, 3)), dim=-1, keepdim=True),
    ],
    reference=_first_index(builtins.max),
    errors=_single_axis_errors,
)
def argmax(x, /, dim=None, keepdim=False):
    """Place of the largest value along ``dim``, the first of ties, as int64; of the flattened tensor for None."""
    _refuse_empty("argmax", x, dim)
    return np.argmax(x, axis=dim, keepdims=keepdim)


@op(
    vjp=None,
    samples=lambda r: [
        S(r.distinct(3, 4)),
        S(r.distinct(3, 4), dim=1),
        S(np.ones((2, 3)), dim=-1, keepdim=True),
    ],
    reference=_first_index(builtins.min),
    errors=_single_axis_errors,
)
def argmin(x, /, dim=None, keepdim=False):
    """Place of the smallest value along ``dim``, the first of ties, as int64; of the flattened tensor for None."""
    _refuse_empty("argmin", x, dim)
    return np.argmin(x, axis=dim, keepdims=keepdim)


def max(x, dim=None, keepdim=False):
    """The largest value of all, as ``amax``; or (values, indices) along ``dim``, where the first of ties counts."""
    return amax(x) if dim is None else _at_extreme(x, argmax(x, dim, True), dim, keepdim)


def min(x, dim=None, keepdim=False):
    """The smallest value of all, as ``amin``; or (values, indices) along ``dim``, where the first of ties counts."""
    return amin(x) if dim is None else _at_extreme(x, argmin(x, dim, True), dim, keepdim)


def _at_extreme(x, places, dim, keepdim):
    values = gather(x, places, dim)
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))


@op(
    vjp={
        "x": lambda g, x, out, x_shape, dim, keepdim: (
            _spread(g, x_shape, dim, keepdim) * exp(x - _spread(out, x_shape, dim, keepdim))
        )
    },
    samples=_reduced,
    reference=_by_rows(lambda row: math.log(math.fsum(math.exp(v) for v in row))),
    errors=_wrong_axis,
)
def logsumexp(x, /, dim=None, keepdim=False):
    """log sum exp(x) over ``dim``, shifted by the largest value so that nothing overflows."""
    dims = axes("logsumexp", dim, x.ndim)
    if x.size == 0:
        return np.log(np.sum(np.exp(x), axis=dims, keepdims=keepdim))
    top = np.max(x, axis=dims, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    out = np.log(np.sum(np.exp(x - top), axis=dims, keepdims=True)) + top
    return out if keepdim else np.squeeze(out, dims)


@op(
    vjp={"x": lambda g, dim: flip(cumsum(flip(g, dim), dim), dim)},
    samples=lambda r: [S(r.normal(3, 4), dim=1), S(r.normal(3, 4), dim=0)],
    reference=lambda x, dim: np.apply_along_axis(
        lambda row: [math.fsum(row[: i + 1]) for i in range(len(row))], dim, x
    ),
    errors=lambda r: [Bad(IndexError, "dim 2", S(r.normal(2, 3), dim=2))],
    degree=1,
)
def cumsum(x, /, dim):
    """Running sum along ``dim``."""
    return np.cumsum(x, axis=axis("cumsum", dim, x.ndim))


def _largest(x, dim):
    """The largest value along ``dim``, which stays with size 1; 0 where there are none."""
    return np.max(x, axis=dim, keepdims=True) if x.size else x.dtype.type(0)


def _softmax_rows(finish):
    def reference(x, dim):
        def row(values):
            top = builtins.max(values)
            weights = [math.exp(v - top) for v in values]
            total = math.fsum(weights)
            return [finish(w / total) for w in weights]

        return np.apply_along_axis(row, dim, x)

    return reference


@op(
    vjp={"x": lambda g, out, dim: out * (g - sum(g * out, dim, True))},
    samples=lambda r: [S(r.normal(3, 4), dim=1), S(r.normal(2, 3, 4), dim=-2)],
    reference=_softmax_rows(lambda p: p),
    errors=lambda r: [Bad(IndexError, "dim 2", S(r.normal(2, 3), dim=2))],
)
def softmax(x, /, dim):
    """exp(x) / sum exp(x) along ``dim``, shifted by the largest value so that nothing overflows."""
    dim = axis("softmax", dim, x.ndim)
    weights = np.exp(x - _largest(x, dim))
    return weights / np.sum(weights, axis=dim, keepdims=True)


@op(
    vjp={"x": lambda g, out, dim: g - exp(out) * sum(g, dim, True)},
    samples=lambda r: [S(r.normal(3, 4), dim=1), S(r.normal(2, 3, 4), dim=-2)],
    reference=_softmax_rows(math.log),
    errors=lambda r: [Bad(IndexError, "dim 2", S(r.normal(2, 3), dim=2))],
)
def log_softmax(x, /, dim):
    """x - log sum exp(x) along ``dim``; finite for any finite x."""
    dim = axis("log_softmax", dim, x.ndim)
    shifted = x - _largest(x, dim)
    return shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))
