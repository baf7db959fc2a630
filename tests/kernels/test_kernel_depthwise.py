"""Depthwise convolution: bit for bit the reference's, for vectors that channels fill and those they do not."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels


def three_calls(x, w, g):
    return (kernels.conv2d, (x, w)), (kernels.conv2d_input, (x.shape, w, g)), (kernels.conv2d_weight, (x, w.shape, g))


@settings(max_examples=150)
@given(cases.conv_calls(depthwise=True))
def test_depthwise_equals_the_reference_bit_for_bit(call):
    *arrays, options = call
    for kernel, args in three_calls(*arrays):
        assert kernels.explain(kernel, *args, **options).implementation == "depthwise"
        compiled = kernel(*args, **options)
        assert cases.same_bits(compiled, cases.reference(kernel, *args, **options)), kernel.name


@settings(max_examples=60)
@given(cases.conv_calls(depthwise=True), st.sampled_from((0, 0.2, 1)), st.booleans())
def test_bias_and_activation_have_the_bits_of_their_own_kernels(call, slope, biased):
    x, w, _, options = call
    bias = cases.integers(np.random.default_rng(0), len(w), x.dtype) if biased else None
    expected = kernels.conv2d(x, w, **options) + (0 if bias is None else bias[:, None, None])
    assert cases.same_bits(kernels.conv2d(x, w, bias, **options), expected)
    cases.check_activation("depthwise", x, w, bias, slope, options)


@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 2, "dilation": 2}])
@pytest.mark.parametrize("size, kernel", [((6, 64, 32, 32), 3), ((3, 24, 21, 35), 5), ((2, 40, 33, 18), (7, 3))])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_full_layers_equal_the_reference(size, kernel, options, dtype):
    rng, kernel = np.random.default_rng(0), np.broadcast_to(kernel, 2)
    options = {**options, "groups": size[1]}
    x, w = cases.integers(rng, size, dtype), cases.integers(rng, (size[1], 1, *kernel), dtype)
    g = cases.integers(rng, kernels.conv2d(x, w, **options).shape, dtype)
    for kernel, args in three_calls(x, w, g):
        assert cases.same_bits(kernel(*args, **options), cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_results_do_not_depend_on_how_work_is_cut(monkeypatch, tasks):
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=s).astype("float32") for s in ((5, 24, 13, 11), (48, 1, 3, 3), (5, 48, 7, 6)))
    options = {"stride": 2, "padding": 1, "groups": 24}
    for kernel, args in three_calls(x, w, g):
        cases.pretend(monkeypatch, 1)
        whole = kernel(*args, **options)
        cases.pretend(monkeypatch, tasks)
        assert cases.same_bits(kernel(*args, **options), whole), kernel.name
    cases.check_activation("depthwise", x, w, w[:, 0, 0, 0], 0.2, options)


def test_nan_stays_in_its_channel_and_windows():
    x, w = np.ones((1, 20, 9, 20), "float32"), np.ones((20, 1, 3, 3), "float32")
    x[0, 4, 0, 19] = np.nan
    y = kernels.conv2d(x, w, padding=1, groups=20)
    assert np.argwhere(np.isnan(y)).tolist() == [[0, 4, i, j] for i in (0, 1) for j in (18, 19)]


def test_one_group_and_few_groups_run_elsewhere():
    x = np.ones((1, 4, 5, 5))
    for groups in (1, 2):
        choice = kernels.explain(kernels.conv2d, x, np.ones((4, 4 // groups, 3, 3)), groups=groups)
        assert choice.implementation != "depthwise"
        assert "'depthwise' cannot: it wants as many groups as input channels" in choice.reason
