"""The registry: which implementation runs, who may say so, and what is refused."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import kernels
from kernels import registry
from kernels.registry import Array, Kernel, kernel

X, W = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))


def chosen(kernel=kernels.conv2d, *args):
    return kernels.explain(kernel, *(args or (X, W))).implementation


def test_default_and_explanation(monkeypatch):
    monkeypatch.setattr(registry, "_environment", "")
    choice = kernels.explain(kernels.conv2d, X, W)
    assert str(choice).startswith("conv2d on cpu runs 'direct': the default choice")
    assert kernels.conv2d.implementations("cpu")[0] == "dense"
    assert kernels.conv2d.implementations("cpu")[-1] == "reference"
    assert kernels.max_pool2d.implementations("cpu") == ["numba", "reference"]


def test_use_nests_and_ends(monkeypatch):
    monkeypatch.setattr(registry, "_environment", "")
    with kernels.use("reference"):
        assert str(kernels.explain(kernels.conv2d, X, W)).endswith("runs 'reference': asked for by use")
        with kernels.use(conv2d="direct"):
            assert chosen() == "direct"
            assert chosen(kernels.conv2d_weight, X, (1, 1, 3, 3), X[:, :, :1, :1]) == "reference"
        with kernels.use("numba"):
            assert chosen() == "direct", "a name that a kernel does not have leaves it its default"
        assert chosen() == "reference"
    assert chosen() == "direct"


def test_the_environment_speaks_and_use_overrules_it(monkeypatch):
    monkeypatch.setattr(registry, "_environment", "max_pool2d=reference, conv2d = reference")
    assert "asked for by SCRATCHNET_KERNELS" in str(kernels.explain(kernels.conv2d, X, W))
    assert chosen(kernels.conv2d_weight, X, (1, 1, 3, 3), X[:, :, :1, :1]) == "direct"
    with kernels.use("direct"):
        assert chosen() == "direct"
    monkeypatch.setattr(registry, "_environment", "reference")
    assert chosen(kernels.conv2d_weight, X, (1, 1, 3, 3), X[:, :, :1, :1]) == "reference"


def test_use_is_for_one_thread():
    seen = []
    with kernels.use("reference"):
        other = threading.Thread(target=lambda: seen.append(chosen()))
        other.start()
        other.join()
    assert seen == ["direct"]


def test_unknown_names_are_refused_with_a_list(monkeypatch):
    with pytest.raises(ValueError, match="use: no kernel 'conv3d'; there are adam_steps_, add, add_bias"):
        kernels.use(conv3d="reference").__enter__()
    with pytest.raises(
        ValueError, match="no implementation 'sgd' of conv2d_weight; there are dense, depthwise, direct, "
    ):
        kernels.use(conv2d_weight="sgd").__enter__()
    with pytest.raises(
        ValueError, match="no implementation 'magic'; there are async, columns, cuda, dense, depthwise, direct, "
    ):
        kernels.use("magic").__enter__()
    monkeypatch.setattr(registry, "_environment", "conv2d=magic")
    with pytest.raises(ValueError, match="SCRATCHNET_KERNELS: no implementation 'magic' of conv2d"):
        kernels.conv2d(X, W)


@pytest.fixture
def double():
    """A kernel of its own, with a reference and an implementation for even sizes."""

    def double(x: Array, *, times=1):
        return x * 2**times

    made = Kernel(double)

    @made.implementation("even", supports=lambda x, *, times=1: x.size % 2 == 0 or f"size {x.size} is odd")
    def even(x, *, times=1):
        return np.full_like(x, -1)

    return made


def test_an_unsupported_call_falls_back_and_says_why(double):
    assert double(np.ones(2)).tolist() == [-1, -1]
    assert double(np.ones(1)).tolist() == [2]
    choice = kernels.explain(double, np.ones(1))
    assert str(choice) == "double on cpu runs 'reference': the default choice; 'even' cannot: size 1 is odd"


def test_a_choice_is_remembered_for_equal_calls_only(double):
    asked = []

    @double.implementation("late", supports=lambda x, *, times=1: asked.append((x.shape, times)) or "it only listens")
    def late(x, *, times=1):
        raise AssertionError

    for size, times in ((3, 1), (3, 1), (5, 1), (3, 2), (3, 1)):
        assert double(np.ones(size), times=times).tolist() == [2.0**times] * size
    assert asked == [((3,), 1), ((5,), 1), ((3,), 2)]
    with kernels.use("reference"):
        assert double(np.ones(2)).tolist() == [2, 2]
    assert double(np.ones(2)).tolist() == [-1, -1]
    with pytest.raises(TypeError, match="x must be float32 or float64, given int64"):
        double(np.ones(3, np.int64))


def test_operands_may_come_by_name():
    """As they may to the reference: what decides on an implementation looks for them by position."""
    w, b = np.ones((32, 1, 3, 3)), np.arange(32.0)
    x, g = np.ones((2, 1, 5, 5)), np.ones((2, 32, 3, 3))
    positional = kernels.conv2d(x, w, b), kernels.conv2d_input(x.shape, w, g), kernels.conv2d_weight(x, w.shape, g)
    named = (
        kernels.conv2d(x, weight=w, bias=b),
        kernels.conv2d_input(input_size=x.shape, weight=w, grad_output=g),
        kernels.conv2d_weight(x, weight_size=w.shape, grad_output=g),
    )
    for a, b in zip(positional, named, strict=True):
        np.testing.assert_array_equal(a, b)
    y = np.ones(5000)
    np.testing.assert_array_equal(kernels.relu_backward(grad_output=y, output=y), y)
    with pytest.raises(TypeError, match=r"conv2d: too many positional arguments; wanted \(input, weight, bias"):
        kernels.conv2d(x, w, None, 1)


def test_sizes_are_checked_before_they_decide():
    with pytest.raises(ValueError, match=r"input size \(N, C, H, W\) must hold 4 ints, given \(4, 5, 5\)"):
        kernels.max_pool2d(np.ones((4, 5, 5)), kernel_size=2)
    x, w, g = np.ones((2, 1, 5, 5)), np.ones((32, 1, 3, 3)), np.ones((2, 32, 3, 3))
    with pytest.raises(TypeError, match="input size .* must be a tuple of ints, given 5"):
        kernels.conv2d_input(5, w, g)
    with pytest.raises(TypeError, match="weight size .* must be a tuple of ints, given 5"):
        kernels.conv2d_weight(x, 5, g)


def test_what_does_not_pay_runs_only_when_asked_for(double):
    @double.implementation("odd", pays=lambda x, *, times=1: "it is slow")
    def odd(x, *, times=1):
        return np.full_like(x, -2)

    x = np.ones(1)
    assert double(x).tolist() == [2]
    choice = kernels.explain(double, x)
    assert choice.reason == "the default choice; 'even' cannot: size 1 is odd; 'odd' would not pay: it is slow"
    with kernels.use(matmul="tile"):
        choice = kernels.explain(kernels.matmul, x[None], x[None])
    assert (choice.implementation, choice.reason) == ("tile", "asked for by use")


def test_an_implementation_must_have_the_signature_of_the_reference(double):
    for wrong in (
        lambda x: x,
        lambda x, *, times=2: x,
        lambda x, times=1: x,
        lambda y, *, times=1: y,
        lambda x, *, times=1, more=0: x,
    ):
        with pytest.raises(
            TypeError, match=r"'wrong' of double must have the reference's signature \(x, \*, times=1\)"
        ):
            double.implementation("wrong")(wrong)
    with pytest.raises(ValueError, match="double already has an implementation 'even' on cpu"):
        double.implementation("even")(lambda x, *, times=1: x)


class FakeCupyArray:
    """Stands in for cupy.ndarray: the registry knows it by the module of its type."""

    __module__ = "cupy"
    shape, dtype = (2, 3), np.dtype("float64")


def test_devices_do_not_mix_and_never_fall_over_to_another(double):
    with pytest.raises(TypeError, match="conv2d: all arrays must share one device, given input cpu, weight gpu"):
        kernels.conv2d(X, FakeCupyArray())
    choice = kernels.explain(double, FakeCupyArray())
    assert (choice.device, choice.implementation) == ("gpu", "reference")


def test_a_name_is_declared_once():
    with pytest.raises(ValueError, match="kernel 'conv2d' is already declared"):

        @kernel
        def conv2d(x: Array):
            return x


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=os.path.dirname(os.path.dirname(kernels.__file__)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_and_reference_need_no_compiler():
    code = """
import sys, numpy, kernels
kernels.max_pool2d(numpy.ones((1, 1, 2, 2)), kernel_size=2)
assert "numba" not in sys.modules and "cupy" not in sys.modules, "imported a compiler"
"""
    result = run_python(code, SCRATCHNET_KERNELS="reference")
    assert result.returncode == 0, result.stderr


def test_a_large_call_may_be_the_first():
    """Numba's pool of threads must be there before the first call that uses it; it once was not, and Python crashed."""
    code = """
import numpy as np, kernels
x, g = np.ones((8, 1, 32, 32), np.float32), np.ones((8, 1, 32, 32), np.float32)
with kernels.use("direct"):
    print(kernels.conv2d_weight(x, (1, 1, 1, 1), g).item())
"""
    result = run_python(code, SCRATCHNET_KERNELS="")
    assert result.stdout.strip() == "8192.0", result.stderr


def test_without_a_jit_the_reference_runs():
    code = """
import numpy, kernels
print(kernels.explain(kernels.gather2d, numpy.ones((1, 1, 2, 2)), numpy.zeros((1, 1, 1, 1), int)))
"""
    result = run_python(code, NUMBA_DISABLE_JIT="1", SCRATCHNET_KERNELS="")
    assert result.stdout == "gather2d on cpu runs 'reference': the default choice\n", result.stderr


def test_threads_take_turns_where_only_workqueue_is_there():
    code = """
import threading, numba, numpy, kernels
def steps():
    p, g = numpy.ones(1000), numpy.ones(1000)
    options = dict(lr=0.5, momentum=0, dampening=0, weight_decay=0, nesterov=False, firsts=[True])
    for _ in range(300):
        kernels.sgd_steps_([p], [g], None, **options)
    sums.append(float(p.sum()))
sums = []
threads = [threading.Thread(target=steps) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert numba.threading_layer() == "workqueue"
print(sums)
"""
    result = run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    assert result.stdout == f"{[-149000.0] * 4}\n", result.stderr


def test_what_compiled_code_calls_is_not_for_python():
    from kernels.cpu.copies import transpose

    with pytest.raises(TypeError, match="transpose is called from compiled code only"):
        transpose(1, 2)


def test_the_cache_is_keyed_by_the_sources(tmp_path):
    from kernels.cpu import compile

    (tmp_path / "a.py").write_text("x = 1")
    before = compile.fingerprint(tmp_path)
    assert before == compile.fingerprint(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    assert compile.fingerprint(tmp_path) != before


def test_numba_keeps_the_users_cache_folder(tmp_path):
    code = """
import numba
mine = numba.config.CACHE_DIR
import numpy, kernels
kernels.gather2d(numpy.ones((1, 1, 2, 2)), numpy.zeros((1, 1, 1, 1), int))
assert numba.config.CACHE_DIR == mine
"""
    result = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr
    (folder,) = (tmp_path / "scratchnet").iterdir()
    assert folder.name.startswith("numba-")
    assert list(folder.rglob("*.nbi"))
    assert not [p for p in tmp_path.rglob("*.nbi") if folder not in p.parents]
