"""What only a GPU can show: kernels against float64, every op and its derivatives, trainings with the CPU's losses.

Without a GPU all of it is skipped; the emulator (tests/emulator) has run the same sources then.
"""

from pathlib import Path

import numpy as np
import pytest

import kernels
from scratchnet import cuda
from scratchnet.device import find_cupy
from scratchnet.ops.registry import OPS, Draw
from scratchnet.testing import gradcheck
from scratchnet.testing.gradcheck import bind
from scratchnet.testing.on_device import derivatives_on
from tests.device.test_training_on_device import classifier, dcgan, run, vae, wgan_gp
from tests.emulator.test_gpu_conv import LAYERS, all_three
from tests.kernels import kernel_cases as cases

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="there is no GPU")
TOLERANCE = {"tf32": 2e-3, "simt": 5e-6}  # relative to the largest value of the result


def there(value):
    if isinstance(value, list):
        return [there(member) for member in value]
    return find_cupy().asarray(value) if isinstance(value, np.ndarray) else value


def call(kernel, args, options):
    result = kernel(*map(there, args), **options)
    return [find_cupy().asnumpy(array) for array in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("layer", LAYERS)
def test_convolutions_against_float64(layer, method):
    x_size, w_size, options = LAYERS[layer]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(x_size, np.float32), rng.standard_normal(w_size, np.float32)
    g = rng.standard_normal(cases.reference(kernels.conv2d, x, w, **options).shape, np.float32)
    for kernel, args in all_three(x, w, g):
        doubles = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
        exact = cases.reference(kernel, *doubles, **options)
        with kernels.use(method):
            (first,), (second,) = call(kernel, args, options), call(kernel, args, options)
        assert np.abs(first - exact).max() <= TOLERANCE[method] * np.abs(exact).max(), kernel.name
        assert cases.same_bits(first, second), f"{kernel.name} differs from run to run"


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("layer", LAYERS)
def test_convolutions_of_integers_are_exact(layer, method):
    x_size, w_size, options = LAYERS[layer]
    rng = np.random.default_rng(0)
    x, w = cases.integers(rng, x_size, "float32"), cases.integers(rng, w_size, "float32")
    g = cases.integers(rng, cases.reference(kernels.conv2d, x, w, **options).shape, "float32")
    for kernel, args in all_three(x, w, g):
        with kernels.use(method):
            (result,) = call(kernel, args, options)
        assert cases.same_bits(result, cases.reference(kernel, *args, **options)), kernel.name


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("slope", [0, 0.2])
def test_an_activation_has_the_bits_of_its_own_kernel(method, slope):
    rng = np.random.default_rng(0)
    x, w, bias = (there(rng.standard_normal(s, np.float32)) for s in ((2, 20, 9, 11), (35, 20, 3, 3), (35,)))
    with kernels.use(method):
        plain, found = kernels.conv2d(x, w, bias), kernels.conv2d(x, w, bias, negative_slope=slope)
    expected = kernels.leaky_relu(plain, negative_slope=slope) if slope else kernels.relu(plain)
    assert cases.same_bits(*map(find_cupy().asnumpy, (found, expected)))


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_every_kernel_against_the_reference(dtype):
    for kernel, (args, options) in cases.sample_calls(np.random.default_rng(0), dtype).items():
        wanted = cases.reference(kernel, *args, **options)
        with kernels.use("simt"):
            found = call(kernel, args, options)
        for a, b in zip(found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
            tolerance = 1e-5 if dtype == "float32" else 1e-12
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=kernel.name)


@pytest.mark.parametrize("kernel", cases.STEPS, ids=lambda kernel: kernel.name)
def test_optimiser_steps_against_the_reference(kernel):
    count, options, numbers = cases.STEPS[kernel]
    rng = np.random.default_rng(0)
    shapes = [(1 + i % 7, 1025) if i % 9 else (4, 3, 5, 5) for i in range(70)]  # more than a launch takes
    values = [[np.abs(rng.standard_normal(shape, np.float32)) for shape in shapes] for _ in range(count)]
    turned = [[value.T.copy().T if i % 3 else value for i, value in enumerate(column)] for column in values]
    numbers = {name: [given[i % len(given)] for i in range(70)] for name, given in numbers.items()}
    unused = [None] * (len(kernel.arrays) - count)
    arrays = there(turned)
    kernel(*arrays, *unused, **numbers, **options)
    cases.reference(kernel, *values, *unused, **numbers, **options)
    for column, wanted in zip(arrays, values, strict=True):
        for a, b in zip(column, wanted, strict=True):
            np.testing.assert_allclose(find_cupy().asnumpy(a), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPS)
def test_every_op_and_its_derivatives_of_two_orders(name):
    for sample in OPS[name].samples(Draw(np.random.default_rng(0))):
        on_cpu, on_gpu = (derivatives_on(device, OPS[name], sample) for device in ("cpu", "cuda"))
        for a, b in zip(on_cpu, on_gpu, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("build", [classifier, dcgan, wgan_gp, vae])
def test_trainings_have_the_losses_of_the_cpu(build):
    (losses, _), (gpu_losses, _) = run(build, "cpu"), run(build, "cuda")
    np.testing.assert_allclose([x.item() for x in gpu_losses], [x.item() for x in losses], rtol=1e-8)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.differentiable])
def test_gradients_hold_against_difference_quotients(name):
    op = OPS[name]
    sample = next(iter(op.samples(Draw(np.random.default_rng(0)))))
    call = bind(op, sample.params)
    assert gradcheck(lambda *xs: call(*(x.to("cuda") for x in xs)).to("cpu"), sample.arrays, linear=op.degree == 1)


@pytest.mark.parametrize("name", ["cnn", "dcgan", "vae"])
def test_captured_steps_have_the_losses_of_eager_ones(name, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from stages import STAGES, captured
    from stages import run as run_stages

    stages = STAGES[name]("scratchnet", "cuda", 16)
    eager = [[loss.item() for loss in run_stages(stages)] for _ in range(3)]
    stages = STAGES[name]("scratchnet", "cuda", 16)
    graphs = captured(stages)
    as_graphs = [[loss.item() for loss in run_stages(stages, graphs)] for _ in range(3)]
    np.testing.assert_allclose(as_graphs, eager, rtol=1e-3)
