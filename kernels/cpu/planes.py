"""Forward pass and weight gradient of a convolution of few channels: a plane of shifted pixels for each tap.

What a kernel of 3 x 3 sees of an image of one channel are runs of three numbers. Copying them pixel by pixel, as
`patches.py` does, takes longer than multiplying them. Tap by tap a run is as long as a row: planes[tap, pixel] is what
the tap sees for the output pixel. The planes of a few output rows stay in cache, and are an operand of both products:

    forward            output[pixel, k] = bias[k] + sum over taps of planes[tap, pixel] * weight[tap, k]
    weight gradient    dw[tap, k] = sum over pixels of planes[tap, pixel] * grad[pixel, k]

The order of every sum depends on shapes alone, so results do not depend on the number of threads.
"""

import math
from functools import partial
from typing import NamedTuple

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .copies import clear, copy_every
from .elementwise import activate
from .emitter import VECTOR_BYTES
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import cleared, empty, scratch
from .simd import in_panels, panel_layout, product

_PLANES_BYTES = 1 << 17  # of the planes of a few rows: a fraction of the second-level cache
_MOST_CHANNELS, _MOST_TAPS = 3, 32  # taps of all channels together; beyond, runs of patches are as fast to copy
_LONGEST_RUN = 3  # of a kernel row; beyond, `overlap.py` takes 0.65 to 0.9 of the time
_CHUNKS = 16  # of images, whose weight gradients are added up apart


class Window(NamedTuple):
    """Where the taps of a kernel lie."""

    size: tuple
    stride: tuple
    corner: tuple
    dilation: tuple


def fills_vectors(input, weight, *others, negative_slope=1, **options):
    """Of both kernels: the second argument is an array, or the size of one."""
    geometry = Conv2dGeometry.of(input.shape, getattr(weight, "shape", weight), **options)
    if geometry.groups != 1:
        return "groups must be 1"
    if not all((*geometry.full_input_size, *geometry.full_weight_size, *geometry.full_output_size)):
        return "there is nothing to multiply"
    panels, _, width = panel_layout(geometry.out_channels, input.dtype)
    return True if panels * width == geometry.out_channels else "output channels must fill vectors"


def _pays(input, weight, *others, negative_slope=1, **options):
    size = getattr(weight, "shape", weight)
    geometry, taps = Conv2dGeometry.of(input.shape, size, **options), math.prod(size[1:])
    if geometry.in_channels * geometry.kernel_size[1] > _LONGEST_RUN and geometry.dilation[1] == 1:
        return f"runs of more than {_LONGEST_RUN} numbers are multiplied as they lie"
    if geometry.in_channels > _MOST_CHANNELS or taps > _MOST_TAPS:
        return f"patches of more than {_MOST_CHANNELS} channels or {_MOST_TAPS} numbers are copied as fast"
    return True


@reference.conv2d.implementation("planes", supports=fills_vectors, pays=_pays)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    packed, vectors = in_panels(plain(weight.transpose(2, 3, 1, 0)).reshape(-1, k))
    bias = cleared((k,), input.dtype) if bias is None else reference.check_bias(bias, geometry)
    rows, step = _block(geometry, input.dtype, n * height)
    tasks = tasks_for(n * -(-height // rows))
    planes = scratch(tasks, packed.shape[1] * step, dtype=input.dtype)
    _multiply_planes(
        channels_last(input), *_window(geometry), packed, vectors, plain(bias), rows, planes, step,
        input.dtype.type(negative_slope), output, tasks,
    )  # fmt: skip
    return channels_first(output)


@reference.conv2d_weight.implementation("planes", supports=fills_vectors, pays=_pays)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    k, c, kernel_height, kernel_width = geometry.full_weight_size
    _, vectors, _ = panel_layout(k, input.dtype)
    rows, step = _block(geometry, input.dtype, 1)
    chunks, taps = min(_CHUNKS, geometry.batch), c * kernel_height * kernel_width
    planes = scratch(chunks, taps * step, dtype=input.dtype)
    sums = cleared((chunks, taps, k), input.dtype)
    _add_planes(channels_last(input), *_window(geometry), channels_last(grad_output), vectors, rows, planes, step, sums)
    grad_weight = sums.sum(axis=0).reshape(kernel_height, kernel_width, c, k)
    return plain(grad_weight.transpose(3, 2, 0, 1))


def _window(geometry):
    return Window(geometry.kernel_size, geometry.stride, geometry.corner, geometry.dilation)


def _block(geometry, dtype, rows_of_all):
    """(output rows of a block, elements of their plane): all threads shall have some."""
    height, width = geometry.output_size
    taps = geometry.in_channels * math.prod(geometry.kernel_size)
    rows = max(1, _PLANES_BYTES // (taps * width * dtype.itemsize))
    rows = min(rows, height, -(-rows_of_all // tasks_for(rows_of_all)) if rows_of_all > 1 else height)
    return rows, rows * width


@partial(entry, data=("source", "target"))
def _multiply_planes(
    source, size, stride, corner, dilation, packed, vectors, bias, rows, planes, step, slope, target, tasks
):
    window = Window(size, stride, corner, dilation)
    fork(_multiply_blocks, (source, window, packed, vectors, bias, rows, planes, step, slope, target), tasks)


@serial
def _multiply_blocks(source, window, packed, vectors, bias, rows, planes, step, slope, target, tasks, task):
    images, height, width, channels = target.shape
    panels, depth, panel_width = packed.shape
    flat_packed, flat, plane = packed.reshape(packed.size), target.reshape(target.size), planes[task]
    blocks = (height + rows - 1) // rows
    begin, end = portion(images * blocks, tasks, task)
    for work in range(begin, end):
        image, first = work // blocks, work % blocks * rows
        size, at = min(rows, height - first) * width, (image * height + first) * width * channels
        _fill(plane, step, source, window, image, first, size, width)
        product(
            vectors, plane, 1, step, flat_packed, depth * panel_width, panel_width, depth, bias, 0, flat[at:], channels,
            size, panels,
        )  # fmt: skip
        activate(flat, at, size * channels, slope)


@partial(entry, data=("source", "grad"))
def _add_planes(source, size, stride, corner, dilation, grad, vectors, rows, planes, step, sums):
    window = Window(size, stride, corner, dilation)
    fork(_add_chunk, (source, window, grad, vectors, rows, planes, step, sums), len(sums))


@serial
def _add_chunk(source, window, grad, vectors, rows, planes, step, sums, tasks, task):
    """sums[task] += planes @ grad, over the task's images."""
    images, height, width, channels = grad.shape
    flat, plane, total = grad.reshape(grad.size), planes[task], sums[task].reshape(sums[task].size)
    panel = vectors * VECTOR_BYTES // sums.itemsize
    taps = window.size[0] * window.size[1] * source.shape[3]
    begin, end = portion(images, tasks, task)
    for image in range(begin, end):
        for first in range(0, height, rows):
            size, at = min(rows, height - first) * width, (image * height + first) * width * channels
            _fill(plane, step, source, window, image, first, size, width)
            product(
                vectors, plane, step, 1, flat[at:], panel, channels, size, total, channels, total, channels, taps,
                channels // panel,
            )  # fmt: skip


@serial
def _fill(planes, step, source, window, image, first, size, output_width):
    """planes[tap * step + i] = what the tap sees for the i-th of `size` output pixels from row `first` on."""
    _, height, width, channels = source.shape
    flat, stride = source.reshape(source.size), window.stride[1]
    between = stride * channels
    for tap in range(window.size[0] * window.size[1] * channels):
        place, c = divmod(tap, channels)
        h, w = divmod(place, window.size[1])
        left = w * window.dilation[1] - window.corner[1]
        low = min(max((stride - 1 - left) // stride, 0), output_width)
        high = max(min((width - 1 - left) // stride + 1, output_width), low)
        for i in range(size // output_width):
            to, row = tap * step + i * output_width, (first + i) * window.stride[0] - window.corner[0]
            row += h * window.dilation[0]
            if not 0 <= row < height:
                clear(planes, to, output_width)
                continue
            at = ((image * height + row) * width + left) * channels + c
            if low > 0:
                clear(planes, to, low)
            copy_every(planes, to + low, flat, at + low * between, between, high - low)
            if high < output_width:
                clear(planes, to + high, output_width - high)
