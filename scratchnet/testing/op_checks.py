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
    """``gradgradcheck``, where the op is differentiable."""
    if op.differentiable:
        assert gradgradcheck(lambda *xs: call(op, sample, xs), sample.arrays)


def check_dtype(op: Op, sample: S) -> None:
    """float32 in gives float32 out, and float32 gradients of first and second order."""
    if not op.differentiable or op.name == "astype":  # astype is the op that changes the dtype
        return
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in sample.arrays]
    tensors = [Tensor(a, requires_grad=a.dtype == np.float32) for a in arrays]
    out = call(op, sample, tensors)
    assert out.dtype == np.float32, f"{op.name}: {out.dtype} from float32 inputs"
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


def check_purity_and_layout(op: Op, sample: S) -> None:
    """Values do not depend on the inputs' strides, and neither pass writes into the inputs (they are read-only)."""
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


def check_kinks(op: Op, kink: Kink) -> None:
    """Exactly at a declared kink, for a cotangent of ones, the gradients are the declared ones."""
    tensors = [Tensor(a, requires_grad=True) for a in kink.sample.arrays]
    out = call(op, kink.sample, tensors)
    gradients = autograd.grad(out, tensors, Tensor(np.ones_like(out.data)))
    for g, expected in zip(gradients, kink.gradients, strict=True):
        np.testing.assert_array_equal(g.data, expected, err_msg=kink.where)
