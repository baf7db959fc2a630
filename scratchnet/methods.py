"""The operators and methods of Tensor: a table. Each delegates to the op of the same meaning.

Methods that take several sizes or axes accept them one by one as well, as PyTorch's do: ``x.reshape(2, 3)``.
Methods ending in ``_`` write in place, which only tensors outside a graph allow.
"""

import operator
import weakref

import numpy as np

from scratchnet import autograd, ops, random
from scratchnet.device import array_module, device, device_of, on_host, one_device, to_device
from scratchnet.errors import explained
from scratchnet.ops.transfer import transfer
from scratchnet.recording import call, constant, here, noted
from scratchnet.tensor import Tensor


def _swapped(op):
    return lambda self, other: op(other, self)


def _sizes(op):
    """Let a method take its one tuple argument spread out."""

    def method(self, *sizes):
        return op(self, tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes)

    method.__doc__ = op.__doc__
    return method


def _method(op):
    def method(self, *args, **params):
        return op(self, *args, **params)

    method.__doc__ = op.__doc__
    method.__name__ = op.__name__
    return method


_OPERATORS = {
    "__neg__": ops.neg,
    "__abs__": ops.abs,
    "__add__": ops.add,
    "__sub__": ops.sub,
    "__mul__": ops.mul,
    "__truediv__": ops.div,
    "__pow__": ops.pow,
    "__matmul__": ops.matmul,
    "__eq__": ops.equal,
    "__ne__": ops.not_equal,
    "__lt__": ops.less,
    "__le__": ops.less_equal,
    "__gt__": ops.greater,
    "__ge__": ops.greater_equal,
    "__and__": ops.logical_and,
    "__or__": ops.logical_or,
    "__invert__": ops.logical_not,
}
_SWAPPED = {
    "__radd__": ops.add,
    "__rsub__": ops.sub,
    "__rmul__": ops.mul,
    "__rtruediv__": ops.div,
    "__rpow__": ops.pow,
    "__rmatmul__": ops.matmul,
}
_SPREAD = {
    "reshape": ops.reshape,
    "view": ops.reshape,
    "permute": ops.permute,
    "expand": ops.expand,
    "flip": ops.flip,
}
_METHODS = (
    *("abs", "clamp", "cos", "exp", "expm1", "isnan", "log", "log1p", "neg", "pow", "sign", "sin", "sqrt", "square"),
    *("add", "div", "maximum", "minimum", "mul", "sub", "masked_fill", "matmul"),
    *("amax", "amin", "argmax", "argmin", "cumsum", "logsumexp", "max", "mean", "min", "sum", "var"),
    *("relu", "sigmoid", "tanh", "softmax", "log_softmax"),
    *("chunk", "clone", "flatten", "gather", "roll", "split", "squeeze", "transpose", "unbind", "unsqueeze"),
)

for _name, _op in _OPERATORS.items():
    setattr(Tensor, _name, _method(_op))
for _name, _op in _SWAPPED.items():
    setattr(Tensor, _name, _swapped(_op))
for _name, _op in _SPREAD.items():
    setattr(Tensor, _name, _sizes(_op))
for _name in _METHODS:
    setattr(Tensor, _name, _method(getattr(ops, _name)))

Tensor.__hash__ = object.__hash__
Tensor.T = property(lambda self: ops.permute(self, tuple(range(self.ndim))[::-1]))
Tensor.mT = property(lambda self: ops.transpose(self, -1, -2))


def _index(index):
    """Tensors inside an index as their arrays."""
    if isinstance(index, tuple):
        return tuple(_index(i) for i in index)
    if isinstance(index, Tensor):
        if here.tape is not None:
            here.tape.place(index)
        return index.data
    return constant(np.asarray(index)) if isinstance(index, list) else index


def _getitem(self, index):
    try:
        index = _index(index)
    except ValueError:
        raise IndexError(f"getitem: the rows of the list in index {index} are of unequal length") from None
    return ops.getitem(self, index=index)


def std(self, dim=None, correction=1, keepdim=False):
    """Square root of ``var``."""
    return ops.sqrt(ops.var(self, dim, correction, keepdim))


def astype(self, dtype):
    """A tensor of another dtype; itself where it has that dtype. Differentiable between floating dtypes."""
    return self if self.dtype == np.dtype(dtype) else ops.astype(self, np.dtype(dtype))


def to(self, *args, device=None, dtype=None):
    """This tensor on another device ("cpu", "cuda"), in another dtype, or like another tensor; itself if so it is.

    Differentiable: the gradient returns to where this tensor is.

    Raises:
        ValueError: there is no such device or dtype.
        RuntimeError: "cuda" cannot be used here; the message says what is missing.
    """
    for value in args:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, str) and value not in np.sctypeDict:
            device = value
        else:
            dtype = value
    place = self.device if device is None else _place("to", device)
    result = self if dtype is None else astype(self, dtype)
    return result if result.device == place else transfer(result, device=place, back=result.device)


def _place(method, name):
    if isinstance(name, str) and name.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"{method}: expected a device ('cpu', 'cuda') or a dtype, got {name!r}")
    return device(name)


def contiguous(self):
    """The same values in C order."""
    if self.data.flags.c_contiguous:
        return self
    return Tensor(_contiguous(self), node=self.node)


@noted
def _contiguous(array):
    return array_module(array).ascontiguousarray(array)


def backward(self, gradient=None, retain_graph=None, create_graph=False):
    """Add this tensor's gradient with respect to every leaf to that leaf's ``grad``; see ``autograd.backward``."""
    autograd.backward(self, gradient, retain_graph, create_graph)


def register_hook(self, hook):
    """Call ``hook(grad)`` when this tensor's gradient is known; what it returns, unless None, takes its place.

    Returns a function that removes the hook.
    """
    if self.node is None:
        raise RuntimeError("register_hook: the tensor does not require a gradient")
    hooks = self.node.hooks
    hooks.append(hook)
    return lambda: hooks.remove(hook)


def retain_grad(self):
    """Let ``backward`` fill ``grad`` of this tensor although it is no leaf."""
    if self.is_leaf:
        return
    reference = weakref.ref(self)

    def keep(g):
        tensor = reference()
        if tensor is not None:
            tensor.grad = g.clone() if tensor.grad is None else tensor.grad + g

    self.register_hook(keep)


def _write(self, index, value, method):
    """The one place where a tensor's memory is written, and its version with it. ``value`` may be on another device."""
    if self.requires_grad and autograd.is_grad_enabled():
        raise RuntimeError(
            f"{method}: a tensor that requires a gradient cannot be written in place; use no_grad() or an op without _"
        )
    index = _index(index)
    if here.tape is not None:
        here.tape.refuse_writing(self, method)
    try:
        _with(_assign, self, value, index=index, version=self.version)
    except (ValueError, IndexError) as error:
        raise type(error)(f"{method}: {error} (tensor of shape {self.shape})") from None
    return self


def _with(function, self, other, /, **params):
    """``call(function, ...)`` where the second argument may be a number, which is no array."""
    if hasattr(other, "dtype") and not isinstance(other, np.generic):
        return call(function, [self, other], **params)
    return call(function, [self], other=other, **params)


def _assign(array, other, index, version):
    other = _weak(other)
    array[index] = to_device(other, device_of(array)) if hasattr(other, "dtype") else other
    version[0] += 1


def _here(self, value, method, name="value"):
    """A tensor as its array; raises TypeError where it is on another device and no number."""
    value = value.data if isinstance(value, Tensor) else value
    if hasattr(value, "dtype") and not (value.ndim == 0 and on_host(value)):
        one_device(method, {"self": self.device, name: device_of(value)})
    return value


def _weak(value):
    """An array without dimensions as a number, which takes another array's dtype."""
    return value.item() if hasattr(value, "dtype") and value.ndim == 0 and on_host(value) else value


def _setitem(self, index, value):
    _write(self, index, _here(self, value, "assignment"), "assignment")


_setitem.__name__ = "assignment"


def copy_(self, source):
    """Overwrite with the values of ``source``, which must broadcast to this shape and may be on another device."""
    return _write(self, ..., source, "copy_")


def fill_(self, value):
    """Overwrite every element."""
    return _write(self, ..., value, "fill_")


def zero_(self):
    """Overwrite every element with 0."""
    return _write(self, ..., 0, "zero_")


def _augmented(name, function):
    def method(self, other):
        return _write(self, ..., _with(_combined, self, _here(self, other, name, "other"), operator=function), name)

    method.__name__ = name
    method.__doc__ = f"In place {function.__name__} of a tensor or number."
    return method


def _combined(array, other, operator):
    return operator(array, _weak(other))


def clamp_(self, min=None, max=None):
    """Limit every element to [min, max] in place."""
    return _write(self, ..., call(_clipped, [self], low=min, high=max), "clamp_")


def _clipped(array, low, high):
    return np.clip(array, low, high)


def normal_(self, mean=0.0, std=1.0, generator=None):
    """Overwrite with normal numbers."""
    return _write(self, ..., random.draw("normal", mean, std, self.shape, generator=generator), "normal_")


def uniform_(self, low=0.0, high=1.0, generator=None):
    """Overwrite with uniform numbers from [low, high)."""
    return _write(self, ..., random.draw("uniform", low, high, self.shape, generator=generator), "uniform_")


for _function in (
    std,
    astype,
    to,
    contiguous,
    copy_,
    fill_,
    zero_,
    clamp_,
    normal_,
    uniform_,
    _augmented("add_", operator.add),
    _augmented("sub_", operator.sub),
    _augmented("mul_", operator.mul),
    _augmented("div_", operator.truediv),
):
    setattr(Tensor, _function.__name__, explained(_function))
for _function in (backward, register_hook, retain_grad):  # they run hooks, whose errors are the user's
    setattr(Tensor, _function.__name__, _function)
Tensor.size = explained(Tensor.size)
Tensor.__getitem__, Tensor.__setitem__ = _getitem, explained(_setitem)
Tensor.float = lambda self: astype(self, np.float32)
Tensor.double = lambda self: astype(self, np.float64)
Tensor.long = lambda self: astype(self, np.int64)
Tensor.bool = lambda self: astype(self, np.bool_)
