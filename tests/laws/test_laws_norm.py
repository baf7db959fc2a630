"""Norms and softmax: what does not change them, what they agree on, and where their gradients must not point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet import ops
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import arrays, dtypes, norm_configs, normal, seeds, shapes

configs = norm_configs(min_batch=1, spatial_dims=(1, 2), min_side=2)
drawn = given(configs, seeds(), dtypes())


def batch_norm(x, eps):
    unit = np.ones(x.shape[1], x.dtype)
    return ops.batch_norm(x, unit, np.zeros_like(unit), eps)


def norms(config):
    """Every norm of the configuration, with the shape and the axes within which it works."""
    n, c, *plane = config.input_shape
    last = len(config.input_shape) - len(config.normalized_shape)
    return {
        "batch": (batch_norm, (n, c, *plane), (0, *range(2, 2 + len(plane)))),
        "instance": (lambda x, eps: ops.instance_norm(x, eps=eps), (n, c, *plane), tuple(range(2, 2 + len(plane)))),
        "group": (lambda x, eps: ops.group_norm(x, config.num_groups, eps=eps), (n, config.num_groups, -1), (2,)),
        "layer": (
            lambda x, eps: ops.layer_norm(x, config.normalized_shape, eps=eps),
            config.input_shape,
            tuple(range(last, len(config.input_shape))),
        ),
    }


by_norm = pytest.mark.parametrize("name", ["batch", "instance", "group", "layer"])


@by_norm
@given(config=configs, seed=seeds(), dtype=dtypes(), scale=st.sampled_from((0.25, 1, 8)), shift=st.integers(-4, 4))
def test_scale_and_shift_of_the_input_do_not_matter(name, config, seed, dtype, scale, shift):
    norm, _, _ = norms(config)[name]
    laws.affine_invariant(norm, normal(seed, config.input_shape, dtype=dtype)[0], scale, shift, config.eps)


@by_norm
@given(config=configs, seed=seeds(), dtype=dtypes())
def test_the_result_has_mean_0_and_the_declared_variance(name, config, seed, dtype):
    norm, shape, axes = norms(config)[name]
    [x] = normal(seed, config.input_shape, dtype=dtype)
    laws.standardised(
        lambda t, eps: norm(t.reshape(config.input_shape), eps).reshape(shape), x.reshape(shape), axes, config.eps
    )


@by_norm
@given(config=configs, seed=seeds(), dtype=dtypes())
def test_the_gradient_moves_neither_mean_nor_scale(name, config, seed, dtype):
    norm, shape, axes = norms(config)[name]
    x, g = normal(seed, config.input_shape, config.input_shape, dtype=dtype)
    groups = x.reshape(shape)
    count = groups[tuple(slice(None) if a in axes else 0 for a in range(groups.ndim))].size
    condition = 1 + np.abs(x).max() / groups.std(axis=axes).min()
    # |normalised| <= sqrt(count): what cancels is invstd |g| (2 + sqrt(count)), times the direction
    size = condition * np.abs(g).sum() * (2 + np.sqrt(count)) * condition
    for direction in (np.ones_like(x), x):
        laws.gradient_orthogonal(lambda t: norm(t, 0.0), x, g, direction, terms=count + 8, size=size)


@drawn
def test_norms_agree_where_their_groups_do(config, seed, dtype):
    [x] = normal(seed, config.input_shape, dtype=dtype)
    t, eps, channels = Tensor(x), config.eps, x.shape[1]
    bound = laws.gamma(x.size + 8, dtype) * (1 + np.abs(x).max() / np.sqrt(eps))
    for i in range(len(x)):
        one = ops.instance_norm(t[i : i + 1], eps=eps)
        laws.agree("instance norm is batch norm of one sample", one, batch_norm(t[i : i + 1], eps), bound)
    laws.agree("one channel a group", ops.group_norm(t, channels, eps=eps), ops.instance_norm(t, eps=eps), bound)
    laws.agree("one group", ops.group_norm(t, 1, eps=eps), ops.layer_norm(t, x.shape[1:], eps=eps), bound)


@drawn
def test_samples_are_apart_but_for_batch_norm(config, seed, dtype):
    [x] = normal(seed, config.input_shape, dtype=dtype)
    table = norms(config)
    for name in ("instance", "group"):
        laws.samplewise(
            lambda t, norm=table[name][0]: norm(t, config.eps), x, terms=x.size + 8, absolute=lambda t: 9 + t
        )
    together = lambda t: batch_norm(t, config.eps)  # noqa: E731
    laws.commutes(together, np.flip, np.flip, x, terms=x.size + 8, absolute=lambda t: 9 + t)
    if len(x) > 1:
        with pytest.raises(laws.LawError):
            laws.samplewise(together, x, terms=x.size + 8, absolute=lambda t: 9 + t)


vectors = arrays(shapes(min_dims=2, max_dims=3, min_side=1, max_side=7), dtypes())


@given(vectors, st.integers(-50, 50), st.data())
def test_softmax_does_not_see_a_shift(x, shift, data):
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    laws.softmax_shift(lambda t: ops.softmax(t, dim), x, shift, dim)
    laws.softmax_shift(lambda t: ops.exp(ops.log_softmax(t, dim)), x, shift, dim)


@given(vectors, seeds(), st.data())
def test_the_gradient_of_softmax_does_not_point_along_a_shift(x, seed, data):
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    [g] = normal(seed, x.shape, dtype=x.dtype)
    terms = 4 * (x.shape[dim] + 8 * (1 + int(np.abs(x).max())))
    ones = np.ones_like(x)
    laws.gradient_orthogonal(lambda t: ops.softmax(t, dim), x, g, ones, terms=terms, size=2 * np.abs(g).sum())
    laws.gradient_orthogonal(
        lambda t: ops.log_softmax(t, dim), x, g, ones, terms=terms, size=2 * x.shape[dim] * np.abs(g).sum()
    )


@given(vectors, st.integers(-50, 50))
def test_logsumexp_moves_with_a_shift(x, shift):
    moved = x + x.dtype.type(shift)
    bound = laws.gamma(x.shape[-1] + 16, x.dtype) * (1 + np.abs(x).max() + abs(shift))
    out = laws.value(lambda t: ops.logsumexp(t, -1), x).astype(np.float64)
    laws.agree("shift", laws.value(lambda t: ops.logsumexp(t, -1), moved), out + shift, bound)


@given(vectors)
def test_the_sigmoid_is_a_softmax_with_0(x):
    pairs = np.stack([x, np.zeros_like(x)])
    plain = laws.value(ops.sigmoid, x)
    error = laws.gamma(16 * (1 + int(np.abs(x).max())), x.dtype)
    laws.agree("softmax of two", laws.value(lambda t: ops.softmax(t, 0), pairs)[0], plain, error * plain)
    laws.agree("sigmoid(-x) = 1 - sigmoid(x)", laws.value(ops.sigmoid, -x), 1 - plain.astype(np.float64), error)
