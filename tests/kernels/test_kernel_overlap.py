"""Convolutions of overlapping runs: exact on integers, over any geometry, whatever the number of threads."""

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings

import kernels
from kernels.cpu import compile, overlap


def both(x, w, g, bias=None):
    return (kernels.conv2d, (x, w, bias)), (kernels.conv2d_weight, (x, w.shape, g))


@settings(max_examples=120)
@given(cases.calls_of_full_vectors(max_channels=9, max_column_dilation=1))
def test_equal_the_reference_bit_for_bit_on_integers(call):
    x, w, g, bias, options = call
    for kernel, args in both(x, w, g, bias):
        with kernels.use("overlap"):
            assert kernels.explain(kernel, *args, **options).implementation == "overlap"
            found = kernel(*args, **options)
        assert cases.same_bits(found, cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("size, weight, options", [
    ((2, 3, 57, 59), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    ((3, 32, 20, 21), (48, 32, 3, 3), {"stride": (3, 1), "padding": ((0, 2), (1, 3)), "dilation": (2, 1)}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_layers_equal_the_reference_by_default(size, weight, options, dtype):
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, size, dtype), cases.integers(rng, weight, dtype)
    g = cases.integers(rng, kernels.conv2d(x, w, **options).shape, dtype)
    for kernel, args in both(x, w, g):
        assert kernels.explain(kernel, *args, **options).implementation == "overlap"
        assert cases.same_bits(kernel(*args, **options), cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_same_bits_for_any_number_of_threads(monkeypatch, batch):
    rng, options = np.random.default_rng(0), {"stride": 2, "padding": 3}
    x, w, g = (rng.standard_normal(s, "float32") for s in ((batch, 3, 61, 30), (32, 3, 7, 7), (batch, 32, 31, 15)))
    results = []
    with kernels.use("overlap"):
        for threads in (1, 2, 3, 8):
            cases.pretend(monkeypatch, threads)
            results.append([kernel(*args, **options) for kernel, args in both(x, w, g)])
            cases.check_activation("overlap", x, w, g[0, :, 0, 0], 0.2, options)
    assert all(cases.same_bits(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("implementation", ["overlap", "planes"])
def test_small_calls_stay_on_one_thread(monkeypatch, implementation):
    """Though their scratch memory, with room between threads, is not small."""
    x, w, g = np.ones((1, 3, 8, 8), "f"), np.ones((16, 3, 3, 3), "f"), np.ones((1, 16, 6, 6), "f")
    large = np.ones((9, 3, 30, 30), "f")
    with kernels.use(implementation):
        cases.pretend(monkeypatch, 2)
        asked = []
        monkeypatch.setattr(compile, "set_num_threads", asked.append)
        kernels.conv2d(x, w)
        assert asked == [1, 2]
        kernels.conv2d_weight(x, w.shape, g)
        assert asked == [1, 2, 1, 2]
        kernels.conv2d(large, w)
        assert asked == [1, 2, 1, 2]


@pytest.fixture
def few_sums(monkeypatch):
    """A function that sets how many sums all chunks may have together."""

    def allow(count):
        monkeypatch.setattr(overlap, "_MOST_SUMS", count)
        kernels.conv2d_weight._choices.clear()

    yield allow
    kernels.conv2d_weight._choices.clear()


def test_large_weights_have_few_sums_apart(few_sums):
    rng, options = np.random.default_rng(0), {"dilation": (2, 1)}
    x, w, g = (cases.integers(rng, s, "float32") for s in ((3, 4, 40, 9), (16, 4, 5, 3), (3, 16, 32, 7)))
    expected = cases.reference(kernels.conv2d_weight, x, w.shape, g, **options)
    for count, implementation in ((2 * w.size, "overlap"), (2 * w.size - 2, "direct")):
        few_sums(count)
        assert kernels.explain(kernels.conv2d_weight, x, w.shape, g, **options).implementation == implementation
        assert cases.same_bits(kernels.conv2d_weight(x, w.shape, g, **options), expected)
    assert "too many to be added up apart" in kernels.explain(kernels.conv2d_weight, x, w.shape, g, **options).reason


@pytest.mark.parametrize("x, w, options, why", [
    ((2, 33, 9, 9), (32, 33, 7, 7), {}, "copied as fast"),
    ((2, 8, 9, 9), (32, 8, 3, 1), {"stride": 3}, "one pixel wide"),
    ((2, 8, 99, 9), (32, 8, 3, 2), {"stride": (9, 3)}, "read by no output row"),
    ((2, 3, 9, 9), (20, 3, 7, 7), {}, "fill vectors"),
    ((2, 3, 19, 19), (32, 3, 7, 7), {"dilation": (1, 2)}, "columns' dilation must be 1"),
    ((2, 4, 9, 9), (32, 2, 7, 7), {"groups": 2}, "groups must be 1"),
    ((0, 3, 9, 9), (32, 3, 7, 7), {}, "nothing to multiply"),
])  # fmt: skip
def test_other_calls_go_elsewhere(x, w, options, why):
    choice = kernels.explain(kernels.conv2d, np.ones(x, "f"), np.ones(w, "f"), **options)
    assert choice.implementation != "overlap"
    assert why in choice.reason
