"""Room for Winograd's passes: which way they go, how much at a time, and the shapes of what they need meanwhile.

It follows from a few numbers, and is remembered: to find it took 60 of the 80 us that a call spent here, where kernels
empty the caches.
"""

import functools
from typing import NamedTuple

from .cache import second_level_cache
from .emitter import lanes, whole_vectors
from .memory import per_task
from .simd import panel_layout, tile_rows
from .winograd_forward import PASSING
from .winograd_weight import UNPACKED_TOGETHER

_CACHE = second_level_cache()
FEWEST_SQUARES = 24  # multiplied at a time, a multiple of every tile's height
# Of a weight that is more than twice the second-level cache and is read anew for each block: on a Xeon, where that
# cache has 2 MiB, 72 take 0.86 to 1.0 of the time that 24 take; on an EPYC 24 were faster, by 5 to 20 %.
_FEWEST_OF_LARGE = 72 if _CACHE >= 1 << 21 else FEWEST_SQUARES
_L2_BYTES = _CACHE // 2  # products of a block of squares. A quarter takes 1.05 times as long, and up to 1.18
_FEWEST_IN_SLAB = 16  # squares whose products are added up at a time
_CHUNK_BYTES = 1 << 22  # sums up to which the squares are cut in two. In eight, sums would be read 5 to 20 % longer
_SLAB_BYTES = 1 << 20, 1 << 22  # transformed squares of a slab, where sums are small, and where they are large
_L3_BYTES = 1 << 23  # a larger transformed weight need not be kept. With 1 << 24 some layers take 1.2 times as long
_MOST_IN_PIECES = 256  # squares, whose products are added up for one piece of a weight after the other


class RoomOfPass(NamedTuple):
    """A forward pass, or an input gradient's."""

    panel_by_panel: bool  # multiply_panels or multiply_squares
    vectors: int
    channels: int  # `from`, as many as are packed
    block: int  # squares that are multiplied at a time
    tasks: int
    memory: tuple  # shapes of packed, starts, left, right and patches


@functools.lru_cache(4096)
def room_of_pass(points, phases, squares, c, k, dtype, threads):
    """From C to K channels; phases: (F, P), of the target and of the source."""
    (targets, phases), products, itemsize = phases, points**2, dtype.itemsize
    panels, vectors, width = panel_layout(k, dtype)
    channels, height = whole_vectors(c, dtype), tile_rows(vectors)
    depth, columns = phases * channels, panels * width
    weight_bytes = products * depth * columns * itemsize
    bytes_of_squares = products * squares * (depth + phases * columns) * itemsize  # each phase adds to the sums
    panel_by_panel = targets * weight_bytes > _L3_BYTES and 2 * weight_bytes >= bytes_of_squares
    if panel_by_panel:
        block, wide, tasks = squares, width, min(threads, targets * panels)
        rights = targets * products
        packed = per_task(tasks, products, _plane(PASSING * width, dtype), dtype=dtype)
        left = targets, -(-c // PASSING), products, _plane(block * phases * PASSING, dtype)
    else:
        wide, tasks, rights = columns, min(threads, -(-squares // height)), products
        block = _block(squares, tasks, products * (depth + columns) * itemsize, weight_bytes, height)
        packed = targets * products, panels, depth, width
        left = per_task(tasks, products, _plane(block * depth, dtype), dtype=dtype)
    right = per_task(tasks, rights, _plane(block * wide, dtype), dtype=dtype)
    readers = max(tasks, min(threads, squares))
    patches = per_task(readers, products * max(channels, wide, PASSING), dtype=dtype)
    memory = packed, (2, columns), left, right, patches
    return RoomOfPass(panel_by_panel, vectors, channels, block, tasks, memory)


class RoomOfSums(NamedTuple):
    """A weight gradient."""

    in_pieces: bool  # add_up_pieces or add_up_weight
    vectors: int
    chunk: int  # squares that have sums of their own
    slab: int  # squares that are added up at a time
    share: int  # channels `from` of a task
    memory: tuple  # shapes of left, right, patches and, unless in pieces, sums


@functools.lru_cache(4096)
def room_of_sums(points, phases, squares, c, k, dtype, threads):
    """For C x K channels and the source's phases."""
    products, tasks = points**2, min(threads, squares)
    channels, (panels, vectors, width) = whole_vectors(c, dtype), panel_layout(k, dtype)
    columns = panels * width
    bytes_of_sums = products * phases * channels * columns * dtype.itemsize
    if squares <= _MOST_IN_PIECES and bytes_of_sums > _L3_BYTES:
        left = -(-c // PASSING), products, _plane(squares * phases * PASSING, dtype)
        right = panels, products, _plane(squares * width, dtype)
        patches = per_task(tasks, products * max(PASSING, width), dtype=dtype)
        return RoomOfSums(True, vectors, squares, squares, channels, (left, right, patches))
    chunks = 2 if bytes_of_sums <= _CHUNK_BYTES and squares >= 2 * _FEWEST_IN_SLAB else 1
    share, parts = _share(channels, -(-tasks // chunks))
    depth, chunk = phases * share, -(-squares // chunks)
    at_once = _SLAB_BYTES[bytes_of_sums > _CHUNK_BYTES] // (products * (depth + columns) * dtype.itemsize)
    slab = min(chunk, max(_FEWEST_IN_SLAB, at_once))
    left, right = (per_task(tasks, products, _plane(slab * size, dtype), dtype=dtype) for size in (depth, columns))
    patches = per_task(tasks, products * max(share, columns), dtype=dtype)
    sums = chunks, parts, products, depth, columns
    return RoomOfSums(False, vectors, chunk, slab, share, (left, right, patches, sums))


def _share(channels, parts):
    """(channels of a part, parts): about as many as asked for, in whole portions of what is unpacked together."""
    if parts == 1:
        return channels, 1
    share = -(-channels // (parts * UNPACKED_TOGETHER)) * UNPACKED_TOGETHER
    return share, -(-channels // share)


def _block(squares, tasks, bytes_of_square, bytes_of_weight, height):
    """How many squares to multiply at a time, a multiple of the tile's height: their products stay in cache."""
    share = -(-squares // (tasks * height)) * height
    fewest = FEWEST_SQUARES if bytes_of_weight <= 2 * _CACHE else _FEWEST_OF_LARGE
    return min(share, max(fewest, _L2_BYTES // bytes_of_square // height * height))


def _plane(size, dtype):
    """Elements from plane to plane.

    A vector more than there are keeps those at one place of all planes out of the same set of the first-level cache:
    30 % of the time of a 64-channel layer.
    """
    return size + lanes(dtype)
