"""Between the contract's arrays and what compiled loops want: channels last, contiguous, writable."""

import functools
import math

from .. import reference
from .compile import entry, portion, serial, tasks_for
from .copies import transpose
from .fork import fork
from .memory import SMALLEST, empty, memory_order, over

# Rows turned at a time: with 16, a line of memory, a copy of 128 images took up to twice as long. But each thread shall
# have some of a single image.
_ROWS, _LINE = 128, 16


@reference.contiguous.implementation("numba", pays=lambda input: _is_large(input))
def contiguous(input):
    copy = plain(input)
    return input.copy(order="C") if copy is input else copy


def _is_large(input):
    return True if input.nbytes >= SMALLEST else f"below {SMALLEST} bytes NumPy is as fast"


def channels_last(array):
    """(N, C, ...) as a contiguous (N, ..., C) array: a view where memory is so already, else a copy."""
    return plain(array.transpose(0, *range(2, array.ndim), 1))


def channels_first(array):
    """(N, ..., C) seen as (N, C, ...)."""
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def plain(array):
    """`array` itself if it is C-contiguous, aligned and writable, else a copy that is.

    Numba would compile every kernel anew for a read-only or strided array. Images whose channels move from first to
    last, or back, are copied in squares, by all threads: NumPy takes twice as long for (128, 64, 7, 7).
    """
    if array.flags.carray:
        return array
    batch, rows, columns = _turn_of(array.shape, array.strides) if array.nbytes >= SMALLEST else (0, 0, 0)
    if batch:
        memory = array.transpose(memory_order(array.strides)[0])
        if memory.flags.carray and array.dtype.kind == "f":
            copy = empty(array.shape, array.dtype)
            share = -(-batch * rows // tasks_for(batch * rows))
            at_once = min(_ROWS, -(-share // _LINE) * _LINE)
            _turn(
                memory.reshape(batch, columns, rows),
                copy.reshape(batch, rows, columns),
                at_once,
                tasks_for(batch * -(-rows // at_once)),
            )
            return copy
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


@functools.lru_cache(1 << 10)
def _turn_of(shape, strides):
    """(batch, rows, columns) where an array is that in memory order (batch, columns, rows); else zeros."""
    order, _ = memory_order(strides)
    same = next((axis for axis, place in enumerate(order) if axis != place), 0)
    first, end = order[same], len(order)
    if order != (*range(same), *range(first, end), *range(same, first)):
        return 0, 0, 0
    return math.prod(shape[:same]), math.prod(shape[same:first]), math.prod(shape[first:])


@entry
def _turn(source, target, at_once, tasks):
    fork(_turn_rows, (source, target, at_once), tasks)


@serial
def _turn_rows(source, target, at_once, tasks, task):
    """target[n, i, j] = source[n, j, i]."""
    batch, rows, columns = target.shape
    sources, targets, blocks = source.reshape(source.size), target.reshape(target.size), (rows + at_once - 1) // at_once
    begin, end = portion(batch * blocks, tasks, task)
    for work in range(begin, end):
        n, first = work // blocks, work % blocks * at_once
        count, place = min(at_once, rows - first), n * rows * columns
        transpose(sources, place + first, rows, columns, count, targets, place + first * columns, columns)


def elementwise(core, *inputs, **scalars):
    """Call core(*inputs, *scalars, output) with 1-D arrays, and return the output: all in the first input's order.

    Of a gradient's inputs the first is the activation's input or output, in the memory order that the layer wants back.
    Arrays in another order, or with gaps, are copied first. Scalars take the inputs' dtype.
    """
    order, back = memory_order(inputs[0].strides)
    dense = [plain(array.transpose(order)) for array in inputs]
    output = over(*dense)
    core(*[a.reshape(-1) for a in dense], *map(output.dtype.type, scalars.values()), output.reshape(-1))
    return output.transpose(back)


def flat(view):
    """The memory of a view without gaps, and the view's strides in elements: one type for all transposed weights."""
    order, back = memory_order(view.strides)
    memory = plain(view.transpose(order))
    return memory.reshape(-1), tuple([memory.strides[axis] // memory.itemsize for axis in back])


def flattened(written, read):
    """The arrays as 1-D arrays in the memory order of written[0], and (array, copy) where a written one was copied.

    Arrays in another order, or with gaps, are copied. `copy_back` takes what was written to where it belongs.
    """
    arrays = (*written, *read)
    if all(array.flags.carray for array in arrays):
        return [array.reshape(-1) for array in arrays], []
    order, _ = memory_order(written[0].strides)
    views = [array.transpose(order) for array in arrays]
    dense = [plain(view) for view in views]
    copied = [(view, array) for view, array in zip(views[: len(written)], dense, strict=False) if array is not view]
    return [array.reshape(-1) for array in dense], copied


def copy_back(copied):
    for array, copy in copied:
        array[...] = copy
