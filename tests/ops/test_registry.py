"""Tests generated from the op registry: a new op is tested as soon as it is declared.

What each sample is asked stands in ``scratchnet.testing.op_checks``, which the mutation run shares; dtypes, memory and
state are asked in ``test_mutants.py``.
"""

import numpy as np
import pytest

from scratchnet.ops import OPS
from scratchnet.tensor import Tensor
from scratchnet.testing import Verdict, check_gradients, gradcheck
from scratchnet.testing.op_checks import (
    call,
    check_first_order,
    check_kinks,
    check_second_order,
    check_value,
    draw,
    samples,
)


def each(make, only=lambda op: True):
    """A parameter for every op and every entry that ``make(op)`` lists."""
    return [
        pytest.param(op, entry, id=f"{op.name}-{k}")
        for op in OPS.values()
        if only(op)
        for k, entry in enumerate(make(op))
    ]


def differentiable(op):
    return op.differentiable


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_record_is_complete(op):
    assert op.__doc__, "a docstring with the formula"
    assert samples(op), "at least one sample"
    assert op.reference is not None, "a reference"


@pytest.mark.parametrize(("op", "sample"), each(samples))
def test_forward_equals_reference(op, sample):
    check_value(op, sample)


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_first_order_gradient(op, sample):
    check_first_order(op, sample)


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_second_order_gradient(op, sample):
    check_second_order(op, sample)


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_float32_gradient(op, sample):
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in sample.arrays]
    assert gradcheck(op, arrays, params=sample.params)


@pytest.mark.parametrize(("op", "sample"), each(samples, lambda op: op.degree == 1))
def test_what_is_declared_linear_is_linear(op, sample):
    """Checked at step 1, where a difference quotient is exact for linear functions only."""
    assert gradcheck(op, sample.arrays, params=sample.params, linear=True)
    for i, a in enumerate(sample.arrays):
        if a.dtype.kind == "f":
            ahead, behind, far = ([t * a if j == i else b for j, b in enumerate(sample.arrays)] for t in (2, 0, 5))
            step = call(op, sample, ahead).data - call(op, sample, behind).data
            expected = call(op, sample, behind).data + 2.5 * step
            np.testing.assert_allclose(call(op, sample, far).data, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("op", "bad"), each(lambda op: op.errors(draw(op))))
def test_wrong_calls_are_refused_in_words(op, bad):
    with pytest.raises(bad.error, match=rf"(?s){bad.match}"):
        call(op, bad.sample)


@pytest.mark.parametrize(("op", "kink"), each(lambda op: op.kinks))
def test_declared_gradient_at_kinks(op, kink):
    check_kinks(op, kink)


@pytest.mark.parametrize(("op", "kink"), each(lambda op: op.kinks))
def test_declared_kinks_are_kinks(op, kink):
    verdicts = [check_gradients(op, kink.sample.arrays, params=kink.sample.params, order=n).verdict for n in (1, 2)]
    assert verdicts[kink.order - 1] is Verdict.KINK
    assert kink.order == 1 or verdicts[0] is Verdict.PASS


@pytest.mark.parametrize(("op", "sample"), each(lambda op: samples(op)[:1], lambda op: not op.variadic))
def test_unknown_arguments_are_refused(op, sample):
    with pytest.raises(TypeError, match="unknown arguments"):
        op(*map(Tensor, sample.arrays), **sample.params, surprise=1)


def test_ops_warn_of_nothing_and_leave_numpys_warnings_as_they_were():
    with np.errstate(all="raise"):
        assert OPS["log"](Tensor(np.zeros(1))).item() == -np.inf
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))
        with pytest.raises(ValueError, match="broadcast"):
            OPS["add"](Tensor(np.zeros(2)), Tensor(np.zeros(3)))
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))


def test_neither_numbers_made_tensors_nor_gradients_warn():
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    with np.errstate(all="raise"):
        y = OPS["clamp"](x, 0, 1e300)
        assert OPS["add"](y, 1e39).tolist() == [np.inf, np.inf]
        y.sum().backward()
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))
    assert x.grad.tolist() == [1, 1]


def test_ops_of_lists_remember_none_of_their_lengths():
    x = Tensor(np.ones(2), requires_grad=True)
    for count in range(1, 5):
        OPS["cat"]([x] * count, 0)
    assert not OPS["cat"]._kept
