"""Copies, zeros and transposition in whole vectors, of arrays in scratch memory and out of it.

Rows are short here. What LLVM asks before a plain loop, whether its arrays overlap, and the elements that it leaves to
the end would take longer than the copy.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import serial
from .emitter import VECTOR_BYTES, Emitter, index, lane


def _make_copy(step):
    @intrinsic
    def copy(typing_context, target, t, source, s, count):
        """target[t + i] = source[s + step * i], i < count: whole vectors, then one half, quarter, ... vector each."""
        signature = types.void(target, types.intp, source, types.intp, types.intp)

        def codegen(context, builder, signature, args):
            emit = Emitter(context, builder, signature, args)
            target, source, count = emit.address(0, args[1]), emit.address(2, args[3]), args[4]
            width = emit.lanes
            whole = builder.and_(count, index(-width))
            with cgutils.for_range_slice(builder, index(0), whole, index(width), index) as (i, _):
                emit.store(_load_every(emit, step, source, i, width), target, i)
            while width > 1:
                done, width = builder.and_(count, index(-width)), width // 2
                with builder.if_then(builder.icmp_signed("!=", builder.and_(count, index(width)), index(0))):
                    emit.store(_load_every(emit, step, source, done, width), target, done)
            return context.get_dummy_value()

        return signature, codegen

    return copy


def _load_every(emit, step, source, i, width):
    """source[step * (i + j)] for j < width, from `step` loads that do not read beyond the last."""
    first = emit.builder.mul(index(step), i)
    starts = [min(k * width, step * (width - 1) + 1 - width) for k in range(step)]
    loads = [emit.load(source, emit.builder.add(first, index(start)), width) for start in starts]
    vector = loads[0]
    for start, loaded in zip(starts, loads, strict=True):  # takes from `loaded` what lies in it, from `vector` the rest
        places = [step * j - start for j in range(width)]
        places = [width + place if 0 <= place < width else j for j, place in enumerate(places)]
        vector = emit.builder.shuffle_vector(vector, loaded, ir.VectorType(lane, width)(places))
    return vector


copy, _copy_second, _copy_third = map(_make_copy, (1, 2, 3))


@serial
def copy_every(target, t, source, s, step, count):
    """target[t + i] = source[s + step * i] for all i < count."""
    if step == 1:
        copy(target, t, source, s, count)
    elif step == 2:
        _copy_second(target, t, source, s, count)
    elif step == 3:
        _copy_third(target, t, source, s, count)
    else:
        for i in range(count):
            target[np.uint64(t + i)] = source[np.uint64(s + i * step)]


@intrinsic
def copy_whole(typing_context, target, t, source, s, count):
    """target[t : t + count] = source[s : s + count] in whole vectors: up to lanes - 1 elements more go along."""
    signature = types.void(target, types.intp, source, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args)
        target, source = emit.address(0, args[1]), emit.address(2, args[3])
        with cgutils.for_range_slice(builder, index(0), args[4], index(emit.lanes), index) as (i, _):
            emit.store(emit.load(source, i, emit.lanes), target, i)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def clear(typing_context, target, t, count):
    """target[t : t + count] = 0."""
    signature = types.void(target, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args)
        cgutils.memset(builder, emit.address(0, args[1]), builder.mul(args[2], index(emit.bytes)), 0)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def turn(typing_context, source, s0, si, target, t0, tj, count):
    """target[t0 + j tj + i] = source[s0 + i si + j] for all i < lanes, j < count: a square, transposed in registers.

    All lanes x lanes elements of the source are read; count is at most lanes.
    """
    signature = types.void(source, *[types.intp] * 2, target, *[types.intp] * 3)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature, args)
        source, target = emit.address(0, args[1]), emit.address(3, args[4])
        rows = [emit.load(emit.at(source, index(0), (i, args[2])), index(0), emit.lanes) for i in range(emit.lanes)]
        step = 1
        while step < emit.lanes:  # swaps bit `step` of a row's number with that of an element's
            for i in (i for i in range(emit.lanes) if not i & step):
                a, b = rows[i], rows[i | step]
                low = [j + emit.lanes - step if j & step else j for j in range(emit.lanes)]
                high = [j + emit.lanes if j & step else j + step for j in range(emit.lanes)]
                mask = ir.VectorType(lane, emit.lanes)
                rows[i], rows[i | step] = (builder.shuffle_vector(a, b, mask(places)) for places in (low, high))
            step *= 2
        for j, row in enumerate(rows):
            with builder.if_then(builder.icmp_signed("<", index(j), args[6])):
                emit.store(row, emit.at(target, index(0), (j, args[5])), index(0))
        return context.get_dummy_value()

    return signature, codegen


@serial
def transpose(source, at, step, rows, columns, target, to, width):
    """target[to + j * width + i] = source[at + i * step + j] for all i < rows, j < columns.

    Squares turn in registers, what is left over goes element by element.
    """
    lanes = VECTOR_BYTES // target.itemsize
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            high, wide = min(lanes, rows - i), min(lanes, columns - j)
            first, corner = at + i * step + j, to + j * width + i
            if high == lanes and first + (lanes - 1) * step + lanes <= source.size:
                turn(source, first, step, target, corner, width, wide)
            else:
                for a in range(high):
                    for b in range(wide):
                        target[corner + b * width + a] = source[first + a * step + b]
