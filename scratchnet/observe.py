"""Watch ops run: forward, and inside which op's backward pass. Costs nothing where nobody watches."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import kernels
from scratchnet.device import on_host, to_device
from scratchnet.recording import here
from scratchnet.tensor import Tensor

Callback = Callable[[str, Tensor, list], None]


@contextmanager
def observe_ops(callback: Callback) -> Iterator[None]:
    """Inside the block, call ``callback(name, result, inputs)`` after every op that this thread runs.

    ``name`` is that of the op, such as "conv2d", or "conv2d_weight in the backward pass of conv2d". The op's inputs are
    tensors. Of a captured function the same ops are seen, its results outside the graph; it is faster if the callback
    is a ``borrowing`` one.
    """
    before = here.watchers
    here.watchers = (*before, callback)
    try:
        yield
    finally:
        here.watchers = before


def borrowing(callback: Callback) -> Callback:
    """Mark a callback that has let go of all arrays when it returns: they may be written over then."""
    callback.borrows = True
    return callback


def is_watched() -> bool:
    """Whether somebody watches the ops of this thread."""
    return bool(here.watchers)


class AnomalyError(ArithmeticError):
    """A NaN or an infinity, with the name of the op that made it."""


# Finite inputs give these finite results, so what they were given is all there is to check.
_HARMLESS = """
    abs adaptive_max_pool2d alias amax amin cat clamp clone cos elu embedding erf expand flip gather gather2d gelu
    getitem hardtanh index_put leaky_relu leaky_relu_backward logsigmoid masked_fill max_pool2d max_pool2d_relu
    maximum minimum neg pad permute pixel_shuffle pixel_unshuffle relu relu_backward reshape roll sigmoid sign silu
    sin softmax softplus squeeze stack tanh transpose unfold unsqueeze where
"""
_HARMLESS = frozenset(_HARMLESS.split())


@borrowing
def refuse_nonfinite(name: str, result: Tensor, inputs) -> None:
    """A callback for ``observe_ops``: raise AnomalyError where an op's result holds a NaN or an infinity.

    It reads results once more, for a sum, which finite numbers almost never bring to infinity. On a GPU, which a look
    at every sum would keep waiting, it looks at 64 at a time: the op is named, but up to 63 ops later.
    """
    array = result.data
    if name.partition(" ")[0] in _HARMLESS:
        return
    if not on_host(array):
        return _refuse_later(name, array, inputs)
    if array.dtype.kind != "f" or _has_finite_sum(array) or np.isfinite(array).all():
        return
    bad = int(array.size - np.isfinite(array).sum())
    what = "NaN" if np.isnan(array).any() else "infinity"
    given = ", ".join(str(tuple(x.shape)) for x in inputs if hasattr(x, "shape"))
    guilty = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and not np.isfinite(x.data).all()]
    if guilty:
        shapes = ", ".join(f"input {i} of shape {tuple(inputs[i].shape)}" for i in guilty)
        raise AnomalyError(f"{name}: its {shapes} held NaN or infinity already, and so does its result")
    raise AnomalyError(
        f"{name}: made {what} ({bad} of {array.size} values are not finite) from finite inputs of shapes {given}"
    )


class _Unread(threading.local):
    sums: tuple = ()  # (name of the op, its result's sum on the GPU, shapes of its inputs)


_unread = _Unread()


def _refuse_later(name: str, array, inputs) -> None:
    if array.dtype.kind != "f":
        return
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs if hasattr(x, "shape"))
    _unread.sums = (*_unread.sums, (name, array.sum(dtype=np.float64), shapes))
    if len(_unread.sums) < 64:
        return
    sums, _unread.sums = _unread.sums, ()
    finite = to_device(np.isfinite(np.stack([total for _, total, _ in sums])), "cpu")
    for (op, _, given), sound in zip(sums, finite, strict=True):
        if not sound:
            raise AnomalyError(f"{op}: its result holds NaN or infinity; its inputs have shapes {given}")


def _has_finite_sum(array) -> bool:
    with np.errstate(all="ignore"):
        if array.ndim == 4 and array.strides[1] == array.itemsize:
            array = kernels.channel_sum(array)  # channels-last images, by all threads: 0.4 of NumPy's time
        return bool(np.isfinite(array.sum()))
