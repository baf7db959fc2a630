"""The strategies draw what they promise, reach every awkward case, and shrink to layers one can work out by hand."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import kernels
from scratchnet import ops
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import strategies as ss


@given(ss.broadcastable_shapes(3))
def test_broadcastable_shapes_broadcast(shapes):
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


@given(ss.arrays(shape=(2, 3), dtype=ss.dtypes("float32"), values=ss.integral))
def test_arrays_have_shape_dtype_and_values_asked_for(array):
    assert array.shape == (2, 3) and array.dtype == np.float32
    assert set(np.abs(array).ravel()) <= {1, 2, 3}


@given(ss.seeds(), ss.shapes(max_dims=3))
def test_distinct_values_are_even_and_differ(seed, shape):
    [a] = ss.distinct(seed, shape)
    assert a.shape == shape and len(np.unique(a)) == a.size
    assert not (a % 2).any()


@given(ss.arrays(), ss.layouts())
def test_a_layout_keeps_values(array, layout):
    before = array.copy()
    laid = ss.lay_out(array, layout)
    assert np.array_equal(laid, array) and laid.dtype == array.dtype
    assert laid.flags.writeable == (layout != "read_only")
    assert not np.shares_memory(laid, array) and np.array_equal(array, before)


def test_layouts_are_what_their_names_say():
    array = np.arange(120.0).reshape(2, 3, 4, 5)
    memory = {name: ss.lay_out(array, name) for name in ss.LAYOUTS}
    assert memory["contiguous"].flags.c_contiguous
    assert memory["fortran"].flags.f_contiguous
    assert memory["channels_last"].transpose(0, 2, 3, 1).flags.c_contiguous
    assert memory["strided"].strides == (7680, 1280, 160, 16)
    assert max(memory["reversed"].strides) < 0
    with pytest.raises(ValueError, match="layout must be one of contiguous, .* got 'sideways'"):
        ss.lay_out(array, "sideways")


@given(ss.shapes(), ss.dtypes(), st.data())
def test_views_and_cotangents_have_the_shape_and_dtype_asked_for(shape, dtype, data):
    for strategy in (ss.views(shape, dtype), ss.cotangents(shape, dtype)):
        drawn = data.draw(strategy)
        assert drawn.shape == shape and drawn.dtype == dtype
        assert np.isfinite(drawn).all(), "gaps between elements do not show"


@given(ss.conv2d_configs(), ss.seeds(), ss.dtypes())
def test_convolutions_are_valid(config, seed, dtype):
    x, w, g = ss.normal(seed, *config.shapes, dtype=dtype)
    assert kernels.conv2d(x, w, **config.options).shape == g.shape
    assert F.conv2d(Tensor(x), Tensor(w), **config.options).shape == g.shape


@given(ss.conv_transpose2d_configs(), ss.seeds())
def test_transposed_convolutions_are_valid(config, seed):
    x, w, g = map(Tensor, ss.normal(seed, *config.shapes))
    assert F.conv_transpose2d(x, w, **config.options).shape == g.shape


@given(ss.max_pool2d_configs(), ss.avg_pool2d_configs(), ss.seeds())
def test_poolings_are_valid(maximum, average, seed):
    x, y = map(Tensor, ss.normal(seed, maximum.input_shape, average.input_shape))
    assert ops.max_pool2d(x, **maximum.options).shape == maximum.output_shape
    assert ops.avg_pool2d(y, **average.options).shape == average.output_shape


@given(ss.norm_configs(spatial_dims=(1, 2), min_side=2), ss.seeds())
def test_norms_are_valid(config, seed):
    x = Tensor(ss.normal(seed, config.input_shape)[0])
    for out in (
        ops.instance_norm(x, eps=config.eps),
        ops.group_norm(x, config.num_groups, eps=config.eps),
        ops.layer_norm(x, config.normalized_shape, eps=config.eps),
    ):
        assert out.shape == config.input_shape


@given(ss.interpolate_configs(), ss.seeds())
def test_resizings_are_valid(config, seed):
    x = Tensor(ss.normal(seed, config.input_shape)[0])
    assert ops.interpolate(x, **config.options).shape == config.output_shape


def remainders(config):
    """How many last rows and columns of the padded input no window reaches."""
    axes = zip(*(c[-2:] for c in config.shapes[:2]), config.stride, config.padding, config.dilation, strict=True)
    return [(n + sum(p) - d * (k - 1) - 1) % s for n, k, s, p, d in axes]


CONV = ss.conv2d_configs()
REACHED = [
    ("a stride that does not divide", CONV, lambda c: any(remainders(c))),
    ("a kernel below the stride", CONV, lambda c: c.weight_shape[2] < c.stride[0]),
    ("a kernel above the stride", CONV, lambda c: c.weight_shape[2] > c.stride[0] > 1),
    ("one pixel", CONV, lambda c: c.input_shape[2:] == (1, 1)),
    ("a prime side", CONV, lambda c: c.input_shape[2] in (7, 11, 13)),
    ("asymmetric padding", CONV, lambda c: c.padding[0][0] != c.padding[0][1]),
    ("padding above the kernel", CONV, lambda c: c.padding[0][0] > c.weight_shape[2]),
    ("groups and dilation at once", CONV, lambda c: c.groups > 1 and max(c.dilation) > 1),
    ("an empty batch", CONV, lambda c: c.input_shape[0] == 0),
    ("output padding", ss.conv_transpose2d_configs(), lambda c: min(c.output_padding) > 0),
    ("a window beyond the padding", ss.max_pool2d_configs(), lambda c: c.ceil_mode and c.stride and c.stride[0] > 1),
    ("gappy windows", ss.avg_pool2d_configs(), lambda c: c.stride and c.stride[0] > c.kernel_size[0]),
    ("the corners' convention", ss.interpolate_configs(), lambda c: c.align_corners and c.size),
    ("elements that share memory", ss.views((2, 3)), lambda a: a.strides[0] == a.strides[1] != 0),
    ("a repeated row", ss.views((2, 3)), lambda a: a.strides[0] == 0),
    ("an empty array", ss.arrays(), lambda a: a.size == 0 and a.ndim > 1),
    ("a 0-d array", ss.arrays(), lambda a: a.ndim == 0),
    ("a cotangent with one element", ss.cotangents((2, 3)), lambda g: np.count_nonzero(g) == 1),
    ("a cotangent of one number", ss.cotangents((2, 3)), lambda g: g.strides == (0, 0)),
]


@pytest.mark.parametrize(("strategy", "wanted"), [r[1:] for r in REACHED], ids=[r[0] for r in REACHED])
def test_awkward_cases_are_reached_soon(strategy, wanted):
    plan = settings(max_examples=100, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    find(strategy, lambda drawn: bool(wanted(drawn)), settings=plan, random=random.Random(0))


def remainder_first(config, w, g):
    """An input gradient that crops from the wrong end where the stride leaves a remainder."""
    return np.roll(kernels.conv2d_input(config.input_shape, w, g, **config.options), remainders(config), (2, 3))


def stride_forgotten(config, w, g):
    """An input gradient whose windows step by 1."""
    n, c, height, width = config.input_shape
    (top, bottom), (left, right) = config.padding
    canvas = np.zeros((n, c, top + height + bottom, left + width + right))
    rows, columns = (size + d * (k - 1) for size, d, k in zip(g.shape[2:], config.dilation, w.shape[2:], strict=True))
    options = {"dilation": config.dilation, "groups": config.groups}
    canvas[:, :, :rows, :columns] = kernels.conv2d_input((n, c, rows, columns), w, g, **options)
    return canvas[:, :, top : top + height, left : left + width]


def search(fault, seed, max_examples=200):
    """The smallest configuration in which the fault shows, and how many were tried."""
    tried = 0

    def shows(config):
        nonlocal tried
        tried += 1
        _, w, g = ss.integral(0, *config.shapes)
        with kernels.use("reference"):
            right = kernels.conv2d_input(config.input_shape, w, g, **config.options)
            return not np.array_equal(fault(config, w, g), right)

    plan = settings(max_examples=max_examples, phases=[Phase.generate, Phase.shrink])
    return find(ss.conv2d_configs(), shows, settings=plan, random=random.Random(seed)), tried


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", [remainder_first, stride_forgotten])
def test_a_stride_fault_shrinks_to_one_image_of_at_most_three_pixels(fault, seed):
    config, tried = search(fault, seed)
    assert tried < 200
    assert config.input_shape[:2] == (1, 1) and max(config.input_shape[2:]) <= 3
    assert config.weight_shape == (1, 1, 1, 1) and sorted(config.stride) == [1, 2]
    assert config.padding == ((0, 0), (0, 0)) and config.dilation == (1, 1) and config.groups == 1


def test_no_fault_is_found_where_there_is_none():
    with pytest.raises(NoSuchExample):
        search(lambda config, w, g: kernels.conv2d_input(config.input_shape, w, g, **config.options), 0, 30)


def test_nothing_else_imports_hypothesis():
    code = "import sys, scratchnet, scratchnet.testing.laws; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
