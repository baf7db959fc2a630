"""Where results live: `empty` hands out large arrays whose memory is used again when the last view of them is gone.

The system clears each fresh page before a program may write it, which costs about twice what a copy of the page
costs. So memory is kept and reused. An array of the pool is a view of a *block*, and NumPy keeps the block alive as
the base of every slice and transpose of it: a block that nobody but the pool refers to is free.
"""

import functools
import math
from collections import OrderedDict
from sys import getrefcount

import numpy as np

from ..sealed import here

SMALLEST = 1 << 16  # bytes; below, NumPy's own arrays are as fast: malloc does not give their pages back
LARGEST = 1 << 26  # bytes; above, keeping a block costs more memory than its pages cost time
LIMIT = 1 << 29  # bytes of unused blocks that are kept
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
# Bytes between what two threads write. A core reads ahead, and takes what lies there from the core that is writing it:
# a first layer's forward pass took 420 us where the threads' scratch memory was side by side, 360 with 8 KiB between,
# 290 with 16 or more.
APART = 1 << 15


class Pool:
    """Blocks of memory for arrays, reused.

    When it makes a block it keeps at most `limit` unused bytes of others, and drops the sizes used longest ago first.

    Several threads may be inside at once, and the garbage collector may run a finalizer that asks for an array,
    anywhere. A lock took a fifth of the time of `empty`. There is none: see `take`.
    """

    def __init__(self, limit=LIMIT):
        self.limit = limit
        self._blocks = OrderedDict()  # size -> [(block, where its first cache line begins)], those used last at the end

    def empty(self, shape, dtype):
        """An uninitialised C-contiguous array of a shape, a tuple; from SMALLEST bytes on, aligned to ALIGNMENT."""
        size = _size_of_block(shape, dtype)
        if not size:
            return np.empty(shape, dtype)
        entry = self.block(size)
        array = np.ndarray(shape, dtype, *entry)
        self._blocks[size].append(entry)
        return array

    def block(self, size):
        """(block, where its first cache line begins): one of `size` that nobody uses, and no longer the pool's."""
        blocks = self._blocks.get(size)
        if blocks is None:
            blocks = self._blocks.setdefault(size, [])
        self._blocks.move_to_end(size)
        return take(blocks) or self._make(size)

    def trim(self):
        """Give all unused memory back to the system."""
        self._drop_beyond(0)

    @property
    def unused(self):
        """Bytes of blocks that nobody uses."""
        return sum(size * sum(map(_is_free, self._blocks[size])) for size in list(self._blocks))

    def _make(self, size):
        self._drop_beyond(self.limit)
        block = np.empty(size + ALIGNMENT, np.uint8)
        return block, -block.ctypes.data % ALIGNMENT

    def _drop_beyond(self, limit):
        excess = self.unused - limit
        for size in list(self._blocks):
            while excess > 0 and take(self._blocks[size]):
                excess -= size


def take(blocks):
    """The free block that was used last, taken out, or None.

    What is taken out is the caller's alone: only then does it count that nobody else refers to the block.
    """
    try:
        for i in range(len(blocks) - 1, -1, -1):
            if getrefcount(blocks[i][0]) == _ALONE:
                entry = blocks.pop(i)
                if getrefcount(entry[0]) == _ALONE:
                    return entry
                blocks.append(entry)  # an array was made of it between the two lines above
    except IndexError:  # blocks were taken there
        pass
    return None


def _is_free(entry):
    return getrefcount(entry[0]) == _ALONE


_alone = np.empty(0), 0
_ALONE = getrefcount(_alone[0])  # references to the block of an entry, where there is no array of it


@functools.lru_cache(1 << 12)
def _size_of_block(shape, dtype):
    """Bytes of the block for an array; 0 where the pool has none of that size."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    return size_class(count) if SMALLEST <= count <= LARGEST else 0


@functools.lru_cache(1 << 12)
def size_class(count):
    """`count` bytes rounded up to 8, 9, ... or 15 times a power of two: at most an eighth is wasted."""
    step = 1 << max(count.bit_length() - 4, 0)
    return -(-count // step) * step


_pool = Pool()
block = _pool.block


def empty(shape, dtype):
    """An uninitialised array: of the pool, or of the memory that a kernel is being bound to."""
    return (here.binding or _pool).empty(shape, dtype)


def cleared(shape, dtype):
    """For a few zeros: a bound kernel writes them in each of its runs, and those of np.zeros in the first one alone."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def over(*arrays, besides=()):
    """Memory for a result shaped like the arrays, of which each element is written when theirs there have been read.

    In a bound kernel it is that of one of them, if nobody asks for it any more: what is in cache already need not be
    fetched to be written, which takes 0.3 to 0.7 of the time. Arrays ``besides`` are read, too.
    """
    for array in arrays if here.binding else ():
        if here.binding.is_spare(array, (*arrays, *besides)):
            return array
    return empty(arrays[0].shape, arrays[0].dtype)


@functools.lru_cache(1 << 10)
def memory_order(strides):
    """(axes, the one with the largest steps in memory first, and the permutation that undoes this order)."""
    order = tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis])))
    return order, tuple(sorted(range(len(strides)), key=order.__getitem__))


def in_order_of(array, dtype, empty):
    """An uninitialised array with the array's shape and order in memory, without gaps."""
    if array.flags.c_contiguous:
        return empty(array.shape, dtype)
    order, back = memory_order(array.strides)
    return empty(tuple([array.shape[axis] for axis in order]), dtype).transpose(back)


def extent(array):
    """(bytes from the first to the last of an array's elements in memory, how many lie before the one at [0, ...])."""
    if 0 in array.shape:
        return 0, 0
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    return sum(map(abs, steps)) + array.dtype.itemsize, -sum(step for step in steps if step < 0)


def strided_like(array, empty=empty):
    """An uninitialised array with the array's very strides, on which the order of NumPy's sums depends."""
    if array.flags.c_contiguous:
        return empty(array.shape, array.dtype)
    size, before = extent(array)
    return np.ndarray(array.shape, array.dtype, empty((size,), np.uint8), before, array.strides)


def copied(array, fill=None):
    """A copy with the array's very strides; or full of one number."""
    copy = strided_like(array)
    copy[...] = array if fill is None else fill
    return copy


def scratch(tasks, rows, *row, dtype):
    """Uninitialised memory for each task: see `per_task`."""
    return empty(per_task(tasks, rows, *row, dtype=dtype), dtype)


def per_task(tasks, rows, *row, dtype):
    """The shape (tasks, rows and a few unused ones, *row), where there are APART bytes from task to task."""
    unused = -(-APART // (math.prod(row) * np.dtype(dtype).itemsize))
    return tasks, rows + unused, *row
