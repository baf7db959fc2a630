"""Tests generated from the op registry: a new op is tested as soon as it is declared."""

import zlib

import numpy as np
import pytest

from scratchnet import autograd
from scratchnet.ops import OPS
from scratchnet.ops.registry import Draw
from scratchnet.tensor import Tensor
from scratchnet.testing import gradcheck, gradgradcheck


def draw(op):
    return Draw(np.random.default_rng(zlib.crc32(op.name.encode())))


def each(make, only=lambda op: True):
    """A parameter for every op and every entry that ``make(op)`` lists."""
    return [
        pytest.param(op, entry, id=f"{op.name}-{k}")
        for op in OPS.values()
        if only(op)
        for k, entry in enumerate(make(op))
    ]


def samples(op):
    return op.samples(draw(op))


def call(op, sample, arrays=None):
    tensors = [a if isinstance(a, Tensor) else Tensor(a) for a in (sample.arrays if arrays is None else arrays)]
    return op(tensors, **sample.params) if op.variadic else op(*tensors, **sample.params)


def function_of(op, sample):
    return lambda *tensors: call(op, sample, tensors)


def differentiable(op):
    return op.differentiable


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_record_is_complete(op):
    assert op.__doc__, "a docstring with the formula"
    assert list(samples(op)), "at least one sample"
    assert op.reference is not None, "a reference"


@pytest.mark.parametrize(("op", "sample"), each(samples))
def test_forward_equals_reference(op, sample):
    out = call(op, sample)
    expected = np.asarray(op.reference(*sample.arrays, **sample.params))
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.data, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_first_order_gradient(op, sample):
    assert gradcheck(function_of(op, sample), sample.arrays)


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_second_order_gradient(op, sample):
    assert gradgradcheck(function_of(op, sample), sample.arrays)


def as_float32(arrays):
    return [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]


@pytest.mark.parametrize(("op", "sample"), each(samples, differentiable))
def test_float32_stays_float32(op, sample):
    if op.name == "astype":
        pytest.skip("astype is the op that changes the dtype")
    tensors = [Tensor(a, requires_grad=a.dtype == np.float32) for a in as_float32(sample.arrays)]
    out = call(op, sample, tensors)
    assert out.dtype == np.float32
    inputs = [t for t in tensors if t.requires_grad]
    once = autograd.grad(out, inputs, Tensor(np.ones_like(out.data)), create_graph=True, allow_unused=True)
    assert all(g is None or g.dtype == np.float32 for g in once)
    again = [g.sum() for g in once if g is not None and g.requires_grad]
    for g in autograd.grad(again, inputs, allow_unused=True) if again else ():
        assert g is None or g.dtype == np.float32


def scattered(array):
    """The same values in memory that is neither C nor Fortran ordered."""
    room = np.full([2 * n for n in array.shape], array.dtype.type(0), array.dtype)
    view = room[(..., *(slice(None, None, 2) for _ in array.shape))]
    view[...] = array
    return view


@pytest.mark.parametrize(("op", "sample"), each(samples))
def test_layout_of_inputs_does_not_matter_and_they_stay_unchanged(op, sample):
    expected = call(op, sample).data
    for layout in (scattered, np.asfortranarray):
        arrays = [layout(a) for a in sample.arrays]
        before = [a.copy() for a in arrays]
        for a in arrays:
            a.flags.writeable = False
        tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        out = call(op, sample, tensors)
        np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-14)
        if out.requires_grad:
            out.backward(Tensor(np.ones_like(out.data)))
        for a, b in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("op", "bad"), each(lambda op: op.errors(draw(op))))
def test_wrong_calls_are_refused_in_words(op, bad):
    with pytest.raises(bad.error, match=rf"(?s){bad.match}"):
        call(op, bad.sample)


@pytest.mark.parametrize(("op", "kink"), each(lambda op: op.kinks))
def test_declared_gradient_at_kinks(op, kink):
    tensors = [Tensor(a, requires_grad=True) for a in kink.sample.arrays]
    out = call(op, kink.sample, tensors)
    gradients = autograd.grad(out, tensors, Tensor(np.ones_like(out.data)))
    for g, expected in zip(gradients, kink.gradients, strict=True):
        np.testing.assert_array_equal(g.data, expected, err_msg=kink.where)


@pytest.mark.parametrize(("op", "sample"), each(lambda op: list(samples(op))[:1], lambda op: not op.variadic))
def test_unknown_arguments_are_refused(op, sample):
    with pytest.raises(TypeError, match="unknown arguments"):
        op(*map(Tensor, sample.arrays), **sample.params, surprise=1)
