"""The input gradient of a small map: multiply first, add up afterwards (the adjoint of im2col).

Every pixel of grad_output adds grad_output[n, :, i, j] @ weight[:, c, a, b] to the input pixel (i + a - padding,
j + b - padding). One matrix product makes these *columns*, (N OH OW, KH KW C); then every input pixel adds up the ones
that are its own. Without padding a map loses kernel - 1 rows and columns: where 3 x 3 pixels are left of 5 x 5, the
other ways spend most of their products on the zeros around grad_output. `narrow.py` does it for a few channels.
"""

from .. import reference
from ..geometry import Conv2dGeometry
from .compile import entry, portion, serial, tasks_for
from .fork import fork
from .layout import channels_first, channels_last
from .matmul import BLAS_LIMIT
from .memory import empty

# Of grad_output's pixels in the input's: 5 x 5 from 3 x 3 takes half of Winograd's time, 12 x 12 from 8 x 8 1.6 times.
_LARGEST_SHARE = 0.4


def _supports(input_size, weight, grad_output, **options):
    geometry = Conv2dGeometry.of(input_size, weight.shape, grad_output.shape, **options)
    if geometry.stride != (1, 1) or geometry.dilation != (1, 1) or geometry.groups != 1:
        return "stride, dilation and groups must be 1"
    return True if weight.size and grad_output.size else "there is nothing to multiply"


def _pays(input_size, weight, grad_output, **options):
    if weight.size * grad_output.shape[0] < BLAS_LIMIT:
        return f"below {BLAS_LIMIT} multiplications a call of another kernel is not worth it"
    (*_, height, width), (*_, rows, columns) = input_size, grad_output.shape
    share = rows * columns / (height * width)
    return share <= _LARGEST_SHARE or f"grad_output has {share:.2f} times the input's pixels, not {_LARGEST_SHARE}"


@reference.conv2d_input.implementation("columns", supports=_supports, pays=_pays)
def conv2d_input(input_size, weight, grad_output, *, stride=1, padding=0, dilation=1, groups=1):
    geometry = Conv2dGeometry.of(
        input_size, weight.shape, grad_output.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    (n, c, height, width), (k, _, *kernel) = geometry.full_input_size, geometry.full_weight_size
    grad = channels_last(grad_output)
    columns = reference.matmul(grad.reshape(-1, k), channels_last(weight).reshape(k, -1))
    grad_input = empty((n, height, width, c), weight.dtype)
    _add_columns(columns.reshape(*grad.shape[:3], *kernel, c), geometry.corner, grad_input, tasks_for(n * height))
    return channels_first(grad_input)


@entry
def _add_columns(columns, corner, grad_input, tasks):
    fork(_add_columns_of_rows, (columns, corner, grad_input), tasks)


@serial
def _add_columns_of_rows(columns, corner, grad_input, tasks, task):
    """grad_input[n, y, x] = sum over taps of columns[n, y + top - a, x + left - b, a, b], the task's rows of it."""
    batch, height, width, _ = grad_input.shape
    _, rows, row_length, taps_y, taps_x, _ = columns.shape
    begin, end = portion(batch * height, tasks, task)
    for row in range(begin, end):
        n, y = row // height, row % height + corner[0]
        for column in range(width):
            x, total = column + corner[1], grad_input[n, row % height, column]
            total[:] = 0
            for i in range(max(0, y - taps_y + 1), min(rows, y + 1)):
                for j in range(max(0, x - taps_x + 1), min(row_length, x + 1)):
                    part = columns[n, i, j, y - i, x - j]
                    for c in range(len(total)):
                        total[c] += part[c]
