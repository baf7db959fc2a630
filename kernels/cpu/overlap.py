"""Forward pass and weight gradient where patches are rows of a matrix that overlap: nobody copies them.

In channels-last memory the kernel row of an output pixel is a run of KW * C numbers, and that of the next pixel begins
stride * C further on. The tile takes any strides, so it takes this matrix as it lies, one kernel row after the other:

    forward            output[y, x, k] = bias[k] + sum over h and t of band[s y + h, s C x + t] * weight[h, t, k]
    weight gradient    dw[h, t, k] = sum over y and x of band[s y + h, s C x + t] * grad[y, x, k]

A *band* holds the source rows of a few output rows, with their padding, and stays in cache. Where `patches.py` copies
each number to all patches it belongs to, here it is copied once a band: a first layer of 7 x 7 takes 0.7 times as long,
weight gradients of 3 to 128 channels 0.4 to 0.75 times. The order of every sum depends on shapes alone.
"""

import math
from functools import partial
from typing import NamedTuple

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .copies import clear, copy
from .elementwise import activate
from .emitter import VECTOR_BYTES
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import cleared, empty, scratch
from .planes import fills_vectors
from .simd import in_panels, panel_layout, product_in_runs

_MOST_CHANNELS = 32  # of a forward pass: with more, the copies are a small part of the work
_ROWS = 8  # output rows of a band
_CHUNKS = 16  # of bands, whose weight gradients are added up apart
_MOST_SUMS = 1 << 22  # of all chunks


class Window(NamedTuple):
    """How bands lie in the source, and kernel rows in a band."""

    rows: tuple  # of the kernel; from one to the next; from one output row to the next
    run: tuple  # numbers of a kernel row; from one output pixel to the next
    margins: tuple  # padding above; numbers of padding to the left and to the right


def _supports(input, weight, *others, negative_slope=1, **options):
    """Of both kernels: the second argument is an array, or the size of one."""
    geometry = Conv2dGeometry.of(input.shape, getattr(weight, "shape", weight), **options)
    if geometry.dilation[1] != 1:
        return "the columns' dilation must be 1"
    return fills_vectors(input, weight, **options)


def _pays(geometry):
    if geometry.kernel_size[1] == 1:
        return "patches of a kernel one pixel wide are copied as fast"
    if _band_rows(geometry) > 2 * _ROWS * geometry.kernel_size[0]:
        return "most rows of a band would be read by no output row"
    return True


def _pays_forward(input, weight, bias=None, *, negative_slope=1, **options):
    if input.shape[1] > _MOST_CHANNELS:
        return f"patches of more than {_MOST_CHANNELS} channels are copied as fast"
    return _pays(Conv2dGeometry.of(input.shape, weight.shape, **options))


def _pays_weight(input, weight_size, grad_output, **options):
    if math.prod(weight_size) > _MOST_SUMS // 2:
        return f"more than {_MOST_SUMS // 2} sums are too many to be added up apart"
    return _pays(Conv2dGeometry.of(input.shape, weight_size, grad_output.shape, **options))


@reference.conv2d.implementation("overlap", supports=_supports, pays=_pays_forward)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = empty((n, height, width, k), input.dtype)
    packed, vectors = in_panels(plain(weight.transpose(2, 3, 1, 0)).reshape(-1, k))
    bias = cleared((k,), input.dtype) if bias is None else reference.check_bias(bias, geometry)
    tasks = tasks_for(n * -(-height // _ROWS))
    _multiply_bands(
        channels_last(input), *_window(geometry), packed, vectors, plain(bias), input.dtype.type(negative_slope),
        _bands(tasks, geometry, input.dtype), output, tasks,
    )  # fmt: skip
    return channels_first(output)


@reference.conv2d_weight.implementation("overlap", supports=_supports, pays=_pays_weight)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    k, c, kernel_height, kernel_width = geometry.full_weight_size
    bands = geometry.batch * -(-geometry.output_size[0] // _ROWS)
    chunks = max(1, min(_CHUNKS, bands, _MOST_SUMS // math.prod(geometry.full_weight_size)))
    sums = cleared((chunks, kernel_height, kernel_width * c, k), input.dtype)
    _, vectors, _ = panel_layout(k, input.dtype)
    _add_bands(
        channels_last(input), *_window(geometry), channels_last(grad_output), vectors,
        _bands(chunks, geometry, input.dtype), sums,
    )  # fmt: skip
    grad_weight = sums.sum(axis=0).reshape(kernel_height, kernel_width, c, k)
    return plain(grad_weight.transpose(3, 2, 0, 1))


def _window(geometry):
    (kernel_height, kernel_width), c = geometry.kernel_size, geometry.in_channels
    (top, _), (left, right) = geometry.padding
    rows = kernel_height, geometry.dilation[0], geometry.stride[0]
    return Window(rows, (kernel_width * c, geometry.stride[1] * c), (top, left * c, right * c))


def _band_rows(geometry):
    """Source rows of a band."""
    outputs = min(_ROWS, geometry.output_size[0])
    return (outputs - 1) * geometry.stride[0] + (geometry.kernel_size[0] - 1) * geometry.dilation[0] + 1


def _bands(tasks, geometry, dtype):
    """Room for a band of each task."""
    width = geometry.input_size[1] + sum(geometry.padding[1])
    return scratch(tasks, _band_rows(geometry) * width * geometry.in_channels, dtype=dtype)


@partial(entry, data=("source", "target"))
def _multiply_bands(source, rows, run, margins, packed, vectors, bias, slope, bands, target, tasks):
    fork(_multiply_task, (source, Window(rows, run, margins), packed, vectors, bias, slope, bands, target), tasks)


@serial
def _multiply_task(source, window, packed, vectors, bias, slope, bands, target, tasks, task):
    images, height, width, channels = target.shape
    panels, depth, panel_width = packed.shape
    (kernel_rows, apart, down), (length, step), pitch = window.rows, window.run, _pitch(source, window)
    weight, flat, band = packed.reshape(packed.size), target.reshape(target.size), bands[task]
    blocks = (height + _ROWS - 1) // _ROWS
    begin, end = portion(images * blocks, tasks, task)
    for work in range(begin, end):
        image, first = work // blocks, work % blocks * _ROWS
        count = min(_ROWS, height - first)
        _fill(band, source, window, image, first, count)
        for y in range(count):
            product_in_runs(
                vectors, band[y * down * pitch :], step, 1, apart * pitch, weight, depth * panel_width, panel_width,
                kernel_rows, length, bias, 0, flat[(image * height + first + y) * width * channels :], channels, width,
                panels,
            )  # fmt: skip
        activate(flat, (image * height + first) * width * channels, count * width * channels, slope)


@partial(entry, data=("source", "grad"))
def _add_bands(source, rows, run, margins, grad, vectors, bands, sums):
    fork(_add_chunk, (source, Window(rows, run, margins), grad, vectors, bands, sums), len(sums))


@serial
def _add_chunk(source, window, grad, vectors, bands, sums, chunks, chunk):
    """Add to zeros: the weight gradient of the chunk's bands."""
    images, height, width, channels = grad.shape
    (kernel_rows, apart, down), (length, step), pitch = window.rows, window.run, _pitch(source, window)
    flat, band, panel_width = grad.reshape(grad.size), bands[chunk], vectors * VECTOR_BYTES // grad.itemsize
    blocks = (height + _ROWS - 1) // _ROWS
    begin, end = portion(images * blocks, chunks, chunk)
    for work in range(begin, end):
        image, first = work // blocks, work % blocks * _ROWS
        count = min(_ROWS, height - first)
        _fill(band, source, window, image, first, count)
        gradient = flat[(image * height + first) * width * channels :]
        for h in range(kernel_rows):
            total = sums[chunk, h].reshape(length * channels)
            product_in_runs(
                vectors, band[h * apart * pitch :], 1, step, down * pitch, gradient, panel_width, channels, count,
                width, total, channels, total, channels, length, channels // panel_width,
            )  # fmt: skip


@serial
def _pitch(source, window):
    """Numbers of a band's row."""
    _, left, right = window.margins
    return left + source.shape[2] * source.shape[3] + right


@serial
def _fill(band, source, window, image, first, count):
    """The source rows of `count` output rows from `first` on, and zeros around the image."""
    _, height, width, channels = source.shape
    flat, length, pitch = source.reshape(source.size), width * channels, _pitch(source, window)
    (kernel_rows, apart, down), (top, left, right) = window.rows, window.margins
    for i in range((count - 1) * down + (kernel_rows - 1) * apart + 1):
        row, to = first * down - top + i, i * pitch
        if 0 <= row < height:
            clear(band, to, left)
            copy(band, to + left, flat, (image * height + row) * length, length)
            clear(band, to + left + length, right)
        else:
            clear(band, to, pitch)
