"""Products of matrices and of tensors in general. NumPy's BLAS does the work."""

import numpy as np

import kernels
from scratchnet.device import array_module
from scratchnet.ops.reductions import sum as sum_
from scratchnet.ops.registry import Bad, S, op
from scratchnet.ops.shape import squeeze, transpose, unsqueeze
from scratchnet.recording import constant
from scratchnet.tensor import Tensor


def _matmul_a(g, a_shape, b):
    """g b^T, where vectors stand for the rows and columns that matmul drops from its result."""
    if b.ndim == 1:
        g, b = unsqueeze(g, -1), unsqueeze(b, -1)
    if len(a_shape) == 1:
        return squeeze(matmul(unsqueeze(g, -2), transpose(b, -1, -2)), -2)
    return matmul(g, transpose(b, -1, -2))


def _matmul_b(g, a, b_shape):
    """a^T g."""
    if a.ndim == 1:
        g, a = unsqueeze(g, -1 if len(b_shape) == 1 else -2), unsqueeze(a, -2)
    if len(b_shape) == 1:
        return squeeze(matmul(transpose(a, -1, -2), g if a.ndim == g.ndim else unsqueeze(g, -1)), -1)
    return matmul(transpose(a, -1, -2), g)


def _matmul_by_loops(a, b):
    a2, b2 = np.atleast_2d(a), b if b.ndim > 1 else b[:, None]
    batch = np.broadcast_shapes(a2.shape[:-2], b2.shape[:-2])
    a2, b2 = np.broadcast_to(a2, batch + a2.shape[-2:]), np.broadcast_to(b2, batch + b2.shape[-2:])
    out = np.zeros((*batch, a2.shape[-2], b2.shape[-1]))
    for i in np.ndindex(out.shape):
        out[i] = sum(a2[(*i[:-1], k)] * b2[(*i[:-2], k, i[-1])] for k in range(a2.shape[-1]))
    return out.reshape(batch + a.shape[-2:-1] + b.shape[-1:] * (b.ndim > 1))


@op(
    vjp={"a": _matmul_a, "b": _matmul_b},
    broadcasts=True,
    samples=lambda r: [
        S(r.normal(2, 3), r.normal(3, 4)),
        S(r.normal(2, 1, 2, 3), r.normal(4, 3, 2)),
        S(r.normal(3), r.normal(3)),
        S(r.normal(2, 3), r.normal(3)),
        S(r.normal(3), r.normal(2, 3, 4)),
        S(r.normal(2, 3, 4), r.normal(4)),
        S(r.normal(0, 3), r.normal(3, 2)),
    ],
    reference=_matmul_by_loops,
    errors=lambda r: [
        Bad(ValueError, r"\(2, 3\).*\(4, 5\)", S(r.normal(2, 3), r.normal(4, 5))),
        Bad(ValueError, "0-d", S(r.normal(), r.normal(2, 2))),
        Bad(ValueError, r"\(2, 2, 3\).*\(3, 3, 2\)", S(r.normal(2, 2, 3), r.normal(3, 3, 2))),
    ],
    degree=1,
)
def matmul(a, b, /):
    """Matrix product (..., n, k) @ (..., k, m) with broadcasting batch axes; 1-d arguments are vectors."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: 0-d operands have no product, got shapes {a.shape} and {b.shape}")
    try:
        if a.ndim == b.ndim == 2 and a.dtype.kind == b.dtype.kind == "f":
            return kernels.matmul(a, b)
        return np.matmul(a, b)
    except ValueError:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit") from None


@op(
    vjp={
        "input": lambda g, weight: matmul(g, weight),
        "weight": lambda g, input: matmul(transpose(g, 0, 1), input),
        "bias": lambda g: sum_(g, 0),
    },
    samples=lambda r: [S(r.normal(2, 3), r.normal(4, 3), r.normal(4)), S(r.normal(1, 1), r.normal(2, 1), r.normal(2))],
    reference=lambda x, w, bias: _matmul_by_loops(x, w.T) + bias,
    errors=lambda r: [
        Bad(ValueError, r"\(2, 3\).*\(4, 5\)", S(r.normal(2, 3), r.normal(4, 5), r.normal(4))),
        Bad(ValueError, r"\(2, 3\).*\(4, 3\).*\(3,\)", S(r.normal(2, 3), r.normal(4, 3), r.normal(3))),
    ],
)
def linear(input, weight, bias, /):
    """input weight^T + bias, in one pass over the output: (N, in), (out, in) and (out,) to (N, out)."""
    if not (input.ndim == weight.ndim == 2 and input.shape[1:] == weight.shape[1:] and bias.shape == weight.shape[:1]):
        given = f"{input.shape}, {weight.shape} and {bias.shape}"
        raise ValueError(f"linear: expected input (N, in), weight (out, in) and bias (out,), got {given}")
    return kernels.matmul(input, weight.T, bias)


def _parse(equation, operands):
    """Input subscripts and output subscripts; without ``->`` the output is what occurs once, sorted."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        right = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} has {len(terms)} operands, {len(operands)} were given")
    for term, operand in zip(terms, operands, strict=True):
        if (not term.isalpha() and term) or len(set(term)) != len(term):
            raise ValueError(f"einsum: each operand needs distinct letters, got {term!r} in {equation!r}")
        if len(term) != operand.ndim:
            raise ValueError(f"einsum: {term!r} names {len(term)} axes, its operand has shape {operand.shape}")
    sizes = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            if size != (known := sizes.setdefault(letter, size)):
                raise ValueError(f"einsum: {letter!r} is {known} in one operand of {equation!r} and {size} in another")
    unknown = [letter for letter in right if letter not in sizes or right.count(letter) > 1]
    if unknown:
        raise ValueError(f"einsum: the result of {equation!r} has {unknown[0]!r} twice, or no operand has it")
    return terms, right


def _einsum_vjp(g, operands, equation, shapes, needs):
    terms, right = _parse(equation, operands)
    pieces = []
    for i, (term, need) in enumerate(zip(terms, needs, strict=True)):
        if not need:
            pieces.append(None)
            continue
        others = [(t, x) for j, (t, x) in enumerate(zip(terms, operands, strict=True)) if j != i]
        lost = [c for c in term if c not in right and not any(c in t for t, _ in others)]
        for c in lost:  # an axis that was only summed over: its gradient repeats along it
            others.append((c, Tensor(constant(array_module(g.data).ones(shapes[i][term.index(c)], g.dtype)))))
        subscripts = ",".join([right, *(t for t, _ in others)]) + "->" + term
        pieces.append(_einsum([g, *(x for _, x in others)], subscripts))
    return tuple(pieces)


@op(
    vjp=_einsum_vjp,
    samples=lambda r: [
        S(r.normal(2, 3), r.normal(3, 4), equation="ij,jk->ik"),
        S(r.normal(2, 3), equation="ij->j"),
        S(r.normal(2, 3), r.normal(2), r.normal(3), equation="ij,i,j"),
        S(r.normal(2, 3, 4), r.normal(2, 4, 5), equation="bij,bjk->bki"),
    ],
    reference=lambda *operands, equation: np.einsum(equation, *operands, optimize=False),
    errors=lambda r: [
        Bad(ValueError, "2 operands, 1", S(r.normal(2), equation="i,i->")),
        Bad(ValueError, r"'i'.*\(2, 3\)", S(r.normal(2, 3), equation="i->i")),
        Bad(ValueError, "distinct letters", S(r.normal(2, 2), equation="ii->i")),
    ],
    degree=1,
)
def _einsum(*operands, equation):
    """Sum of products over named axes."""
    _parse(equation, operands)
    return np.einsum(equation, *operands, optimize=len(operands) > 2)


def einsum(equation, *operands):
    """Sum of products over named axes: ``einsum("ij,jk->ik", a, b)``. No repeated letters in one operand.

    Axes of one letter have one size: nothing broadcasts.

    Raises:
        ValueError: the equation does not fit the operands.
    """
    return _einsum(operands, equation)
