"""The input gradient of a convolution of few channels: project every pixel on all taps, then add up what overlaps.

Where images have one or three channels, the sums of `conv.py` would fill one lane of a vector register, or three.
Here the columns of the matrix product are the taps (row, column, channel) of the kernel: each pixel of grad_output
times the weight is a small square of the input gradient, and the squares are added where they go ("col2im"). An image
is added up by one thread, in the order of its pixels, so results do not depend on the number of threads. Of maps with
more channels `columns.py` does the same, if they are small: there all products are made first, and threads share rows.
"""

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .fork import fork
from .layout import channels_first, channels_last, plain
from .memory import cleared, empty, scratch
from .simd import in_panels, product

_PIXELS = 48  # projected at a time: a multiple of the tile's rows
_MOST_CHANNELS = 4


def _supports(input_size, weight, grad_output, **options):
    geometry = Conv2dGeometry.of(input_size, weight.shape, grad_output.shape, **options)
    if geometry.groups != 1 or geometry.dilation[1] != 1:
        return "groups and horizontal dilation must be 1"
    return True if grad_output.size and weight.size and min(geometry.input_size) else "there is nothing to add"


def _pays(input_size, weight, grad_output, **options):
    if input_size[1] > _MOST_CHANNELS:
        return f"more than {_MOST_CHANNELS} channels fill vectors"
    return True if input_size[0] > 1 else "one image is one thread's work"


@reference.conv2d_input.implementation("narrow", supports=_supports, pays=_pays)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, c, height, width = geometry.full_input_size
    k, _, kernel_height, kernel_width = geometry.full_weight_size
    matrix = plain(weight.transpose(0, 2, 3, 1)).reshape(k, kernel_height * kernel_width * c)
    packed, vectors = in_panels(matrix)
    panels, _, panel_width = packed.shape
    grad_input = empty((n, height, width, c), weight.dtype)
    tasks = tasks_for(n)
    products = scratch(tasks, _PIXELS * panels * panel_width, dtype=weight.dtype)
    none = cleared((panels * panel_width,), weight.dtype)
    _add_up(
        channels_last(grad_output), packed, none, vectors, geometry.kernel_size, geometry.stride, geometry.corner,
        geometry.dilation[0], products, grad_input, tasks,
    )  # fmt: skip
    return channels_first(grad_input)


@entry
def _add_up(grad, packed, none, vectors, kernel, stride, corner, dilation, products, grad_input, tasks):
    fork(_add_up_images, (grad, packed, none, vectors, kernel, stride, corner, dilation, products, grad_input), tasks)


@serial
def _add_up_images(grad, packed, none, vectors, kernel, stride, corner, dilation, products, grad_input, tasks, task):
    begin, end = portion(len(grad), tasks, task)
    for n in range(begin, end):
        _add_up_image(
            grad[n], packed, none, vectors, kernel, stride, corner, dilation, products[task], grad_input[n]
        )  # fmt: skip


@serial
def _add_up_image(grad, packed, none, vectors, kernel, stride, corner, dilation, squares, image):
    pixels, depth = grad.shape[0] * grad.shape[1], grad.shape[2]
    source, columns, width = grad.reshape(pixels * depth), packed.shape[0] * packed.shape[2], packed.shape[2]
    flat_packed = packed.reshape(packed.size)
    image[:] = 0
    for first in range(0, pixels, _PIXELS):
        size = min(_PIXELS, pixels - first)
        product(
            vectors, source[first * depth :], depth, 1, flat_packed, depth * width, width, depth, none, 0, squares,
            columns, size, packed.shape[0],
        )  # fmt: skip
        _add_squares(squares, columns, first, size, grad.shape[1], kernel, stride, corner, dilation, image)


@serial
def _add_squares(squares, columns, first, size, grad_width, kernel, stride, corner, dilation, image):
    height, width, channels = image.shape
    flat = image.reshape(image.size)
    for i in range(size):
        y, x = divmod(first + i, grad_width)
        left = x * stride[1] - corner[1]
        low, high = max(-left, 0) * channels, min(kernel[1], width - left) * channels
        for h in range(kernel[0]):
            row = y * stride[0] - corner[0] + h * dilation
            if 0 <= row < height:
                to, at = (row * width + left) * channels, i * columns + h * kernel[1] * channels
                for j in range(low, high):  # signed places may count from the end, and take 1.1 to 1.4 times as long
                    flat[np.uint64(to + j)] += squares[np.uint64(at + j)]
