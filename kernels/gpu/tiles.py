"""The methods of convolution, and the tile of the product that a block computes: a kernel instance for each shape."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .module import blocks

ENOUGH_BLOCKS = 264  # two for each multiprocessor of an H100
STAGES = 3  # slices of the depth that tensor-core kernels keep in shared memory
DEPTH = 32  # of such a slice


class Tile(NamedTuple):
    """A kernel's instance, the rows and columns of the product that a block of it computes, and what a block needs."""

    instance: str
    rows: int
    columns: int
    threads: int
    shared_bytes: int


@dataclass(frozen=True)
class Method:
    """How to compute: sources, and functions that pick a Tile for (rows, columns, channels, dtype, aligned).

    `tile` serves conv2d and conv2d_input, `weight_tile` conv2d_weight; `aligned` arrays start at multiples of 16 bytes.
    """

    files: tuple
    tile: object
    weight_files: tuple = ()
    weight_tile: object = None


def scalar(dtype):
    """The C++ name of float32 or float64."""
    return "float" if dtype == np.float32 else "double"


def simt_tile(rows, columns, channels, dtype, aligned):
    narrow = columns <= 4 and dtype == np.float32
    return _simt("conv_simt", dtype, *((256, 4, 8, 4, 1) if narrow else (64, 64, 16, 4, 4)))


def simt_weight_tile(rows, columns, channels, dtype, aligned):
    return _simt("conv_weight_simt", dtype, 64, 64, 16, 4, 4)


def _simt(kernel, dtype, rows, columns, depth, tile_rows, tile_columns):
    name = f"{kernel}<{scalar(dtype)}, {rows}, {columns}, {depth}, {tile_rows}, {tile_columns}>"
    threads = rows // tile_rows * (columns // tile_columns)
    return Tile(name, rows, columns, threads, 2 * depth * (rows + columns + 8) * dtype.itemsize)


def tf32_tile(rows, columns, channels, dtype, aligned):
    vector = 4 if aligned and channels % 4 == 0 else 1  # channels copied at a time
    enough = blocks(rows, 128) * blocks(columns, 128) >= ENOUGH_BLOCKS // 3
    return _tf32("conv_tf32", _tf32_sizes(vector, columns, enough), vector, pads=(DEPTH + 4) / DEPTH)


def tf32_weight_tile(rows, columns, channels, dtype, aligned):
    vector = 4 if aligned and channels % 4 == columns % 4 == 0 else 1
    sizes = _tf32_sizes(vector, columns, enough_blocks=True)  # slices see to that
    return _tf32("conv_weight_tf32", sizes, vector, pads=1 + 16 / (sizes[0] + sizes[1]))


def _tf32_sizes(vector, columns, enough_blocks):
    """(rows, columns) of a block and of each of its warps."""
    if vector == 1:  # each thread keeps four times as many addresses
        return 64, 64, 32, 32
    return (128, 128, 64, 32) if columns > 64 and enough_blocks else (128, 64, 64, 32)


def _tf32(kernel, sizes, vector, pads):
    rows, columns, warp_rows, warp_columns = sizes
    name = f"{kernel}<{rows}, {columns}, {warp_rows}, {warp_columns}, {STAGES}, {vector}>"
    threads = 32 * (rows // warp_rows) * (columns // warp_columns)
    return Tile(name, rows, columns, threads, int(STAGES * DEPTH * (rows + columns) * 4 * pads))


_SHARED = "conv.cuh", "conv_weight.cuh"
SIMT = Method((*_SHARED, "conv_simt.cu"), simt_tile, (*_SHARED, "conv_weight_simt.cu"), simt_weight_tile)
TF32 = Method((*_SHARED, "conv_tf32.cu"), tf32_tile, (*_SHARED, "conv_weight_tf32.cu"), tf32_weight_tile)
