"""A copy in row-major memory of an array of any strides: by tiles, read along one axis and written along another."""

import math

import numpy as np

from .. import reference
from .layout import TYPES, ctype, empty
from .module import blocks, launch

_TILE, _LINES, _AXES = 32, 8, 4  # copies.cu says the same
_SHARED_BYTES = {t: _TILE * (_TILE + 1) * size for t, size in zip(TYPES, (4, 8), strict=True)}
_SOURCE = np.dtype([("first", np.uint64), *((name, np.int64, _AXES) for name in ("size", "step", "to"))])

INSTANCES = {"copies.cu": {f"contiguous<{t}>": _SHARED_BYTES[t] for t in TYPES}}


def _has_few_axes(input):
    return input.ndim <= _AXES or f"an array must have at most {_AXES} axes"


@reference.contiguous.implementation("cuda", device="gpu", supports=_has_few_axes)
def contiguous(input):
    if input.flags.c_contiguous:
        return input.copy(order="C")
    output, axes = empty(input.shape, input.dtype), _axes(input)
    source = np.array([(input.data.ptr, *zip(*axes, strict=True))], _SOURCE)
    *outer, (rows, row_step, _), (columns, column_step, _) = axes
    turned = np.int32(0 < abs(row_step) < abs(column_step))
    grid = (math.prod(size for size, _, _ in outer) * blocks(rows, _TILE) * blocks(columns, _TILE),)
    t = ctype(input.dtype)
    launch("copies.cu", f"contiguous<{t}>", grid, (_TILE, _LINES), (source, output, turned), _SHARED_BYTES[t])
    return output


def _axes(array):
    """(size, step in the array, step in its copy) of four axes: those that one step can walk are joined.

    The last are the columns, innermost in the copy; of the others the one with the smallest steps in the array is the
    rows, before the columns, and one that only repeats, with steps of 0, stands at the front.
    """
    axes, to = [], 1
    for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        step = stride // array.itemsize
        if axes and step == math.prod(axes[-1][:2]):
            axes[-1][0] *= size
        elif size > 1:
            axes.append([size, step, to])
        to *= size
    columns, *others = axes
    others.sort(key=lambda axis: abs(axis[1]) or math.inf, reverse=True)
    return [[1, 0, 0]] * (_AXES - len(axes)) + others + [columns]
