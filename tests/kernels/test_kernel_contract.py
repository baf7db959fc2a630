"""What holds for every kernel: purity, dtypes, one result whatever the number of threads, and errors in words."""

import kernel_cases as cases
import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python as memory_counters
from numba.core.runtime import rtsys

import kernels
from kernels import registry
from kernels.registry import Kernel

RNG = np.random.default_rng(0)
CALLS = {(k.name, t): (k, *call) for t in cases.DTYPES for k, call in cases.sample_calls(RNG, t).items()}
EVERY_CALL = pytest.mark.parametrize("name, dtype", CALLS)
COMPILED_AND_REFERENCE = pytest.mark.parametrize("place", [0, -1], ids=["compiled", "reference"])


def results(value):
    return value if isinstance(value, tuple) else (value,)


def test_every_kernel_is_exported_compiled_and_sampled_here():
    exported = {name: getattr(kernels, name) for name in kernels.__all__}
    declared = {name for name, value in exported.items() if isinstance(value, Kernel)}
    assert declared == set(registry.declared())
    assert all(len(exported[name].implementations()) > 1 for name in declared)
    assert {name for name, _ in CALLS} == {name for name in declared if not name.endswith("_")}


@COMPILED_AND_REFERENCE
@EVERY_CALL
def test_pure_and_closed_in_its_dtype(name, dtype, place):
    kernel, args, options = CALLS[name, dtype]
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    before = [a.copy() for a in arrays]
    with kernels.use(kernel.implementations()[place]):
        outputs = results(kernel(*args, **options))
    assert all(map(np.array_equal, arrays, before))
    assert {str(o.dtype) for o in outputs} - {"int64"} == {dtype}
    everything = [*outputs, *arrays]
    for i, output in enumerate(outputs):
        assert output.flags.writeable
        assert not any(np.shares_memory(output, other) for other in everything[i + 1 :])


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_results_do_not_depend_on_how_work_is_cut(monkeypatch, tasks):
    for kernel, (args, options) in cases.sample_calls(np.random.default_rng(1), "float32", batch=150).items():
        cases.pretend(monkeypatch, 1)
        whole = results(kernel(*args, **options))
        cases.pretend(monkeypatch, tasks)
        cut = results(kernel(*args, **options))
        assert all(map(cases.same_bits, whole, cut)), kernel.name


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_one_thread_or_two_give_the_same_bits():
    before = numba.get_num_threads()
    for kernel, (args, options) in cases.sample_calls(np.random.default_rng(1), "float32", batch=150).items():
        try:
            numba.set_num_threads(1)
            one = results(kernel(*args, **options))
            numba.set_num_threads(2)
            two = results(kernel(*args, **options))
        finally:
            numba.set_num_threads(before)
        assert all(map(cases.same_bits, one, two)), kernel.name


def arrays_held_by_compiled_code():
    counts = rtsys.get_allocation_stats()
    return counts.mi_alloc - counts.mi_free


def step_calls(kernel):
    count, options, numbers = cases.STEPS[kernel]
    lists = [[np.ones(size, np.float32) for size in (9000, 1, 33, 5000)] for _ in range(count)]
    return [*lists, *[None] * (len(kernel.arrays) - count)], {**options, **numbers}


def test_no_call_leaves_anything_in_memory():
    """Numba keeps what a generator of its was given: a training step once left 1.3 KB so."""
    calls = cases.sample_calls(np.random.default_rng(1), "float32", batch=150)
    calls |= {kernel: step_calls(kernel) for kernel in cases.STEPS}
    counted = memory_counters.memsys_stats_enabled()
    memory_counters.memsys_enable_stats()
    try:
        for kernel, (args, options) in calls.items():
            kernel(*args, **options)
            before = arrays_held_by_compiled_code()
            for _ in range(3):
                kernel(*args, **options)
            assert arrays_held_by_compiled_code() == before, kernel.name
    finally:
        if not counted:
            memory_counters.memsys_disable_stats()


X, W = np.ones((2, 4, 5, 5)), np.ones((6, 4, 3, 3))
ERRORS = [
    (kernels.conv2d, (X, W.astype("float32")), {}, TypeError, "all arrays must share one dtype, given input float64"),
    (kernels.conv2d, (X.astype(int), W), {}, TypeError, "input must be float32 or float64, given int64"),
    (kernels.conv2d, (X, W.tolist()), {}, TypeError, "weight must be a NumPy or CuPy array, given list"),
    (kernels.conv2d, (X, None), {}, TypeError, "weight must be a NumPy or CuPy array, given NoneType"),
    (kernels.conv2d, (X,), {}, TypeError, "conv2d: missing a required argument: 'weight'; wanted"),
    (kernels.conv2d, (X, W, 2), {}, TypeError, "bias must be a NumPy or CuPy array, given int"),
    (kernels.conv2d, (X, W, None, 2), {}, TypeError, "conv2d: too many positional arguments; wanted"),
    (kernels.conv2d, (X, W, X[0, 0, 0]), {}, ValueError, r"bias must have the shape of output channels \(K,\), \(6,\)"),
    (kernels.conv2d, (X[0], W), {}, ValueError, r"input size \(N, C, H, W\) must hold 4 ints, given \(4, 5, 5\)"),
    (kernels.conv2d, (X, np.ones((6, 3, 3, 3))), {}, ValueError, "axis 1, given 3"),
    (kernels.conv2d, (X, W), {"stride": 0}, ValueError, r"stride must hold ints of at least 1, given \(0, 0\)"),
    (kernels.conv2d, (X, W), {"stride": 1.5}, TypeError, r"stride must be a tuple of ints, given \(1.5, 1.5\)"),
    (kernels.conv2d, (X, W), {"dilation": (1, 2, 3)}, ValueError, r"dilation must hold 2 ints, given \(1, 2, 3\)"),
    (kernels.conv2d, (X, W), {"padding": -1}, ValueError, "padding must hold ints of at least 0"),
    (kernels.conv2d, (X, W), {"padding": ((1, 2), (3, -4))}, ValueError, r"at least 0, given \(3, -4\)"),
    (kernels.conv2d, (X, W), {"groups": 3}, ValueError, "groups must divide input channels 4 and output channels 6"),
    (kernels.conv2d, (X, W), {"groups": 0}, ValueError, "groups must hold ints of at least 1"),
    (kernels.conv2d, (X, W), {"dilation": 3}, ValueError, "the kernel must fit in the padded input"),
    (kernels.conv2d_input, (X.shape, W, X), {}, ValueError, r"output size \(2, 6, 3, 3\), given \(2, 4, 5, 5\)"),
    (kernels.conv2d_input, ((2, 4, -5, 5), W, X), {}, ValueError, "must hold ints of at least 0"),
    (kernels.conv2d_weight, (X, (6, 4, 0, 3), X), {}, ValueError, "kernel_size must hold ints of at least 1"),
    (kernels.max_pool2d, (X,), {"kernel_size": 3, "padding": 2}, ValueError, "padding must be at most half"),
    (kernels.max_pool2d, (X,), {"kernel_size": 6}, ValueError, "every window must hold an input element"),
    (kernels.max_pool2d, (X[:, :, :0],), {"kernel_size": 1}, ValueError, "every window must hold an input element"),
    (kernels.avg_pool2d, (X,), {"kernel_size": 2, "divisor_override": 0}, ValueError, "divisor_override must not be 0"),
    (kernels.avg_pool2d_input, (X.shape, X), {"kernel_size": 2}, ValueError, r"output size \(2, 4, 2, 2\)"),
    (kernels.max_pool2d_input, (X.shape, np.zeros(X.shape, int), X), {"kernel_size": 2}, ValueError, "output size"),
    (kernels.max_pool2d_input, (X.shape, np.zeros(X.shape, int), X[:, :, :2, :2]), {"kernel_size": 2}, ValueError,
     "indices must have"),
    (kernels.gather2d, (X, X), {}, TypeError, "indices must be int64, given float64"),
    (kernels.gather2d, (X, np.zeros((2, 3, 1, 1), int)), {}, ValueError, r"indices must have shape \(2, 4, OH, OW\)"),
    (kernels.gather2d_input, (X.shape, np.zeros(X.shape, int), X[:1]), {}, ValueError, "grad_output must have"),
    (kernels.add, (X, X[:1]), {}, ValueError, "other must have"),
    (kernels.batch_norm, (X, np.ones(3), np.ones(4)), {"eps": 0}, ValueError, r"weight must have shape \(4,\)"),
    (kernels.batch_norm, (X[0, 0, 0], np.ones(3), np.ones(4)), {"eps": 0}, ValueError, r"input must have shape \(N, C"),
    (kernels.batch_norm_backward, (X[:1], X, *np.ones((3, 4))), {}, ValueError, "grad_output must have"),
]  # fmt: skip


@COMPILED_AND_REFERENCE
@pytest.mark.parametrize("kernel, args, options, error, words", ERRORS)
def test_errors_say_what_was_given_and_wanted(kernel, args, options, error, words, place):
    with kernels.use(kernel.implementations()[place]), pytest.raises(error, match=words):
        kernel(*args, **options)


@pytest.mark.parametrize("options", [{"stride": 1.0}, {"stride": (1.0, 1)}, {"padding": ((0, 0), (0.0, 0))}])
def test_numbers_that_are_no_ints_are_refused_also_where_equal_ones_are_remembered(options):
    kernels.conv2d(X, W, stride=1, padding=((0, 0), (0, 0)))
    for stride in (1, (1, 1)):
        kernels.conv2d(X, W, stride=stride)
    with pytest.raises(TypeError, match="must be a tuple of ints"):
        kernels.conv2d(X, W, **options)
