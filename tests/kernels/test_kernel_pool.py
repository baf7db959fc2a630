"""Pooling and gathering: compiled against reference bit for bit, ties, NaN, and indices out of range."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

specials = st.sampled_from([None, np.nan, -np.inf, np.inf, -0.0])


def sprinkle(x, special, seed):
    """x with about a third of its elements replaced, unless special is None."""
    if special is None:
        return x
    return np.where(np.random.default_rng(seed).random(x.shape) < 0.3, x.dtype.type(special), x)


@settings(max_examples=80)
@given(cases.pool_calls(dilated=True), specials, st.booleans(), cases.seeds)
def test_max_pool_equals_the_reference_bit_for_bit(call, special, relu, seed):
    x, options = call
    x, options = sprinkle(x, special, seed), options | {"relu": relu}
    for compiled, expected in zip(
        kernels.max_pool2d(x, **options), cases.reference(kernels.max_pool2d, x, **options), strict=True
    ):
        assert cases.same_bits(compiled, expected)


@pytest.mark.parametrize("implementation", ["reference", "numba"])
@settings(max_examples=40)
@given(call=cases.pool_calls(dilated=True), special=specials, seed=cases.seeds)
def test_max_pool_with_relu_has_the_bits_of_both_and_so_has_its_gradient(implementation, call, special, seed):
    x, options = call
    x = sprinkle(x, special, seed)
    with kernels.use(implementation):
        output, indices = kernels.max_pool2d(x, **options)
        output = kernels.relu(output)
        joined, places = kernels.max_pool2d(x, relu=True, **options)
        assert cases.same_bits(joined, output) and np.array_equal(np.signbit(joined), np.signbit(output))
        assert np.array_equal(places, np.where(output > 0, indices, -1))
        g = np.random.default_rng(seed).normal(size=output.shape).astype(x.dtype)
        grad = kernels.max_pool2d_input(x.shape, places, g, **options)
        assert cases.same_bits(
            grad, kernels.max_pool2d_input(x.shape, indices, kernels.relu_backward(g, output), **options)
        )


@settings(max_examples=80)
@given(cases.pool_calls(), st.booleans(), st.sampled_from([None, None, 3]), cases.seeds)
def test_avg_pool_equals_the_reference_bit_for_bit(call, count_include_pad, divisor, seed):
    x, options = call
    x = x + np.random.default_rng(seed).normal(size=x.shape).astype(x.dtype)  # the order of sums is the reference's
    options |= {"count_include_pad": count_include_pad, "divisor_override": divisor}
    y = kernels.avg_pool2d(x, **options)
    assert cases.same_bits(y, cases.reference(kernels.avg_pool2d, x, **options))
    grad = kernels.avg_pool2d_input(x.shape, y, **options)
    assert cases.same_bits(grad, cases.reference(kernels.avg_pool2d_input, x.shape, y, **options))
    assert np.vdot(y, y) == pytest.approx(np.vdot(x, grad), rel=1e-4 if x.dtype == np.float32 else 1e-12)


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 5)] * 2), st.tuples(*[st.integers(0, 6)] * 2),
    cases.dtypes, cases.layouts, cases.layouts, cases.seeds,
)  # fmt: skip
def test_gather_and_scatter_equal_the_reference_and_are_adjoint(size, plane, dtype, layout, index_layout, seed):
    rng, shape = np.random.default_rng(seed), (*size[:2], *plane)
    x, g = (cases.lay_out(cases.integers(rng, s, dtype), layout) for s in (size, shape))
    indices = cases.lay_out(rng.integers(0, size[2] * size[3], size=shape), index_layout)
    gathered, scattered = kernels.gather2d(x, indices), kernels.gather2d_input(size, indices, g)
    assert cases.same_bits(gathered, cases.reference(kernels.gather2d, x, indices))
    assert cases.same_bits(scattered, cases.reference(kernels.gather2d_input, size, indices, g))
    assert np.vdot(gathered, g) == np.vdot(x, scattered)


@settings(max_examples=40)
@given(cases.pool_calls(dilated=True))
def test_max_pool_indices_gather_its_output(call):
    x, options = call
    output, indices = kernels.max_pool2d(x, **options)
    assert cases.same_bits(kernels.gather2d(x, indices), output)


@settings(max_examples=80)
@given(cases.pool_calls(dilated=True), cases.layouts, cases.seeds)
def test_the_gradient_of_max_pool_equals_the_reference_and_a_scatter_bit_for_bit(call, layout, seed):
    x, options = call
    output, indices = kernels.max_pool2d(x, **options)
    g = cases.lay_out(cases.integers(np.random.default_rng(seed), output.shape, x.dtype), layout)
    grad = kernels.max_pool2d_input(x.shape, indices, g, **options)
    assert cases.same_bits(grad, kernels.gather2d_input(x.shape, indices, g))
    assert cases.same_bits(grad, cases.reference(kernels.max_pool2d_input, x.shape, indices, g, **options))
    g = g + np.random.default_rng(seed).normal(size=g.shape).astype(x.dtype)  # the order of sums is the reference's
    grad = kernels.max_pool2d_input(x.shape, indices, g, **options)
    assert cases.same_bits(grad, cases.reference(kernels.max_pool2d_input, x.shape, indices, g, **options))


@pytest.mark.parametrize("implementation", ["reference", "numba"])
def test_first_of_equals_and_first_nan_win(implementation):
    nan = np.nan
    x = np.array([[1, 1, 2, nan, 5, -np.inf], [1, 1, nan, 3, nan, -np.inf]])[None, None]
    with kernels.use(implementation):
        output, indices = kernels.max_pool2d(x, kernel_size=2)
    np.testing.assert_array_equal(output, [[[[1, nan, nan]]]])
    assert indices.tolist() == [[[[0, 3, 10]]]]


@pytest.mark.parametrize("implementation", ["reference", "numba"])
def test_padding_never_wins(implementation):
    x = np.full((1, 1, 2, 2), -np.inf)
    with kernels.use(implementation):
        output, indices = kernels.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    assert output.tolist() == [[[[-np.inf]]]]
    assert indices.tolist() == [[[[0]]]]


@pytest.mark.parametrize("implementation", ["reference", "numba"])
@pytest.mark.parametrize("bad", [-1, 4])
def test_indices_out_of_range_are_refused(implementation, bad):
    x, indices = np.ones((2, 1, 2, 2)), np.zeros((2, 1, 1, 1), np.int64)
    indices[1] = bad
    with kernels.use(implementation):
        with pytest.raises(IndexError, match="indices must lie between 0 and 3"):
            kernels.gather2d(x, indices)
        with pytest.raises(IndexError, match="indices must lie between 0 and 3"):
            kernels.gather2d_input(x.shape, indices, np.ones((2, 1, 1, 1)))
