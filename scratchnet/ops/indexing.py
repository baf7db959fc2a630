"""Ops that pick elements by number, and their adjoints, which add elements to numbered places.

On the CPU a number out of range raises IndexError. On a GPU a look at the numbers would wait for all work before it,
so there ``gather``, ``scatter_add`` and ``embedding`` turn what it picks into NaN.
"""

import math

import numpy as np

from scratchnet.device import array_module, device_of, on_host, one_device, to_device
from scratchnet.ops.elementwise import where
from scratchnet.ops.registry import Bad, S, op
from scratchnet.ops.shape import axis, cat
from scratchnet.recording import constant, noted
from scratchnet.tensor import Tensor


def _is_basic(index) -> bool:
    return all(p is None or p is Ellipsis or isinstance(p, (int, np.integer, slice)) for p in _parts(index))


@op(
    vjp={"x": lambda g, x_shape, index: index_put(g, index=index, shape=x_shape)},
    view=True,
    samples=lambda r: [
        S(r.normal(4, 5), index=(slice(3, None, -2), 1)),
        S(r.normal(4, 5), index=(Ellipsis, None, slice(1, 3))),
        S(r.normal(4, 5), index=(np.array([0, 2, 2]), np.array([1, -1, -1]))),
        S(r.normal(3), index=np.array([True, False, True])),
    ],
    reference=lambda x, index: np.array(x.tolist())[index],
    errors=lambda r: [
        Bad(IndexError, r"index 4.*\(4, 5\)", S(r.normal(4, 5), index=4)),
        Bad(IndexError, r"too many.*\(4,\)", S(r.normal(4), index=(0, 0))),
    ],
    degree=1,
)
def getitem(x, /, index):
    """x[index] for slices, integers, None, Ellipsis, integer arrays and boolean masks, as in NumPy.

    On a GPU an integer array's numbers out of range wrap around, and a mask waits for the device.
    """
    index = _beside(x, index, "getitem")
    try:
        return x[index]
    except IndexError as error:
        raise IndexError(f"getitem: {error} (tensor of shape {x.shape})") from None


@op(
    vjp={"x": lambda g, index: getitem(g, index=index)},
    samples=lambda r: [
        S(r.normal(2), index=(slice(3, None, -2), 1), shape=(4, 5)),
        S(r.normal(3), index=(np.array([0, 2, 2]), np.array([1, -1, -1])), shape=(4, 5)),
    ],
    reference=lambda x, index, shape: _index_put_by_loops(x, index, shape),
    degree=1,
)
def index_put(x, /, index, shape):
    """Zeros of ``shape`` with x added at ``index``, repeated places summed: the adjoint of ``getitem``."""
    out, index = np.zeros(shape, x.dtype, like=x), _beside(x, index, "index_put")
    if _is_basic(index):
        out[index] = x
    else:
        array_module(out).add.at(out, index, x)
    return out


def _beside(x, index, owner):
    """The index with its arrays on x's device; those on a GPU do not come to the CPU by themselves."""
    if _is_basic(index) or (on_host(x) and not any(map(_is_on_gpu, _parts(index)))):
        return index
    for part in _parts(index):
        if _is_on_gpu(part):
            one_device(owner, {"the tensor": device_of(x), "the index": device_of(part)})
    moved = tuple(to_device(p, device_of(x)) if isinstance(p, np.ndarray) else p for p in _parts(index))
    return moved if isinstance(index, tuple) else moved[0]


def _parts(index) -> tuple:
    return index if isinstance(index, tuple) else (index,)


def _is_on_gpu(part) -> bool:
    return hasattr(part, "dtype") and not on_host(part)


def _index_put_by_loops(x, index, shape):
    out = np.zeros(shape)
    places = np.arange(out.size).reshape(shape)[index]
    for place, value in zip(np.ravel(places), np.ravel(x), strict=True):
        out.flat[place] += value
    return out


def _check_gather(name, shape, index, dim):
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: index must be integers, got {index.dtype}")
    if index.ndim != len(shape):
        raise ValueError(f"{name}: index has {index.ndim} dimensions, the tensor {len(shape)}")
    size = shape[dim]
    if on_host(index) and index.size and (index.min() < 0 or index.max() >= size):
        raise IndexError(f"{name}: index {index.min()}..{index.max()} is out of range for dim {dim} of size {size}")


def _along(index, dim):
    """Open-mesh index arrays that pick ``index`` along ``dim`` and every place's own coordinate elsewhere."""
    axes = ((1,) * d + (n,) + (1,) * (index.ndim - 1 - d) for d, n in enumerate(index.shape))
    mesh = [np.arange(max(shape), like=index).reshape(shape) if 0 not in shape else index for shape in axes]
    mesh[dim] = index
    return tuple(mesh)


def _or_nan(x, index, size):
    """x itself on the CPU, where indices were checked; on a GPU NaN in place of what an index out of range picked."""
    if on_host(index) or x.dtype.kind != "f":
        return x
    return np.where((index >= 0) & (index < size), x, x.dtype.type(np.nan))


@op(
    vjp={"x": lambda g, index, x_shape, dim: scatter_add(g, index, dim=dim, shape=x_shape)},
    samples=lambda r: [
        S(r.normal(3, 4), r.integers(0, 4, 2, 5), dim=1),
        S(r.normal(3, 4), r.integers(0, 3, 2, 4), dim=0),
    ],
    reference=lambda x, index, dim: np.array(
        [x[tuple(index[i] if d == dim else i[d] for d in range(x.ndim))] for i in np.ndindex(index.shape)]
    ).reshape(index.shape),
    errors=lambda r: [
        Bad(IndexError, "out of range for dim 1 of size 4", S(r.normal(3, 4), np.array([[4]]), dim=1)),
        Bad(TypeError, "integers, got float64", S(r.normal(3, 4), r.normal(3, 4), dim=1)),
        Bad(ValueError, "index has 1 dimensions", S(r.normal(3, 4), np.array([1]), dim=1)),
    ],
    degree=1,
)
def gather(x, index, /, dim):
    """out[i][j] = x[i][index[i][j]] for dim = 1, and likewise along any other axis."""
    dim = axis("gather", dim, x.ndim)
    _check_gather("gather", x.shape, index, dim)
    return _or_nan(x[_along(index, dim)], index, x.shape[dim])


@op(
    vjp={"x": lambda g, index, dim: gather(g, index, dim=dim)},
    samples=lambda r: [S(r.normal(2, 5), r.integers(0, 4, 2, 5), dim=1, shape=(3, 4))],
    reference=lambda x, index, dim, shape: _index_put_by_loops(x, _along(index, dim), shape),
    errors=lambda r: [
        Bad(IndexError, "out of range", S(r.normal(1, 1), np.array([[4]]), dim=1, shape=(3, 4))),
    ],
    degree=1,
)
def scatter_add(x, index, /, dim, shape):
    """Zeros of ``shape`` with x added at ``index`` along ``dim``: the adjoint of ``gather``."""
    dim = axis("scatter_add", dim, len(shape))
    _check_gather("scatter_add", shape, index, dim)
    out = np.zeros(shape, x.dtype, like=x)
    array_module(out).add.at(out, _along(index, dim), _or_nan(x, index, shape[dim]))
    return out


@op(
    vjp="derived",
    samples=lambda r: [S(r.integers(0, 5, 2, 3), r.normal(5, 4)), S(np.array([1, 1]), r.normal(2, 3))],
    reference=lambda index, weight: np.array([weight[i].tolist() for i in index.ravel()]).reshape(*index.shape, -1),
    errors=lambda r: [
        Bad(IndexError, "index 5.*5 rows", S(np.array([0, 5]), r.normal(5, 4))),
        Bad(TypeError, "integers.*float64", S(r.normal(3), r.normal(5, 4))),
    ],
    degree=1,
)
def embedding(index, weight, /):
    """Rows of ``weight`` (V, D) picked by integers of any shape: shape (*, D)."""
    places = index.data if isinstance(index, Tensor) else index if hasattr(index, "dtype") else np.asarray(index)
    if places.dtype.kind not in "iu":
        raise TypeError(f"embedding: indices must be integers, got {places.dtype}")
    exists = _rows_that_exist(places, count=weight.shape[0])
    rows = getitem(weight, index=places)
    return rows if on_host(places) else where(Tensor(exists)[..., None], rows, math.nan)


@noted
def _rows_that_exist(places, *, count):
    """On a GPU which places are rows; on the CPU all must be."""
    if not on_host(places):
        return (places >= 0) & (places < count)
    if places.size and (places.min() < 0 or places.max() >= count):
        worst = places.max() if places.max() >= count else places.min()
        raise IndexError(f"embedding: index {worst} is out of range for {count} rows")


_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad_pairs(x, pad):
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad: expected up to {x.ndim} (before, after) pairs, last axis first, got {tuple(pad)}")
    pairs = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        pairs[x.ndim - 1 - i] = (int(pad[2 * i]), int(pad[2 * i + 1]))
    return pairs


def _pad_reference(x, pad, mode="constant", value=0.0):
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [tuple(pad[i : i + 2]) for i in range(len(pad) - 2, -1, -2)]
    if mode == "constant":
        return np.pad(x, pairs, constant_values=value)
    return np.pad(x, pairs, mode=_PAD_MODES[mode])


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(2, 3, 4), pad=(1, 2), value=0.5),
        S(r.normal(2, 3, 4), pad=(0, 1, 2, 0)),
        S(r.normal(2, 3, 4), pad=(1, 2, 2, 1), mode="reflect"),
        S(r.normal(2, 3, 4), pad=(5, 1, 0, 2), mode="replicate"),
        S(r.normal(2, 3, 4), pad=(1, 4), mode="circular"),
    ],
    reference=_pad_reference,
    errors=lambda r: [
        Bad(ValueError, "mode.*mirror", S(r.normal(2, 3), pad=(1, 1), mode="mirror")),
        Bad(ValueError, "pairs", S(r.normal(2, 3), pad=(1,))),
        Bad(ValueError, "reflect.*3.*smaller than.*3", S(r.normal(2, 3), pad=(3, 0), mode="reflect")),
    ],
    degree=1,
)
def pad(x, /, pad, mode="constant", value=0.0):
    """Grow the last axes: ``pad`` holds (before, after) pairs, last axis first, as in PyTorch.

    ``mode``: "constant" (with ``value``; negative padding crops), "reflect", "replicate" or "circular".
    """
    pairs = _pad_pairs(x, pad)
    if mode == "constant":
        return _pad_constant(x, pairs, value)
    if mode not in _PAD_MODES:
        raise ValueError(f"pad: mode must be constant, reflect, replicate or circular, got {mode!r}")
    for dim, (before, after) in enumerate(pairs):
        if not before and not after:
            continue
        size, limit = x.shape[dim], {"reflect": x.shape[dim] - 1, "circular": x.shape[dim]}.get(mode)
        if min(before, after) < 0 or (limit is not None and max(before, after) > limit):
            raise ValueError(
                f"pad: {mode} padding ({before}, {after}) must be non-negative"
                + (f" and smaller than {limit + 1} for an axis of size {size}" if limit is not None else "")
            )
        places = constant(np.pad(np.arange(size), (before, after), mode=_PAD_MODES[mode]))
        x = getitem(x, index=(slice(None),) * dim + (places,))
    return x


def _pad_constant(x, pairs, value):
    """Join constant blocks to both sides; crop where a padding is negative."""
    xp = array_module(x.data)
    for dim, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            size = x.shape[dim]
            x = x[(slice(None),) * dim + (slice(max(0, -before), size - max(0, -after)),)]
        blocks = [
            [Tensor(constant(xp.full((*x.shape[:dim], n, *x.shape[dim + 1 :]), value, x.dtype)))] if n > 0 else []
            for n in (before, after)
        ]
        if any(blocks):
            x = cat([*blocks[0], x, *blocks[1]], dim)
    return x


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(3, 4), r.mask(3, 4), value=2.0)],
    reference=lambda x, mask, value: np.array(
        [value if m else v for v, m in zip(x.flat, mask.flat, strict=True)]
    ).reshape(x.shape),
    errors=lambda r: [Bad(TypeError, "condition.*bool", S(r.normal(3), r.normal(3), value=1.0))],
    degree=1,
)
def masked_fill(x, mask, /, value):
    """x with ``value`` where the boolean mask holds."""
    return where(mask, value, x)
