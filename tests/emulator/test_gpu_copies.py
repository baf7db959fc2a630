"""Row-major copies on the device: the reference's bits, whatever the strides, and nothing read behind the array."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import kernels
from tests.emulator.device import to_device
from tests.emulator.emulate import _Guarded
from tests.emulator.on_device import orders, reference, run
from tests.kernels import kernel_cases as cases

VIEWS = {
    "row-major": lambda x: x,
    "channels last": lambda x: cases.lay_out(x, "channels_last"),
    "channels last, some images": lambda x: cases.lay_out(x, "channels_last")[::-2],
    "channels last, some pixels": lambda x: cases.lay_out(x, "channels_last")[:, :, 1:, ::2],
    "channels first, seen as last": lambda x: x.transpose(0, 2, 3, 1),
    "all axes reversed": lambda x: x[::-1, ::-1, ::-1, ::-1],
    "column-major": lambda x: x.copy(order="F"),
    "channels outermost": lambda x: x.swapaxes(0, 1).copy().swapaxes(0, 1),
    "a number for each channel": lambda x: np.broadcast_to(x[:1, :, :1, :1], x.shape),
    "an image for all": lambda x: np.broadcast_to(cases.lay_out(x, "channels_last")[:1], x.shape),
    "one number for all": lambda x: np.broadcast_to(x[:1, :1, :1, :1], x.shape),
    "matrix, transposed": lambda x: x.reshape(x.shape[0] * x.shape[1], -1).T,
    "vector, reversed": lambda x: x.reshape(-1)[::-1],
    "number": lambda x: x[1, 0, 0, :1].reshape(()),
}


@st.composite
def views(draw):
    """Up to four axes in any order in memory, each walked forwards, backwards, in larger steps or not at all."""
    long, short = st.sampled_from((1, 2, 31, 32, 33, 67)), st.integers(1, 3)
    shape = draw(st.permutations([draw(size) for size in (long, long, short, short)]))[: draw(st.integers(0, 4))]
    memory = np.random.default_rng(draw(cases.seeds)).normal(size=shape).astype(draw(cases.dtypes))
    memory = memory.transpose(draw(st.permutations(range(memory.ndim))))
    steps = [draw(st.sampled_from((1, 1, -1, 2, -3, 0))) for _ in shape]
    walked = memory[(*(slice(None, None, step or None) for step in steps), ...)]
    strides = [stride if step else 0 for stride, step in zip(walked.strides, steps, strict=True)]
    return as_strided(walked, strides=strides)


def check(x, order=0):
    found = run(kernels.contiguous, x, order=order)
    assert cases.same_bits(found, reference(kernels.contiguous, x))
    assert found.strides == np.empty(x.shape, x.dtype).strides
    assert not np.shares_memory(found, x)


@settings(max_examples=150)
@given(views(), orders)
def test_any_strides_give_the_bits_of_the_reference(x, order):
    check(x, order)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(3, 35, 9, 11), (2, 3, 36, 34), (3, 64, 8, 8), (5, 4, 1, 6)])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_copies_are_row_major_and_their_own(dtype, size, view):
    check(VIEWS[view](np.random.default_rng(0).normal(size=size).astype(dtype)))


@pytest.mark.parametrize("size", [(0, 3, 2, 2), (2, 0, 2, 2), (2, 3, 0, 2), (2, 3, 2, 0), (0, 3), (0,)])
def test_a_copy_of_nothing_is_nothing(size):
    check(np.ones(size, "float32"))
    check(np.ones(size, "float32").T)


@pytest.mark.parametrize("axes", [(0, 3, 1, 2), (0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
@pytest.mark.parametrize("size", [(4, 48, 4, 4), (2, 3, 35, 16), (3, 2, 20, 34)])
def test_nothing_is_read_behind_the_array(size, axes):
    """A launch gets the source's address in a struct, where the emulator does not see it: so it is guarded here."""
    x = np.random.default_rng(0).normal(size=size).astype("float32")
    guarded = _Guarded(x)
    try:
        memory = np.frombuffer((ctypes.c_char * x.nbytes).from_address(guarded.address), x.dtype)
        check(memory.reshape(size).transpose(axes))
    finally:
        guarded.release()


def test_an_array_of_five_axes_is_the_references():
    x = np.arange(32.0).reshape(2, 2, 2, 2, 2).T
    with kernels.use("cuda"):
        why = kernels.explain(kernels.contiguous, to_device(x))
    assert why.implementation == "reference" and "'cuda' cannot: an array must have at most 4 axes" in why.reason
    check(x)
