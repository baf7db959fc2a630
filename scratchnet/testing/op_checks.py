"""What every op must stand up to: one function a question, asked of an op on one of its samples.

The generated tests call these, and so does the mutation run (``scratchnet.testing.mutate``), which plants faults in
an op and counts how many of them the very same checks find. Each function raises AssertionError, or whatever the
faulty op itself raises, and returns nothing.
"""

import zlib

import numpy as np

from scratchnet import autograd
from scratchnet.ops.registry import Draw, Kink, Op, S
from scratchnet.tensor import Tensor
from scratchnet.testing.gradcheck import gradcheck, gradgradcheck


def draw(op: Op) -> Draw:
    """The source of an op's random samples, seeded by its name: the same in every run and on every machine."""
    return Draw(np.random.default_rng(zlib.crc32(op.name.encode())))


def samples(op: Op) -> list[S]:
    """The op's sample calls."""
    return list(op.samples(draw(op)))


def call(op: Op, sample: S, values=None) -> Tensor:
    """``op`` on the sample's arrays, or on ``values`` (arrays or tensors) in their place."""
    tensors = [v if isinstance(v, Tensor) else Tensor(v) for v in (sample.arrays if values is None else values)]
    return op(tensors, **sample.params) if op.variadic else op(*tensors, **sample.params)


def check_value(op: Op, sample: S) -> None:
    """The result has the reference's shape and, to 1e-10, its values."""
    out = call(op, sample)
    expected = np.asarray(op.reference(*sample.arrays, **sample.params))
    assert out.shape == expected.shape, f"{op.name}: shape {out.shape}, the reference's is {expected.shape}"
    np.testing.assert_allclose(out.data, expected, rtol=1e-10, atol=1e-12)


def check_first_order(op: Op, sample: S) -> None:
    """``gradcheck``, where the op is differentiable."""
    if op.differentiable:
        assert gradcheck(lambda *xs: call(op, sample, xs), sample.arrays)


def check_second_order(op: Op, sample: S) -> None:
    """``gradgradcheck``, where the op is differentiable; and what it differentiates is the gradient.

    Recording the backward pass must not change its values: ``gradgradcheck`` alone would never notice a composite
    that is another function than its op.
    """
    if not op.differentiable:
        return
    cotangent = _cotangent(op, sample)
    _, plain = run(op, sample, sample.arrays, cotangent)
    _, recorded = run(op, sample, sample.arrays, cotangent, create_graph=True)
    _assert_close(recorded, plain, f"{op.name}: the gradient changes when its computation is recorded")
    assert gradgradcheck(lambda *xs: call(op, sample, xs), sample.arrays)


def check_dtype(op: Op, sample: S) -> None:
    """float32 in gives float32 out, where the op has no say in it, and float32 gradients of first and second order."""
    if not op.differentiable:
        return
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in sample.arrays]
    tensors = [Tensor(a, requires_grad=a.dtype == np.float32) for a in arrays]
    out = call(op, sample, tensors)
    assert out.dtype == np.float32 or "dtype" in op.plain, f"{op.name}: {out.dtype} from float32 inputs"
    inputs = [t for t in tensors if t.requires_grad]
    once = autograd.grad(out, inputs, Tensor(np.ones_like(out.data)), create_graph=True, allow_unused=True)
    again = [g.sum() for g in once if g is not None and g.requires_grad]
    twice = autograd.grad(again, inputs, allow_unused=True) if again else ()
    for order, gradients in (("first", once), ("second", twice)):
        for g in gradients:
            assert g is None or g.dtype == np.float32, f"{op.name}: {g.dtype} gradient of {order} order"


def scattered(array: np.ndarray) -> np.ndarray:
    """The same values in memory that is neither C nor Fortran ordered."""
    room = np.full([2 * n for n in array.shape], array.dtype.type(0), array.dtype)
    view = room[(..., *(slice(None, None, 2) for _ in array.shape))]
    view[...] = array
    return view


def fortran_ordered(array: np.ndarray) -> np.ndarray:
    """The same values with the first axis contiguous."""
    return np.array(array, order="F")


LAYOUTS = (scattered, fortran_ordered)


def check_purity_and_layout(op: Op, sample: S) -> None:
    """Nothing depends on the strides of inputs and cotangent, and neither pass writes into them.

    Result and gradients are compared with those for contiguous arrays; the arrays are read-only meanwhile.
    """
    cotangent = _cotangent(op, sample)
    out, gradients = run(op, sample, sample.arrays, cotangent)
    for layout in LAYOUTS:
        given = [layout(a) for a in (*sample.arrays, cotangent)]
        before = [a.copy() for a in given]
        for a in given:
            a.flags.writeable = False
        same_out, same_gradients = run(op, sample, given[:-1], given[-1])
        _assert_close([same_out], [out], f"{op.name}: the result depends on strides")
        _assert_close(same_gradients, gradients, f"{op.name}: the gradient depends on strides")
        _assert_equal(given, before, f"{op.name}: an input or the cotangent was written into")


def check_independence(op: Op, sample: S) -> None:
    """What a call returns and keeps is its own: to use the op on other values changes nothing about it."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in sample.arrays]
    cotangent = _cotangent(op, sample)
    out = call(op, sample, tensors)
    result = out.data.copy()
    gradients = gradients_of(out, tensors, cotangent)
    expected = [g.copy() for g in gradients]
    run(op, sample, [np.flip(a) for a in sample.arrays], np.flip(cotangent))
    _assert_equal([out.data, *gradients], [result, *expected], f"{op.name}: changed by another call")
    again = gradients_of(out, tensors, cotangent)
    _assert_equal(again, expected, f"{op.name}: the gradient is another one after another call")


def run(op: Op, sample: S, arrays, cotangent: np.ndarray, **options) -> tuple[np.ndarray, list[np.ndarray]]:
    """The op's result on ``arrays``, and its gradients for ``cotangent`` with the options of ``autograd.grad``."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    out = call(op, sample, tensors)
    return out.data, gradients_of(out, tensors, cotangent, **options)


def gradients_of(out: Tensor, tensors, cotangent: np.ndarray, **options) -> list[np.ndarray]:
    """The gradients that reach those of the tensors that require one."""
    if not out.requires_grad:
        return []
    inputs = [t for t in tensors if t.requires_grad]
    options = {"retain_graph": True, "allow_unused": True} | options
    return [g.data for g in autograd.grad(out, inputs, Tensor(cotangent), **options) if g is not None]


def _cotangent(op, sample) -> np.ndarray:
    out = call(op, sample).data
    return draw(op).normal(*out.shape).astype(out.dtype)


def _assert_equal(found, expected, message) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=message)


def _assert_close(found, expected, message) -> None:
    """Equal but for rounding: to 1e-12 of the largest value, and to what cancels among numbers of size 1."""
    for a, b in zip(found, expected, strict=True):
        largest = np.abs(b[np.isfinite(b)]).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * largest + 1e-14, err_msg=message)


def check_kinks(op: Op, kink: Kink) -> None:
    """Exactly at a declared kink, for a cotangent of ones, the gradients are the declared ones."""
    tensors = [Tensor(a, requires_grad=True) for a in kink.sample.arrays]
    out = call(op, kink.sample, tensors)
    gradients = autograd.grad(out, tensors, Tensor(np.ones_like(out.data)))
    for g, expected in zip(gradients, kink.gradients, strict=True):
        np.testing.assert_array_equal(g.data, expected, err_msg=kink.where)
