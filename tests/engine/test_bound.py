"""Captured functions from the third call on, when they are bound to memory: what could give that away."""

import gc

import numba
import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet import nn, ops, optim
from scratchnet.autograd import grad
from scratchnet.nn import functional as F
from scratchnet.ops.registry import OPS, S, op
from scratchnet.tensor import Tensor

CALLS = 7


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def program_of(captured):
    ((program, _),) = captured._known.values()
    return program


def is_bound(captured):
    return program_of(captured)._bound is not None


def check(function, *shape, layout=lambda array: array, bound=True):
    """The same bits from the captured function, on other data each time."""
    captured = sn.capture(function)
    for i in range(CALLS):
        array = layout(drawn(i, *shape))
        expected = function(Tensor(array)).data
        found = captured(Tensor(array)).data
        assert found.tobytes() == expected.tobytes() and found.strides == expected.strides, i
    assert is_bound(captured) == bound


@pytest.mark.parametrize("function", [
    lambda x: (lambda y: y[1:] + y[:-1])(sn.exp(x)),
    lambda x: (lambda y: F.relu(y[1:]) + y[:-1] * y[1:])(sn.exp(x)),
    lambda x: (lambda y: y + y)(sn.exp(x)) + x,
    lambda x: (lambda y: sn.sigmoid(y) + y)(sn.exp(x)),
    lambda x: (lambda y: ops.add_bias(y, y[3]))(sn.exp(x)),
    lambda x: F.bernoulli_nll(sn.sigmoid(x)[:-1], sn.sigmoid(x)[1:]),
])  # fmt: skip
def test_nothing_is_written_over_that_is_read(function):
    check(function, 64, 512)


def test_shifted_sums_and_their_gradients():
    weight = Tensor(drawn(9, 1, 1, 64), requires_grad=True)

    def function(x):
        h = sn.tanh(x * weight)
        h = F.pad(h, (0, 0, 0, 0, 1, 0)) + F.pad(h, (0, 0, 0, 0, 0, 1))
        return grad(sn.square(h).sum(), [weight])[0]

    check(function, 20, 16, 64)


WEIGHTS = {size: Tensor(drawn(9, size, 3)) for size in (35, 37, 70)}
LAYOUTS = [
    lambda a: a[:, :37],
    lambda a: a[:, ::2],
    lambda a: a[::-1, ::-1],
    np.asfortranarray,
    lambda a: np.broadcast_to(a[:, :1], a.shape),
]


@pytest.mark.parametrize("function", [sn.sum, sn.mean, sn.var, lambda x: x @ WEIGHTS[x.shape[1]]])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_are_kept(function, layout):
    check(function, 300, 70, layout=layout)


def test_an_argument_of_large_gaps_is_not_copied():
    check(sn.sum, 300, 70, layout=lambda a: a[::10, ::10], bound=False)


def test_gaps_in_what_is_not_bound():
    check(lambda x: ops.fold(x, (28, 28), 3, padding=2).mean(), 8, 27, 900)


def check_steps(change):
    """A weight takes the same course, captured or not, where change(weight, x) comes between backward and update."""

    def train(capture):
        weight = Tensor(np.ones(3, np.float32), requires_grad=True)
        optimizer = optim.SGD([weight], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            (weight * x).sum().backward()
            change(weight, x)
            optimizer.step()

        step, seen = sn.capture(step) if capture else step, []
        for i in range(CALLS):
            step(Tensor(np.full(3, 1.0 + i, np.float32)))
            seen += [weight.data.copy().tobytes(), weight.grad.data.tobytes()]
        return seen

    assert train(capture=True) == train(capture=False)


def _assign_and_write(weight, x):
    buffer = weight.grad * 0.5
    weight.grad = buffer
    buffer.add_(x)


@pytest.mark.parametrize("change", [
    lambda w, x: w.grad.clamp_(-0.1, 0.1), lambda w, x: w.grad.mul_(0.5), lambda w, x: w.grad.zero_(),
    lambda w, x: setattr(w, "grad", w.grad * 0.5), lambda w, x: setattr(w, "grad", x), _assign_and_write,
    lambda w, x: nn.utils.clip_grad_norm_([w], 0.5), lambda w, x: None,
])  # fmt: skip
def test_gradients_changed_on_the_way(change):
    check_steps(change)


def test_gradients_and_results_are_their_holders():
    weight = Tensor(np.ones(1 << 15, np.float32), requires_grad=True)

    def step(x):
        weight.grad = None
        y = weight * x
        y.sum().backward()
        return y, y

    captured, held = sn.capture(step), []
    for i in range(CALLS):
        x = Tensor(np.full(1 << 15, 1.0 + i, np.float32))
        held.append((*captured(x), weight.grad))
    assert is_bound(captured)
    other = sn.capture(lambda x: sn.exp(x) * 2.0)
    for _ in range(4):
        other(Tensor(np.full(1 << 15, 7.0, np.float32)))
    del captured, other
    gc.collect()
    for i, arrays in enumerate(held):
        assert all((array.data == 1.0 + i).all() for array in arrays)


def test_an_argument_in_the_memory_of_a_weight():
    def make():
        weight = Tensor(np.ones(3, np.float32), requires_grad=True)
        optimizer = optim.SGD([weight], lr=0.1)

        def step(x, old):
            optimizer.zero_grad()
            (weight * x).sum().backward()
            optimizer.step()
            return old * 1.0

        return step, weight

    (plain, first), (captured, second) = make(), make()
    captured = sn.capture(captured)
    x = Tensor(np.ones(3, np.float32))
    for _ in range(CALLS):
        assert captured(x, second.detach()).tolist() == plain(x, first.detach()).tolist()


@pytest.fixture
def op_that_peeks():
    @op(vjp={"x": lambda g: g}, samples=lambda r: [S(r.normal(3))], reference=lambda x: x)
    def by_max(x, /):
        return x / np.asarray(x).max()

    yield by_max
    del OPS["by_max"]


def test_an_op_that_looks_at_elements_in_ways_of_its_own(op_that_peeks):
    check(lambda x: op_that_peeks(x), 100)


def test_weights_replaced_before_every_call():
    weight = Tensor(drawn(0, 8, 8))
    captured = sn.capture(lambda x: F.relu(x @ weight))
    for i in range(25):
        weight.data = drawn(100 + i, 8, 8)
        x = drawn(i, 8, 8)
        assert captured(Tensor(x)).data.tobytes() == np.maximum(x @ weight.data, 0).tobytes()
    assert not is_bound(captured)


def test_a_weight_replaced_within_the_function_is_refused():
    weight = Tensor(drawn(0, 3), requires_grad=True)

    class Descent(optim.Optimizer):
        def step(self):
            weight.data = weight.data * 0.5

    optimizer = Descent([weight], {})

    def step(x):
        y = weight * x
        optimizer.step()
        return y + weight

    captured = sn.capture(step)
    captured(Tensor(drawn(1, 3)))
    with pytest.raises(RuntimeError, match=r"shape \(3,\) was replaced on the way"):
        captured(Tensor(drawn(2, 3)))


def test_a_choice_of_kernels_within_the_function_is_refused():
    def function(x):
        with kernels.use("reference"):
            return F.relu(x)

    with pytest.raises(RuntimeError, match=r"kernels.use\(\) in a captured function"):
        sn.capture(function)(Tensor(drawn(0, 3)))


def test_choices_around_calls_hold():
    convolution = nn.Conv2d(16, 16, 3, padding=1)
    captured = sn.capture(lambda x: convolution(x))
    images = [Tensor(drawn(i, 4, 16, 12, 12)) for i in range(CALLS)]
    for x in images:
        captured(x)
    assert is_bound(captured)
    for x in images:
        for name in ("direct", "winograd", "reference"):
            with kernels.use(conv2d=name):
                assert captured(x).data.tobytes() == convolution(x).data.tobytes()
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    assert captured(images[0]).data.tobytes() == convolution(images[0]).data.tobytes()
    numba.set_num_threads(before)
    assert captured(images[1]).data.tobytes() == convolution(images[1]).data.tobytes()


def test_a_bad_label_is_refused_and_the_next_call_is_right():
    head = nn.Linear(5, 3)
    captured = sn.capture(lambda x, labels: F.cross_entropy(head(x), labels))
    good = Tensor(np.array([0, 2, 1, 0]))
    for i in range(CALLS):
        captured(Tensor(drawn(i, 4, 5)), good)
    assert is_bound(captured)
    with pytest.raises(IndexError, match="label 3 is out of range for 3 classes"):
        captured(Tensor(drawn(0, 4, 5)), Tensor(np.array([0, 3, 1, 0])))
    x = Tensor(drawn(50, 4, 5))
    assert captured(x, good).item() == F.cross_entropy(head(x), good).item()
