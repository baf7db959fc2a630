"""Every op that is linear in each argument, on whole numbers: results and both orders of gradient, without tolerance.

Steps of 1 are exact there, so a difference quotient is the derivative itself, to the last bit.
"""

import zlib

import exact
import numpy as np
import pytest

from scratchnet.autograd import grad, no_grad
from scratchnet.ops import OPS
from scratchnet.ops.registry import Draw, S
from scratchnet.tensor import Tensor
from scratchnet.testing.strategies import distinct, integral

PICKERS = ["gather", "scatter_add", "gather2d", "gather2d_input", "embedding", "pad", "masked_fill", "where"]
MAXIMA = ["max_pool2d", "adaptive_max_pool2d", "amax", "amin"]  # linear while no maximum moves
SAMPLES = {  # in place of the registry's, whose weights are no dyadic fractions
    "mean": [S(np.ones((4, 2, 8)), dim=d, keepdim=k) for d, k in ((None, False), (1, True), ((0, 2), False))],
    "adaptive_avg_pool2d": [S(np.ones((2, 3, 8, 4)), output_size=(2, 4)), S(np.ones((1, 2, 6, 4)), output_size=(4, 2))],
    "interpolate": [
        S(np.ones((2, 3, 4, 5)), scale_factor=2, mode="bilinear"),
        S(np.ones((1, 2, 4, 8)), size=(8, 4), mode="bilinear"),
        S(np.ones((1, 2, 3, 5)), size=(5, 3), mode="bilinear", align_corners=True),
        S(np.ones((1, 2, 4, 5)), size=(7, 3)),
    ],
}


def whole(name, sample):
    """The sample's arrays; in place of floats whole numbers."""
    options = {} if name in MAXIMA else {"unit": exact.UNITS.get(name, 1)}
    make = distinct if name in MAXIMA else integral
    drawn = make(zlib.crc32(name.encode()), *(a.shape for a in sample.arrays), **options)
    return [new if old.dtype.kind == "f" else old for old, new in zip(sample.arrays, drawn, strict=True)]


CASES = [
    pytest.param(op, sample, id=f"{name}-{k}")
    for name, op in OPS.items()
    if op.degree == 1 or name in PICKERS + MAXIMA
    for k, sample in enumerate(SAMPLES.get(name) or op.samples(Draw(np.random.default_rng(0))))
]


def function_of(op, sample):
    return lambda *t: op(t, **sample.params) if op.variadic else op(*t, **sample.params)


def by_steps(functional, arrays, step):
    """The gradient of a function of arrays, affine in each, by differences."""
    start = functional(*arrays)
    for i, array in enumerate(arrays):
        if array.dtype.kind == "f":
            out = np.zeros(array.shape)
            for index in np.ndindex(array.shape):
                moved = array.copy()
                moved[index] += step
                out[index] = (functional(*arrays[:i], moved, *arrays[i + 1 :]) - start) / step
            yield out


def gradients(function, arrays, g):
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    return grad(function(*tensors), [t for t in tensors if t.requires_grad], Tensor(g))


def nonzero(arrays):
    """All but arrays of zeros, for which autograd may give nothing."""
    return [a for a in arrays if a.any()]


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_result_and_gradients_to_second_order_are_exact(op, sample):
    function, arrays, unit = function_of(op, sample), whole(op.name, sample), exact.UNITS.get(op.name, 1)
    out, *found = exact.derivatives(function, arrays, unit=unit)
    assert np.array_equal(out, op.reference(*arrays, **sample.params))

    floats = [a for a in arrays if a.dtype.kind == "f"]
    [g] = integral(1, out.shape, unit=unit)
    with no_grad():
        first = list(by_steps(lambda *a: (function(*map(Tensor, a)).data * g).sum(), arrays, unit))
    directions = integral(1, *(a.shape for a in floats), unit=unit)

    def along(g, *inputs):
        pieces = gradients(function, inputs, g)
        return sum((v * piece.data).sum() for v, piece in zip(directions, pieces, strict=True))

    by_g, *by_inputs = by_steps(along, [g, *arrays], unit)
    expected = nonzero([*first, *by_inputs, by_g])
    assert len(nonzero(found)) == len(expected)
    for a, b in zip(nonzero(found), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_float32_gives_the_same_numbers(op, sample):
    if op.name == "astype":
        pytest.skip("the op that changes the dtype")
    function, arrays, unit = function_of(op, sample), whole(op.name, sample), exact.UNITS.get(op.name, 1)
    single = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]
    found, expected = (exact.derivatives(function, a, unit=unit) for a in (single, arrays))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
