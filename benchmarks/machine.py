"""What the machine can do: multiply-adds a second and bytes copied a second, for the other tables to be measured by.

python benchmarks/machine.py
"""

import time

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from harness import machine
from kernels.cpu.emitter import VECTOR_BYTES

_CHAINS = 12  # independent sums: enough to hide the latency of a multiply-add, few enough for 16 registers


@intrinsic
def _multiply_adds(typing_context, factor, count):
    """`count` times _CHAINS multiply-adds of float32 vectors that never leave the registers."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.FloatType(), VECTOR_BYTES // 4)
        name = f"llvm.fmuladd.v{vector.count}f32"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        factor = builder.insert_element(ir.Constant(vector, ir.Undefined), args[0], ir.IntType(32)(0))
        factor = builder.shuffle_vector(factor, factor, ir.VectorType(ir.IntType(32), vector.count)([0] * vector.count))
        sums = [cgutils.alloca_once_value(builder, vector([float(i)] * vector.count)) for i in range(_CHAINS)]
        with cgutils.for_range(builder, args[1]):
            for chain in sums:
                builder.store(builder.call(fma, [builder.load(chain), factor, factor]), chain)
        total = builder.load(sums[0])
        for chain in sums[1:]:
            total = builder.fadd(total, builder.load(chain))
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(types.float32, types.intp), codegen


@numba.njit(parallel=True)
def _all_multiply_adds(tasks, count):
    results = np.empty(tasks, np.float32)
    for task in prange(tasks):
        results[task] = _multiply_adds(np.float32(0.5), count)
    return results


@numba.njit(parallel=True)
def _copy(target, source, tasks):
    for task in prange(tasks):
        begin, end = task * source.size // tasks, (task + 1) * source.size // tasks
        target[begin:end] = source[begin:end]


def peak_flops(threads: int = 1) -> float:
    """Float32 operations a second, two for a multiply-add, on `threads` threads at once."""
    count = 2_000_000
    operations = 2 * threads * count * _CHAINS * (VECTOR_BYTES // 4)
    return operations / _shortest(lambda: _all_multiply_adds(threads, count), threads)


def copy_bandwidth(threads: int = 1, size: int = 1 << 28) -> float:
    """Bytes a second of a copy, read and written ones both counted. `size` bytes should be far beyond the caches."""
    source, target = np.ones(size // 4, np.float32), np.ones(size // 4, np.float32)
    return 2 * size / _shortest(lambda: _copy(target, source, threads), threads)


def _shortest(function, threads, repeats=7):
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    times = []
    try:
        for _ in range(repeats + 1):  # the first compiles
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    finally:
        numba.set_num_threads(before)
    return min(times[1:])


def main():
    print(machine())
    for threads in sorted({1, numba.get_num_threads()}):
        print(
            f"{threads} thread{'s' * (threads > 1)}: {peak_flops(threads) / 1e9:.0f} GFLOP/s in registers, copy "
            f"{copy_bandwidth(threads) / 1e9:.1f} GB/s from memory, {copy_bandwidth(threads, 1 << 21) / 1e9:.1f} GB/s "
            "within 4 MiB"
        )


if __name__ == "__main__":
    main()
