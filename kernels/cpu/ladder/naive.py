"""Step 1: the definition of convolution and of its two gradients, as loops.

Numba makes machine code of them, and that is all. Each addition waits for the one before it, one number at a time.
"""

import numpy as np
from numba import prange

from ... import reference
from ...geometry import Conv2dGeometry
from ..compile import parallel
from ..layout import plain
from . import only_by_name


@reference.conv2d.implementation("naive", pays=only_by_name)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    output = np.empty(geometry.full_output_size, input.dtype)
    _forward(plain(input), plain(weight), output, *_integers(geometry))
    return reference.add_bias_and_activate(output, bias, geometry, negative_slope)


@reference.conv2d_input.implementation("naive", pays=only_by_name)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    grad_input = np.zeros(geometry.full_input_size, weight.dtype)
    _input_gradient(grad_input, plain(weight), plain(grad_output), *_integers(geometry))
    return grad_input


@reference.conv2d_weight.implementation("naive", pays=only_by_name)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    grad_weight = np.empty(geometry.full_weight_size, input.dtype)
    _weight_gradient(plain(input), grad_weight, plain(grad_output), *_integers(geometry))
    return grad_weight


def _integers(geometry):
    """Output channels of a group; and for rows and columns: padding before the image, stride, dilation."""
    (top, _), (left, _) = geometry.padding
    return max(geometry.out_channels // geometry.groups, 1), (top, left), geometry.stride, geometry.dilation


@parallel
def _forward(input, weight, output, per_group, corner, stride, dilation):
    _, _, height, width = input.shape
    out_channels, channels, kernel_height, kernel_width = weight.shape
    for plane in prange(output.shape[0] * out_channels):
        n, k = divmod(np.int64(plane), out_channels)
        first = k // per_group * channels
        for i in range(output.shape[2]):
            for j in range(output.shape[3]):
                total = input.dtype.type(0)
                for c in range(channels):
                    for h in range(kernel_height):
                        for w in range(kernel_width):
                            y = i * stride[0] + h * dilation[0] - corner[0]
                            x = j * stride[1] + w * dilation[1] - corner[1]
                            if 0 <= y < height and 0 <= x < width:
                                total += weight[k, c, h, w] * input[n, first + c, y, x]
                output[n, k, i, j] = total


@parallel
def _input_gradient(grad_input, weight, grad_output, per_group, corner, stride, dilation):
    _, _, height, width = grad_input.shape
    out_channels, channels, kernel_height, kernel_width = weight.shape
    for n in prange(grad_input.shape[0]):
        for k in range(out_channels):
            first = k // per_group * channels
            for c in range(channels):
                for i in range(grad_output.shape[2]):
                    for j in range(grad_output.shape[3]):
                        for h in range(kernel_height):
                            for w in range(kernel_width):
                                y = i * stride[0] + h * dilation[0] - corner[0]
                                x = j * stride[1] + w * dilation[1] - corner[1]
                                if 0 <= y < height and 0 <= x < width:
                                    grad_input[n, first + c, y, x] += weight[k, c, h, w] * grad_output[n, k, i, j]


@parallel
def _weight_gradient(input, grad_weight, grad_output, per_group, corner, stride, dilation):
    _, _, height, width = input.shape
    out_channels, channels, kernel_height, kernel_width = grad_weight.shape
    for k in prange(out_channels):
        first = np.int64(k) // per_group * channels
        for c in range(channels):
            for h in range(kernel_height):
                for w in range(kernel_width):
                    total = input.dtype.type(0)
                    for n in range(input.shape[0]):
                        for i in range(grad_output.shape[2]):
                            for j in range(grad_output.shape[3]):
                                y = i * stride[0] + h * dilation[0] - corner[0]
                                x = j * stride[1] + w * dilation[1] - corner[1]
                                if 0 <= y < height and 0 <= x < width:
                                    total += input[n, first + c, y, x] * grad_output[n, k, i, j]
                    grad_weight[k, c, h, w] = total
