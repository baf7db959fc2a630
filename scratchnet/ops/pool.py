"""Pooling. Max pooling is a gather at the places it found, average pooling is linear; both pairs are closed."""

import numpy as np

import kernels
from scratchnet.device import to_device
from scratchnet.ops.elementwise import less, maximum
from scratchnet.ops.indexing import masked_fill
from scratchnet.ops.linalg import matmul
from scratchnet.ops.registry import Bad, Kink, S, op
from scratchnet.ops.shape import transpose
from scratchnet.recording import constant, noted
from scratchnet.tensor import Tensor

_WINDOWS = (
    dict(kernel_size=2),
    dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), ceil_mode=True),
)

_TIES = Kink(
    "ties: the first in row-major order",
    S(np.ones((1, 1, 2, 2)), kernel_size=2),
    (np.array([[[[1.0, 0.0], [0.0, 0.0]]]]),),
)


def _windows(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """For every output place, the list of input places its window holds, padding left out; and the output size."""
    (kh, kw), (sh, sw) = np.broadcast_to(kernel_size, 2), np.broadcast_to(stride or kernel_size, 2)
    (ph, pw), (dh, dw) = np.broadcast_to(padding, 2), np.broadcast_to(dilation, 2)
    size = kernels.max_pool2d(
        x, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )[0].shape[2:]
    windows = {}
    for i, j in np.ndindex(size):
        rows = [y for a in range(kh) if 0 <= (y := i * sh - ph + a * dh) < x.shape[2]]
        columns = [z for b in range(kw) if 0 <= (z := j * sw - pw + b * dw) < x.shape[3]]
        windows[i, j] = [(y, z) for y in rows for z in columns]
    return windows, size


def _max_pool_by_loops(x, **options):
    windows, size = _windows(x, **options)
    out = np.zeros(x.shape[:2] + size)
    for n, c in np.ndindex(x.shape[:2]):
        for (i, j), places in windows.items():
            out[n, c, i, j] = max(x[(n, c, *place)] for place in places)
    return out


def _avg_pool_by_loops(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    windows, size = _windows(x, kernel_size, stride, padding, ceil_mode=ceil_mode)
    (kh, kw), (sh, sw), (ph, pw) = (np.broadcast_to(v, 2) for v in (kernel_size, stride or kernel_size, padding))
    out = np.zeros(x.shape[:2] + size)
    for n, c in np.ndindex(x.shape[:2]):
        for (i, j), places in windows.items():
            rows = min(i * sh - ph + kh, x.shape[2] + ph) - (i * sh - ph)
            columns = min(j * sw - pw + kw, x.shape[3] + pw) - (j * sw - pw)
            count = divisor_override or (rows * columns if count_include_pad else len(places))
            out[n, c, i, j] = sum(x[(n, c, *place)] for place in places) / count
    return out


def _to_maxima(g, indices, input_shape, kernel_size, stride, padding, dilation, ceil_mode):
    return max_pool2d_input(g, indices, input_shape, kernel_size, stride, padding, dilation, ceil_mode)


def _pool_errors(r):
    x = r.normal(1, 1, 4, 4)
    return [
        Bad(ValueError, "kernel_size", S(x, kernel_size=0)),
        Bad(ValueError, "padding", S(x, kernel_size=2, padding=2)),
        Bad(ValueError, "stride", S(x, kernel_size=2, stride=0)),
    ]


@op(
    vjp={"input": _to_maxima},
    aux=("indices",),
    samples=lambda r: [
        *(S(r.distinct(2, 3, 5, 6), **options) for options in _WINDOWS),
        S(r.distinct(1, 2, 6, 6), kernel_size=2, stride=1, dilation=2),
    ],
    reference=_max_pool_by_loops,
    errors=_pool_errors,
    kinks=[_TIES],
)
def max_pool2d(input, /, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Largest value in each window of (N, C, H, W); the first of ties, in row-major order, gets the gradient."""
    return kernels.max_pool2d(
        input, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )


@op(
    vjp={"input": _to_maxima},
    aux=("indices",),
    samples=lambda r: [S(r.distinct(2, 3, 5, 6), **options) for options in _WINDOWS],
    reference=lambda x, **options: np.maximum(_max_pool_by_loops(x, **options), 0),
    errors=_pool_errors,
    kinks=[
        _TIES,
        Kink("max_pool2d = 0", S(np.zeros((1, 1, 2, 2)), kernel_size=2), (np.zeros((1, 1, 2, 2)),)),
    ],
)
def max_pool2d_relu(input, /, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """relu(max_pool2d(input)) in one pass; a window with nothing above 0 gives its gradient to no place."""
    return kernels.max_pool2d(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        relu=True,
    )


def _max_pool_input_samples(r):
    for k, options in enumerate((*_WINDOWS, dict(kernel_size=2, stride=1, dilation=2))):
        output, indices = kernels.max_pool2d(r.distinct(2, 3, 5, 6), relu=k % 2 == 1, **options)
        yield S(r.normal(*output.shape), indices, input_size=(2, 3, 5, 6), **options)


def _at_maxima(g, indices):
    """g where each window has its maximum, and 0 where it has none: for an index of -1."""
    return masked_fill(gather2d(g, maximum(indices, 0)), less(indices, 0), 0.0)


def _max_pool_input_by_loops(g, indices, input_size, **options):
    return _gather2d_input_by_loops(np.where(indices < 0, 0, g), np.maximum(indices, 0), input_size)


@op(
    vjp={"grad_output": _at_maxima},
    samples=lambda r: list(_max_pool_input_samples(r)),
    reference=_max_pool_input_by_loops,
    errors=lambda r: [
        Bad(
            ValueError,
            "grad_output",
            S(r.normal(1, 1, 3, 3), np.zeros((1, 1, 3, 3), int), input_size=(1, 1, 4, 4), kernel_size=2),
        ),
    ],
    degree=1,
)
def max_pool2d_input(
    grad_output, indices, /, input_size, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False
):
    """The gradient of max_pool2d: zeros of ``input_size`` with grad_output added at its ``indices``, -1 for nowhere."""
    return kernels.max_pool2d_input(
        input_size,
        indices,
        grad_output,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def _gather2d_by_loops(x, indices):
    return np.array([x[n, c].flat[indices[n, c, i, j]] for n, c, i, j in np.ndindex(indices.shape)]).reshape(
        indices.shape
    )


def _gather2d_input_by_loops(g, indices, input_size):
    out = np.zeros(input_size)
    for n, c, i, j in np.ndindex(indices.shape):
        out[n, c].flat[indices[n, c, i, j]] += g[n, c, i, j]
    return out


@op(
    vjp={"input": lambda g, indices, input_shape: gather2d_input(g, indices, input_shape)},
    samples=lambda r: [S(r.normal(2, 3, 4, 5), r.integers(0, 20, 2, 3, 2, 2))],
    reference=_gather2d_by_loops,
    errors=lambda r: [Bad(IndexError, "between 0 and 19", S(r.normal(1, 1, 4, 5), np.array([[[[20]]]])))],
    degree=1,
)
def gather2d(input, indices, /):
    """out[n,c,i,j] = the element of plane input[n,c], flattened, at indices[n,c,i,j]."""
    return kernels.gather2d(input, indices)


@op(
    vjp={"grad_output": lambda g, indices: gather2d(g, indices)},
    samples=lambda r: [S(r.normal(2, 3, 2, 2), r.integers(0, 20, 2, 3, 2, 2), input_size=(2, 3, 4, 5))],
    reference=_gather2d_input_by_loops,
    errors=lambda r: [
        Bad(IndexError, "between 0 and 19", S(r.normal(1, 1, 1, 1), np.array([[[[20]]]]), input_size=(1, 1, 4, 5))),
    ],
    degree=1,
)
def gather2d_input(grad_output, indices, /, input_size):
    """Zeros of ``input_size`` with grad_output added at the indices: the adjoint of ``gather2d``."""
    return kernels.gather2d_input(input_size, indices, grad_output)


_AVERAGES = (
    *_WINDOWS,
    dict(kernel_size=3, stride=2, padding=1, count_include_pad=False),
    dict(kernel_size=2, divisor_override=3),
)


@op(
    vjp={
        "input": lambda g, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: (
            avg_pool2d_input(
                g, input_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
            )
        )
    },
    samples=lambda r: [S(r.normal(2, 3, 5, 6), **options) for options in _AVERAGES],
    reference=_avg_pool_by_loops,
    errors=_pool_errors,
    degree=1,
)
def avg_pool2d(
    input,
    /,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """Mean of each window of (N, C, H, W); padding counts as zeros unless ``count_include_pad`` is False."""
    return kernels.avg_pool2d(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def _avg_pool_input_by_basis(g, input_size, **options):
    """The adjoint, column by column: <avg_pool(e_i), g> for every unit input e_i."""
    out = np.zeros(input_size)
    for i in np.ndindex(input_size):
        unit = np.zeros(input_size)
        unit[i] = 1
        out[i] = (_avg_pool_by_loops(unit, **options) * g).sum()
    return out


@op(
    vjp={
        "grad_output": lambda g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: (
            avg_pool2d(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        )
    },
    samples=lambda r: [
        S(
            r.normal(*kernels.avg_pool2d(np.zeros((1, 1, 4, 5)), **options).shape),
            input_size=(1, 1, 4, 5),
            **options,
        )
        for options in _AVERAGES
    ],
    reference=_avg_pool_input_by_basis,
    errors=lambda r: [
        Bad(ValueError, "grad_output", S(r.normal(1, 1, 3, 3), input_size=(1, 1, 4, 4), kernel_size=2)),
    ],
    degree=1,
)
def avg_pool2d_input(
    grad_output,
    /,
    input_size,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    """The gradient of avg_pool2d with respect to its input, of shape ``input_size``."""
    return kernels.avg_pool2d_input(
        input_size,
        grad_output,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def _cells(size, parts):
    """Adaptive pooling's windows: cell i of ``parts`` spans floor(i n / parts) to ceil((i + 1) n / parts)."""
    return [(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def _cell_sizes(x, output_size):
    height, width = kernels.geometry.pair("output_size", output_size)
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(f"adaptive pooling: expected a non-empty (N, C, H, W) input, got shape {x.shape}")
    return height, width


def _averaging_matrix(size, parts, like):
    matrix = np.zeros((parts, size), like.dtype)
    for i, (start, stop) in enumerate(_cells(size, parts)):
        matrix[i, start:stop] = 1 / (stop - start)
    return Tensor(constant(to_device(matrix, like.device)))


def _adaptive_by_loops(reduce):
    def reference(x, output_size):
        height, width = np.broadcast_to(output_size, 2)
        return np.array(
            [
                [
                    [
                        [reduce(x[n, c, a:b, d:e]) for d, e in _cells(x.shape[3], width)]
                        for a, b in _cells(x.shape[2], height)
                    ]
                    for c in range(x.shape[1])
                ]
                for n in range(x.shape[0])
            ]
        )

    return reference


def _adaptive_errors(r):
    return [
        Bad(ValueError, "output_size", S(r.normal(1, 1, 4, 4), output_size=0)),
        Bad(ValueError, r"\(N, C, H, W\)", S(r.normal(4, 4), output_size=2)),
    ]


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.normal(2, 3, 6, 4), output_size=(3, 2)),
        S(r.normal(1, 2, 5, 7), output_size=(3, 4)),
    ],
    reference=_adaptive_by_loops(np.mean),
    errors=_adaptive_errors,
    degree=1,
)
def adaptive_avg_pool2d(input, /, output_size):
    """Mean over the cells that divide (H, W) into ``output_size`` parts: A_h x A_w^T with averaging matrices."""
    height, width = _cell_sizes(input, output_size)
    if input.shape[2] % height == 0 and input.shape[3] % width == 0:
        return avg_pool2d(input, (input.shape[2] // height, input.shape[3] // width))
    rows = _averaging_matrix(input.shape[2], height, input)
    columns = _averaging_matrix(input.shape[3], width, input)
    return matmul(matmul(rows, input), transpose(columns, 0, 1))


@op(
    vjp="derived",
    samples=lambda r: [
        S(r.distinct(2, 3, 6, 4), output_size=(3, 2)),
        S(r.distinct(1, 2, 5, 7), output_size=(3, 4)),
    ],
    reference=_adaptive_by_loops(np.max),
    errors=_adaptive_errors,
    kinks=[
        Kink(
            "ties: the first in row-major order",
            S(np.ones((1, 1, 2, 2)), output_size=1),
            (np.array([[[[1.0, 0.0], [0.0, 0.0]]]]),),
        )
    ],
)
def adaptive_max_pool2d(input, /, output_size):
    """Largest value in each of the cells that divide (H, W) into ``output_size`` parts; the first of ties."""
    height, width = _cell_sizes(input, output_size)
    return gather2d(input, Tensor(_places_of_maxima(input, height=height, width=width)))


@noted
def _places_of_maxima(input, *, height, width):
    n, c, h, w = input.shape
    places = np.empty((n, c, height, width), np.int64, like=input)
    for i, (top, bottom) in enumerate(_cells(h, height)):
        for j, (left, right) in enumerate(_cells(w, width)):
            cell = input[:, :, top:bottom, left:right]
            flat = cell.reshape(n, c, (bottom - top) * (right - left))
            y, x = np.divmod(flat.argmax(axis=2), right - left)
            places[:, :, i, j] = (top + y) * w + left + x
    return places
