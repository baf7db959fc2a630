"""One SIMD tile, of which all convolutions but the depthwise are made: a matrix product held in vector registers.

LLVM does not keep a block of accumulators in registers for a plain loop nest, so the tile is an intrinsic that writes
the vector instructions itself. Operands are arrays with element offsets, and their strides are arguments: the same
tile serves forward, input gradient and weight gradient. Vector width and tile size follow the processor.
"""

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import serial, target
from .emitter import AVX512, VECTOR_BYTES, Emitter, index, lane, lanes
from .memory import cleared, empty

_REGISTERS = 32 if AVX512 or target[0].startswith(("aarch64", "arm64")) else 16
_MAX_SUMS = _REGISTERS * 3 // 4  # vectors a tile accumulates; the other registers hold operands
_MAX_ROWS = 8  # each takes an address register, of which x86 has 16
_MAX_VECTORS = 4 if _REGISTERS == 32 else 3
# What reading a row's factor costs a panel, in products of one register. Without it 256 columns would be 16 panels of
# 2 AVX2 registers, and not 11 of 3, and take 1.1 times as long; 64 columns in 4 panels of 2 take 0.8 of 3 panels of 3.
_FACTOR = 0.5
_LINE = 64  # bytes of a line of cache


def tile_rows(vectors):
    """Rows of the tile that is `vectors` registers wide."""
    return min(_MAX_ROWS, _MAX_SUMS // vectors)


tile_height = serial(tile_rows)


@functools.cache
def panel_layout(columns, dtype):
    """(panels, vectors, width): how to cut `columns` into panels of `vectors` registers, `width` elements each."""
    registers = -(-columns // lanes(dtype))
    widths = range(min(registers, _MAX_VECTORS), 0, -1)
    vectors = min(widths, key=lambda width: -(-registers // width) * (width + _FACTOR))
    return -(-registers // vectors), vectors, vectors * lanes(dtype)


def in_panels(matrix):
    """A small matrix (depth, columns) as panels (panels, depth, width), zeros beyond its columns; and their vectors."""
    depth, columns = matrix.shape
    panels, vectors, width = panel_layout(columns, matrix.dtype)
    padded, packed = cleared((depth, panels * width), matrix.dtype), empty((panels, depth, width), matrix.dtype)
    padded[:, :columns] = matrix
    packed[...] = padded.reshape(depth, panels, width).swapaxes(0, 1)
    return packed, vectors


def _repeat(builder, times, values, body):
    """The values after values = body(*values) has been done `times` times, at least once."""
    before, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    count, *now = [builder.phi(value.type) for value in (times, *values)]
    after = body(*now)
    next_count = builder.add(count, index(1))
    for phi, first, next_one in zip((count, *now), (index(0), *values), (next_count, *after), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_one, builder.block)
    builder.cbranch(builder.icmp_signed("<", next_count, times), loop, done)
    builder.position_at_end(done)
    return after


def _rows_from(emit, position, offset, step, there):
    """Pointers to rows `step` apart of an array argument: where a row is not there, to the one before it again."""
    rows = [emit.address(position, offset)]
    for inside in there[1:]:
        rows.append(emit.builder.gep(rows[-1], [emit.builder.select(inside, step, index(0))]))
    return rows


def _make_tile(vectors):
    """The intrinsic that accumulates tile_rows(vectors) rows of `vectors` registers."""

    @intrinsic
    def tile(typing_context, a, a0, ai, at, ar, b, b0, bt, runs, depth, start, s0, si, c, c0, ci, rows):
        """c[c0 + i ci + j] = start[s0 + i si + j]
            + sum over r < runs and t < depth of a[a0 + i ai + r ar + t at] b[b0 + (r depth + t) bt + j].

        For all i < rows, j < vectors * lanes; runs and depth are at least 1. Of more than `rows`, up to the tile's,
        each is the last one once more. What lies behind the last may be a subnormal number, and each product of one
        takes 150 cycles: a layer of 32 squares took 1,160 us and not 104.
        """
        steps = [types.intp] * 3
        signature = types.void(a, *steps, types.intp, b, *steps, types.intp, start, *steps[:2], c, *steps)

        def codegen(context, builder, signature, args):
            emit = Emitter(context, builder, signature, args)
            _, a0, ai, at, ar, _, b0, bt, runs, depth, _, s0, si, _, c0, ci, rows = args
            there = [builder.icmp_signed("<", index(i), rows) for i in range(tile_rows(vectors))]
            columns = [index(j * emit.lanes) for j in range(vectors)]
            a_rows, b_row = _rows_from(emit, 0, a0, ai, there), emit.address(5, b0)
            sums = [emit.load(row, j, emit.lanes) for row in _rows_from(emit, 10, s0, si, there) for j in columns]

            def one_step(a_offset, b_offset, *sums):
                b_vectors = [emit.load(builder.gep(b_row, [b_offset]), j, emit.lanes) for j in columns]
                factors = [emit.broadcast(builder.gep(row, [a_offset])) for row in a_rows]
                pairs = [(factor, vector) for factor in factors for vector in b_vectors]
                sums = [emit.multiply_add(*pair, so_far) for pair, so_far in zip(pairs, sums, strict=True)]
                return emit.opaque(builder.add(a_offset, at)), builder.add(b_offset, bt), *sums

            def one_run(a_run, b_run, *sums):
                _, _, *sums = _repeat(builder, depth, (a_run, b_run, *sums), one_step)
                return builder.add(a_run, ar), builder.add(b_run, builder.mul(depth, bt)), *sums

            _, _, *sums = _repeat(builder, runs, (index(0), index(0), *sums), one_run)
            c_rows = _rows_from(emit, 13, c0, ci, there)
            for (row, column), total in zip(((row, j) for row in c_rows for j in columns), sums, strict=True):
                emit.store(total, row, column)
            return context.get_dummy_value()

        return signature, codegen

    return tile


def _make_fetch(writing):
    @intrinsic
    def fetch(typing_context, array, at):
        """Ask for the line of cache with element `at` of an array, or behind it, and do not wait for it."""

        def codegen(context, builder, signature, args):
            emit, byte = Emitter(context, builder, signature, args), ir.IntType(8).as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [byte, lane, lane, lane])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
            place, near, data = builder.bitcast(emit.address(0, args[1]), byte), 2, 1  # to the second-level cache
            builder.call(function, [place, *map(lane, (int(writing), near, data))])
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return fetch


_fetch_to_read, _fetch_to_write = map(_make_fetch, (False, True))


def _make_product(vectors):
    tile, tile_height = _make_tile(vectors), tile_rows(vectors)

    def product_in_runs(a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels):
        for panel in range(panels):
            column = panel * vectors * VECTOR_BYTES // c.itemsize
            for i in range(0, rows, tile_height):
                tile(
                    a, i * ai, ai, at, ar, b, panel * panel_stride, bt, runs, depth, start, i * si + column, si, c,
                    i * ci + column, ci, rows - i,
                )  # fmt: skip

    def product(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels):
        for panel in range(panels):
            column = panel * vectors * VECTOR_BYTES // c.itemsize
            for i in range(0, rows, tile_height):
                tile(
                    a, i * ai, ai, at, 0, b, panel * panel_stride, bt, 1, depth, start, i * si + column, si, c,
                    i * ci + column, ci, rows - i,
                )  # fmt: skip

    def product_fetching(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon):
        read, r, reads, written, w, writes = soon
        line = _LINE // c.itemsize
        tiles = panels * ((rows + tile_height - 1) // tile_height)
        step = (max(reads, writes) + tiles * line - 1) // (tiles * line) * line
        reads, writes = min(r + reads, read.size), min(w + writes, written.size)
        for panel in range(panels):
            column = panel * vectors * VECTOR_BYTES // c.itemsize
            for i in range(0, rows, tile_height):
                for wanted in range(r, min(r + step, reads), line):
                    _fetch_to_read(read, wanted)
                for wanted in range(w, min(w + step, writes), line):
                    _fetch_to_write(written, wanted)
                r, w = r + step, w + step
                tile(
                    a, i * ai, ai, at, 0, b, panel * panel_stride, bt, 1, depth, start, i * si + column, si, c,
                    i * ci + column, ci, rows - i,
                )  # fmt: skip

    made = product, product_in_runs, product_fetching
    for function in made:
        function.__qualname__ = f"{function.__name__}{vectors}"
    return tuple(map(serial, made))


(_product1, _in_runs1, _fetching1), (_product2, _in_runs2, _fetching2) = map(_make_product, (1, 2))
_product3, _in_runs3, _fetching3 = _of_3 = _make_product(3)
# Callers compile all that they name: where no panel has four registers, that is no fourth tile.
_product4, _in_runs4, _fetching4 = _make_product(4) if _MAX_VECTORS == 4 else _of_3


@serial
def product(vectors, a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels):
    """c = start + a @ b for `rows` rows; start may be c itself.

    a[i, t] lies at i * ai + t * at, c[i, j] at i * ci + j, start[i, j] at i * si + j. b is cut in `panels` of `vectors`
    registers; row t of a panel lies at t * bt, and each panel panel_stride after the last.
    """
    if vectors == 1:
        _product1(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels)
    elif vectors == 2:
        _product2(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels)
    elif vectors == 3:
        _product3(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels)
    else:
        _product4(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels)


@serial
def product_in_runs(vectors, a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels):
    """`product` with a depth of runs * depth, of which a[i, r * depth + t] lies at i * ai + r * ar + t * at."""
    if vectors == 1:
        _in_runs1(a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels)
    elif vectors == 2:
        _in_runs2(a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels)
    elif vectors == 3:
        _in_runs3(a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels)
    else:
        _in_runs4(a, ai, at, ar, b, panel_stride, bt, runs, depth, start, si, c, ci, rows, panels)


@serial
def product_fetching(vectors, a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon):
    """`product`; meanwhile what is wanted soon comes from memory: read[r : r + reads] and written[w : w + writes].

    soon: (read, r, reads, written, w, writes). A matrix of many rows and few columns is computed as fast as memory
    brings it, so waiting costs: a 1x1 layer of 64 to 256 channels takes 0.92 of the time, its input gradient 0.9. Where
    all is in cache `product` is faster.
    """
    if vectors == 1:
        _fetching1(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon)
    elif vectors == 2:
        _fetching2(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon)
    elif vectors == 3:
        _fetching3(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon)
    else:
        _fetching4(a, ai, at, b, panel_stride, bt, depth, start, si, c, ci, rows, panels, soon)
