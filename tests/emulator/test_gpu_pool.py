"""Pooling and gathering on the device equal the reference bit for bit, under any order of the threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from tests.emulator.device import ndarray
from tests.emulator.on_device import orders, reference, results, run
from tests.kernels import kernel_cases as cases


def check(kernel, *args, order=0, **options):
    """The device's results, once they are the reference's and lie channels last."""
    found, expected = results(run(kernel, *args, order=order, **options)), results(reference(kernel, *args, **options))
    assert all(map(cases.same_bits, found, expected))
    assert all(a.transpose(0, 2, 3, 1).flags.c_contiguous for a in found)
    return found


@settings(max_examples=60)
@given(
    cases.pool_calls(dilated=True),
    st.sampled_from([None, np.nan, -np.inf, np.inf]),
    st.booleans(),
    cases.layouts,
    cases.seeds,
    orders,
)
def test_max_pool_and_its_gradient(call, special, relu, layout, seed, order):
    x, options = call
    rng = np.random.default_rng(seed)
    if special is not None:
        x = np.where(rng.random(x.shape) < 0.3, x.dtype.type(special), x)
    output, indices = check(kernels.max_pool2d, x, order=order, relu=relu, **options)
    g = cases.lay_out(rng.normal(size=output.shape).astype(x.dtype), layout)  # sums run in the reference's order
    check(kernels.max_pool2d_input, x.shape, indices, g, order=order, **options)


@settings(max_examples=60)
@given(cases.pool_calls(), st.booleans(), st.sampled_from([None, None, 3]), cases.layouts, cases.seeds, orders)
def test_avg_pool_and_its_gradient(call, count_include_pad, divisor, layout, seed, order):
    x, options = call
    rng = np.random.default_rng(seed)
    options |= {"count_include_pad": count_include_pad, "divisor_override": divisor}
    (y,) = check(kernels.avg_pool2d, x + rng.normal(size=x.shape).astype(x.dtype), order=order, **options)
    g = cases.lay_out(rng.normal(size=y.shape).astype(x.dtype), layout)
    check(kernels.avg_pool2d_input, x.shape, g, order=order, **options)


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 5)] * 2), st.tuples(*[st.integers(0, 6)] * 2),
    cases.dtypes, cases.layouts, cases.layouts, cases.seeds, orders,
)  # fmt: skip
def test_gather_and_its_adjoint(size, plane, dtype, layout, index_layout, seed, order):
    rng, shape = np.random.default_rng(seed), (*size[:2], *plane)
    x, g = (cases.lay_out(rng.normal(size=s).astype(dtype), layout) for s in (size, shape))
    indices = cases.lay_out(rng.integers(0, size[2] * size[3], size=shape), index_layout)
    check(kernels.gather2d, x, indices, order=order)
    check(kernels.gather2d_input, size, indices, g, order=order)


def test_blocks_take_more_images_than_a_grid_has(monkeypatch):
    monkeypatch.setattr("kernels.gpu.pool._MOST_BLOCKS_BELOW", 2)
    x = np.random.default_rng(0).normal(size=(7, 3, 5, 4)).astype(np.float32)
    output, indices = check(kernels.max_pool2d, x, kernel_size=2)
    check(kernels.max_pool2d_input, x.shape, indices, output, kernel_size=2)
    check(
        kernels.avg_pool2d_input,
        x.shape,
        *check(kernels.avg_pool2d, x, kernel_size=3, stride=1),
        kernel_size=3,
        stride=1,
    )


def test_first_of_equals_and_first_nan_win():
    x = np.array([[1, 1, 2, np.nan, 5, -np.inf], [1, 1, np.nan, 3, np.nan, -np.inf]])[None, None]
    output, indices = run(kernels.max_pool2d, x, kernel_size=2)
    np.testing.assert_array_equal(output, [[[[1, np.nan, np.nan]]]])
    assert indices.tolist() == [[[[0, 3, 10]]]]
    x[0, 0] = [[-1, -2, -0.0, -0.0, np.nan, 3]] * 2
    output, indices = run(kernels.max_pool2d, x, kernel_size=2, relu=True)
    np.testing.assert_array_equal(output, [[[[0, 0, np.nan]]]])
    assert not np.signbit(output[..., :2]).any() and indices.tolist() == [[[[-1, -1, -1]]]]


@pytest.mark.parametrize("bad", [-1, 4])
def test_indices_out_of_range_are_refused(bad):
    x, indices = np.ones((2, 1, 2, 2)), np.zeros((2, 1, 1, 1), np.int64)
    indices[1] = bad
    with pytest.raises(IndexError, match="indices must lie between 0 and 3"):
        run(kernels.gather2d, x, indices)
    with pytest.raises(IndexError, match="indices must lie between 0 and 3"):
        run(kernels.gather2d_input, x.shape, indices, np.ones((2, 1, 1, 1)))


def test_an_image_too_large_for_32_bits_is_left_to_the_reference():
    for sides, chosen in (((2**15, 2**14), "cuda"), ((2**15, 2**15), "reference")):
        x = np.broadcast_to(np.float32(0), (1, 2, *sides)).view(ndarray)
        y = x[:, :, ::2, ::2]
        assert kernels.explain(kernels.max_pool2d, x, kernel_size=2).implementation == chosen
        assert kernels.explain(kernels.avg_pool2d_input, x.shape, y, kernel_size=2).implementation == chosen
