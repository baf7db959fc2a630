"""Matrix products, on both sides of the size where the library's own tile takes over from BLAS."""

import numpy as np
from exact import large_products
from hypothesis import given
from hypothesis import strategies as st

from scratchnet import ops
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import dtypes, integral, normal, seeds

small_products = st.tuples(*[st.integers(0, 9)] * 3)
drawn = given(st.one_of(small_products, large_products), seeds(), dtypes())


@drawn
def test_gradients_are_adjoints(sizes, seed, dtype):
    n, k, m = sizes
    for draw, terms in ((integral, 0), (normal, max(sizes))):
        a, b, g = draw(seed, (n, k), (k, m), (n, m), dtype=dtype)
        thin = np.where(np.arange(m) < 3, g, 0)  # sharp bounds in float32
        laws.adjoint(lambda t, b=b: t @ Tensor(b), a, thin, terms=terms, absolute=lambda t, b=b: t @ Tensor(np.abs(b)))
        laws.adjoint(lambda t, a=a: Tensor(a) @ t, b, thin, terms=terms, absolute=lambda t, a=a: Tensor(np.abs(a)) @ t)


@drawn
def test_transposition_reverses_a_product(sizes, seed, dtype):
    n, k, m = sizes
    a, b = integral(seed, (n, k), (k, m), dtype=dtype)
    laws.agree("(a b)' = b' a'", (Tensor(a) @ Tensor(b)).data.T, Tensor(b.T) @ Tensor(a.T))


@drawn
def test_one_matrix_at_a_time_is_all_at_once(sizes, seed, dtype):
    n, k, m = sizes
    a, b = integral(seed, (n, k), (k, m), dtype=dtype)
    whole = Tensor(a) @ Tensor(b)
    laws.agree("a batch of one", (Tensor(a[None]) @ Tensor(b[None])).data[0], whole)
    laws.agree("axes by name", ops.einsum("ij,jk->ik", Tensor(a), Tensor(b)), whole)


@given(st.tuples(*[st.integers(0, 40)] * 4), seeds(), dtypes())
def test_products_are_associative(sizes, seed, dtype):
    n, k, m, p = sizes
    a, b, c = map(Tensor, integral(seed, (n, k), (k, m), (m, p), dtype=dtype))
    laws.agree("(a b) c = a (b c)", (a @ b) @ c, a @ (b @ c))
