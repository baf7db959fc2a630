"""Ops that move elements without changing them: reshape, permute, expand, slices, padding, joining."""

import builtins
import math

import numpy as np

import kernels
from scratchnet.ops.registry import Bad, S, op


def axes(name: str, dim, ndim: int) -> tuple[int, ...]:
    """``dim`` (an int, several, or None for all) as non-negative axes.

    Raises:
        TypeError: a dim is no integer.
        IndexError: a dim lies outside [-ndim, ndim - 1].
        ValueError: a dim is given twice.
    """
    if dim is None:
        return tuple(range(ndim))
    given = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    for d in given:
        if not isinstance(d, (int, np.integer)) or isinstance(d, bool):
            raise TypeError(f"{name}: dim must be an int, got {d!r}")
        if not -ndim <= d < ndim:
            raise IndexError(f"{name}: dim {d} is out of range for a tensor with {ndim} dimensions")
    found = tuple(int(d) % ndim for d in given)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: dim {dim} names an axis twice")
    return found


def axis(name: str, dim, ndim: int) -> int:
    """One ``dim`` as a non-negative axis; errors as ``axes``."""
    return axes(name, (dim,), ndim)[0]


@op(
    vjp={"x": lambda g: g},
    view=True,
    samples=lambda r: [S(r.normal(3, 4))],
    reference=lambda x: x,
    degree=1,
)
def alias(x, /):
    """The same array under a node of its own."""
    return x.view()


@op(vjp={"x": lambda g: g}, samples=lambda r: [S(r.normal(3, 4))], reference=lambda x: x, degree=1)
def clone(x, /):
    """A copy in fresh memory, its strides in the same order."""
    return x.copy(order="K")


@op(
    vjp={"x": lambda g, x_shape: reshape(g, x_shape)},
    view=True,
    samples=lambda r: [
        S(r.normal(3, 4), shape=(2, 6)),
        S(r.normal(2, 3, 4), shape=(4, -1)),
        S(r.normal(1), shape=()),
    ],
    reference=lambda x, shape: np.array(x.ravel().tolist()).reshape(shape),
    errors=lambda r: [
        Bad(ValueError, r"12 elements.*\(5, 2\).*10", S(r.normal(3, 4), shape=(5, 2))),
        Bad(ValueError, "one -1", S(r.normal(3, 4), shape=(-1, -1))),
        Bad(ValueError, "12 elements", S(r.normal(3, 4), shape=(5, -1))),
    ],
    degree=1,
)
def reshape(x, /, shape):
    """The same elements in row-major order under another shape; one size may be -1."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    known = math.prod(s for s in shape if s != -1)
    if shape.count(-1) > 1 or any(s < -1 for s in shape):
        raise ValueError(f"reshape: sizes must be non-negative, with at most one -1, got {shape}")
    if (shape.count(-1) == 1 and (known == 0 or x.size % known)) or (-1 not in shape and known != x.size):
        raise ValueError(
            f"reshape: a tensor of shape {x.shape} has {x.size} elements, shape {shape} needs {known}"
            + (" times a whole number" if -1 in shape else "")
        )
    return kernels.contiguous(x).reshape(shape) if _is_turned(x, shape) else x.reshape(shape)


def _is_turned(x, shape) -> bool:
    """Whether x is channels-last images whose channels are to be one axis with others, as before a linear layer."""
    if x.ndim != 4 or x.dtype.kind != "f" or x.flags.c_contiguous or len(shape) > 3 or shape[:2] == x.shape[:2]:
        return False
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


@op(
    vjp={"x": lambda g, dims: permute(g, tuple(int(i) for i in np.argsort([d % len(dims) for d in dims])))},
    view=True,
    samples=lambda r: [S(r.normal(2, 3, 4), dims=(2, 0, 1)), S(r.normal(2, 3), dims=(-1, 0))],
    reference=lambda x, dims: np.array(
        [
            x[tuple(i[dims.index(d) if d in dims else dims.index(d - x.ndim)] for d in range(x.ndim))]
            for i in np.ndindex(*(x.shape[d] for d in dims))
        ]
    ).reshape([x.shape[d] for d in dims]),
    errors=lambda r: [Bad(ValueError, r"3 dimensions.*\(0, 1\)", S(r.normal(2, 3, 4), dims=(0, 1)))],
    degree=1,
)
def permute(x, /, dims):
    """Axes in another order: the result's axis i is x's axis dims[i]."""
    if len(axes("permute", dims, x.ndim)) != x.ndim:
        raise ValueError(f"permute: a tensor with {x.ndim} dimensions needs {x.ndim} dims, got {dims}")
    return x.transpose(dims)


@op(
    vjp={"x": lambda g, dim0, dim1: transpose(g, dim0, dim1)},
    view=True,
    samples=lambda r: [S(r.normal(2, 3, 4), dim0=0, dim1=-1)],
    reference=lambda x, dim0, dim1: np.moveaxis(x, [dim0, dim1], [dim1, dim0]),
    errors=lambda r: [Bad(IndexError, "dim 3.*2 dimensions", S(r.normal(2, 3), dim0=0, dim1=3))],
    degree=1,
)
def transpose(x, /, dim0, dim1):
    """Swap two axes."""
    return np.swapaxes(x, *axes("transpose", (dim0, dim1), x.ndim)) if dim0 != dim1 else x.view()


@op(
    vjp={"x": lambda g, x_shape: sum_to(g, x_shape)},
    view=True,
    samples=lambda r: [
        S(r.normal(3, 1), shape=(2, 3, 4)),
        S(r.normal(3, 4), shape=(-1, 4)),
        S(r.normal(), shape=(2,)),
    ],
    reference=lambda x, shape: x + np.zeros([x.shape[i - len(shape)] if s == -1 else s for i, s in enumerate(shape)]),
    errors=lambda r: [Bad(ValueError, r"\(3, 4\).*\(2, 4\)", S(r.normal(3, 4), shape=(2, 4)))],
    degree=1,
)
def expand(x, /, shape):
    """Broadcast to ``shape`` without copying; -1 keeps a size."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    offset = len(shape) - x.ndim
    wanted = tuple(x.shape[i - offset] if s == -1 and i >= offset else s for i, s in enumerate(shape))
    if offset < 0 or any(s not in (1, w) for s, w in zip(x.shape, wanted[builtins.max(offset, 0) :], strict=False)):
        raise ValueError(f"expand: shape {x.shape} does not broadcast to {shape}")
    return np.broadcast_to(x, wanted)


@op(
    vjp={"x": lambda g, x_shape: expand(g, x_shape)},
    samples=lambda r: [
        S(r.normal(2, 3, 4), shape=(3, 1)),
        S(r.normal(2, 3), shape=()),
        S(r.normal(0, 3), shape=(3,)),
        S(r.normal(2, 3, 2, 2), shape=(1, 3, 1, 1)),
    ],
    reference=lambda x, shape: _sum_to_by_loops(x, shape),
    errors=lambda r: [Bad(ValueError, r"\(2,\).*\(2, 3\)", S(r.normal(2, 3), shape=(2,)))],
    degree=1,
)
def sum_to(x, /, shape):
    """Sum over the axes along which ``shape`` was broadcast to x's shape: the adjoint of ``expand``."""
    lead = x.ndim - len(shape)
    if lead < 0 or any(s not in (1, n) for s, n in zip(shape, x.shape[builtins.max(lead, 0) :], strict=False)):
        raise ValueError(f"sum_to: shape {shape} does not broadcast to {x.shape}")
    over = tuple(range(lead)) + tuple(i for i, n in enumerate(x.shape) if i >= lead and shape[i - lead] == 1 and n != 1)
    if over == (0, 2, 3) and x.ndim == 4 and x.dtype.kind == "f":
        return kernels.channel_sum(x).reshape(shape)  # the gradient of a bias for each channel
    return x.sum(axis=over, keepdims=True).reshape(shape)


def _sum_to_by_loops(x, shape):
    out = np.zeros(shape)
    for index in np.ndindex(x.shape):
        out[tuple(0 if n == 1 else i for i, n in zip(index[x.ndim - len(shape) :], shape, strict=True))] += x[index]
    return out


@op(
    vjp={"x": lambda g, x_shape: reshape(g, x_shape)},
    view=True,
    samples=lambda r: [S(r.normal(1, 3, 1)), S(r.normal(1, 3, 1), dim=0), S(r.normal(2, 3), dim=0)],
    reference=lambda x, dim=None: np.reshape(
        x, [n for i, n in enumerate(x.shape) if n != 1 or (dim is not None and i != dim)]
    ),
    errors=lambda r: [Bad(IndexError, "dim 2.*2 dimensions", S(r.normal(2, 1), dim=2))],
    degree=1,
)
def squeeze(x, /, dim=None):
    """Drop axes of size 1: all of them, or those in ``dim`` that have size 1."""
    drop = axes("squeeze", dim, x.ndim)
    return x.reshape([n for i, n in enumerate(x.shape) if n != 1 or i not in drop])


@op(
    vjp={"x": lambda g, x_shape: reshape(g, x_shape)},
    view=True,
    samples=lambda r: [S(r.normal(2, 3), dim=1), S(r.normal(2, 3), dim=-1)],
    reference=lambda x, dim: x.reshape((2, 1, 3) if dim == 1 else (2, 3, 1)),
    errors=lambda r: [Bad(IndexError, "dim 4", S(r.normal(2, 3), dim=4))],
    degree=1,
)
def unsqueeze(x, /, dim):
    """Insert an axis of size 1 before ``dim`` (of the result)."""
    return np.expand_dims(x, axis("unsqueeze", dim, x.ndim + 1))


@op(
    vjp={"x": lambda g, dims: flip(g, dims)},
    view=True,
    samples=lambda r: [S(r.normal(2, 3, 4), dims=(0, -1)), S(r.normal(3), dims=0)],
    reference=lambda x, dims: x[::-1, :, ::-1] if x.ndim == 3 else x[::-1],
    errors=lambda r: [Bad(IndexError, "dim 1", S(r.normal(3), dims=1))],
    degree=1,
)
def flip(x, /, dims):
    """Reverse the order of elements along ``dims``."""
    return np.flip(x, axes("flip", dims, x.ndim))


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@op(
    vjp={"x": lambda g, shifts, dims: roll(g, tuple(-s for s in _as_tuple(shifts)), _as_tuple(dims))},
    samples=lambda r: [S(r.normal(3, 4), shifts=(1, -2), dims=(0, 1)), S(r.normal(5), shifts=7, dims=0)],
    reference=lambda x, shifts, dims: np.array(
        [x[tuple((np.array(i) - np.broadcast_to(shifts, x.ndim)) % x.shape)] for i in np.ndindex(x.shape)]
    ).reshape(x.shape),
    errors=lambda r: [Bad(ValueError, "shifts.*dims", S(r.normal(3, 4), shifts=(1, 2), dims=0))],
    degree=1,
)
def roll(x, /, shifts, dims):
    """Shift along ``dims``; what leaves at one end enters at the other."""
    if len(_as_tuple(shifts)) != len(_as_tuple(dims)):
        raise ValueError(f"roll: as many shifts as dims are needed, got {shifts} and {dims}")
    return np.roll(x, _as_tuple(shifts), axes("roll", _as_tuple(dims), x.ndim))


def _cat_vjp(g, shapes, dim, needs):
    dim = axis("cat", dim, g.ndim)
    stops = np.cumsum([shape[dim] for shape in shapes])
    return tuple(
        g[(slice(None),) * dim + (slice(int(stop) - shape[dim], int(stop)),)] if need else None
        for shape, stop, need in zip(shapes, stops, needs, strict=True)
    )


@op(
    vjp=_cat_vjp,
    samples=lambda r: [
        S(r.normal(2, 3), r.normal(4, 3)),
        S(r.normal(2, 3), r.normal(2, 0), r.normal(2, 1), dim=-1),
    ],
    reference=lambda *tensors, dim=0: np.array(
        [row for t in tensors for row in np.moveaxis(t, dim, 0).tolist()]
    ).swapaxes(0, dim),
    errors=lambda r: [
        Bad(ValueError, r"\(2, 3\).*\(2, 4\).*dim 0", S(r.normal(2, 3), r.normal(2, 4))),
        Bad(ValueError, "at least one", S()),
    ],
    degree=1,
)
def cat(*tensors, dim=0):
    """Join tensors along an existing axis; all other sizes must agree."""
    if not tensors:
        raise ValueError("cat: at least one tensor is needed")
    dim = axis("cat", dim, tensors[0].ndim)
    for t in tensors[1:]:
        rest = [s[:dim] + s[dim + 1 :] for s in (tensors[0].shape, t.shape)]
        if t.ndim != tensors[0].ndim or rest[0] != rest[1]:
            raise ValueError(f"cat: shapes {tensors[0].shape} and {t.shape} differ outside dim {dim}")
    return np.concatenate(tensors, axis=dim)


@op(
    vjp="derived",
    samples=lambda r: [S(r.normal(2, 3), r.normal(2, 3)), S(r.normal(2), r.normal(2), dim=-1)],
    reference=lambda *tensors, dim=0: np.moveaxis(np.array([t.tolist() for t in tensors]), 0, dim),
    errors=lambda r: [Bad(ValueError, r"\(2,\).*\(3,\)", S(r.normal(2), r.normal(3)))],
    degree=1,
)
def stack(*tensors, dim=0):
    """Join tensors of one shape along a new axis."""
    if not tensors:
        raise ValueError("stack: at least one tensor is needed")
    different = [t.shape for t in tensors if t.shape != tensors[0].shape]
    if different:
        raise ValueError(f"stack: shapes {tensors[0].shape} and {different[0]} differ")
    return cat([unsqueeze(t, dim) for t in tensors], dim)


def split(x, split_size, dim=0):
    """Pieces of size ``split_size`` (the last may be smaller), or of the listed sizes, along ``dim``; as views.

    Raises:
        ValueError: listed sizes do not add up to the axis, or a size is not positive.
    """
    dim = axis("split", dim, x.ndim)
    size = x.shape[dim]
    if isinstance(split_size, (int, np.integer)):
        if split_size < 1:
            raise ValueError(f"split: split_size must be at least 1, got {split_size}")
        sizes = [builtins.min(split_size, size - start) for start in range(0, size, split_size)]
    else:
        sizes = list(split_size)
        if builtins.sum(sizes) != size:
            raise ValueError(f"split: sizes {sizes} add up to {builtins.sum(sizes)}, dim {dim} has {size}")
    stops = np.cumsum(sizes, dtype=int)
    return tuple(x[(slice(None),) * dim + (slice(int(b) - n, int(b)),)] for n, b in zip(sizes, stops, strict=True))


def chunk(x, chunks, dim=0):
    """At most ``chunks`` pieces of equal size (the last may be smaller) along ``dim``."""
    if not isinstance(chunks, (int, np.integer)) or chunks < 1:
        raise ValueError(f"chunk: chunks must be an integer of at least 1, got {chunks!r}")
    return split(x, builtins.max(1, -(-x.shape[axis("chunk", dim, x.ndim)] // chunks)), dim)


def unbind(x, dim=0):
    """The slices along ``dim``, without that axis."""
    dim = axis("unbind", dim, x.ndim)
    return tuple(x[(slice(None),) * dim + (i,)] for i in range(x.shape[dim]))


def flatten(x, start_dim=0, end_dim=-1):
    """Axes start_dim to end_dim as one."""
    first, last = (
        axis("flatten", start_dim, builtins.max(x.ndim, 1)),
        axis("flatten", end_dim, builtins.max(x.ndim, 1)),
    )
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))
