"""Matrix products on the tile: exact on integers, whatever the layout; and who computes what."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from kernels.cpu.matmul import matmul as on_the_tile

sizes = st.tuples(st.integers(1, 70), st.integers(1, 150), st.integers(1, 70))


@given(sizes, cases.seeds, cases.dtypes, st.booleans(), st.booleans(), st.booleans())
def test_tile_equals_reference_bit_for_bit_on_integers(size, seed, dtype, transposed_a, transposed_b, biased):
    n, k, m = size
    rng = np.random.default_rng(seed)
    a = cases.integers(rng, (k, n), dtype).T if transposed_a else cases.integers(rng, (n, k), dtype)
    b = cases.integers(rng, (m, k), dtype).T if transposed_b else cases.integers(rng, (k, m), dtype)
    bias = cases.integers(rng, 2 * m, dtype)[::2] if biased else None
    assert cases.same_bits(on_the_tile(a, b, bias), cases.reference(kernels.matmul, a, b, bias))


@pytest.mark.parametrize("rows", [127, 128])
@pytest.mark.parametrize("columns", [272, 1024])
def test_panels_where_they_are_and_copied(rows, columns):
    """Of 128 rows and more, the operand on the right is copied. 272 columns fill vectors, and no number of panels."""
    rng = np.random.default_rng(0)
    a, b, bias = (cases.integers(rng, shape, np.float32) for shape in ((rows, 130), (130, columns), columns))
    for right in (b, np.asfortranarray(b)):
        assert cases.same_bits(on_the_tile(a, right, bias), cases.reference(kernels.matmul, a, b, bias))


def test_large_products_leave_blas_and_small_ones_do_not():
    a, b = np.ones((128, 576), np.float32), np.ones((576, 64), np.float32)
    assert kernels.explain(kernels.matmul, a, b).implementation == "tile"
    assert kernels.explain(kernels.matmul, a[:2], b).implementation == "reference"
    np.testing.assert_array_equal(kernels.matmul(a, b), np.full((128, 64), 576.0))


@pytest.mark.parametrize("shapes", [((0, 3), (3, 4)), ((3, 0), (0, 4)), ((3, 4), (4, 0))])
def test_nothing_times_something(shapes):
    a, b = map(np.ones, shapes)
    np.testing.assert_array_equal(on_the_tile(a, b), a @ b)
    np.testing.assert_array_equal(on_the_tile(a, b, np.ones(b.shape[1])), a @ b + 1)


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((3,), (3, 4)), ((1, 2, 3), (3, 4))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    for call in (kernels.matmul, on_the_tile):
        with pytest.raises(ValueError, match=r"shapes \(N, K\) and \(K, M\), given"):
            call(*map(np.ones, shapes))
        with pytest.raises(ValueError, match=r"columns of b \(M,\), \(4,\), given \(3,\)"):
            call(np.ones((2, 3)), np.ones((3, 4)), np.ones(3))
