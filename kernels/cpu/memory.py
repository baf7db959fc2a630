"""Where results live: `empty` hands out large arrays whose memory comes back when the last view of them dies.

The system clears each fresh page before a program may write it, which costs about twice what a copy of the page
costs. So memory is kept and reused. Every array of the pool is a view of a *lease*: an object that owns nothing but
the promise to return its block. NumPy keeps a view's base alive, so a block cannot come back while any array, slice
or transpose of it is left.

A finalizer may run at any moment, also inside of the pool's own code, and may therefore not wait for a lock. It only
appends the block to a deque, which is atomic; whoever holds the lock next puts it away.
"""

import math
import os
import threading
from collections import OrderedDict, deque

import numpy as np

SMALLEST = 1 << 16  # bytes; below, NumPy's own arrays are as fast: malloc does not give their pages back
LARGEST = 1 << 26  # bytes; above, keeping a block costs more memory than its pages cost time
LIMIT = 1 << 29  # bytes of unused blocks that are kept
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
# Bytes between what two threads write. A core reads ahead, and takes what lies there from the core that is writing it:
# a first layer's forward pass took 420 us where the threads' scratch memory was side by side, 360 with 8 KiB between,
# 290 with 16 or more.
APART = 1 << 15


class Pool:
    """Blocks of memory for arrays, reused. It keeps at most `limit` unused bytes, dropping what lay unused longest."""

    def __init__(self, limit=LIMIT):
        self.limit = limit
        self.unused = 0  # bytes in _free
        self._free = OrderedDict()  # size -> blocks, the size used last at the end
        self._returned = deque()  # by finalizers
        self._reset_lock()

    def _reset_lock(self):
        self._lock = threading.Lock()

    def empty(self, shape, dtype):
        """An uninitialised C-contiguous array, like np.empty; from SMALLEST bytes on, aligned to ALIGNMENT."""
        dtype = np.dtype(dtype)
        count = math.prod(shape) * dtype.itemsize
        if not SMALLEST <= count <= LARGEST:
            return np.empty(shape, dtype)
        memory = np.asarray(_Lease(self, self._take(size_class(count))))
        return np.ndarray(shape, dtype, memory)  # every array of it has this `memory` as its base

    def trim(self):
        """Give all unused memory back to the system."""
        with self._lock:
            self._put_away()
            self._free.clear()
            self.unused = 0

    def give_back(self, block):
        """Take a block whose arrays are gone. Safe in a finalizer, at any time, in any thread."""
        self._returned.append(block)
        if self._lock.acquire(blocking=False):
            try:
                self._put_away()
            finally:
                self._lock.release()

    def _take(self, size):
        with self._lock:
            self._put_away()
            blocks = self._free.get(size)
            if blocks:
                self.unused -= size
                return blocks.pop()
        return _Block(size)

    def _put_away(self):
        while self._returned:
            block = self._returned.popleft()
            self._free.setdefault(block.size, []).append(block)
            self._free.move_to_end(block.size)
            self.unused += block.size
        while self.unused > self.limit:
            size, blocks = next(iter(self._free.items()))
            if blocks:
                blocks.pop()
                self.unused -= size
            else:
                del self._free[size]


class _Block:
    """Aligned memory of `size` bytes, in the form NumPy asks for."""

    __slots__ = ("interface", "memory", "size")

    def __init__(self, size):
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.memory, self.size = memory[start : start + size], size
        self.interface = self.memory.__array_interface__


class _Lease:
    """What an array of the pool is a view of. Its end is the end of the last such view."""

    __slots__ = ("__array_interface__", "_block", "_pool")

    def __init__(self, pool, block):
        self._pool, self._block, self.__array_interface__ = pool, block, block.interface

    def __del__(self):
        self._pool.give_back(self._block)


def size_class(count):
    """`count` bytes rounded up to 8, 9, ... or 15 times a power of two: at most an eighth is wasted."""
    step = 1 << max(count.bit_length() - 4, 0)
    return -(-count // step) * step


_pool = Pool()
empty, trim = _pool.empty, _pool.trim


def scratch(tasks, rows, *row, dtype):
    """Uninitialised memory for each task, (tasks, rows and a few unused ones, *row), APART bytes from task to task."""
    unused = -(-APART // (math.prod(row) * np.dtype(dtype).itemsize))
    return empty((tasks, rows + unused, *row), dtype)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool._reset_lock)  # another thread may have held it
