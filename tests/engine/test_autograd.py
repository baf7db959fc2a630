"""The reverse walk: what it computes, what it keeps, what it refuses."""

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchnet as sn
from scratchnet import autograd
from scratchnet.autograd import backward, grad


def leaf(*values, dtype=np.float64):
    return sn.tensor(np.array(values, dtype), requires_grad=True)


def test_diamond_counts_both_paths():
    x = leaf(3.0)
    y = x * x
    z = (y + x) * (y - x)  # x^4 - x^2
    assert grad(z, x)[0].item() == 4 * 27 - 2 * 3


def test_fan_out_of_many_uses_of_one_tensor():
    x = leaf(2.0)
    total = sum((x * float(k) for k in range(100)), start=x)
    assert grad(total, x)[0].item() == 1 + 99 * 100 / 2


def test_same_tensor_twice_in_one_op():
    x = leaf(3.0)
    assert grad(x * x, x)[0].item() == 6.0
    assert grad(x + x, x)[0].item() == 2.0


def test_chain_of_20000_ops_is_walked_and_freed():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1e-3
    y.backward()
    assert x.grad.item() == 1.0
    del y


def test_graph_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(0.3, 0.7)
        y = sn.exp(x * 2.0)
        z = sn.softmax(y, 0).sum()
        references = [weakref.ref(thing) for thing in (y, y.node, y.data, z, z.node)]
        z.backward(create_graph=True)
        references += [weakref.ref(x.grad), weakref.ref(x.grad.node)]
        x.grad = None
        del y, z
        assert [r() for r in references] == [None] * len(references)
    finally:
        gc.enable()


def test_gradient_accumulates_over_backward_calls_and_is_replaced_not_written():
    x = leaf(2.0)
    (x * x).backward()
    first = x.grad
    (x * 3.0).backward()
    assert first.item() == 4.0
    assert x.grad.item() == 7.0


def test_gradients_of_two_leaves_share_no_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = sn.tensor(np.ones(2))
    (a + b).backward(g)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, g.data)
    c = leaf(1.0, 2.0)
    c.sum().backward()
    c.grad.data[0] = 5.0  # an expanded view would refuse, or change both entries
    assert c.grad.tolist() == [5.0, 1.0]


def test_grad_is_pure():
    x = leaf(2.0)
    grad(x * x, x)
    assert x.grad is None


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = sn.exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="exp: its saved arrays were freed.*retain_graph=True"):
        y.backward()


def test_ops_that_save_nothing_can_be_walked_twice():
    x = leaf(2.0)
    y = (x + 1.0).sum()
    y.backward()
    y.backward()
    assert x.grad.item() == 2.0


def test_third_order():
    x = leaf(0.5)
    y = sn.sin(x)
    for _ in range(3):
        (y,) = grad(y, x, create_graph=True)
    np.testing.assert_allclose(y.data, -np.cos([0.5]), rtol=1e-14)


@given(st.lists(st.sampled_from(["sin", "exp", "tanh", "square", "sigmoid"]), min_size=1, max_size=5), st.floats(-1, 1))
def test_chains_agree_with_the_chain_rule(names, at):
    x = leaf(at)
    y, product = x, 1.0
    for name in names:
        here = sn.tensor(y.data, requires_grad=True)
        product *= grad(getattr(sn, name)(here), here)[0].item()
        y = getattr(sn, name)(y)
    np.testing.assert_allclose(grad(y, x)[0].data, [product], rtol=1e-12)


def test_unused_input_is_named_or_allowed():
    x, unused = leaf(1.0), leaf(1.0, 2.0)
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"inputs\[1\] \(leaf, shape \(2,\)\) is not reached"):
        grad(y, [x, unused])
    assert grad(y, [x, unused], allow_unused=True)[1] is None


def test_input_without_gradient_is_refused():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match=r"inputs\[0\].*does not require"):
        grad(x * 2.0, sn.tensor([1.0]))


def test_gradient_of_an_inner_tensor():
    x = leaf(3.0)
    y = x * x
    z = y * y
    gy, gx = grad(z, [y, x])
    assert (gy.item(), gx.item()) == (18.0, 108.0)


def test_walk_does_no_work_that_nobody_asked_for():
    """Only what lies between outputs and inputs is visited: other branches keep their saved arrays."""
    x, w = leaf(1.0), leaf(2.0)
    side = sn.exp(w)
    y = sn.exp(x) * side
    grad(y, x)
    assert grad(side, w)[0].item() == np.exp(2.0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda y: grad(y, [], sn.tensor(np.ones(3))), ValueError, r"shape \(3,\), its output \(2,\)"),
        (lambda y: grad(y, [], sn.ones(2)), TypeError, "float32.*float64"),
        (lambda y: y.backward(), ValueError, "no scalar"),
        (lambda y: backward([y, y], [None]), ValueError, "2 outputs but 1"),
        (lambda y: y.detach().backward(sn.ones(2)), RuntimeError, "does not require"),
    ],
)
def test_wrong_cotangents_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make(leaf(1.0, 2.0) * 2.0)


def test_several_outputs_add_up():
    x = leaf(2.0)
    assert grad([x * x, x * 3.0], x)[0].item() == 7.0


def test_no_grad_records_nothing_and_is_local_to_the_thread():
    x = leaf(1.0)
    seen = []
    with sn.no_grad():
        assert (x * 2.0).node is None
        other = threading.Thread(target=lambda: seen.append((x * 2.0).requires_grad))
        other.start()
        other.join()
        with sn.enable_grad():
            assert (x * 2.0).requires_grad
    assert seen == [True]
    assert (x * 2.0).requires_grad


def test_no_grad_as_decorator_and_after_an_exception():
    @sn.no_grad()
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sn.is_grad_enabled()


def test_detach_cuts_the_graph_and_shares_memory():
    x = leaf(2.0)
    d = (x * x).detach()
    assert not d.requires_grad
    assert grad(x * d, x)[0].item() == 4.0
    assert np.shares_memory(x.detach().data, x.data)


def test_hooks_see_and_replace_gradients():
    x = leaf(2.0)
    y = x * x
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    remove = y.register_hook(lambda g: g * 10.0)
    (y * 3.0).backward(retain_graph=True)
    assert (seen, x.grad.item()) == ([3.0], 120.0)
    remove()
    x.grad = None
    (y * 3.0).backward()
    assert x.grad.item() == 12.0
    z = leaf(1.0)
    z.register_hook(lambda g: g * 2.0)
    (z * 5.0).backward()
    assert z.grad.item() == 10.0


def test_retain_grad_fills_an_inner_gradient():
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    (y * 3.0).backward()
    assert y.grad.item() == 3.0


def test_a_retained_gradient_shares_no_memory_with_the_cotangent():
    x, g = leaf(1.0, 2.0), sn.tensor(1.0, dtype="float64")
    y = x * 2.0
    z = y.sum()
    y.retain_grad()
    z.retain_grad()
    z.backward(g)
    with sn.no_grad():
        y.grad[0] = 7.0
        z.grad.fill_(5.0)
    assert (y.grad.tolist(), g.item(), x.grad.tolist()) == ([7.0, 1.0], 1.0, [2.0, 2.0])


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.data.__setitem__(1, 9.0),
        lambda x: x.detach().fill_(0.0),
        lambda x: x.detach().__setitem__(0, 7.0),
        lambda x: x.detach().add_(1.0),
    ],
)
def test_writing_into_a_saved_array_is_noticed_and_the_op_named(write):
    x = leaf(1.0, 2.0)
    y = sn.square(x)
    write(x)
    with pytest.raises(RuntimeError, match="square: its saved 'x' .* was modified in place"):
        y.sum().backward()


def test_one_write_through_the_library_into_a_large_array_is_noticed():
    x = sn.ones(100_000, requires_grad=True)
    y = sn.square(x).sum()
    with sn.no_grad():
        x[12_345] = 2.0
    with pytest.raises(RuntimeError, match="square"):
        y.backward()


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_write_through_numpy_into_a_channel_row_or_column_is_noticed(axis):
    """None of them may fall between the elements that are looked at, in either memory order."""
    for order in ((0, 1, 2, 3), (0, 3, 1, 2)):
        array = np.ones([(16, 32, 64, 64)[i] for i in np.argsort(order)]).transpose(order)
        for place in range(array.shape[axis]):
            x = sn.tensor(array[...].copy(order="K"), requires_grad=True)
            y = sn.square(x).sum()
            np.moveaxis(x.data, axis, 0)[place] = 2.0
            with pytest.raises(RuntimeError, match="square"):
                y.backward()


def test_one_write_through_numpy_into_a_large_array_is_noticed_under_detect_anomaly():
    x = sn.ones(100_000, requires_grad=True)
    with sn.detect_anomaly():
        y = sn.square(x).sum()
        x.data[12_345] = 2.0
        with pytest.raises(RuntimeError, match="square"):
            y.backward()


def test_writing_through_a_view_is_noticed():
    x = leaf(1.0, 2.0, 3.0)
    y = sn.square(x)
    with sn.no_grad():
        x[1:].fill_(0.0)
    with pytest.raises(RuntimeError, match="square"):
        y.sum().backward()


def test_arrays_that_were_not_saved_may_change():
    x = leaf(1.0, 2.0)
    y = (x + 1.0).sum()
    x.data[0] = 5.0
    y.backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_in_place_on_a_tensor_in_a_graph_is_refused():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match=r"add_: .*requires a gradient.*no_grad"):
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="assignment"):
        x[0] = 1.0


def test_detect_anomaly_names_the_first_op_that_made_a_nan():
    x = leaf(-1.0)
    with sn.detect_anomaly(), pytest.raises(FloatingPointError, match="^log: made a NaN"):
        sn.exp(sn.log(x) * 2.0)


def test_detect_anomaly_names_the_op_whose_gradient_is_nan():
    x = leaf(0.0)
    with sn.detect_anomaly():
        y = sn.sqrt(x) * 0.0
        with pytest.raises(FloatingPointError, match="^sqrt: NaN in its gradient"):
            y.backward()
    y = sn.sqrt(x) * 0.0
    y.backward()  # outside, NaN is a value like any other
    assert np.isnan(x.grad.item())


def test_each_thread_has_its_own_modes():
    states = []
    with sn.detect_anomaly():
        thread = threading.Thread(target=lambda: states.append(autograd.is_anomaly_enabled()))
        thread.start()
        thread.join()
    assert states == [False]
