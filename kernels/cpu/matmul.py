"""Matrix product on the SIMD tile, in blocks whose operands stay in cache (Goto and van de Geijn 2008).

BLAS has threads of its own, which go on spinning for a while after each product and take the cores from ours: a
training step of the CNN on two cores took 91 ms with OpenBLAS's two threads and 40 ms with one. They also make the
rounding depend on the number of threads.
"""

from .. import reference
from .compile import entry, portion, serial, tasks_for
from .copies import copy, transpose
from .emitter import VECTOR_BYTES, whole_vectors
from .fork import fork
from .layout import plain
from .memory import cleared, empty
from .simd import panel_layout, product

BLAS_LIMIT = 1 << 18  # multiply-adds up to which OpenBLAS stays on the calling thread (interface/gemm.c)
_ROWS = 24  # of a block of the result, a multiple of every tile's height
_DEPTH = 512  # terms added at a time: a panel of b stays in the second-level cache
_KEPT_BYTES = 1 << 19  # of b that stay in the second-level cache while rows of a go by
# Rows of b that lie far apart push each other out of the first-level cache. Panels are copied one behind the other
# where they are read so often: 128 x 512 times 512 x 1,024 takes 0.6 of the time then, 128 x 20 times 20 x 3,136 1.1.
_ROWS_PER_COPY, _COLUMNS_PER_COPY, _NUMBERS_PER_COPY = 128, 256, 1 << 14
_SQUARE = 16  # rows of b: a line of memory is read by one thread


def _is_large(a, b, bias=None):
    small = a.ndim == b.ndim == 2 and a.size * b.shape[1] <= BLAS_LIMIT
    return f"up to {BLAS_LIMIT} multiply-adds BLAS starts faster, and needs one thread" if small else True


@reference.matmul.implementation("tile", pays=_is_large)
def matmul(a, b, bias=None):
    reference.check_matmul(a.shape, b.shape, bias)
    if not a.size or not b.size:
        return reference.matmul.reference(a, b, bias)
    if bias is None and a.T.flags.carray and (a.shape[0] > b.shape[1] or not b.flags.carray):
        return _product(b.T, a.T, None).T  # the operand on the right is read along its rows, the longer the better
    return _product(a, b, bias)


def _product(a, b, bias):
    (rows, depth), columns = a.shape, b.shape[1]
    panels, vectors, width = panel_layout(columns, a.dtype)
    a, ai, at = _memory(a)
    b, bt, bj = _memory(b)
    panel_stride, whole = width, whole_vectors(columns, b.dtype)
    pays = rows >= _ROWS_PER_COPY and columns >= _COLUMNS_PER_COPY and rows * depth >= _NUMBERS_PER_COPY
    if bj != 1 or columns != whole or pays:
        packed = empty((panels, depth, width), a.dtype)
        pack(b, bt, bj, columns, packed)
        b, bt, panel_stride = packed.reshape(-1), width, depth * width
    starts = cleared((whole,), a.dtype)
    starts[:columns] = 0 if bias is None else bias
    sums = empty((rows, whole), a.dtype)
    tasks = tasks_for(panels * -(-rows // _ROWS))
    _multiply(a, ai, at, b, bt, panel_stride, rows, depth, vectors, starts, sums, tasks)
    return plain(sums[:, :columns])


def _memory(matrix):
    """The elements of a matrix, and how far rows and columns are apart."""
    if matrix.T.flags.carray:
        return matrix.T.reshape(-1), 1, matrix.shape[0]
    return plain(matrix).reshape(-1), matrix.shape[1], 1


def pack(b, bt, bj, columns, packed):
    """packed[panel, t, j] = b[t * bt + (panel * width + j) * bj], zeros beyond the last column. bt or bj is 1."""
    _pack(b, bt, bj, columns, packed, tasks_for(-(-packed.shape[1] // _SQUARE)))


@entry
def _pack(b, bt, bj, columns, packed, tasks):
    fork(_pack_squares, (b, bt, bj, columns, packed), tasks)


@serial
def _pack_squares(b, bt, bj, columns, packed, tasks, task):
    panels, depth, width = packed.shape
    flat = packed.reshape(packed.size)
    begin, end = portion((depth + _SQUARE - 1) // _SQUARE, tasks, task)
    first, last = begin * _SQUARE, min(end * _SQUARE, depth)
    for panel in range(panels):
        to, there = (panel * depth + first) * width, min(width, columns - panel * width)
        if there < width:
            packed[panel, first:last] = 0
        if bt == 1:
            transpose(b, first + panel * width * bj, bj, there, last - first, flat, to, width)
        else:
            for t in range(first, last):
                copy(flat, to + (t - first) * width, b, t * bt + panel * width, there)


@entry
def _multiply(a, ai, at, b, bt, panel_stride, rows, depth, vectors, starts, sums, tasks):
    fork(_multiply_blocks, (a, ai, at, b, bt, panel_stride, rows, depth, vectors, starts, sums), tasks)


@serial
def _multiply_blocks(a, ai, at, b, bt, panel_stride, rows, depth, vectors, starts, sums, tasks, task):
    """sums = starts + a @ b, the task's share of the blocks of _ROWS rows and one panel of columns."""
    columns, flat, numbers = sums.shape[1], sums.reshape(sums.size), VECTOR_BYTES // sums.itemsize
    blocks, width = (rows + _ROWS - 1) // _ROWS, vectors * numbers
    panels = (columns + width - 1) // width
    begin, end = portion(panels * blocks, tasks, task)
    stays = panels * depth * width * sums.itemsize <= _KEPT_BYTES
    for work in range(begin, end):
        panel, block = divmod(work, blocks)
        if stays:  # rows of sums are written in one go: (128, 20) times (20, 3136) in 0.7 of the time
            block, panel = divmod(work, panels)
        size, wide = min(_ROWS, rows - block * _ROWS), min(vectors, columns // numbers - panel * vectors)
        for t in range(0, depth, _DEPTH):
            steps, right = min(_DEPTH, depth - t), b[panel * panel_stride + t * bt :]
            c = flat[block * _ROWS * columns + panel * width :]
            start, si = (c, columns) if t > 0 else (starts[panel * width :], 0)
            left = a[block * _ROWS * ai + t * at :]
            product(wide, left, ai, at, right, 0, bt, steps, start, si, c, columns, size, 1)
