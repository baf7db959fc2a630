"""A ladder for readers: one convolution in numbered steps, each as fast as its idea goes and no faster.

    naive    step 1  a thread a number, operands from global memory    cuda/ladder_naive.cu
    shared   step 2  a block's tiles in shared memory                  cuda/ladder_shared.cu
    simt     step 3  a thread's tile in registers                      cuda/conv_simt.cu
    async    step 4  copies that pass no register, several under way   cuda/ladder_async.cu
    tf32     step 5  tensor cores                                      cuda/conv_tf32.cu

docs/gpu.md explains the steps, benchmarks/gpu.py times them. Steps 1, 2 and 4 are float32, serve conv2d and
conv2d_input, and run only when asked for by name, `with kernels.use(conv2d="shared"):`.
"""

import numpy as np

from .conv import register
from .tiles import Method, Tile

TILES = {
    "naive": Tile("conv_naive", rows=16, columns=16, threads=256, shared_bytes=0),
    "shared": Tile("conv_shared", rows=16, columns=16, threads=256, shared_bytes=16 * (16 + 17) * 4),
    "async": Tile("conv_async", rows=64, columns=64, threads=256, shared_bytes=3 * 128 * 17 * 4),
}


def float32(first, second, *others, **options):
    dtype = getattr(second, "dtype", getattr(first, "dtype", None))
    return dtype == np.float32 or f"it is written for float32, given {dtype}"


def only_by_name(*args, **options):
    return "it is a step of the ladder, there to be read"


for _name, _tile in TILES.items():
    _method = Method(("conv.cuh", f"ladder_{_name}.cu"), lambda *shape, tile=_tile, **arrays: tile)
    register(_name, _method, supports=float32, pays=only_by_name)
INSTANCES = {("conv.cuh", f"ladder_{name}.cu"): {tile.instance: tile.shared_bytes} for name, tile in TILES.items()}
