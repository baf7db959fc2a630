"""Pooling, and gathering from image planes, in channels-last memory: the inner loop runs over channels.

A window's channels pass through vector registers, tap by tap in row-major order, and its result is written once. In
the gradients a thread owns slabs of input rows, and clears a row when the first window reaches it, so that it stays in
cache while windows add to it. Sums keep the reference's order, so results are its own, bit for bit. Each task is one
function: a call for every row, with its reference counts, took half of the time of a small pooling.
"""

import functools

import numpy as np

from .. import reference
from ..geometry import Pool2dGeometry, integers, same_shapes
from ..sealed import check
from .compile import entry, inlined, portion, serial, tasks_for
from .copies import clear
from .fork import fork
from .layout import channels_first, channels_last
from .memory import cleared, empty
from .vector import (
    choose,
    exceeds,
    lanes,
    load,
    load_one,
    load_places,
    spread,
    spread_place,
    store,
    store_places,
    zeros,
    zeros_one,
)

_divisor = functools.lru_cache(1 << 8)(reference.pool_divisor)  # computing it took a quarter of a small pooling


def _places_are_int32(input_size):
    *_, height, width = integers("input size (N, C, H, W)", input_size, 4)
    return height * width < 1 << 31 or "an input plane must have less than 2^31 places"


@reference.max_pool2d.implementation("numba", supports=lambda input, **options: _places_are_int32(input.shape))
def max_pool2d(input, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, relu=False):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    output, indices = (_channels_last_empty(geometry.full_output_size, t) for t in (input.dtype, np.int64))
    rows = geometry.batch * geometry.output_size[0]
    _max_pool(channels_last(input), *_windows(geometry), bool(relu), output, indices, tasks_for(rows))
    return channels_first(output), channels_first(indices)


@reference.max_pool2d_input.implementation("numba", supports=lambda size, *rest, **options: _places_are_int32(size))
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
    tasks = tasks_for(geometry.batch * geometry.output_size[0])
    _max_pool_input(channels_last(grad_output), channels_last(indices), *_windows(geometry), grad_input, tasks)
    return channels_first(grad_input)


@reference.gather2d.implementation("numba")
def gather2d(input, indices):
    n, c, plane = reference.check_gather(input.shape, indices.shape)
    output = _channels_last_empty(indices.shape, input.dtype)
    outside = cleared((n,), np.bool_)
    _gather(_pixels(input), _pixels(indices), output.reshape(n, output.shape[1] * output.shape[2], c), outside)
    _refuse(outside, plane)
    return channels_first(output)


@reference.gather2d_input.implementation("numba")
def gather2d_input(input_size, indices, grad_output):
    n, c, plane = reference.check_gather(input_size, indices.shape)
    same_shapes(indices=indices.shape, grad_output=grad_output.shape)
    grad_input = cleared((n, plane, c), grad_output.dtype)
    outside = cleared((n,), np.bool_)
    _scatter(_pixels(grad_output), _pixels(indices), grad_input, outside)
    _refuse(outside, plane)
    return channels_first(grad_input.reshape(n, *input_size[2:], c))


@check
def _refuse(outside, plane):
    if outside.any():
        raise IndexError(reference.index_message(plane))


@reference.avg_pool2d.implementation("numba")
def avg_pool2d(
    input, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    geometry = Pool2dGeometry.of(
        input.shape, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    divisor = _divisor(geometry, count_include_pad, divisor_override, input.dtype)
    output = _channels_last_empty(geometry.full_output_size, input.dtype)
    rows = geometry.batch * geometry.output_size[0]
    _avg_pool(channels_last(input), divisor, *_windows(geometry), output, tasks_for(rows))
    return channels_first(output)


@reference.avg_pool2d_input.implementation("numba")
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
    divisor = _divisor(geometry, count_include_pad, divisor_override, grad_output.dtype)
    grad_input = _channels_last_empty(geometry.full_input_size, grad_output.dtype)
    tasks = tasks_for(geometry.batch * geometry.output_size[0])
    _avg_pool_input(channels_last(grad_output), divisor, *_windows(geometry), grad_input, tasks)
    return channels_first(grad_input)


def _channels_last_empty(size, dtype):
    n, c, height, width = size
    return empty((n, height, width, c), dtype)


def _pixels(array):
    """(N, C, H, W) as a channels-last (N, H * W, C)."""
    n, c, height, width = array.shape
    return channels_last(array).reshape(n, height * width, c)


def _windows(geometry):
    """(kernel size, stride, padding before, dilation)."""
    (top, _), (left, _) = geometry.padding
    return geometry.kernel_size, geometry.stride, (top, left), geometry.dilation


@inlined
def _taps_inside(start, dilation, taps, size):
    """(first index, number) of those of start, start + dilation, ... that lie in 0 ... size - 1."""
    if start >= 0 and start + (taps - 1) * dilation < size:  # nearly always, and it saves two divisions
        return start, taps
    skipped = max(-(start // dilation), 0)
    first = start + skipped * dilation
    return first, min(taps - skipped, (size - 1 - first) // dilation + 1)


@inlined
def _whole_and_rest(channels, lanes):
    """The ranges of channels that fill vectors, and of what is left over, by one."""
    whole = channels - channels % lanes
    return (0, whole, lanes), (whole, channels, 1)


@serial
def _slab(first, last, windows, stride, before, height):
    """(first, end) of the input rows from where a row of windows begins to where the one behind the last does."""
    low, high = first * stride - before, (last + 1) * stride - before
    return max(low, 0), max(high, 0) if last + 1 < windows else height


@serial
def _first_window(index, stride, before, reach):
    """The first window whose last tap, `reach` after its first, does not lie before an input index."""
    return max(-((reach - before - index) // stride), 0)


def _for_usual_windows(name, function):
    """`function(rows, columns, ...)` with copies of it for the usual windows, whose loops are unrolled.

    2 x 2 takes half of the time, 3 x 3 0.7 of it. The loop over channels belongs into the function: LLVM would do
    before it what any of the copies needs.
    """
    function.__qualname__ = f"{name}_loop"
    function = inlined(function)

    def choose_copy(rows, columns, *rest):
        if rows == 2 and columns == 2:
            function(2, 2, *rest)
        elif rows == 3 and columns == 3:
            function(3, 3, *rest)
        else:
            function(rows, columns, *rest)

    choose_copy.__qualname__ = name
    return inlined(choose_copy)


def _make_maximum(name, load):
    def maximum(
        rows, columns, channels, source, at, row_step, column_step, place, row_place, column_place, output, indices, to
    ):
        """Largest of rows x columns vectors and its place. The first wins a tie; NaN wins, and the first NaN."""
        for c in range(*channels):
            best = load(source, at + c)
            where = spread_place(place, best)
            for h in range(rows):
                for w in range(columns):
                    value = load(source, at + c + h * row_step + w * column_step)
                    larger = exceeds(value, best)
                    best = choose(larger, value, best)
                    where = choose(larger, spread_place(place + h * row_place + w * column_place, value), where)
            store(output, to + c, best)
            store_places(indices, to + c, where)

    return _for_usual_windows(name, maximum)


_maximum, _maximum_of_one = _make_maximum("maximum", load), _make_maximum("maximum_of_one", load_one)


@entry
def _max_pool(source, kernel, stride, before, dilation, relu, output, indices, tasks):
    fork(_max_pool_rows, (source, kernel, stride, before, dilation, relu, output, indices), tasks)


@serial
def _max_pool_rows(source, kernel, stride, before, dilation, relu, output, indices, tasks, task):
    _, height, width, channels = source.shape
    flat, flat_output, flat_indices = (
        source.reshape(source.size),
        output.reshape(output.size),
        indices.reshape(output.size),
    )
    row_place, column_place = dilation[0] * width, dilation[1]
    row_step, column_step = row_place * channels, column_place * channels
    whole, rest = _whole_and_rest(channels, lanes(flat))
    begin, end = portion(output.shape[0] * output.shape[1], tasks, task)
    for row in range(begin, end):
        n, y = divmod(row, output.shape[1])
        i, rows = _taps_inside(y * stride[0] - before[0], dilation[0], kernel[0], height)
        for x in range(output.shape[2]):
            j, columns = _taps_inside(x * stride[1] - before[1], dilation[1], kernel[1], width)
            place = i * width + j
            at, to = (n * height * width + place) * channels, (row * output.shape[2] + x) * channels
            _maximum(
                rows, columns, whole, flat, at, row_step, column_step, place, row_place, column_place,
                flat_output, flat_indices, to,
            )  # fmt: skip
            _maximum_of_one(
                rows, columns, rest, flat, at, row_step, column_step, place, row_place, column_place,
                flat_output, flat_indices, to,
            )  # fmt: skip
        if relu:
            _switch_off(flat_output, flat_indices, row * output.shape[2] * channels, output.shape[2] * channels)


@inlined
def _switch_off(output, indices, at, count):
    """0 and the place -1 where nothing is above 0; a NaN stays, without a place."""
    zero = output.dtype.type(0)
    for i in range(count):
        x = output[np.uint64(at + i)]
        indices[np.uint64(at + i)] = indices[np.uint64(at + i)] if x > 0 else -1
        output[np.uint64(at + i)] = zero if x <= 0 else x


def _make_give(name, load):
    def give(
        rows, columns, channels, grad, indices, at, grad_input, to, row_step, column_step, place, row_place,
        column_place,
    ):  # fmt: skip
        """Add a window's gradient where its maximum was: at one of rows x columns places."""
        for c in range(*channels):
            value = load(grad, at + c)
            where, nothing = load_places(indices, at + c, value), spread(grad.dtype.type(0), value)
            for h in range(rows):
                for w in range(columns):
                    here = spread_place(place + h * row_place + w * column_place, value)
                    tap = to + c + h * row_step + w * column_step
                    store(grad_input, tap, load(grad_input, tap) + choose(where == here, value, nothing))

    return _for_usual_windows(name, give)


_give, _give_one = _make_give("give", load), _make_give("give_one", load_one)


@entry
def _max_pool_input(grad, indices, kernel, stride, before, dilation, grad_input, tasks):
    fork(_max_pool_input_slabs, (grad, indices, kernel, stride, before, dilation, grad_input), tasks)


@serial
def _max_pool_input_slabs(grad, indices, kernel, stride, before, dilation, grad_input, tasks, task):
    """A slab for each image that the task has output rows of: add to it from every window that reaches it, in order."""
    _, height, width, channels = grad_input.shape
    flat, flat_indices, flat_input = (
        grad.reshape(grad.size),
        indices.reshape(grad.size),
        grad_input.reshape(grad_input.size),
    )
    row_place, column_place = dilation[0] * width, dilation[1]
    row_step, column_step = row_place * channels, column_place * channels
    whole, rest = _whole_and_rest(channels, lanes(flat))
    begin, end = portion(grad.shape[0] * grad.shape[1], tasks, task)
    for n in range(begin // grad.shape[1], (end + grad.shape[1] - 1) // grad.shape[1]):
        first, last = max(begin - n * grad.shape[1], 0), min(end - n * grad.shape[1], grad.shape[1]) - 1
        low, high = _slab(first, last, grad.shape[1], stride[0], before[0], height)
        cleared = 0
        for y in range(_first_window(low, stride[0], before[0], dilation[0] * (kernel[0] - 1)), last + 1):
            i, rows = _taps_inside(y * stride[0] - before[0] - low, dilation[0], kernel[0], high - low)
            reached = max(i + dilation[0] * (rows - 1) + 1, cleared)
            clear(flat_input, (n * height + low + cleared) * width * channels, (reached - cleared) * width * channels)
            cleared = reached
            for x in range(grad.shape[2]):
                j, columns = _taps_inside(x * stride[1] - before[1], dilation[1], kernel[1], width)
                at, place = ((n * grad.shape[1] + y) * grad.shape[2] + x) * channels, (low + i) * width + j
                to = (n * height * width + place) * channels
                _give(
                    rows, columns, whole, flat, flat_indices, at, flat_input, to, row_step, column_step, place,
                    row_place, column_place,
                )  # fmt: skip
                _give_one(
                    rows, columns, rest, flat, flat_indices, at, flat_input, to, row_step, column_step, place,
                    row_place, column_place,
                )  # fmt: skip
        clear(flat_input, (n * height + low + cleared) * width * channels, (high - low - cleared) * width * channels)


@entry
def _gather(source, indices, output, outside):
    fork(_gather_image, (source, indices, output, outside), len(source))


@serial
def _gather_image(source, indices, output, outside, images, n):
    plane, channels = source[n].shape
    for pixel in range(indices.shape[1]):
        for c in range(channels):
            index = indices[n, pixel, c]
            if 0 <= index < plane:
                output[n, pixel, c] = source[n, index, c]
            else:
                outside[n] = True


@entry
def _scatter(grad_output, indices, grad_input, outside):
    fork(_scatter_image, (grad_output, indices, grad_input, outside), len(grad_input))


@serial
def _scatter_image(grad_output, indices, grad_input, outside, images, n):
    plane, channels = grad_input[n].shape
    for pixel in range(indices.shape[1]):
        for c in range(channels):
            index = indices[n, pixel, c]
            if 0 <= index < plane:
                grad_input[n, index, c] += grad_output[n, pixel, c]
            else:
                outside[n] = True


def _make_mean(name, load, zeros):
    def mean(rows, columns, channels, source, at, row_step, column_step, divisor, output, to):
        """Sum of rows x columns vectors, divided."""
        for c in range(*channels):
            total = zeros(source)
            for h in range(rows):
                for w in range(columns):
                    total = total + load(source, at + c + h * row_step + w * column_step)
            store(output, to + c, total / spread(divisor, total))

    return _for_usual_windows(name, mean)


_mean, _mean_of_one = _make_mean("mean", load, zeros), _make_mean("mean_of_one", load_one, zeros_one)


@entry
def _avg_pool(source, divisor, kernel, stride, before, dilation, output, tasks):
    fork(_avg_pool_rows, (source, divisor, kernel, stride, before, dilation, output), tasks)


@serial
def _avg_pool_rows(source, divisor, kernel, stride, before, dilation, output, tasks, task):
    _, height, width, channels = source.shape
    flat, flat_output, row_step = source.reshape(source.size), output.reshape(output.size), width * channels
    whole, rest = _whole_and_rest(channels, lanes(flat))
    begin, end = portion(output.shape[0] * output.shape[1], tasks, task)
    for row in range(begin, end):
        n, y = divmod(row, output.shape[1])
        i, rows = _taps_inside(y * stride[0] - before[0], dilation[0], kernel[0], height)
        for x in range(output.shape[2]):
            j, columns = _taps_inside(x * stride[1] - before[1], dilation[1], kernel[1], width)
            at, to = ((n * height + i) * width + j) * channels, (row * output.shape[2] + x) * channels
            _mean(rows, columns, whole, flat, at, row_step, channels, divisor[y, x], flat_output, to)
            _mean_of_one(rows, columns, rest, flat, at, row_step, channels, divisor[y, x], flat_output, to)


def _make_share(name, load):
    def share(rows, columns, channels, grad, at, divisor, grad_input, to, row_step, column_step):
        """Add a window's gradient, divided as its sum was, to each of its rows x columns places."""
        for c in range(*channels):
            value = load(grad, at + c)
            value = value / spread(divisor, value)
            for h in range(rows):
                for w in range(columns):
                    tap = to + c + h * row_step + w * column_step
                    store(grad_input, tap, load(grad_input, tap) + value)

    return _for_usual_windows(name, share)


_share, _share_one = _make_share("share", load), _make_share("share_one", load_one)


@entry
def _avg_pool_input(grad, divisor, kernel, stride, before, dilation, grad_input, tasks):
    fork(_avg_pool_input_slabs, (grad, divisor, kernel, stride, before, dilation, grad_input), tasks)


@serial
def _avg_pool_input_slabs(grad, divisor, kernel, stride, before, dilation, grad_input, tasks, task):
    """As `_max_pool_input_slabs`. One function made for both takes up to 1.1 times as long here."""
    _, height, width, channels = grad_input.shape
    flat, flat_input, row_step = grad.reshape(grad.size), grad_input.reshape(grad_input.size), width * channels
    whole, rest = _whole_and_rest(channels, lanes(flat))
    begin, end = portion(grad.shape[0] * grad.shape[1], tasks, task)
    for n in range(begin // grad.shape[1], (end + grad.shape[1] - 1) // grad.shape[1]):
        first, last = max(begin - n * grad.shape[1], 0), min(end - n * grad.shape[1], grad.shape[1]) - 1
        low, high = _slab(first, last, grad.shape[1], stride[0], before[0], height)
        cleared = 0
        for y in range(_first_window(low, stride[0], before[0], dilation[0] * (kernel[0] - 1)), last + 1):
            i, rows = _taps_inside(y * stride[0] - before[0] - low, dilation[0], kernel[0], high - low)
            reached = max(i + dilation[0] * (rows - 1) + 1, cleared)
            clear(flat_input, (n * height + low + cleared) * row_step, (reached - cleared) * row_step)
            cleared = reached
            for x in range(grad.shape[2]):
                j, columns = _taps_inside(x * stride[1] - before[1], dilation[1], kernel[1], width)
                at = ((n * grad.shape[1] + y) * grad.shape[2] + x) * channels
                to, by = ((n * height + low + i) * width + j) * channels, divisor[y, x]
                _share(rows, columns, whole, flat, at, by, flat_input, to, row_step, channels)
                _share_one(rows, columns, rest, flat, at, by, flat_input, to, row_step, channels)
        clear(flat_input, (n * height + low + cleared) * row_step, (high - low - cleared) * row_step)
