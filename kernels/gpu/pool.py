"""Pooling, and gathering from image planes, in channels-last memory: a thread for each element of the result.

The gradients gather too: an input element sums over the windows that reach it, so no two threads add to one place, and
sums keep the reference's order. Results are its own, bit for bit.
"""

import math

import numpy as np

from .. import reference
from ..geometry import Pool2dGeometry, same_shapes
from .layout import TYPES, channels_first, channels_last, ctype, empty, zeros
from .module import blocks, launch

_THREADS = 256
_MOST_BLOCKS_BELOW = 65535  # of a grid's second axis: a block goes on to further images

INSTANCES = {
    "pool.cu": {
        f"{kernel}<{t}>": 0
        for kernel in ("max_pool", "max_pool_input", "avg_pool", "avg_pool_input", "gather", "scatter")
        for t in TYPES
    }
}


def _image_counts_in_32_bits(input, *others, **options):
    """By the input, or by its size where that stands in its slot."""
    size = getattr(input, "shape", input)
    return math.prod(size[1:]) < 1 << 31 or "an image must have less than 2^31 elements"


@reference.max_pool2d.implementation("cuda", device="gpu", supports=_image_counts_in_32_bits)
def max_pool2d(input, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, relu=False):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    output, indices = (_channels_last_empty(geometry.full_output_size, t) for t in (input.dtype, np.int64))
    integers = *geometry.dilation, bool(relu)
    _launch_images("max_pool", [channels_last(input), output, indices], output, geometry, integers)
    return channels_first(output), channels_first(indices)


@reference.max_pool2d_input.implementation("cuda", device="gpu", supports=_image_counts_in_32_bits)
def max_pool2d_input(
    input_size, indices, grad_output, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False
):
    geometry = Pool2dGeometry.of(
        input_size,
        grad_output.shape,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    same_shapes(grad_output=grad_output.shape, indices=indices.shape)
    grad_input = _channels_last_empty(geometry.full_input_size, grad_output.dtype)
    arrays = [channels_last(grad_output), channels_last(indices), grad_input]
    _launch_images("max_pool_input", arrays, grad_input, geometry, geometry.dilation)
    return channels_first(grad_input)


@reference.avg_pool2d.implementation("cuda", device="gpu", supports=_image_counts_in_32_bits)
def avg_pool2d(
    input, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    bounds, divisor = _divisor(geometry, count_include_pad, divisor_override, input.dtype)
    output = _channels_last_empty(geometry.full_output_size, input.dtype)
    _launch_images("avg_pool", [channels_last(input), output], output, geometry, bounds, divisor)
    return channels_first(output)


@reference.avg_pool2d_input.implementation("cuda", device="gpu", supports=_image_counts_in_32_bits)
def avg_pool2d_input(
    input_size,
    grad_output,
    *,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    geometry = Pool2dGeometry.of(
        input_size, grad_output.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    bounds, divisor = _divisor(geometry, count_include_pad, divisor_override, grad_output.dtype)
    grad_input = _channels_last_empty(geometry.full_input_size, grad_output.dtype)
    arrays = [channels_last(grad_output), grad_input]
    _launch_images("avg_pool_input", arrays, grad_input, geometry, bounds, divisor)
    return channels_first(grad_input)


@reference.gather2d.implementation("cuda", device="gpu")
def gather2d(input, indices):
    _, _, plane = reference.check_gather(input.shape, indices.shape)
    output = _channels_last_empty(indices.shape, input.dtype)
    _launch_checked("gather", [channels_last(input), channels_last(indices), output], plane, output.size)
    return channels_first(output)


@reference.gather2d_input.implementation("cuda", device="gpu")
def gather2d_input(input_size, indices, grad_output):
    n, c, plane = reference.check_gather(input_size, indices.shape)
    same_shapes(indices=indices.shape, grad_output=grad_output.shape)
    grad_input = _channels_last_empty(input_size, grad_output.dtype)
    _launch_checked("scatter", [channels_last(grad_output), channels_last(indices), grad_input], plane, n * c)
    return channels_first(grad_input)


def _channels_last_empty(size, dtype):
    n, c, height, width = size
    return empty((n, height, width, c), dtype)


def _divisor(geometry, count_include_pad, divisor_override, dtype):
    """((lowest, end) of the rows and columns that count; what to divide by, or 0: by the number that counts)."""
    if divisor_override == 0:
        raise ValueError("divisor_override must not be 0")
    pads = geometry.padding if count_include_pad else ((0, 0), (0, 0))
    bounds = [b for size, (low, high) in zip(geometry.input_size, pads, strict=True) for b in (-low, size + high)]
    return bounds, dtype.type(divisor_override or 0)


def _launch_images(kernel, arrays, result, geometry, integers, *numbers):
    """A thread for each element of an image of `result`, (N, H, W, C); blocks below each other for images."""
    if not result.size:
        return
    (top, _), (left, _) = geometry.padding
    sizes = geometry.batch, *geometry.input_size, geometry.channels, *geometry.output_size
    sizes += *geometry.kernel_size, *geometry.stride, top, left, *integers
    grid = blocks(result.size // geometry.batch, _THREADS), min(geometry.batch, _MOST_BLOCKS_BELOW)
    arguments = *arrays, *map(np.int32, sizes), *numbers
    launch("pool.cu", f"{kernel}<{ctype(result.dtype)}>", grid, (_THREADS,), arguments)


def _launch_checked(kernel, arrays, plane, threads):
    """Launch with [source, indices, result], and raise IndexError if an index was out of range: the GPU is asked."""
    if not threads:
        return
    outside = zeros((1,), np.int32)
    _, height, width, channels = arrays[1].shape
    sizes = np.int64(plane), np.int64(height * width), np.int32(channels), np.int64(threads)
    grid, name = (blocks(threads, _THREADS),), f"{kernel}<{ctype(arrays[0].dtype)}>"
    launch("pool.cu", name, grid, (_THREADS,), (*arrays, outside, *sizes))
    if int(outside[0]):
        raise IndexError(reference.index_message(plane))
