"""What holds for every kernel on the device: pure, closed in its dtype, the reference's; no CUDA kernel is unused."""

import numpy as np
import pytest

import kernels
from kernels import gpu
from kernels.gpu import module
from kernels.registry import _kernels
from tests.emulator.device import ndarray, to_device
from tests.emulator.on_device import results, run
from tests.kernels import kernel_cases as cases

RNG = np.random.default_rng(0)
OURS = {name for name, kernel in _kernels.items() if kernel.implementations("gpu") != ["reference"]}
CALLS = {
    (k.name, t): (k, *call) for t in cases.DTYPES for k, call in cases.sample_calls(RNG, t).items() if k.name in OURS
}
EVERY_CALL = pytest.mark.parametrize("name, dtype", CALLS)
STEPS = {
    kernels.sgd_steps_: dict(lr=0.1, momentum=0.9, dampening=0, weight_decay=0, nesterov=False, firsts=[False]),
    kernels.rmsprop_steps_: dict(lr=0.1, alpha=0.9, eps=1e-3, weight_decay=0, momentum=0.9, centered=True),
    kernels.adam_steps_: dict(lr=0.1, steps=[1], beta1=0.9, beta2=0.99, eps=1e-3, weight_decay=0, decoupled=False),
}


def test_every_kernel_is_ours_but_what_cupy_does_as_well():
    """The reference's `a @ b` is cuBLAS's on CuPy's arrays, and its `a + b` is one pass over memory there."""
    assert set(_kernels) - OURS == {"add", "matmul"}


@EVERY_CALL
def test_pure_closed_in_its_dtype_and_equal_to_the_reference(name, dtype):
    kernel, args, options = CALLS[name, dtype]
    given = [to_device(a) if isinstance(a, np.ndarray) else a for a in args]
    found = results(kernel(*given, **options))
    arrays = [(a, before) for a, before in zip(given, args, strict=True) if isinstance(a, ndarray)]
    assert all(np.array_equal(a.get(), before) for a, before in arrays)
    assert all(isinstance(a, ndarray) for a in found)
    assert {str(a.dtype) for a in found} - {"int64"} == {dtype}
    everything = [*found, *(a for a, _ in arrays)]
    for i, output in enumerate(found):
        assert not any(np.shares_memory(output, other) for other in everything[i + 1 :])
    with kernels.use("reference"):
        expected = results(kernel(*args, **options))
    tolerance = 2e-3 if name.startswith("conv") and dtype == "float32" else 2e-6  # TF32
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value.get(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("launchers", ["copies", "elementwise", "losses", "norm", "optim", "pool"])
def test_the_compile_table_lists_what_is_launched_and_no_more(monkeypatch, launchers):
    launched, function = set(), module._function

    def recorded(raw_module, files, name, shared_bytes):
        launched.add((files, name, shared_bytes))
        return function(raw_module, files, name, shared_bytes)

    monkeypatch.setattr(module, "_function", recorded)
    for kernel, args, options in CALLS.values():
        if f"kernels.gpu.{launchers}" in {i.function.__module__ for i in kernel._implementations}:
            run(kernel, *args, **options)
    for kernel, options in STEPS.items() if launchers == "optim" else ():
        for dtype in cases.DTYPES:
            run(kernel, *([array] for array in np.ones((len(kernel.arrays), 3), dtype)), **options)
    listed = getattr(gpu, launchers).INSTANCES
    assert launched == {((files,), *kernel) for files, kernels in listed.items() for kernel in kernels.items()}


X, ONES = np.ones((2, 4, 5, 5)), np.ones(3)
STEP = dict(lr=0.1, momentum=0, dampening=0, weight_decay=0, nesterov=False, firsts=[True])
ERRORS = [
    (kernels.max_pool2d, (X,), {"kernel_size": 6}, "every window must hold an input element"),
    (kernels.max_pool2d, (X[0],), {"kernel_size": 2}, "must hold 4 ints"),
    (kernels.max_pool2d_input, ((4, 5, 5), np.zeros(X.shape, int), X), {"kernel_size": 2}, "must hold 4 ints"),
    (kernels.avg_pool2d, (X,), {"kernel_size": 2, "divisor_override": 0}, "divisor_override must not be 0"),
    (kernels.gather2d, (X, np.zeros((2, 3, 1, 1), int)), {}, r"indices must have shape \(2, 4, OH, OW\)"),
    (kernels.gather2d_input, (X.shape, np.zeros(X.shape, int), X[:1]), {}, "grad_output must have"),
    (kernels.batch_norm, (X, ONES, np.ones(4)), {"eps": 0}, r"weight must have shape \(4,\)"),
    (kernels.batch_norm_backward, (X[:1], X, *np.ones((3, 4))), {}, "grad_output must have"),
    (kernels.add_bias, (X, ONES), {}, r"bias must have the shape of channels, \(4,\), given \(3,\)"),
    (kernels.add_bias, (X, np.ones((4, 1))), {}, r"bias must have the shape of channels, \(4,\), given \(4, 1\)"),
    (kernels.cross_entropy, (X[:, :0], np.zeros((2, 5, 5), int)), {}, "at least one class"),
    (kernels.relu_backward, (X, X[:1]), {}, "grad_output must have the shape of"),
    (
        kernels.sgd_steps_,
        ([ONES], [X[0, 0, 0]], None),
        STEP,
        r"must have the shape of params\[0\], \(3,\), given \(5,\)",
    ),
]


@pytest.mark.parametrize("kernel, args, options, words", ERRORS)
def test_errors_say_what_was_given_and_wanted(kernel, args, options, words):
    with pytest.raises(ValueError, match=words):
        run(kernel, *args, **options)
