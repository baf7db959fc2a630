"""Every op on the pretended GPU: the CPU's numbers, and nothing read back to the host."""

import numpy as np
import pytest

from scratchnet import tensor
from scratchnet.ops.registry import OPS, Draw
from scratchnet.testing import gradcheck
from scratchnet.testing.gradcheck import bind
from scratchnet.testing.on_device import derivatives_on

# A mask's shape, and the check of indices that only second derivatives of max pooling use, need a look at values.
LOOK = {"getitem", "gather2d", "gather2d_input", "adaptive_max_pool2d", "max_pool2d_input"}


def samples(op):
    return op.samples(Draw(np.random.default_rng(0)))


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-4)], ids=["float64", "float32"])
@pytest.mark.parametrize("name", OPS)
def test_gives_the_numbers_of_the_cpu(cuda, name, dtype, tolerance):
    compare(name, dtype, tolerance)


@pytest.mark.parametrize("name", OPS)
def test_gives_the_numbers_of_the_cpu_with_the_cuda_kernels(emulated_cuda, name):
    compare(name, np.float64, 1e-9)


def compare(name, dtype, tolerance):
    for sample in samples(OPS[name]):
        on_cpu, on_gpu = (derivatives_on(device, OPS[name], sample, dtype) for device in ("cpu", "cuda"))
        for a, b in zip(on_cpu, on_gpu, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.differentiable])
def test_gradients_hold_on_the_way_there_and_back(cuda, name):
    sample = next(iter(samples(OPS[name])))
    call, linear = bind(OPS[name], sample.params), OPS[name].degree == 1
    assert gradcheck(lambda *xs: call(*(x.to("cuda") for x in xs)).to("cpu"), sample.arrays, linear=linear)


@pytest.mark.parametrize("name", OPS)
def test_reads_nothing_back(cuda, name):
    op, looks = OPS[name], 0
    for sample in samples(op):
        inputs = [tensor(a, device="cuda", requires_grad=np.asarray(a).dtype.kind == "f") for a in sample.arrays]
        cuda.transfers.clear()
        out = bind(op, sample.params)(*inputs)
        if out.requires_grad:
            out.backward(out.detach())
        looks += cuda.transfers["to host"]
    assert bool(looks) == (name in LOOK), f"{name} waited for the device {looks} times"


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if len(op.inputs) > 1])
def test_refuses_mixed_devices_and_names_the_arguments(cuda, name):
    op = OPS[name]
    sample = next(s for s in samples(op) if all(np.ndim(a) for a in s.arrays))
    for odd in range(len(op.inputs)):
        inputs = [tensor(a, device="cuda" if i == odd else "cpu") for i, a in enumerate(sample.arrays)]
        with pytest.raises(TypeError, match="on one device, got .*on (cuda|cpu)") as caught:
            bind(op, sample.params)(*inputs)
        assert f"{op.inputs[odd]} on cuda" in str(caught.value)
