"""Convolutions of the GPU, run on the CPU: bit for bit the reference's on small integers, for any geometry and order.

Small integers are exact in TF32, and their sums in float32.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels.gpu import conv, module, tiles
from tests.emulator.device import to_device
from tests.emulator.emulate import RawModule, thread_order
from tests.kernels import kernel_cases as cases

orders = st.integers(0, 5)


def all_three(x, w, g):
    yield kernels.conv2d, (x, w)
    yield kernels.conv2d, (x, w, g[0, :, 0, 0] if len(g) else np.arange(len(w), dtype=w.dtype))
    yield kernels.conv2d_input, (x.shape, w, g)
    yield kernels.conv2d_weight, (x, w.shape, g)


def on_device(args):
    return [to_device(a) if isinstance(a, np.ndarray) else a for a in args]


def check(method, kernel, args, options, order):
    if kernel is kernels.conv2d and len(args) == 3:  # with a bias: then with an activation, too
        options = options | {"negative_slope": (0, 0.2)[order % 2]}
    with kernels.use(method), thread_order(order):
        there = on_device(args)
        assert kernels.explain(kernel, *there, **options).implementation == method
        result = kernel(*there, **options).get()
    assert cases.same_bits(result, cases.reference(kernel, *args, **options)), (kernel.name, method)
    return result


@settings(max_examples=40)
@given(call=cases.conv_calls(), order=orders)
def test_simt_equals_the_reference_for_any_geometry(call, order):
    *arrays, options = call
    for kernel, args in all_three(*arrays):
        check("simt", kernel, args, options, order)


@settings(max_examples=30)
@given(call=cases.conv_calls(), order=orders)
def test_tf32_equals_the_reference_for_any_geometry(call, order):
    x, w, g, options = call
    if options["groups"] == 1:
        for kernel, args in all_three(*(a.astype(np.float32) for a in (x, w, g))):
            check("tf32", kernel, args, options, order)


LAYERS = {  # input, weight, options: each tile of each method, more than one block a way, and edges inside of blocks
    "large tiles": ((2, 36, 9, 16), (132, 36, 1, 2), dict(padding=(0, 1))),
    "vectors of 4": ((2, 64, 11, 9), (68, 64, 3, 3), dict(padding=1)),
    "dcgan": ((2, 32, 16, 16), (64, 32, 4, 4), dict(stride=2, padding=1)),
    "first layer": ((2, 3, 17, 13), (64, 3, 4, 4), dict(stride=2, padding=1)),
    "one channel out": ((2, 64, 13, 11), (1, 64, 3, 3), dict(padding=1)),
    "from one pixel": ((67, 5, 4, 4), (70, 5, 4, 4), {}),
}


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("method", ["tf32", "simt"])
@pytest.mark.parametrize("layer", LAYERS)
def test_full_layers_equal_the_reference(layer, method, order, monkeypatch):
    monkeypatch.setattr(tiles, "ENOUGH_BLOCKS", 3)
    x_size, w_size, options = LAYERS[layer]
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, x_size, "float32"), cases.integers(rng, w_size, "float32")
    g = cases.integers(rng, cases.reference(kernels.conv2d, x, w, **options).shape, "float32")
    for kernel, args in all_three(x, w, g):
        check(method, kernel, args, options, order)


@pytest.mark.parametrize("method", ["tf32", "simt"])
def test_batches_of_too_many_pixels_take_several_launches(method, monkeypatch):
    monkeypatch.setattr(conv, "MOST_PIXELS", 100)
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, (7, 8, 6, 7), "float32"), cases.integers(rng, (12, 8, 3, 3), "float32")
    g = cases.integers(rng, (7, 12, 6, 7), "float32")
    for kernel, args in all_three(x, w, g):
        check(method, kernel, args, dict(padding=1), order=0)


@pytest.mark.parametrize(
    "shapes", [((0, 8, 5, 5), (9, 8, 3, 3)), ((2, 0, 5, 5), (9, 0, 3, 3)), ((2, 8, 5, 5), (0, 8, 3, 3))]
)
@pytest.mark.parametrize("method", ["tf32", "simt"])
def test_empty_arrays_are_arrays(method, shapes):
    (n, *_), (k, *_) = shapes
    x, w, g = np.ones(shapes[0], np.float32), np.ones(shapes[1], np.float32), np.ones((n, k, 3, 3), np.float32)
    for kernel, args in all_three(x, w, g):
        check(method, kernel, args, {}, order=0)


def test_tf32_takes_views_at_any_address():
    rng = np.random.default_rng(0)
    many = to_device(cases.integers(rng, (1 + 2 * 5 * 5 * 8,), "float32"))
    x, w = many[1:].reshape(2, 5, 5, 8).transpose(0, 3, 1, 2), cases.integers(rng, (8, 8, 3, 3), "float32")
    with kernels.use("tf32"):
        result = kernels.conv2d(x, to_device(w))
    assert cases.same_bits(result.get(), cases.reference(kernels.conv2d, x.get(), w))


@pytest.mark.parametrize(("method", "least", "most"), [("tf32", 1e-5, 1e-3), ("simt", 1e-9, 1e-6)])
def test_accuracy_is_the_methods_own(method, least, most):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 32, 9, 9), np.float32), rng.standard_normal((40, 32, 3, 3), np.float32)
    g = rng.standard_normal((2, 40, 7, 7), np.float32)
    for kernel, args in all_three(x, w, g):
        exact = cases.reference(kernel, *(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args))
        with kernels.use(method):
            error = np.abs(kernel(*on_device(args)).get() - exact).max() / np.abs(exact).max()
        assert least < error < most, kernel.name


def rounded(array):
    """To TF32: the nearest number of 10 bits of mantissa, ties away from zero; what is no float32 array stays."""
    if getattr(array, "dtype", None) != np.float32:
        return array
    return ((array.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def test_tf32_rounds_each_operand_to_nearest():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 12, 9, 9), np.float32), rng.standard_normal((20, 12, 3, 3), np.float32)
    g = rng.standard_normal((2, 20, 7, 7), np.float32)
    for kernel, args in [*[*all_three(x, w, g)][0::2], (kernels.conv2d_weight, (x, w.shape, g))]:
        exact = cases.reference(kernel, *map(rounded, args))
        with kernels.use("tf32"):
            error = np.abs(kernel(*on_device(args)).get() - exact).max() / np.abs(exact).max()
        assert error < 1e-6, kernel.name


def test_bits_do_not_depend_on_the_order_of_threads():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 12, 13, 31), np.float32), rng.standard_normal((20, 12, 3, 3), np.float32)
    g = rng.standard_normal((3, 20, 13, 31), np.float32)
    for method in ("tf32", "simt"):
        for kernel, args in all_three(x, w, g):
            results = []
            for order in range(3):
                with kernels.use(method), thread_order(order):
                    results.append(kernel(*on_device(args), padding=1).get())
            assert all(cases.same_bits(results[0], other) for other in results)


def test_the_default_choice():
    x, w = to_device(np.ones((1, 8, 5, 5), np.float32)), to_device(np.ones((8, 8, 3, 3), np.float32))
    assert kernels.explain(kernels.conv2d, x, w).implementation == "tf32"
    assert kernels.explain(kernels.conv2d_input, x.shape, w, x[:, :, :3, :3]).implementation == "tf32"
    assert kernels.explain(kernels.conv2d_weight, x, w.shape, x[:, :, :3, :3]).implementation == "tf32"
    few = kernels.explain(kernels.conv2d_weight, x[:, :3], (8, 3, 3, 3), x[:, :, :3, :3])
    assert str(few) == (
        "conv2d_weight on gpu runs 'simt': the default choice; 'tf32' would not pay: "
        "3 channels would leave most of a tile empty"
    )
    double = kernels.explain(kernels.conv2d, x.astype(np.float64), w.astype(np.float64))
    assert "'tf32' cannot: tensor cores multiply float32 only, given float64" in double.reason
    assert "it takes one group, given 2" in kernels.explain(kernels.conv2d, x, w[:, :4], groups=2).reason


def test_results_are_channels_last_and_weights_contiguous():
    x, w = to_device(np.ones((2, 8, 5, 5), np.float32)), to_device(np.ones((12, 8, 3, 3), np.float32))
    y = kernels.conv2d(x, w)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert kernels.conv2d_input(x.shape, w, y).transpose(0, 2, 3, 1).flags.c_contiguous
    assert kernels.conv2d_weight(x, w.shape, y).flags.c_contiguous


def test_arguments_are_checked_as_the_reference_does():
    x, w = to_device(np.ones((2, 8, 5, 5), np.float32)), to_device(np.ones((12, 8, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"bias must have the shape of output channels \(K,\), \(12,\), given \(8,\)"):
        kernels.conv2d(x, w, x[0, :, 0, 0])
    with pytest.raises(ValueError, match="grad_output must have the convolution's output size"):
        kernels.conv2d_input(x.shape, w, x)


def check_infinities(method):
    """An infinity reaches the sums it is in and no others, which a number read beyond the depth would make NaN."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(1, 3, (2, 9, 6, 7)).astype(np.float32), rng.integers(1, 3, (6, 9, 3, 2)).astype(np.float32)
    x[0, 0], w[1, 0, 0, 0] = np.inf, np.inf  # a whole channel, and the first number of a filter
    x[1, 0, 0, 0], x[1, 8, 5, 6] = np.inf, -np.inf
    for options in (dict(padding=1), dict(stride=2)):
        with np.errstate(invalid="ignore"):
            check(method, kernels.conv2d, (x, w), options, order=0)
            check(method, kernels.conv2d, (x, w), options | {"negative_slope": 0}, order=0)  # -inf becomes 0


@pytest.mark.parametrize("method", ["tf32", "simt"])
def test_an_infinity_reaches_only_the_sums_it_is_in(method):
    check_infinities(method)


def test_divisors_divide_up_to_two_to_the_31():
    divisors = np.array([1, 2, 3, 5, 7, 9, 17, 127, 129, 641, 4097, 65537, 2**30 + 1, 2**31 - 1], np.int32)
    numbers = np.unique(
        [n for d in divisors.tolist() for q in (1, 2**30 // d, (2**31 - 1) // d) for n in (q * d - 1, q * d)]
    )
    numbers = numbers[(numbers >= 0) & (numbers < 2**31)].astype(np.int32)
    body = """__global__ void divide(const int* n, const int* d, int* quotient, int numbers) {
        Divisor by(d[blockIdx.x]);
        for (int i = threadIdx.x; i < numbers; i += blockDim.x) quotient[blockIdx.x * numbers + i] = by(n[i]);
    }"""
    result = to_device(np.zeros((len(divisors), len(numbers)), np.int32))
    function = RawModule(module.source("conv.cuh") + body, name_expressions=("divide",)).get_function("divide")
    arguments = to_device(numbers), to_device(divisors), result, np.int32(len(numbers))
    function((len(divisors),), (32,), arguments)
    assert np.array_equal(result.get(), numbers // divisors[:, None])
