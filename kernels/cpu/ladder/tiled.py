"""Step 3: loops again, over blocks that stay in cache; no copy of the patches, no explicit SIMD.

Channels are last in memory. Weights are cut in panels of PANEL output channels, side by side. A task takes one panel
and one output row: the sums of PIXELS pixels by PANEL channels lie in a small array in the first-level cache, the
panel's weights in the second, and a vector of weights serves all PIXELS pixels. The innermost loop runs over channels,
without branches, so LLVM vectorises it. (Blocks and packing are those of Goto and van de Geijn 2008, Anatomy of
High-Performance Matrix Multiplication.)

What it lacks is the last level of the hierarchy: sums are loaded from the cache and stored again after every four
multiply-adds. Step 4 keeps the sums in registers.
"""

import numpy as np
from numba import prange

from ... import reference
from ...geometry import Conv2dGeometry
from ..compile import parallel, serial
from ..layout import channels_first, channels_last, plain
from . import only_by_name

PANEL = 64  # output channels
PIXELS = 16


@reference.conv2d.implementation("tiled", pays=only_by_name)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    n, k, height, width = geometry.full_output_size
    output = np.empty((n, height, width, k), input.dtype)
    if output.size:
        _rows(
            channels_last(input), _panels(weight, groups), output, geometry.corner, geometry.stride, geometry.dilation
        )  # fmt: skip
    return reference.add_bias_and_activate(channels_first(output), bias, geometry, negative_slope)


def _panels(weight, groups):
    """(K, C / groups, KH, KW) as (groups, panels, KH, KW, C / groups, PANEL), zeros where channels end."""
    k, c, kernel_height, kernel_width = weight.shape
    panels = -(-(k // groups) // PANEL)
    padded = np.zeros((groups, panels * PANEL, c, kernel_height, kernel_width), weight.dtype)
    padded[:, : k // groups] = weight.reshape(groups, k // groups, c, kernel_height, kernel_width)
    padded = padded.reshape(groups, panels, PANEL, c, kernel_height, kernel_width)
    return plain(padded.transpose(0, 1, 4, 5, 3, 2))


@parallel
def _rows(input, weight, output, corner, stride, dilation):
    rows, groups, panels = output.shape[0] * output.shape[1], weight.shape[0], weight.shape[1]
    per_group = output.shape[3] // groups
    for task in prange(groups * panels * rows):
        panel, row = divmod(np.int64(task), rows)
        group, panel = divmod(panel, panels)
        n, i = divmod(row, output.shape[1])
        sums = np.empty((PIXELS, PANEL), output.dtype)
        first = group * per_group + panel * PANEL
        channels = min(PANEL, per_group - panel * PANEL)
        for j in range(0, output.shape[2], PIXELS):
            pixels = min(PIXELS, output.shape[2] - j)
            _tile(
                input[n], group * weight.shape[4], weight[group, panel], i * stride[0] - corner[0],
                j * stride[1] - corner[1], stride[1], dilation, pixels, sums,
            )  # fmt: skip
            output[n, i, j : j + pixels, first : first + channels] = sums[:pixels, :channels]


@serial
def _tile(image, first, weight, top, left, step, dilation, pixels, sums):
    """sums[p] = the panel's outputs of the pixel whose window has its corner at image[top, left + p * step]."""
    kernel_height, kernel_width, channels, _ = weight.shape
    sums[:] = 0
    for h in range(kernel_height):
        y = top + h * dilation[0]
        if not 0 <= y < image.shape[0]:
            continue
        for w in range(kernel_width):
            x = left + w * dilation[1]
            begin = min(max(-(x // step), 0), pixels)
            end = min((image.shape[1] - 1 - x) // step + 1, pixels)
            fours = channels // 4 * 4
            for c in range(0, fours, 4):
                _add_four(sums, begin, end, image[y], first + c, x, step, weight[h, w], c)
            for c in range(fours, channels):
                _add_one(sums, begin, end, image[y], first + c, x, step, weight[h, w], c)


@serial
def _add_one(sums, begin, end, row, channel, x, step, weight, c):
    """sums[p] += row[x + p * step, channel] * weight[c], for begin <= p < end."""
    for p in range(begin, end):
        value = row[x + p * step, channel]
        for k in range(PANEL):
            sums[p, k] += value * weight[c, k]


@serial
def _add_four(sums, begin, end, row, channel, x, step, weight, c):
    """The same for four channels at once: a sum is loaded and stored once for four products."""
    for p in range(begin, end):
        at = x + p * step
        v0, v1, v2, v3 = row[at, channel], row[at, channel + 1], row[at, channel + 2], row[at, channel + 3]
        for k in range(PANEL):
            sums[p, k] += v0 * weight[c, k] + v1 * weight[c + 1, k] + v2 * weight[c + 2, k] + v3 * weight[c + 3, k]
