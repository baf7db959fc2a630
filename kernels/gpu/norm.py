"""Batch normalisation over channels-last rows: one pass that sums, in float64, and one that writes."""

import numpy as np

from .. import reference
from ..geometry import same_shapes
from .layout import TYPES, channels_first, channels_last, contiguous, ctype, empty
from .module import blocks, launch

_THREADS = 256
_SHARED_BYTES = 8 * _THREADS  # a float64 of each thread
_STRIP = 32  # channels of a block, at most: what a warp reads from memory at once
_BLOCKS = 1024  # at most, whatever the GPU: the order of sums follows from the shape alone
_PASSES = 8  # rows of a thread, at least
_KERNELS = ("column_sums", "sum_chunks", "moments", "normalise", "gradient_sums", "input_gradient", "add_bias")

INSTANCES = {
    "norm.cu": {f"{kernel}<{t}>": _SHARED_BYTES for kernel in _KERNELS for t in TYPES},
}


@reference.batch_norm.implementation("cuda", device="gpu")
def batch_norm(input, weight, bias, *, eps):
    reference.check_batch_norm(input.shape, weight=weight.shape, bias=bias.shape)
    rows = _Rows(input)
    output, mean, invstd = (empty(size, input.dtype) for size in (rows.shape, weight.shape, weight.shape))
    if rows.channels:
        sums = rows.sums("moments", rows.array, columns=2 * rows.channels)
        vectors = contiguous(weight), contiguous(bias)
        rows.launch("normalise", rows.array, sums, *vectors, output, mean, invstd, np.float64(eps))
    return rows.shaped(output), mean, invstd


@reference.batch_norm_backward.implementation("cuda", device="gpu")
def batch_norm_backward(grad_output, input, weight, mean, invstd):
    same_shapes(input=input.shape, grad_output=grad_output.shape)
    reference.check_batch_norm(input.shape, weight=weight.shape, mean=mean.shape, invstd=invstd.shape)
    rows, grad = _Rows(input), _Rows(grad_output)
    grad_input, grad_weight, grad_bias = (empty(size, input.dtype) for size in (rows.shape, weight.shape, weight.shape))
    if rows.channels:
        weight, mean, invstd = map(contiguous, (weight, mean, invstd))
        sums = rows.sums("gradient_sums", grad.array, rows.array, mean, invstd, columns=2 * rows.channels)
        arrays = grad.array, rows.array, weight, mean, invstd, sums, grad_input, grad_weight, grad_bias
        rows.launch("input_gradient", *arrays)
    return rows.shaped(grad_input), grad_weight, grad_bias


@reference.channel_sum.implementation("cuda", device="gpu")
def channel_sum(input):
    rows = _Rows(input)
    return rows.sums("column_sums", rows.array, columns=rows.channels, dtype=input.dtype)


@reference.add_bias.implementation("cuda", device="gpu")
def add_bias(input, bias):
    same_shapes(channels=input.shape[1:2], bias=bias.shape)
    rows = _Rows(input)
    output = empty(rows.shape, input.dtype)
    if output.size:
        rows.launch("add_bias", rows.array, contiguous(bias), output)
    return rows.shaped(output)


class _Rows:
    """(N, C, ...) as channels-last rows, and how a grid covers them: strips of channels, and chunks of rows."""

    def __init__(self, array):
        self.size, self.channels = array.shape, array.shape[1]
        self.array = channels_last(array)
        self.shape, self.ctype = self.array.shape, ctype(array.dtype)
        self.count = array.size // max(self.channels, 1)
        strip = _strip(self.channels)
        self.block = strip, _THREADS // strip
        strips = blocks(self.channels, strip)
        most = max(1, _BLOCKS // max(strips, 1))
        chunks = max(1, min(blocks(self.count, self.block[1] * _PASSES), most))
        self.chunk = max(blocks(self.count, chunks), 1)
        self.grid = strips, max(blocks(self.count, self.chunk), 1)

    def launch(self, kernel, *arguments):
        sizes = np.int64(self.count), np.int32(self.channels), np.int64(self.chunk)
        launch("norm.cu", f"{kernel}<{self.ctype}>", self.grid, self.block, (*arguments, *sizes), _SHARED_BYTES)

    def sums(self, kernel, *arrays, columns, dtype=np.float64):
        """What `kernel` sums of all rows, (columns,): first of chunks, then of what the chunks gave."""
        result = empty((columns,), dtype)
        if columns:
            chunks = self.grid[1]
            partial = empty((chunks, columns), np.float64)
            self.launch(kernel, *arrays, partial)
            strip = min(_strip(columns), 4)  # narrow, so that many threads share the chunks of a column
            block, sizes = (strip, _THREADS // strip), (np.int32(chunks), np.int32(columns))
            name = f"sum_chunks<{ctype(result.dtype)}>"
            launch("norm.cu", name, (blocks(columns, strip),), block, (partial, result, *sizes), _SHARED_BYTES)
        return result

    def shaped(self, array):
        """An array of channels-last rows in the shape of (N, C, ...)."""
        return channels_first(array)


def _strip(channels):
    """Channels of a block: a power of two."""
    return min(_STRIP, 1 << max(channels - 1, 0).bit_length())
