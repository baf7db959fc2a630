"""Patches, resizing and pixel shuffling: linear maps that are told by what they keep."""

from math import prod

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import conv2d_configs, dtypes, integral, interpolate_configs, normal, seeds

RESIZED = 12  # roundings on the way to an output: two weights an axis, each of a place that is rounded itself


def patches(config):
    """unfold's arguments for a convolution's geometry, which pads both sides alike."""
    return {
        "kernel_size": config.weight_shape[2:],
        "dilation": config.dilation,
        "padding": tuple(max(pair) for pair in config.padding),
        "stride": config.stride,
    }


@given(conv2d_configs(), seeds(), dtypes())
def test_a_convolution_is_a_product_with_patches(config, seed, dtype):
    x, w, _ = integral(seed, *config.shapes, dtype=dtype)
    x = x[:, : w.shape[1]]  # one group
    options = patches(config)
    columns = F.unfold(Tensor(x), **options).data
    out = F.conv2d(
        Tensor(x), Tensor(w), stride=options["stride"], padding=options["padding"], dilation=options["dilation"]
    )
    laws.agree("im2col", out.data.reshape(*out.shape[:2], columns.shape[2]), w.reshape(len(w), -1) @ columns)


@given(conv2d_configs(), seeds(), dtypes())
def test_folding_what_was_unfolded_counts_how_often(config, seed, dtype):
    [x] = integral(seed, config.input_shape, dtype=dtype)
    options = patches(config)

    def there(t):
        return F.unfold(t, **options)

    def back(t):
        return F.fold(t, x.shape[2:], **options)

    multiplicity = laws.value(lambda t: back(there(t)), np.ones_like(x))
    laws.agree("multiplicity", laws.value(lambda t: back(there(t)), x), multiplicity * x)
    [g] = integral(seed + 1, laws.value(there, x).shape, dtype=dtype)
    laws.adjoint(there, x, g, terms=0)
    laws.adjoint(there, x, g, terms=0, transpose=back)
    laws.adjoint(back, g, x, terms=0)


@given(seeds(), dtypes(), st.integers(1, 3), st.integers(1, 3))
def test_patches_that_tile_are_put_back(seed, dtype, height, width):
    [x] = normal(seed, (2, 3, 2 * height, 3 * width), dtype=dtype)
    columns = F.unfold(Tensor(x), (height, width), stride=(height, width))
    laws.agree("tiles", F.fold(columns, x.shape[2:], (height, width), stride=(height, width)), x)


@given(interpolate_configs(), seeds(), dtypes())
def test_resizing_is_linear_and_keeps_constants(config, seed, dtype):
    x, g = normal(seed, config.input_shape, config.output_shape, dtype=dtype)

    def resize(t):
        return F.interpolate(t, **config.options)

    most = prod(config.output_shape[2:])  # one pixel may give its value to all
    laws.adjoint(resize, x, g, terms=RESIZED + most)
    laws.linear(resize, x, x[..., ::-1], terms=RESIZED)
    laws.preserves_constants(resize, x.shape, terms=RESIZED, dtype=dtype)
    laws.samplewise(resize, x)


@given(interpolate_configs(modes=["bilinear"], factors=[2, 4]), seeds(), dtypes())
def test_resizing_to_a_size_is_the_same_from_both_ends(config, seed, dtype):
    assume(not config.align_corners or min(config.output_shape[2:]) > 1)  # one pixel for two corners: the first is it
    [x] = normal(seed, config.input_shape, dtype=dtype)
    both = lambda a: a[:, :, ::-1, ::-1]  # noqa: E731
    far = max(config.input_shape[2:])  # a place far from 0 is rounded by as many units
    laws.commutes(lambda t: F.interpolate(t, **config.options), both, both, x, terms=RESIZED * (1 + far))


@given(seeds(), dtypes(), st.integers(1, 4), st.integers(1, 4))
def test_nearest_by_a_whole_factor_repeats_and_averaging_takes_it_back(seed, dtype, rows, columns):
    [x] = integral(seed, (2, 3, 4, 3), dtype=dtype)
    large = F.interpolate(Tensor(x), scale_factor=(rows, columns))
    laws.agree("repeats", large, x.repeat(rows, 2).repeat(columns, 3))
    laws.agree("takes back", F.avg_pool2d(large, (rows, columns)), x)


@given(dtypes(), st.integers(2, 6), st.integers(2, 9))
def test_corner_to_corner_a_ramp_stays_a_ramp(dtype, size, target):
    ramp = np.linspace(0, 1, size).astype(dtype)
    x = np.broadcast_to(ramp[:, None] + 2 * ramp, (1, 1, size, size)).astype(dtype)
    out = F.interpolate(Tensor(x), size=target, mode="bilinear", align_corners=True)
    expected = np.linspace(0, 1, target)
    bound = laws.gamma(RESIZED * size, dtype) * 3
    laws.agree("ramp", out.data[0, 0], expected[:, None] + 2 * expected, bound)


@given(seeds(), dtypes(), st.integers(1, 3))
def test_pixel_shuffling_moves_every_element_once(seed, dtype, r):
    x, g = integral(seed, (2, 2 * r * r, 3, 4), (2, 2, 3 * r, 4 * r), dtype=dtype)

    def shuffle(t):
        return F.pixel_shuffle(t, r)

    def unshuffle(t):
        return F.pixel_unshuffle(t, r)

    laws.agree("there and back", unshuffle(shuffle(Tensor(x))), x)
    laws.agree("all of them", np.sort(laws.value(shuffle, x), None), np.sort(x, None))
    laws.adjoint(shuffle, x, g, terms=0, transpose=unshuffle)
    laws.agree("a permutation's gradient is its inverse", laws.vjp(shuffle, x, g), unshuffle(Tensor(g)))
