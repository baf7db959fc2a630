"""What a graph is made of: tensors, the nodes behind them, and the arrays that nodes keep for the way back.

A Tensor is an array with a place in a graph. A Node is one application of an op; it points at the nodes of the
op's inputs and never at Tensors, so a graph is freed by reference counts as soon as its last Tensor goes.
"""

import functools
import itertools
import operator
import weakref

import numpy as np

from scratchnet.device import device_of, to_device
from scratchnet.recording import call, here, refuse

_sequence = itertools.count()
_default_dtype = np.dtype(np.float32)


def set_default_dtype(dtype) -> None:
    """Set the floating dtype of tensors made from Python numbers and of new parameters: float32 or float64."""
    global _default_dtype
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"set_default_dtype: expected float32 or float64, got {dtype}")
    _default_dtype = dtype


def get_default_dtype() -> np.dtype:
    """The floating dtype of tensors made from Python numbers."""
    return _default_dtype


class Node:
    """One op application: ``op`` on ``parents`` (None for an input without gradient), or a leaf where op is None.

    ``saved`` maps the names that the op's vector-Jacobian products ask for to Saved arrays; ``shapes`` are the
    input shapes; ``seq`` counts creations, so that a parent's number is always below its children's.
    """

    __slots__ = ("__weakref__", "hooks", "leaf", "op", "params", "parents", "saved", "seq", "shapes")

    def __init__(self, op, parents=(), shapes=(), saved=None, params=None, leaf=None):
        self.op = op
        self.parents = parents
        self.shapes = shapes
        self.saved = saved if saved is not None else {}
        self.params = params
        self.leaf = weakref.ref(leaf) if leaf is not None else None
        self.seq = next(_sequence)
        self.hooks = []

    @property
    def name(self) -> str:
        return self.op.name if self.op is not None else "leaf"

    def release(self) -> None:
        """Forget the saved arrays. None in their place tells a second backward pass that they are gone."""
        if self.saved:
            self.saved = None

    def __repr__(self):
        return f"<Node {self.name} #{self.seq}>"


class Saved:
    """An array kept for a backward pass, with the means to notice that somebody has written into it since.

    Writes through the library bump the tensor's version, which is exact. Writes through NumPy are noticed by a
    digest: of every byte for arrays of up to 2,048 elements or with ``exact`` (``detect_anomaly``), of 1,024
    elements otherwise, one in each of 1,024 equal runs (a digest of all would cost as much as the op itself).
    """

    __slots__ = ("array", "count", "digest", "exact", "node", "version")

    def __init__(self, tensor: "Tensor", node: Node | None, exact: bool):
        self.array = tensor.data
        self.node = node
        self.version = tensor.version
        self.count = tensor.version[0]
        self.exact = exact
        self.digest = _digest(tensor.data, exact)

    def unchanged(self) -> bool:
        return self.version[0] == self.count and _digest(self.array, self.exact) == self.digest


def _digest(array, exact: bool) -> int:
    if not isinstance(array, np.ndarray):  # on a GPU the copy would stall the stream
        return 0
    flat = array.ravel(order="K")
    if flat.size > 2048 and not exact:
        flat = flat.take(_places(flat.size))
    return hash(flat.tobytes())


@functools.lru_cache(1 << 10)
def _places(size: int) -> np.ndarray:
    """A place in each of 1,024 equal runs, drawn once: evenly spaced ones would see the same few channels."""
    drawn = np.random.default_rng(size).random(1024)
    return ((np.arange(1024) + drawn) * (size / 1024)).astype(np.int64)


def _is_cupy(value) -> bool:
    return type(value).__module__.startswith("cupy")


def _set_grad(gradient=None, *, leaf: "Tensor") -> None:
    leaf.grad_now = None if gradient is None else Tensor(gradient)


class Tensor:
    """An n-dimensional array with a place in a gradient graph.

    ``data`` is the NumPy (or CuPy) array itself, not a copy. Operators and methods are ops; they are attached in
    ``scratchnet/methods.py``. ``grad`` is filled by ``backward()`` for leaves that require a gradient.

    Args:
        data: an array, taken as it is; anything else goes through ``scratchnet.tensor``.
        requires_grad: whether to record what is computed from this tensor. Floating dtypes only.
    """

    __slots__ = ("__weakref__", "data", "grad_now", "node", "version")
    __array_ufunc__ = None  # array * tensor must reach Tensor.__rmul__

    def __init__(self, data, requires_grad: bool = False, *, node: Node | None = None, version=None):
        if not (isinstance(data, np.ndarray) or _is_cupy(data)):
            data = tensor(data).data
        self.data = data
        self.node = node
        self.grad_now = None
        self.version = version if version is not None else [0]
        if requires_grad:
            self.requires_grad_()

    shape, ndim, dtype = (property(operator.attrgetter(f"data.{name}")) for name in ("shape", "ndim", "dtype"))
    device = property(lambda self: device_of(self.data))
    is_cuda = property(lambda self: self.device != "cpu")
    is_leaf = property(lambda self: self.node is None or self.node.op is None)
    grad_fn = property(lambda self: None if self.is_leaf else self.node)

    @property
    def grad(self) -> "Tensor | None":
        """The gradient that ``backward()`` has added up here, or that was assigned."""
        if here.tape is not None and self.grad_now is not None:
            here.tape.note_gradient(self)
        return self.grad_now

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        self.grad_now = value
        if here.tape is not None and here.tape.outlives(self):
            sources = () if value is None else (value,)
            here.tape.note(_set_grad, sources, {"leaf": self}, (), shares=value is not None)

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, value: bool = True) -> "Tensor":
        """Start (or stop) recording what is computed from this leaf. Returns the tensor itself.

        Raises:
            TypeError: the dtype is not floating.
            RuntimeError: the tensor is the result of an op; use ``detach()``.
        """
        if not self.is_leaf:
            if value:
                return self
            raise RuntimeError(f"requires_grad of the result of {self.node.name} cannot be unset: use detach()")
        if value and self.data.dtype.kind != "f":
            raise TypeError(f"only floating tensors can require gradients, this one is {self.dtype}")
        if value != (self.node is not None):
            self.node = Node(None, leaf=self) if value else None
        return self

    def detach(self) -> "Tensor":
        """The same array outside any graph. Writing into it is noticed by the graph that saved it."""
        if here.tape is not None:
            here.tape.place(self)  # as its owner, whose array may be replaced
        return Tensor(self.data, version=self.version)

    def numpy(self) -> np.ndarray:
        """The array itself, sharing memory.

        Raises:
            RuntimeError: the tensor requires a gradient (use ``detach()``).
            TypeError: the tensor is not on the CPU.
        """
        refuse("numpy()", "return the tensor and look at it outside")
        if self.requires_grad:
            raise RuntimeError("numpy() of a tensor that requires a gradient: use detach().numpy()")
        if self.device != "cpu":
            raise TypeError(f"numpy() of a tensor on {self.device}: use cpu() first")
        return self.data

    def item(self):
        """The only element as a Python number. Raises ValueError for any other number of elements."""
        refuse("item()", "return the tensor and look at it outside")
        if self.data.size != 1:
            raise ValueError(f"item() needs exactly one element, the tensor has shape {self.shape}")
        return self.data.item()

    def tolist(self):
        refuse("tolist()", "return the tensor and look at it outside")
        return self.data.tolist()

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        return self.data.size

    def dim(self) -> int:
        return self.data.ndim

    def cpu(self) -> "Tensor":
        return self.to("cpu")

    def cuda(self) -> "Tensor":
        return self.to("cuda")

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"only integer tensors can be an index, this one is {self.dtype}")
        return int(self.item())

    def __repr__(self) -> str:
        body = np.array2string(to_device(self.data, "cpu"), separator=", ", prefix="tensor(")
        facts = []
        if self.dtype not in (_default_dtype, np.int64, np.bool_):
            facts.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            facts.append(f"device={self.device}")
        if self.requires_grad:
            facts.append("requires_grad=True" if self.is_leaf else f"grad_fn={self.node.name}")
        return f"tensor({', '.join([body, *facts])})"


def tensor(data, dtype=None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that holds a copy of ``data``, on ``device`` or, without one, where the data are.

    Python numbers become the default dtype, int64 or bool; arrays and tensors keep their dtype.

    Raises:
        TypeError: ``data`` is not numeric or ragged.
        ValueError, RuntimeError: there is no such device.
    """
    if isinstance(data, Tensor | np.ndarray) or _is_cupy(data):
        array = call(_copied, [data], dtype=dtype, device=device)
    else:
        array = call(_copied, data=data, dtype=dtype, device=device)
    return Tensor(array, requires_grad)


def _copied(data, dtype, device):
    given = getattr(data, "dtype", None)
    try:
        array = data.copy(order="K") if _is_cupy(data) else np.array(data, order="K")
    except ValueError as error:
        raise TypeError(f"tensor: rows of unequal length ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor: expected numbers, got {array.dtype} data")
    if dtype is not None:
        try:
            array = array.astype(dtype, copy=False)
        except TypeError:
            raise TypeError(f"tensor: dtype must be a NumPy dtype such as np.float32, got {dtype!r}") from None
    elif given is None and array.dtype.kind == "f":
        array = array.astype(_default_dtype)
    return array if device is None else to_device(array, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory, strides included. Raises TypeError where it is no NumPy array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"from_numpy: expected numbers, got {array.dtype} data")
    return Tensor(array)
