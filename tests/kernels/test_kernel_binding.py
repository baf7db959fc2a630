"""Bound kernels: the calls that were kept, made again on other data, give the bits of the kernel itself.

Between the two runs all memory of the binding is spoilt, so nothing can be left over from the first.
"""

import kernel_cases as cases
import numpy as np
import pytest

import kernels
from kernels.cpu.binding import Binding, Spot, memory_of
from kernels.sealed import Sealed

FOR_STUDY = {"naive", "im2col", "tiled"}  # steps of the ladder, which leave memory to NumPy and are called as they are


def arrays_of(args):
    return [value for value in args if isinstance(value, np.ndarray)]


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


def bind(function, args, options):
    """(calls, results) or None."""
    binding = Binding()
    for array in arrays_of(args):
        binding.know(array)
    results = binding.bind(function, args, options)
    if results is None:
        return None
    assert all(isinstance(result, Sealed) and binding.owns(result) for result in results)
    found = [Spot.of(result).array() for result in results]
    calls = binding.finish()

    def again():
        for memory in binding._kept:
            memory[...] = 0xFE  # NaN, or large
        for call in calls:
            call()
        return [each.copy() for each in found]

    return again, [each.copy() for each in found]


def refill(args, others):
    """Write other data into the arrays of a call."""
    for array, other in zip(arrays_of(args), arrays_of(others), strict=True):
        array[...] = other


def check(kernel, args, others, options):
    """Whether the call binds; if so, it is right at once and on other data."""
    bound = bind(kernel, args, options)
    if bound is None:
        return False
    again, first = bound
    assert all(map(cases.same_bits, first, as_tuple(kernel(*args, **options)))), kernel.name
    for data in (others, args):
        refill(args, data)
        assert all(map(cases.same_bits, again(), as_tuple(kernel(*args, **options)))), kernel.name
    return True


def copied(args, layout="contiguous"):
    """A copy of a call's arguments; images in that layout."""
    return [
        (cases.lay_out(value, layout) if value.ndim > 2 else value.copy()) if isinstance(value, np.ndarray) else value
        for value in args
    ]


@pytest.mark.parametrize("layout", [layout for layout in cases.LAYOUTS if layout != "read_only"])
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_kernel(dtype, layout):
    samples = [cases.sample_calls(np.random.default_rng(seed), dtype, batch=150) for seed in (0, 1)]
    for (kernel, (args, options)), (others, _) in zip(samples[0].items(), samples[1].values(), strict=True):
        assert check(kernel, copied(args, layout), others, options), kernel.name


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("call", cases.CONVOLUTIONS)
def test_every_convolution(call, dtype):
    (options, calls), (_, others) = (cases.convolution(call, dtype, seed) for seed in (0, 1))
    for kernel, args in calls.items():
        for name in set(kernel.implementations()[:-1]) - FOR_STUDY:
            with kernels.use(**{kernel.__name__: name}):
                if kernels.explain(kernel, *args, **options).implementation == name:
                    for layout in ("contiguous", "channels_last"):
                        assert check(kernel, copied(args, layout), others[kernel], options), (kernel.name, name)


ELEMENTWISE = {
    kernels.add, kernels.add_bias, kernels.batch_norm_backward, kernels.binary_cross_entropy,
    kernels.binary_cross_entropy_slope, kernels.erf, kernels.gelu, kernels.gelu_backward, kernels.leaky_relu,
    kernels.leaky_relu_backward, kernels.relu, kernels.relu_backward, kernels.sigmoid, kernels.sigmoid_backward,
    kernels.softplus, kernels.tanh, kernels.tanh_backward,
}  # fmt: skip


def check_written_over(kernel, args, options, spares):
    binding = Binding()
    held = [binding.held(value) if isinstance(value, np.ndarray) else value for value in args]
    sources = [Spot.of(array).array() for array in arrays_of(held)]
    places = {id(memory_of(array)) for array in arrays_of(held)}
    with kernels.use("numba"):  # also where it would not pay
        expected = as_tuple(kernel(*args, **options))
        results = binding.bind(kernel, held, options, arrays_of(held) if spares else ())
    over = any(id(memory_of(result)) in places for result in results)
    assert over == (spares and kernel in ELEMENTWISE), kernel.name
    found = [Spot.of(result).array() for result in results]
    for source, array in zip(sources, arrays_of(args), strict=True):
        source[...] = array
    for call in binding.finish():
        call()
    assert all(map(cases.same_bits, found, expected)), kernel.name


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_results_are_written_over_arrays_that_nobody_needs(dtype):
    calls = cases.sample_calls(np.random.default_rng(0), dtype, batch=150)
    for kernel, (args, options) in calls.items():
        check_written_over(kernel, copied(args, "channels_last"), options, spares=False)
        check_written_over(kernel, copied(args, "channels_last"), options, spares=True)
