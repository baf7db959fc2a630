"""Hypothesis strategies for arrays, memory layouts and image layers.

Geometry and a seed are drawn, never floats: a failing example then shrinks to a small layer, not to odd numbers.

    @given(conv2d_configs(), dtypes(), seeds())
    def test_my_convolution(config, dtype, seed):
        x, w, g = normal(seed, *config.shapes, dtype=dtype)
        y = my_convolution(x, w, **config.options)

Sizes are awkward on purpose: one pixel, strides that do not divide, kernels below and above the stride, empty batches.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.geometry import conv_output_size, pool_output_size

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]


def seeds() -> st.SearchStrategy[int]:
    """Seeds of ``normal``, ``integral`` and ``distinct``."""
    return st.integers(0, 2**16)


def normal(seed: int, *shapes, dtype=np.float64) -> list[np.ndarray]:
    """One array of standard normal values a shape."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def integral(seed: int, *shapes, dtype=np.float64, limit: int = 3, unit: int = 1) -> list[np.ndarray]:
    """One array of multiples of ``unit`` a shape, up to ``limit`` times it and never 0: no fault hides behind a 0.

    Sums of n products of two such numbers are exact, in any order, while n (limit unit)^2 <= 2^24 (float32) or 2^53:
    what computes the same sums must agree bit for bit.
    """
    generator = np.random.default_rng(seed)
    arrays = []
    for shape in shapes:
        sizes = generator.integers(1, limit, shape, endpoint=True)
        arrays.append(np.array(unit * sizes * generator.choice((-1, 1), shape), dtype))
    return arrays


def distinct(seed: int, *shapes, dtype=np.float64) -> list[np.ndarray]:
    """One array of even whole numbers a shape, no two the same: a step of 1 changes no maximum's place."""
    generator = np.random.default_rng(seed)
    sizes = [math.prod(shape) for shape in shapes]
    return [
        (2 * generator.permutation(n) - n // 2 * 2).reshape(shape).astype(dtype)
        for n, shape in zip(sizes, shapes, strict=True)
    ]


def dtypes(*names) -> st.SearchStrategy[np.dtype]:
    """Floating dtypes, by default the library's two. A failure shrinks to float64: then rounding is not its cause."""
    return st.sampled_from([np.dtype(name) for name in names or ("float64", "float32")])


def shapes(min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 5) -> st.SearchStrategy[tuple]:
    """Shapes of arrays, empty and 0-d ones included."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable_shapes(
    count: int = 2, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> st.SearchStrategy[tuple[tuple, ...]]:
    """``count`` shapes that broadcast against each other: some axes absent, some of size 1."""
    together = hnp.mutually_broadcastable_shapes(
        num_shapes=count, max_dims=max_dims, min_side=min_side, max_side=max_side
    )
    return together.map(lambda drawn: drawn.input_shapes)


@st.composite
def arrays(draw, shape=None, dtype=None, values: Callable = normal) -> np.ndarray:
    """Contiguous arrays. ``shape`` and ``dtype`` may be strategies; ``values`` is ``normal`` or its like."""
    shape = _drawn(draw, shapes() if shape is None else shape)
    return values(draw(seeds()), shape, dtype=_drawn(draw, dtypes() if dtype is None else dtype))[0]


def _drawn(draw, value):
    return draw(value) if isinstance(value, st.SearchStrategy) else value


def _contiguous(array):
    return array.copy()


def _fortran(array):
    return np.array(array, order="F")


def _channels_last(array):
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1) if array.ndim > 1 else array.copy()


def _strided(array):
    """Every second element of a larger array that is NaN (or the largest integer) in between."""
    gap = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    room = np.full([2 * n for n in array.shape], gap, array.dtype)
    view = room[(..., *(slice(None, None, 2) for _ in array.shape))]
    view[...] = array
    return view


def _reversed(array):
    backwards = (..., *(slice(None, None, -1) for _ in array.shape))
    return array[backwards].copy()[backwards]


def _read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


_LAYOUTS = {
    function.__name__[1:]: function
    for function in (_contiguous, _fortran, _channels_last, _strided, _reversed, _read_only)
}
LAYOUTS = tuple(_LAYOUTS)


def layouts() -> st.SearchStrategy[str]:
    """Names that ``lay_out`` takes."""
    return st.sampled_from(LAYOUTS)


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """A copy of ``array``, equal in values, in memory that is contiguous, fortran, channels_last, strided (with NaN in
    the gaps), reversed or read_only. Raises ValueError for another name."""
    if layout not in _LAYOUTS:
        raise ValueError(f"lay_out: layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    return _LAYOUTS[layout](np.asarray(array))


@st.composite
def views(draw, shape=None, dtype=None, values: Callable = normal) -> np.ndarray:
    """Arrays in any memory layout, also such whose elements share memory; those are read-only, as NumPy has them."""
    shape = _drawn(draw, shapes() if shape is None else shape)
    dtype = _drawn(draw, dtypes() if dtype is None else dtype)
    layout = draw(st.sampled_from((*LAYOUTS, "broadcast", "overlapping")))
    seed = draw(seeds())
    if layout == "broadcast":
        once = tuple(1 if draw(st.booleans()) else n for n in shape)
        return np.broadcast_to(values(seed, once, dtype=dtype)[0], shape)
    if layout == "overlapping":
        return _overlapping(seed, shape, dtype, values)
    return lay_out(values(seed, shape, dtype=dtype)[0], layout)


def _overlapping(seed, shape, dtype, values):
    """a[i, j, ...] = memory[i + j + ...], as sliding windows have it."""
    memory = values(seed, (sum(shape) + 1,), dtype=dtype)[0]
    return np.lib.stride_tricks.as_strided(memory, shape, memory.strides * len(shape), writeable=False)


@st.composite
def cotangents(draw, shape, dtype=np.float64, values: Callable = normal) -> np.ndarray:
    """What may come back as the gradient of a result of ``shape``: any view, one number throughout (what sum() sends
    back), a single element that is not 0, or zeros."""
    kind = draw(st.sampled_from(("view", "constant", "unit", "zeros")))
    if kind == "view":
        return draw(views(shape, dtype, values))
    if kind == "constant":
        return np.broadcast_to(values(draw(seeds()), (), dtype=dtype)[0], shape)
    cotangent = np.zeros(shape, dtype)
    if kind == "unit" and cotangent.size:
        cotangent.flat[draw(st.integers(0, cotangent.size - 1))] = 1
    return cotangent


@dataclass(frozen=True)
class Config:
    """A layer's sizes. ``options`` are its keyword arguments: every field but the arrays' shapes."""

    input_shape: tuple[int, ...]

    @property
    def options(self) -> dict:
        names = [field.name for field in fields(self) if field.name not in ("input_shape", "weight_shape")]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Conv2dConfig(Config):
    """A convolution of (N, C, H, W) with (K, C / groups, kH, kW); pairs are (h, w), padding is ((top, bottom), (left,
    right))."""

    weight_shape: tuple[int, ...]
    stride: Pair
    padding: Sides
    dilation: Pair
    groups: int

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K, oH, oW)."""
        size = conv_output_size(
            self.input_shape[2:],
            self.weight_shape[2:],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        return (self.input_shape[0], self.weight_shape[0], *size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of input, weight and output."""
        return self.input_shape, self.weight_shape, self.output_shape


@dataclass(frozen=True)
class ConvTranspose2dConfig(Config):
    """A transposed convolution of (N, C, H, W) with (C, K / groups, kH, kW)."""

    weight_shape: tuple[int, ...]
    stride: Pair
    padding: Sides
    output_padding: Pair
    dilation: Pair
    groups: int

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K, oH, oW) with oH = (H - 1) s - p_top - p_bottom + d (kH - 1) + output_padding + 1."""
        axes = zip(
            self.input_shape[2:],
            self.weight_shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.output_padding,
            strict=True,
        )
        size = ((n - 1) * s - sum(p) + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in axes)
        return (self.input_shape[0], self.weight_shape[1] * self.groups, *size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of input, weight and output."""
        return self.input_shape, self.weight_shape, self.output_shape


@dataclass(frozen=True)
class MaxPool2dConfig(Config):
    """Max pooling of (N, C, H, W); padding is at most half of the kernel."""

    kernel_size: Pair
    stride: Pair | None
    padding: Sides
    dilation: Pair
    ceil_mode: bool

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, C, oH, oW)."""
        return (*self.input_shape[:2], *pool_output_size(self.input_shape[2:], **self.options))


@dataclass(frozen=True)
class AvgPool2dConfig(Config):
    """Average pooling of (N, C, H, W); padding is at most half of the kernel."""

    kernel_size: Pair
    stride: Pair | None
    padding: Sides
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, C, oH, oW)."""
        window = {name: self.options[name] for name in ("kernel_size", "stride", "padding", "ceil_mode")}
        return (*self.input_shape[:2], *pool_output_size(self.input_shape[2:], **window))


@dataclass(frozen=True)
class NormConfig:
    """Sizes for batch, instance, group and layer norm of (N, C, ...): each takes what it needs.

    num_groups divides C; normalized_shape is the end of input_shape.
    """

    input_shape: tuple[int, ...]
    num_groups: int
    normalized_shape: tuple[int, ...]
    eps: float


@dataclass(frozen=True)
class InterpolateConfig(Config):
    """Resizing of (N, C, H, W): either size or scale_factor is None."""

    size: Pair | None
    scale_factor: tuple[float, float] | None
    mode: str
    align_corners: bool

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, C, *size) with size = floor(scale_factor (H, W)) where it is not given."""
        sides = self.size or [math.floor(n * f) for n, f in zip(self.input_shape[2:], self.scale_factor, strict=True)]
        return (*self.input_shape[:2], *sides)


_BATCHES = st.sampled_from((1, 2, 3, 0))  # a failure shrinks to the first


def _pairs(low: int, high: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


def _sides(most: int, total: int = 6) -> st.SearchStrategy[Pair]:
    """Padding before and after one axis: one choice, the smallest first, so that it shrinks in few steps."""
    pairs = [pair for pair in itertools.product(range(most + 1), repeat=2) if sum(pair) <= total]
    return st.sampled_from(sorted(pairs, key=sum))


@st.composite
def conv2d_configs(draw, max_channels: int = 4, max_kernel: int = 4, max_extra: int = 7) -> Conv2dConfig:
    """Convolutions: stride and kernel in any proportion, asymmetric padding, dilation, groups, empty batches.

    Args:
        max_channels: of each group, in and out.
        max_kernel: the kernel's largest side.
        max_extra: how far H and W exceed the smallest size that the kernel fits in.
    """
    batch, groups = draw(_BATCHES), draw(st.integers(1, 3))
    c, k = draw(st.integers(1, max_channels)), draw(st.integers(1, max_channels))
    kernel, stride, dilation = draw(_pairs(1, max_kernel)), draw(_pairs(1, 4)), draw(_pairs(1, 3))
    padding = draw(st.tuples(_sides(3), _sides(3)))
    extra = draw(_pairs(0, max_extra))
    size = (
        max(d * (side - 1) + 1 - sum(p), 1) + e for side, d, p, e in zip(kernel, dilation, padding, extra, strict=True)
    )
    return Conv2dConfig((batch, groups * c, *size), (groups * k, c, *kernel), stride, padding, dilation, groups)


@st.composite
def conv_transpose2d_configs(draw, max_channels: int = 4, max_kernel: int = 4) -> ConvTranspose2dConfig:
    """Transposed convolutions, with output_padding below max(stride, dilation), and an output of one pixel or more."""
    batch, groups = draw(_BATCHES), draw(st.integers(1, 3))
    c, k = draw(st.integers(1, max_channels)), draw(st.integers(1, max_channels))
    size, kernel = draw(_pairs(1, 5)), draw(_pairs(1, max_kernel))
    stride, dilation = draw(_pairs(1, 4)), draw(_pairs(1, 3))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    padding = []
    for n, side, s, d, e in zip(size, kernel, stride, dilation, extra, strict=True):
        room = (n - 1) * s + d * (side - 1) + e  # padding crops the output, of which one row must stay
        padding.append(draw(_sides(3, room)))
    shapes = (batch, groups * c, *size), (groups * c, k, *kernel)
    return ConvTranspose2dConfig(*shapes, stride, tuple(padding), extra, dilation, groups)


def _windows(draw, max_dilation):
    """(input_shape, kernel_size, stride, padding, dilation) of a pooling whose every window holds an element."""
    batch, channels, kernel = draw(_BATCHES), draw(st.integers(1, 4)), draw(_pairs(1, 4))
    stride, dilation = draw(st.none() | _pairs(1, 5)), draw(_pairs(1, max_dilation))
    padding = tuple(draw(_sides(k // 2)) for k in kernel)
    extra = draw(_pairs(0, 7))
    size = (max(d, d * (k - 1) + 1 - sum(p)) + e for k, d, p, e in zip(kernel, dilation, padding, extra, strict=True))
    return (batch, channels, *size), kernel, stride, padding, dilation


@st.composite
def max_pool2d_configs(draw) -> MaxPool2dConfig:
    """Max poolings: overlapping and gappy windows, asymmetric padding, dilation, ceil_mode, empty batches."""
    return MaxPool2dConfig(*_windows(draw, max_dilation=3), draw(st.booleans()))


@st.composite
def avg_pool2d_configs(draw) -> AvgPool2dConfig:
    """Average poolings: as max poolings, but undilated, and with both ways to count and an own divisor."""
    *window, _ = _windows(draw, max_dilation=1)
    counting = draw(st.booleans()), draw(st.booleans()), draw(st.none() | st.integers(1, 5))
    return AvgPool2dConfig(*window, *counting)


@st.composite
def norm_configs(
    draw, min_batch: int = 0, spatial_dims: Sequence[int] = (0, 1, 2), min_side: int = 1, max_side: int = 5
) -> NormConfig:
    """Inputs (N, C, ...) with a divisor of C and some of the last axes."""
    groups = draw(st.integers(1, 3))
    spatial = draw(st.sampled_from(spatial_dims).flatmap(lambda n: st.tuples(*[st.integers(min_side, max_side)] * n)))
    batch = draw(_BATCHES.filter(lambda n: n >= min_batch))
    shape = (batch, groups * draw(st.integers(1, 3)), *spatial)
    last = draw(st.integers(1, len(shape) - 1))
    return NormConfig(shape, groups, shape[-last:], draw(st.sampled_from((1e-5, 1e-3, 1.0))))


@st.composite
def interpolate_configs(
    draw, modes: Sequence[str] = ("nearest", "bilinear"), factors: Sequence[float] = (1, 2, 0.5, 3, 1.5)
) -> InterpolateConfig:
    """Resizings up and down, by size or by factor, with both conventions for the corners."""
    shape = (draw(_BATCHES), draw(st.integers(1, 3)), *draw(_pairs(1, 7)))
    mode = draw(st.sampled_from(modes))
    corners = mode == "bilinear" and draw(st.booleans())
    if draw(st.booleans()):
        return InterpolateConfig(shape, draw(_pairs(1, 9)), None, mode, corners)
    fitting = [st.sampled_from([f for f in factors if n * f >= 1]) for n in shape[2:]]
    return InterpolateConfig(shape, None, draw(st.tuples(*fitting)), mode, corners)
