"""Constant matrices applied to rows and columns of small squares of vectors: the transforms of Winograd's convolution.

A plain loop over channels is not vectorised: LLVM gives up on the alias checks of 36 arrays, and takes two to three
times as long. So an intrinsic writes the instructions, one straight line for each matrix.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .cook_toom import matrices
from .emitter import Emitter, index


def _make_transform(name, matrix_of):
    """The intrinsic that applies the matrix M = matrix_of(outputs, taps) on both sides of squares.

    Its first two arguments are tuples, whose lengths are m and r of F(m, r): sizes travel in types, so that compiled
    code knows them and is cached for each.
    """

    def transform(typing_context, outputs, taps, source, s0, si, sj, target, t0, ti, tj, count):
        steps = [types.intp] * 3
        signature = types.void(outputs, taps, source, *steps, target, *steps, types.intp)
        matrix = matrix_of(len(outputs), len(taps))

        def codegen(context, builder, signature, args):
            emit = Emitter(context, builder, signature, args, element=signature.args[2].dtype)
            _, _, _, s0, si, sj, _, t0, ti, tj, count = args
            rows, columns = matrix.shape
            source, target = emit.address(2, s0), emit.address(6, t0)
            # The places are those of 2 n pointers that move along. Of 2 n^2 most would wait in memory between two uses:
            # layers take up to 1.05 times as long.
            sources = [emit.at(source, index(0), (i, si)) for i in range(columns)]
            targets = [emit.at(target, index(0), (j, tj)) for j in range(rows)]
            with cgutils.for_range_slice(builder, index(0), count, index(emit.lanes), index) as (c, _):
                half, at = [], c
                for _ in range(columns):
                    half.append(_combine(emit, matrix, [emit.load(place, at, emit.lanes) for place in sources]))
                    at = emit.opaque(builder.add(at, sj))
                at = c
                for i in range(rows):
                    values = _combine(emit, matrix, [column[i] for column in half])
                    for place, value in zip(targets, values, strict=True):
                        emit.store(value, place, at)
                    at = emit.opaque(builder.add(at, ti))
            return context.get_dummy_value()

        return signature, codegen

    transform.__name__ = name
    transform.__doc__ = """target[t0 + i ti + j tj + c] = sum over a, b of M[i, a] M[j, b] source[s0 + a si + b sj + c]

    for all c < count, a whole number of vectors."""
    return intrinsic(transform)


to_products = _make_transform("to_products", lambda m, r: matrices(m, r)[2])  # B^T d B
from_products = _make_transform("from_products", lambda m, r: matrices(m, r)[0])  # A^T (...) A
taps_to_products = _make_transform("taps_to_products", lambda m, r: matrices(m, r)[1])  # G g G^T
outputs_to_products = _make_transform("outputs_to_products", lambda m, r: matrices(m, r)[0].T)  # A y A^T
taps_from_products = _make_transform("taps_from_products", lambda m, r: matrices(m, r)[1].T)  # G^T (...) G


def _combine(emit, matrix, vectors):
    """matrix @ vectors. Columns, or rows, that differ in signs only share their sums and differences."""
    pairs = _pairs(matrix.T)
    if pairs:
        vectors, matrix = list(vectors), matrix.copy()
        for i, j in pairs:
            x, y = vectors[i], vectors[j]
            vectors[i], vectors[j] = emit.builder.fadd(x, y), emit.builder.fsub(x, y)
            p, q = matrix[:, i].copy(), matrix[:, j].copy()
            matrix[:, i], matrix[:, j] = (p + q) / 2, (p - q) / 2
        return [_sum(emit, row, vectors) for row in matrix]
    matrix, pairs = matrix.copy(), _pairs(matrix)
    for i, j in pairs:
        p, q = matrix[i].copy(), matrix[j].copy()
        matrix[i], matrix[j] = (p + q) / 2, (p - q) / 2
    out = [_sum(emit, row, vectors) for row in matrix]
    for i, j in pairs:
        out[i], out[j] = emit.builder.fadd(out[i], out[j]), emit.builder.fsub(out[i], out[j])
    return out


def _pairs(matrix):
    """Disjoint pairs of rows that agree but for the sign of some entries."""
    pairs, free = [], list(range(len(matrix)))
    while free:
        i = free.pop(0)
        for j in free:
            mixed = np.any(matrix[i] * matrix[j] > 0) and np.any(matrix[i] * matrix[j] < 0)
            if mixed and np.array_equal(np.abs(matrix[i]), np.abs(matrix[j])):
                pairs.append((i, j))
                free.remove(j)
                break
    return pairs


def _sum(emit, coefficients, vectors):
    """sum of coefficient * vector; factors of 1 and -1 cost an addition only."""
    terms = sorted((abs(abs(c) - 1), -c, k) for k, c in enumerate(coefficients) if c)
    total = None
    for _, negative, k in terms:
        factor, vector = -negative, vectors[k]
        if total is None:
            total = vector if factor == 1 else emit.builder.fmul(vector, emit.constant(factor))
        elif abs(factor) == 1:
            total = (emit.builder.fadd if factor == 1 else emit.builder.fsub)(total, vector)
        else:
            total = emit.multiply_add(vector, emit.constant(factor), total)
    return total
