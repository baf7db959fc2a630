"""Sums large enough for a kernel: the numbers, dtypes and gradients of small ones."""

import os
import subprocess
import sys

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet.ops import elementwise

SHAPE = (3, 40, 40, 30)


def operand(seed, dtype, channels_last=False):
    numbers = np.random.default_rng(seed).normal(0, 9, (3, 40, 30, 40) if channels_last else SHAPE).astype(dtype)
    return numbers.transpose(0, 3, 1, 2) if channels_last else numbers


@pytest.mark.parametrize("orders", [(False, False), (True, True), (True, False), (False, True)])
@pytest.mark.parametrize("dtypes", [("float32",) * 2, ("float64",) * 2, ("int64",) * 2, ("float32", "int64")])
def test_equal_numpys(dtypes, orders):
    a, b = (operand(seed, dtype, order) for seed, dtype, order in zip((1, 2), dtypes, orders, strict=True))
    assert a.size > elementwise._LARGE
    total = (sn.from_numpy(a) + sn.from_numpy(b)).numpy()
    assert total.dtype == dtypes[0]
    np.testing.assert_array_equal(total, a + b.astype(dtypes[0]))


def test_go_through_the_kernel_only_where_shapes_agree(monkeypatch):
    calls = []
    monkeypatch.setattr(kernels, "add", lambda a, b: calls.append(a.shape) or a + b)
    a = sn.from_numpy(operand(1, "float32"))
    for other in (a, a[:1], 1.0, a[0, 0, 0, 0]):
        np.testing.assert_array_equal((a + other).numpy(), a.numpy() + getattr(other, "data", np.float32(1)))
    assert calls == [SHAPE]


@pytest.mark.parametrize("dtype", ["float16", ">f4", "longdouble"])
def test_other_dtypes_are_numpys(dtype):
    a = operand(1, dtype)
    np.testing.assert_array_equal((sn.from_numpy(a) + sn.from_numpy(a)).numpy(), a + a)


def test_images_keep_their_order_under_a_broadcast():
    image = sn.from_numpy(operand(1, "float32", channels_last=True))
    bias = sn.from_numpy(operand(2, "float32")[:1, :, :1, :1]).expand(SHAPE)
    for total in (image + bias, bias + image):
        assert total.data.strides == image.data.strides
        np.testing.assert_array_equal(total.numpy(), image.numpy() + bias.numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_adds():
    code = f"""
import os, numpy, kernels, scratchnet as sn
x = sn.from_numpy(numpy.ones({SHAPE}, "float32"))
print(kernels.relu(x.data).sum(), flush=True)
child = os.fork()
if not child:
    print((x + x).data.sum(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["144000.0", "288000.0"], result.stderr


def test_gradients_that_meet_are_added():
    a = sn.from_numpy(operand(1, "float32")).requires_grad_()
    g = operand(2, "float32", channels_last=True)
    (a + a).backward(sn.from_numpy(g))
    np.testing.assert_array_equal(a.grad.numpy(), 2 * g)
