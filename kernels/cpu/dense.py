"""A kernel as large as the image: one output pixel, whose patch is the whole image, so three matrix products.

DCGAN makes its first 4 x 4 pixels from a code in this way, and its discriminator a score of the last 4 x 4. For the
first `conv.py` would also multiply the fifteen zeros that each of the sixteen pixels sees around the code.
"""

from math import prod

from .. import reference
from ..geometry import Conv2dGeometry
from .layout import channels_first, channels_last, plain
from .matmul import BLAS_LIMIT


def _supports(input, weight, *others, negative_slope=1, **options):
    """Of all three kernels: each of the first two arguments is an array, or is the size of one."""
    input_size, weight_size = (getattr(x, "shape", x) for x in (input, weight))
    geometry = Conv2dGeometry.of(input_size, weight_size, **options)
    if geometry.kernel_size != geometry.input_size:
        return "the kernel must cover the image"
    if geometry.groups != 1 or any(sum(p) for p in geometry.padding):
        return "groups must be 1, padding 0"
    return True if all((*input_size, *weight_size)) else "there is nothing to multiply"


def _pays(input, weight, *others, **options):
    (n, *_), weight_size = (getattr(x, "shape", x) for x in (input, weight))
    few = prod(weight_size) * n < BLAS_LIMIT
    return f"below {BLAS_LIMIT} multiplications a call of another kernel is not worth it" if few else True


def _rows(array):
    """(N, C, H, W) as the matrix (N, C H W)."""
    return plain(array).reshape(len(array), -1)


@reference.conv2d.implementation("dense", supports=_supports, pays=_pays)
def conv2d(input, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1, negative_slope=1):
    geometry = Conv2dGeometry.of(
        input.shape, weight.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    output = reference.matmul(_rows(weight), _rows(input).T).T  # of the two, images are less to pack
    output = plain(output)[:, :, None, None]
    return reference.add_bias_and_activate(output, bias, geometry, negative_slope)


@reference.conv2d_input.implementation("dense", supports=_supports, pays=_pays)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    images = reference.matmul(_rows(grad_output), _rows(weight)).reshape(input_size)
    return channels_first(channels_last(images))


@reference.conv2d_weight.implementation("dense", supports=_supports, pays=_pays)
def conv2d_weight(input, weight_size, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    Conv2dGeometry.of(
        input.shape, weight_size, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return plain(reference.matmul(_rows(grad_output).T, _rows(input))).reshape(weight_size)
