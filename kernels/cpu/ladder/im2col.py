"""Step 2: copy the patch of every output pixel into a column, and let BLAS multiply: weight @ columns.

One matrix product does all the arithmetic, at BLAS's speed. The price is memory: `columns` is KH * KW times as large as
the input, and is written and read once more. (Chellapilla, Puri and Simard 2006, High Performance Convolutional Neural
Networks for Document Processing; the name im2col is Caffe's.)
"""

from itertools import product

import numpy as np

from ... import reference
from ...geometry import Conv2dGeometry
from . import only_by_name


@reference.conv2d.implementation("im2col", pays=only_by_name)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    output = _as_matrices(weight, groups) @ im2col(input, geometry)
    return reference.add_bias_and_activate(output.reshape(geometry.full_output_size), bias, geometry, negative_slope)


@reference.conv2d_input.implementation("im2col", pays=only_by_name)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return col2im(_as_matrices(weight, groups).swapaxes(1, 2) @ _pixels(grad_output, groups), geometry)


@reference.conv2d_weight.implementation("im2col", pays=only_by_name)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    by_image = _pixels(grad_output, groups) @ im2col(input, geometry).swapaxes(2, 3)
    return by_image.sum(axis=0).reshape(geometry.full_weight_size)


def im2col(input, geometry):
    """(N, groups, C / groups * KH * KW, OH * OW): for each output pixel, the input numbers under the kernel."""
    n, c = geometry.batch, geometry.in_channels
    canvas = np.zeros((n, c, *_padded(geometry)), input.dtype)
    canvas[_inside(geometry)] = input
    columns = np.empty((n, c, *geometry.kernel_size, *geometry.output_size), input.dtype)
    for (h, w), window in _windows(geometry):
        columns[:, :, h, w] = canvas[window]
    return columns.reshape(n, *_matrix_size(geometry))


def col2im(columns, geometry):
    """The adjoint of im2col: every number of a column is added to the input pixel it was copied from."""
    n, c = geometry.batch, geometry.in_channels
    columns = columns.reshape(n, c, *geometry.kernel_size, *geometry.output_size)
    canvas = np.zeros((n, c, *_padded(geometry)), columns.dtype)
    for (h, w), window in _windows(geometry):
        canvas[window] += columns[:, :, h, w]
    return canvas[_inside(geometry)].copy()


def _windows(geometry):
    """For each tap (h, w): the slices of the padded image that hold what it meets, one element an output pixel."""
    (sh, sw), (dh, dw), (oh, ow) = geometry.stride, geometry.dilation, geometry.output_size
    for h, w in product(*map(range, geometry.kernel_size)):
        rows = slice(h * dh, h * dh + (oh - 1) * sh + 1, sh)
        yield (h, w), (..., rows, slice(w * dw, w * dw + (ow - 1) * sw + 1, sw))


def _padded(geometry):
    return tuple(size + sum(sides) for size, sides in zip(geometry.input_size, geometry.padding, strict=True))


def _inside(geometry):
    """Slices of the padded image that hold the image."""
    (top, _), (left, _) = geometry.padding
    height, width = geometry.input_size
    return ..., slice(top, top + height), slice(left, left + width)


def _matrix_size(geometry):
    """(groups, rows, columns) of one image's columns."""
    kernel_height, kernel_width = geometry.kernel_size
    rows = geometry.in_channels // geometry.groups * kernel_height * kernel_width
    return geometry.groups, rows, geometry.output_size[0] * geometry.output_size[1]


def _as_matrices(weight, groups):
    """(K, C / groups, KH, KW) as (groups, K / groups, C / groups * KH * KW)."""
    k, c, kernel_height, kernel_width = weight.shape
    return weight.reshape(groups, k // groups, c * kernel_height * kernel_width)


def _pixels(output, groups):
    """(N, K, OH, OW) as (N, groups, K / groups, OH * OW)."""
    n, k, height, width = output.shape
    return output.reshape(n, groups, k // groups, height * width)
