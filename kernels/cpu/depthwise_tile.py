"""SIMD tiles of depthwise convolution: vectors of channels, and several vectors of sums in registers.

`correlate` sums over taps, for PIXELS neighbouring output pixels; `multiply` over the pixels of a row, for each tap.
The columns of a kernel are taken three at a time, what is left one at a time. Where pixels as well as taps are
neighbours (`adjacent`), one load of a source pixel serves up to three multiplications. For kernels of three columns,
the most frequent ones, there are tiles without the loop over columns (`adjacent3`, `any3`). Beyond the left and right
edge zeros are read, by selecting an address, not by a branch. Above and below, the caller cuts the kernel.

What looks roundabout in the address arithmetic keeps LLVM from a bad habit: of several affine addresses in a loop it
makes induction variables, one each, runs out of registers, and the loop takes three times as long. So a loop moves one
pointer for each operand, and adds to it what was computed before the loop; and a tile is a function of its own, called
with addresses, because an array takes a dozen arguments.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import serial
from .emitter import Emitter, index

PIXELS = 8
_BLOCKS = (3, 1)  # columns of a kernel that are taken at once
UNROLLED = 4  # pixels that `multiply` takes at once, in two sums a tap: additions to one sum wait for each other


class _Variables:
    """Variables of the generated code, which LLVM turns into registers."""

    def __init__(self, builder, values):
        self.builder = builder
        self.slots = [cgutils.alloca_once(builder, value.type) for value in values]
        for i, value in enumerate(values):
            self[i] = value

    def __getitem__(self, i):
        return self.builder.load(self.slots[i])

    def __setitem__(self, i, value):
        self.builder.store(value, self.slots[i])

    def move(self, *steps):
        """Advance each pointer by its number of elements."""
        for i, step in enumerate(steps):
            self[i] = self.builder.gep(self[i], [step])


class _Windows:
    """Loads what the windows of some neighbouring output pixels meet of one source row, `taps` taps each."""

    def __init__(self, emit, pixels, taps, adjacent, pixel_step, tap_step, channels, width):
        self.emit, self.width, builder = emit, width, emit.builder
        self.uses = {}  # source pixel -> the (pixel, tap) that meet there
        for i in range(pixels):
            for j in range(taps):
                self.uses.setdefault(i + j if adjacent else (i, j), []).append((i, j))
        firsts = [uses[0] for uses in self.uses.values()]
        self.columns = [
            builder.add(builder.mul(index(i), pixel_step), builder.mul(index(j), tap_step)) for i, j in firsts
        ]
        self.offsets = [builder.mul(column, channels) for column in self.columns]
        zeros = cgutils.alloca_once_value(builder, _zero(emit))
        self.zeros = builder.bitcast(zeros, emit.element.as_pointer())

    def inside(self, column):
        """For each source pixel, whether it lies in the image where pixel 0 and tap 0 lie in `column`."""
        builder = self.emit.builder
        return [builder.icmp_unsigned("<", builder.add(column, place), self.width) for place in self.columns]

    def load(self, pointer, inside=None):
        """Yield (vector, [(pixel, tap), ...] that meet it). `pointer` is at pixel 0 and tap 0.

        What is not `inside` is zero.
        """
        builder = self.emit.builder
        for k, (uses, offset) in enumerate(zip(self.uses.values(), self.offsets, strict=True)):
            at = builder.gep(pointer, [offset])
            if inside is not None:
                at = builder.select(inside[k], at, self.zeros)
            yield self.emit.load(at, index(0), self.emit.lanes), uses


@intrinsic
def at(typing_context, array, offset):
    """The address of the array's element `offset`, an integer."""

    def codegen(context, builder, signature, args):
        pointer = Emitter(context, builder, signature, args).address(0, args[1])
        return builder.ptrtoint(pointer, index)

    return types.intp(array, types.intp), codegen


def _pointers(emit, *addresses):
    return [emit.builder.inttoptr(address, emit.element.as_pointer()) for address in addresses]


def _zero(emit):
    return ir.VectorType(emit.element, emit.lanes)([0.0] * emit.lanes)


def _loop(builder, end, step=1, start=0):
    start = index(start) if isinstance(start, int) else start
    return cgutils.for_range_slice(builder, start, end, index(step), index)


def _blocks(builder, columns):
    """Loops over the columns of a kernel in blocks: yields (columns of a block, the first of them) inside of each."""
    start = index(0)
    for taps in _BLOCKS:
        end = builder.sub(columns, builder.srem(columns, index(taps)))
        with _loop(builder, end, taps, start) as (j, _):
            yield taps, j
        start = end


def _vector_start(emit, v, channels):
    """The first channel of the vector at v: the last vector overlaps the one before, if channels do not fill it."""
    last = emit.builder.sub(channels, index(emit.lanes))
    return emit.builder.select(emit.builder.icmp_signed("<", v, last), v, last)


def _make_correlate(adjacent, three):
    @intrinsic
    def correlate(
        typing_context, dtype, target, target_step, count, source, row_step, column, width, pixel_step, tap_step,
        weight, rows, columns, channels, edge,
    ):  # fmt: skip
        """target[i * target_step + c] = sum over h < rows, j < columns of weight[(h * columns + j) * channels + c]
        * source[h * row_step + (i * pixel_step + j * tap_step) * channels + c], for all i < PIXELS, c < channels.

        target, source and weight are addresses of elements of `dtype`.

        With `edge`, only i < count are stored, and what lies outside of 0 <= column + i * pixel_step + j * tap_step
        < width counts as zero.
        """
        size = types.intp
        signature = types.void(dtype, *[size] * 13, types.boolean)

        def codegen(context, builder, signature, args):
            builder.function.attributes.add("noinline")
            emit = Emitter(context, builder, signature, args)
            _, target, target_step, count, source, row_step, column, width, pixel_step, tap_step, weight, *rest = args
            rows, columns, channels, edge = rest
            pixel_step, tap_step = (index(1), index(1)) if adjacent else (pixel_step, tap_step)
            target, source, weight = _pointers(emit, target, source, weight)
            windows = {
                taps: _Windows(emit, PIXELS, taps, adjacent, pixel_step, tap_step, channels, width) for taps in _BLOCKS
            }
            to_offsets = [builder.mul(index(i), target_step) for i in range(PIXELS)]
            weight_offsets = [builder.mul(index(j), channels) for j in range(max(_BLOCKS))]
            weight_row, tap_offset = builder.mul(columns, channels), builder.mul(tap_step, channels)

            def add_taps(taps, sums, at, weights, inside):
                factors = [emit.load(weights, offset, emit.lanes) for offset in weight_offsets[:taps]]
                for vector, uses in windows[taps].load(at, inside):
                    for i, j in uses:
                        sums[i] = emit.multiply_add(vector, factors[j], sums[i])

            def emit_vector(c, edge, inside):
                sums = _Variables(builder, [_zero(emit)] * PIXELS)
                row = _Variables(builder, [builder.gep(source, [c]), builder.gep(weight, [c])])
                with _loop(builder, rows):
                    if three:
                        add_taps(3, sums, row[0], row[1], inside)
                    else:
                        tap = _Variables(builder, [row[0], row[1]])
                        for taps, j in _blocks(builder, columns):
                            first = builder.add(column, builder.mul(j, tap_step))
                            add_taps(taps, sums, tap[0], tap[1], windows[taps].inside(first) if edge else None)
                            tap.move(*(builder.mul(index(taps), step) for step in (tap_offset, channels)))
                    row.move(row_step, weight_row)
                to = builder.gep(target, [c])
                for i in range(PIXELS):
                    with builder.if_then(builder.icmp_signed("<", index(i), count if edge else index(PIXELS))):
                        emit.store(sums[i], to, to_offsets[i])

            with builder.if_else(edge) as branches:
                for branch, is_edge in zip(branches, (True, False), strict=True):
                    with branch:
                        inside = windows[3].inside(column) if is_edge else None
                        with _loop(builder, channels, emit.lanes) as (v, _):
                            emit_vector(_vector_start(emit, v, channels), is_edge, inside)
            return context.get_dummy_value()

        return signature, codegen

    return _function(correlate, f"correlate_{adjacent}_{three}")


def _make_multiply(adjacent, three):
    @intrinsic
    def multiply(
        typing_context, dtype, target, source, row_step, column, width, pixel_step, tap_step, grad, rows, columns,
        channels, count, begin, end,
    ):  # fmt: skip
        """target[(h * columns + j) * padded + v] += sum over x < count of grad[x * channels + c] * source[h * row_step
        + (x * pixel_step + j * tap_step) * channels + c], for all h < rows, j < columns, c < channels.

        target, source and grad are addresses of elements of `dtype`.

        `padded` is channels rounded up to whole vectors; the target's vector v starts at channel c = min(v, channels -
        lanes). The pixels begin <= x < end, a multiple of UNROLLED, have all their taps in 0 <= column + x * pixel_step
        + j * tap_step < width; for others, what lies outside counts as zero.
        """
        size = types.intp
        signature = types.void(dtype, *[size] * 14)

        def codegen(context, builder, signature, args):
            builder.function.attributes.add("noinline")
            emit = Emitter(context, builder, signature, args)
            _, target, source, row_step, column, width, pixel_step, tap_step, grad, *sizes, begin, end = args
            rows, columns, channels, count = sizes
            pixel_step, tap_step = (index(1), index(1)) if adjacent else (pixel_step, tap_step)
            target, source, grad = _pointers(emit, target, source, grad)
            windows = {
                (pixels, taps): _Windows(emit, pixels, taps, adjacent, pixel_step, tap_step, channels, width)
                for pixels in (1, UNROLLED)
                for taps in _BLOCKS
            }
            parts = ((1, index(0), begin), (UNROLLED, begin, end), (1, end, count))
            tap_offset = builder.mul(tap_step, channels)
            steps = {
                pixels: [builder.mul(index(pixels), size) for size in (builder.mul(pixel_step, channels), channels)]
                for pixels in (1, UNROLLED)
            }
            grad_offsets = [builder.mul(index(i), channels) for i in range(UNROLLED)]
            rounded = builder.add(channels, index(emit.lanes - 1))
            padded = builder.sub(rounded, builder.srem(rounded, index(emit.lanes)))
            to_offsets = [builder.mul(index(j), padded) for j in range(max(_BLOCKS))]

            def add_pixels(taps, to, at, factors, column):
                sums = _Variables(builder, [_zero(emit)] * (2 * taps))
                along = _Variables(builder, [at, factors])
                for pixels, start, stop in parts:
                    met = windows[pixels, taps]
                    with _loop(builder, stop, pixels, start) as (x, _):
                        here = met.inside(builder.add(column, builder.mul(x, pixel_step))) if pixels == 1 else None
                        multipliers = [emit.load(along[1], grad_offsets[i], emit.lanes) for i in range(pixels)]
                        for vector, uses in met.load(along[0], here):
                            for i, j in uses:
                                k = i % 2 * taps + j
                                sums[k] = emit.multiply_add(vector, multipliers[i], sums[k])
                        along.move(*steps[pixels])
                for j, offset in enumerate(to_offsets[:taps]):
                    total = builder.fadd(sums[j], sums[taps + j])
                    emit.store(builder.fadd(emit.load(to, offset, emit.lanes), total), to, offset)

            with _loop(builder, channels, emit.lanes) as (v, _):
                c = _vector_start(emit, v, channels)
                factors = builder.gep(grad, [c])
                row = _Variables(builder, [builder.gep(target, [v]), builder.gep(source, [c])])
                with _loop(builder, rows):
                    if three:
                        add_pixels(3, row[0], row[1], factors, column)
                    else:
                        tap = _Variables(builder, [row[0], row[1]])
                        for taps, j in _blocks(builder, columns):
                            add_pixels(taps, tap[0], tap[1], factors, builder.add(column, builder.mul(j, tap_step)))
                            tap.move(*(builder.mul(index(taps), step) for step in (padded, tap_offset)))
                    row.move(builder.mul(columns, padded), row_step)
            return context.get_dummy_value()

        return signature, codegen

    return _function(multiply, f"multiply_{adjacent}_{three}")


def _function(tile, name):
    """The tile as a function of this name that is not inlined (the tile sees to that)."""

    def function(*args):
        tile(*args)

    function.__qualname__ = name
    return serial(function)


_MAKES = (True, True), (False, True), (True, False), (False, False)
_correlate_adjacent3, _correlate_any3, _correlate_adjacent, _correlate_any = (_make_correlate(*m) for m in _MAKES)
_multiply_adjacent3, _multiply_any3, _multiply_adjacent, _multiply_any = (_make_multiply(*m) for m in _MAKES)


@serial
def correlate(adjacent, columns, *args):
    """The fastest tile for kernels of so many columns; args are those of the tile in _make_correlate."""
    if columns == 3:
        if adjacent:
            _correlate_adjacent3(*args)
        else:
            _correlate_any3(*args)
    elif adjacent:
        _correlate_adjacent(*args)
    else:
        _correlate_any(*args)


@serial
def multiply(adjacent, columns, *args):
    """The same for the weight gradient; args are those of the tile in _make_multiply."""
    if columns == 3:
        if adjacent:
            _multiply_adjacent3(*args)
        else:
            _multiply_any3(*args)
    elif adjacent:
        _multiply_adjacent(*args)
    else:
        _multiply_any(*args)
