"""Convolution and both its gradients, channels last, as products of matrices that are never written down.

Two methods compute them. `tf32`, the default for float32, rounds operands to TF32 (10 bits of mantissa) and multiplies
on the tensor cores, as PyTorch does; `simt` computes in the arrays' own precision and takes every call.
`kernels.use("simt")`, or SCRATCHNET_KERNELS=simt, is the switch to strict float32.

cuda/conv.cuh has the geometry. The gradient of the input is a forward pass for each phase of the stride; that of the
weight is cut into slices of pixels, added in a fixed order. No sum's order depends on what ran when.
"""

from itertools import product

import numpy as np

from .. import reference
from ..geometry import Conv2dGeometry
from .layout import channels_first, channels_last, contiguous
from .module import blocks, launch, struct
from .tiles import ENOUGH_BLOCKS, SIMT, TF32, scalar

MOST_PIXELS = 1 << 30  # of one launch, whose pixels are numbered by ints: larger batches are cut into several
FEWEST_PIXELS = 256  # of a slice: fewer would not pay for writing it down
ADD_THREADS = 256
ADD_SLICES = "add_slices<float>", "add_slices<double>"


def forward(method, input, weight, bias, geometry, negative_slope):
    """conv2d by a method."""
    if bias is not None:
        bias = contiguous(reference.check_bias(bias, geometry))
    filters = contiguous(weight.transpose(0, 2, 3, 1))
    return _correlate(method, channels_last(input), filters, bias, geometry, negative_slope, transposed=False)


def input_gradient(method, weight, grad_output, geometry):
    """conv2d_input by a method."""
    (k, *rest), groups = weight.shape, geometry.groups
    filters = contiguous(weight.reshape(groups, k // groups, *rest).transpose(0, 2, 3, 4, 1))
    return _correlate(method, channels_last(grad_output), filters, None, geometry, 1, transposed=True)


def _correlate(method, source, filters, bias, geometry, negative_slope, transposed):
    """The sums that conv.cuh describes, from a contiguous source (N, H, W, channels) and packed filters."""
    import cupy

    n, channels, height, width = geometry.full_input_size if transposed else geometry.full_output_size
    target = cupy.empty((n, height, width, channels), source.dtype)
    if not target.size:
        return channels_first(target)
    steps, groups = geometry.stride if transposed else (1, 1), geometry.groups
    longest = blocks(height, steps[0]) * blocks(width, steps[1])  # pixels of an image in the largest phase
    for images in _launches(n, target, source):
        count = images.stop - images.start
        tile = method.tile(
            count * longest, channels // groups, source.shape[3] // groups, source.dtype, _aligned(source, filters)
        )
        tiles = blocks(count * longest, tile.rows) * blocks(channels // groups, tile.columns)
        conv, slope = _struct(geometry, count, transposed), source.dtype.type(negative_slope)
        arguments = (source[images], filters, bias, target[images], conv, slope)
        grid = (tiles * groups * steps[0] * steps[1],)
        launch(method.files, tile.instance, grid, (tile.threads,), arguments, tile.shared_bytes)
    return channels_first(target)


def weight_gradient(method, input, grad_output, geometry):
    """conv2d_weight by a method."""
    import cupy

    source, grad = channels_last(input), channels_last(grad_output)
    weight = cupy.zeros(geometry.full_weight_size, source.dtype)
    if not weight.size or not source.size:
        return weight
    (k, c, height, width), groups = weight.shape, geometry.groups
    rows, columns, pixels = height * width * c, k // groups, grad.shape[1] * grad.shape[2]
    tile = method.weight_tile(rows, columns, c, source.dtype, _aligned(source, grad))
    tiles = blocks(rows, tile.rows) * blocks(columns, tile.columns) * groups
    plans = [(i, *_slices((i.stop - i.start) * pixels, tiles)) for i in _launches(len(source), source, grad)]
    part = cupy.empty((sum(slices for _, slices, _ in plans), weight.size), source.dtype)
    done = 0
    for images, slices, pixels_per_slice in plans:
        conv = _struct(geometry, images.stop - images.start, transposed=False)
        arguments = (source[images], grad[images], part[done : done + slices], conv, np.int32(pixels_per_slice))
        launch(method.weight_files, tile.instance, (tiles * slices,), (tile.threads,), arguments, tile.shared_bytes)
        done += slices
    sizes = map(np.int32, (done, groups, height * width, c, columns))
    grid = (blocks(weight.size, ADD_THREADS),)
    launch("add_slices.cu", f"add_slices<{scalar(source.dtype)}>", grid, (ADD_THREADS,), (part, weight, *sizes))
    return weight


def _aligned(*arrays):
    """Whether all start at multiples of 16 bytes, as views may not."""
    return all(array.data.ptr % 16 == 0 for array in arrays)


def _launches(batch, *images):
    """Slices of the batch, each of at most MOST_PIXELS pixels of any of the arrays (N, H, W, C)."""
    step = max(MOST_PIXELS // max(array.shape[1] * array.shape[2] for array in images), 1)
    return [slice(first, min(first + step, batch)) for first in range(0, batch, step)]


def _slices(pixels, tiles):
    """(slices, pixels of each): enough to fill a GPU, of shapes alone, so that equal calls add in equal order."""
    slices = max(min(ENOUGH_BLOCKS // tiles, pixels // FEWEST_PIXELS), 1)
    pixels_per_slice = blocks(pixels, slices)
    return blocks(pixels, pixels_per_slice), pixels_per_slice


def _struct(geometry, batch, transposed):
    """The Conv of conv.cuh."""
    c, k = geometry.in_channels // geometry.groups, geometry.out_channels // geometry.groups
    source, target = geometry.input_size, geometry.output_size
    if transposed:
        c, k, source, target = k, c, target, source
    fields = dict(batch=batch, channels=c, columns=k, groups=geometry.groups, transposed=int(transposed))
    for i, axis in enumerate("hw"):
        before, _ = geometry.padding[i]
        sizes = dict(source=source[i], target=target[i], kernel=geometry.kernel_size[i])
        options = dict(stride=geometry.stride[i], padding=before, dilation=geometry.dilation[i])
        fields |= {f"{axis}_{name}": value for name, value in (sizes | options).items()}
    return struct(**fields)


def register(name, method, supports, pays):
    """Register the method as an implementation of conv2d, of conv2d_input and, where it has one, of conv2d_weight."""
    when = dict(device="gpu", supports=supports, pays=pays)

    @reference.conv2d.implementation(name, **when)
    def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
        options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        geometry = Conv2dGeometry.of(input.shape, weight.shape, **options)
        return forward(method, input, weight, bias, geometry, negative_slope)

    @reference.conv2d_input.implementation(name, **when)
    def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
        options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        geometry = Conv2dGeometry.of(input_size, weight.shape, grad_output.shape, **options)
        return input_gradient(method, weight, grad_output, geometry)

    if method.weight_tile is None:
        return

    @reference.conv2d_weight.implementation(name, **when)
    def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
        options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        geometry = Conv2dGeometry.of(input.shape, weight_size, grad_output.shape, **options)
        return weight_gradient(method, input, grad_output, geometry)


def one_group_of_float32(first, second, *others, groups=1, **options):
    """Whether tensor cores can do a call of any of the three kernels, whose arguments are arrays or sizes."""
    dtype = getattr(second, "dtype", getattr(first, "dtype", None))
    if dtype != np.float32:
        return f"tensor cores multiply float32 only, given {dtype}"
    return groups == 1 or f"it takes one group, given {groups}"


def enough_channels(first, second, *others, **options):
    """Whether tiles of channels are not mostly empty, by the weight's shape: the second argument has it or is it."""
    k, c, *_ = getattr(second, "shape", second)
    return min(k, c) >= 8 or f"{min(k, c)} channels would leave most of a tile empty"


def always(*args, **options):
    return True


def _instances():
    """{files: {every kernel that calls may lead to: its shared memory in bytes}}."""
    found = {}
    for rows, columns, channels, dtype in product((1, 1 << 20), (1, 64, 128), (32, 33), ("float32", "float64")):
        shape = rows, columns, channels, np.dtype(dtype), True
        for method in (SIMT, TF32)[: 1 + (dtype == "float32")]:
            for files, tile in ((method.files, method.tile), (method.weight_files, method.weight_tile)):
                chosen = tile(*shape)
                found.setdefault(files, {})[chosen.instance] = chosen.shared_bytes
    return found | {"add_slices.cu": dict.fromkeys(ADD_SLICES, 0)}


register("tf32", TF32, supports=one_group_of_float32, pays=enough_channels)
register("simt", SIMT, supports=always, pays=always)
INSTANCES = _instances()
