"""Optimisers: 200 steps against formulas written down once more, states, groups, refusals."""

import json

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import optim

SHAPES = [(4, 3), (5,), ()]


def leaf(array, dtype=np.float64):
    return sn.tensor(np.asarray(array, dtype), requires_grad=True)


def some_params(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [leaf(rng.standard_normal(shape), dtype) for shape in SHAPES]


def give_gradients(params, step):
    """Gradients that depend on the parameters, as a loss's do, and differ in size by orders of magnitude."""
    rng = np.random.default_rng(1000 + step)
    for i, param in enumerate(params):
        noise = rng.standard_normal(param.shape) * 10.0 ** (i - 2)
        param.grad = sn.Tensor(np.asarray(0.3 * param.data + noise).astype(param.dtype))


def train(optimizer, params, steps):
    for step in steps:
        give_gradients(params, step)
        optimizer.step()


# One parameter's whole history by the textbook: p and a function t -> gradient(p, t) in, p after the last step out.


def sgd(p, gradient, steps, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    velocity = None
    for t in range(steps):
        g = gradient(p, t) * (-1 if maximize else 1) + weight_decay * p
        velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
        direction = g + momentum * velocity if nesterov else velocity
        p = p - lr * (direction if momentum else g)
    return p


def adam(
    p, gradient, steps, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, hat=False, maximize=False
):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t in range(1, steps + 1):
        g = gradient(p, t - 1) * (-1 if maximize else 1)
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        if hat:
            p = p - lr * np.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t) * m / (np.sqrt(v) + eps)
        else:
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p


def rmsprop(p, gradient, steps, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, inside=False):
    v, mean, buffer = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t in range(steps):
        g = gradient(p, t) + weight_decay * p
        v, mean = alpha * v + (1 - alpha) * g**2, alpha * mean + (1 - alpha) * g
        spread = v - mean**2 if centered else v
        buffer = momentum * buffer + g / (np.sqrt(spread + eps) if inside else np.sqrt(spread) + eps)
        p = p - lr * buffer
    return p


CASES = [
    (optim.SGD, {"lr": 0.05}, sgd, {}),
    (optim.SGD, {"lr": 0.05, "momentum": 0.9}, sgd, {}),
    (optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}, sgd, {}),
    (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, sgd, {}),
    (optim.SGD, {"lr": 0.002, "momentum": 0.5, "maximize": True}, sgd, {}),
    (optim.Adam, {"lr": 0.01}, adam, {}),
    (optim.Adam, {"lr": 0.01, "betas": (0.5, 0.99), "weight_decay": 0.02, "eps": 1e-3}, adam, {}),
    (optim.Adam, {"lr": 0.01, "eps": 1e-3, "epsilon_hat": True}, adam, {"hat": True}),
    (optim.Adam, {"lr": 0.01, "maximize": True}, adam, {}),
    (optim.AdamW, {"lr": 0.01}, adam, {"weight_decay": 0.01, "decoupled": True}),
    (optim.AdamW, {"lr": 0.02, "weight_decay": 0.3, "betas": (0.8, 0.9)}, adam, {"decoupled": True}),
    (optim.RMSprop, {"lr": 0.01}, rmsprop, {}),
    (optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.01}, rmsprop, {}),
    (optim.RMSprop, {"lr": 0.01, "centered": True, "eps": 1e-4}, rmsprop, {}),
    (optim.RMSprop, {"lr": 0.01, "eps": 1e-3, "eps_inside_sqrt": True}, rmsprop, {"inside": True}),
]
names = [f"{case[0].__name__}-{'-'.join(case[1])}" for case in CASES]
one_of_each = [CASES[3], CASES[6], CASES[10], CASES[12]]


@pytest.mark.parametrize(("cls", "options", "formula", "switches"), CASES, ids=names)
def test_200_steps_follow_the_formula(cls, options, formula, switches):
    params = some_params()
    started = [param.data.copy() for param in params]
    train(cls(params, **options), params, range(200))

    def gradient_of(i):
        def gradient(p, t):
            rng = np.random.default_rng(1000 + t)
            noise = [rng.standard_normal(shape) for shape in SHAPES][i]
            return 0.3 * p + noise * 10.0 ** (i - 2)

        return gradient

    switches = {**{k: v for k, v in options.items() if k not in ("epsilon_hat", "eps_inside_sqrt")}, **switches}
    for i, (param, start) in enumerate(zip(params, started, strict=True)):
        wanted = formula(start, gradient_of(i), 200, **switches)
        assert np.abs(wanted - start).max() > 1e-3
        np.testing.assert_allclose(param.data, wanted, rtol=1e-12, atol=1e-12)


def test_defaults_are_pytorchs():
    def options(cls):
        group = cls(some_params()).param_groups[0]
        return {name: value for name, value in group.items() if name != "params" and value not in (0, False)}

    assert options(optim.SGD) == {"lr": 1e-3}
    assert options(optim.Adam) == {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
    assert options(optim.AdamW) == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 1e-2,
        "decoupled_weight_decay": True,
    }
    assert options(optim.RMSprop) == {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8}


@pytest.mark.parametrize(("cls", "options"), [case[:2] for case in one_of_each])
def test_groups_have_options_of_their_own(cls, options):
    together, apart = some_params(), some_params()
    other = {"lr": options["lr"] / 3, "weight_decay": 0.1}
    grouped = cls([{"params": together[:1]}, {"params": together[1:], **other}], **options)
    first, second = cls(apart[:1], **options), cls(apart[1:], **{**options, **other})
    for step in range(5):
        give_gradients(together, step)
        give_gradients(apart, step)
        for optimizer in (grouped, first, second):
            optimizer.step()
    for a, b in zip(together, apart, strict=True):
        assert np.array_equal(a.data, b.data)


@pytest.mark.parametrize(("cls", "options"), [case[:2] for case in one_of_each])
def test_a_step_writes_in_place_and_leaves_gradients_alone(cls, options):
    params = some_params()
    optimizer = cls(params, **options)
    give_gradients(params, 0)
    arrays, before = [p.data for p in params], [p.data.copy() for p in params]
    gradients, versions = [p.grad.data.copy() for p in params], [p.version[0] for p in params]
    optimizer.step()
    for i, param in enumerate(params):
        assert param.data is arrays[i]
        assert not np.array_equal(param.data, before[i])
        assert np.array_equal(param.grad.data, gradients[i])
        assert param.version[0] == versions[i] + 1


def test_a_graph_notices_that_its_saved_parameter_was_stepped():
    w = leaf([1.0, 2.0])
    loss = (w * w).sum()
    w.grad = sn.Tensor(np.zeros(2))
    optim.SGD([w], lr=1.0).step()  # not a bit of w has changed: only the version can tell
    with pytest.raises(RuntimeError, match="mul"):
        loss.backward()


def test_parameters_without_gradient_are_skipped():
    with_gradient, without = leaf([1.0]), leaf([1.0])
    optimizer = optim.Adam([with_gradient, without], weight_decay=0.5)
    with_gradient.grad = sn.Tensor(np.ones(1))
    optimizer.step()
    assert without.data[0] == 1 and without.version[0] == 0
    assert list(optimizer.state) == [with_gradient]


def test_closure_records_and_its_loss_is_returned():
    w = leaf([3.0])
    optimizer = optim.SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with sn.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert w.data[0] == 0.0


def test_zero_grad():
    w = leaf([1.0, 2.0])
    optimizer = optim.SGD([w])
    held = w.grad = sn.Tensor(np.ones(2))
    optimizer.zero_grad(set_to_none=False)
    assert np.array_equal(w.grad.data, [0, 0]) and np.array_equal(held.data, [1, 1])
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize(("cls", "options"), [case[:2] for case in one_of_each])
def test_float32_stays_float32_and_layouts_stay(cls, options):
    array = np.random.default_rng(0).standard_normal((2, 3, 3, 4)).astype(np.float32).transpose(0, 3, 1, 2)
    w = sn.Tensor(array, requires_grad=True)
    optimizer = cls([w], **options)
    train(optimizer, [w], range(3))
    arrays = [value for value in optimizer.state[w].values() if isinstance(value, np.ndarray)]
    assert arrays
    for value in (w.data, *arrays):
        assert value.dtype == np.float32 and value.strides == array.strides


@pytest.mark.parametrize(("cls", "options"), [case[:2] for case in one_of_each])
def test_a_rate_of_numpys_type_does_not_change_the_precision(cls, options):
    results = []
    for number in (float, np.float64):
        params = some_params(dtype=np.float32)
        train(cls(params, **{**options, "lr": number(0.1)}), params, range(10))
        results.append([param.data for param in params])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


# States


@pytest.mark.parametrize(("cls", "options"), [case[:2] for case in one_of_each])
def test_a_run_goes_on_from_its_state_bit_for_bit(cls, options):
    straight = some_params()
    train(cls(straight, **options), straight, range(40))

    params = some_params()
    optimizer = cls(params, **options)
    train(optimizer, params, range(20))
    state = optimizer.state_dict()
    restored = [leaf(param.data) for param in params]
    train(optimizer, params, range(20, 23))  # the snapshot must not follow
    other = cls(restored, lr=123.0)
    other.load_state_dict(state)
    train(other, restored, range(20, 40))
    for a, b in zip(straight, restored, strict=True):
        assert np.array_equal(a.data, b.data)


def test_state_dict_has_pytorchs_layout():
    params = some_params()
    optimizer = optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}])
    train(optimizer, params, range(3))
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert [list(entry) for entry in state["state"].values()] == [["step", "exp_avg", "exp_avg_sq"]] * 3
    assert state["state"][1]["exp_avg"].shape == (5,) and state["state"][2]["step"] == 3
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert [group["lr"] for group in state["param_groups"]] == [1e-3, 0.5]
    again = json.loads(json.dumps(state["param_groups"]))
    optimizer.load_state_dict({"state": state["state"], "param_groups": again})
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert optimizer.param_groups[0]["params"] == params[:2]


def test_a_state_from_pytorch_fits():
    """There the step is a 0-d float tensor, and groups have options that mean nothing here."""
    w = leaf([1.0, 2.0])
    optimizer = optim.Adam([w])
    entry = {"step": np.array(7.0, np.float32), "exp_avg": np.array([1.0, 2.0]), "exp_avg_sq": np.array([3.0, 4.0])}
    group = {"lr": 0.3, "betas": (0.5, 0.9), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "foreach": None}
    optimizer.load_state_dict({"state": {0: entry}, "param_groups": [{**group, "params": [0]}]})
    assert optimizer.state[w]["step"] == 7 and optimizer.param_groups[0]["lr"] == 0.3
    assert optimizer.state[w]["exp_avg"] is not entry["exp_avg"]


def altered(change):
    params = some_params()
    optimizer = optim.Adam(params)
    train(optimizer, params, range(2))
    state = optimizer.state_dict()
    change(state)
    return state


BAD_STATES = {
    "no keys": ({}, ValueError, "'state' and 'param_groups'"),
    "other group sizes": (
        altered(lambda s: s["param_groups"][0]["params"].pop()),
        ValueError,
        r"groups of \[2\] parameters, the optimiser has groups of \[3\]",
    ),
    "unknown number": (altered(lambda s: s["state"].update({9: {}})), ValueError, "state 9"),
    "shape": (
        altered(lambda s: s["state"][1].update(exp_avg=np.zeros(6))),
        ValueError,
        r"parameter 1: exp_avg has shape \(6,\), the parameter \(5,\)",
    ),
    "dtype": (
        altered(lambda s: s["state"][1].update(exp_avg=np.zeros(5, np.float32))),
        TypeError,
        "parameter 1: exp_avg is float32, the parameter float64",
    ),
    "missing array": (altered(lambda s: s["state"][2].pop("exp_avg_sq")), ValueError, "parameter 2 has .*expected"),
    "array of AMSGrad": (
        altered(lambda s: s["state"][0].update(max_exp_avg_sq=np.zeros((4, 3)))),
        ValueError,
        "max_exp_avg_sq",
    ),
    "option": (altered(lambda s: s["param_groups"][0].update(lr=-1.0)), ValueError, "lr must lie in"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name):
    state, error, words = BAD_STATES[name]
    params = some_params()
    optimizer = optim.Adam(params, lr=0.5)
    train(optimizer, params, range(2))
    before = optimizer.state_dict()
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, entry in before["state"].items():
        assert all(np.array_equal(value, after["state"][i][name]) for name, value in entry.items())


def test_the_state_of_another_kind_of_optimiser_is_refused():
    params = some_params()
    optimizer = optim.SGD(params, momentum=0.9)
    train(optimizer, params, range(1))
    with pytest.raises(ValueError, match=r"Adam: state of parameter 0 has \['momentum_buffer'\]"):
        optim.Adam(params).load_state_dict(optimizer.state_dict())


# Refusals

w = leaf([1.0, 2.0])
REFUSALS = {
    "no parameters": (lambda: optim.SGD([]), ValueError, "SGD: got no parameters"),
    "empty groups": (lambda: optim.SGD([{"params": []}]), ValueError, "no parameters"),
    "one tensor": (lambda: optim.SGD(w), TypeError, "iterable of tensors or dicts, got Tensor"),
    "a number": (lambda: optim.SGD(3), TypeError, "got int"),
    "a set": (lambda: optim.SGD({w}), TypeError, "ordered iterable .* got set"),
    "an array": (lambda: optim.Adam([w, np.zeros(2)]), TypeError, "parameter 1 of group 0 is no tensor but ndarray"),
    "twice": (lambda: optim.Adam([w, leaf([1.0]), w]), ValueError, "parameter 2 of group 0 .* twice"),
    "twice in two groups": (
        lambda: optim.Adam([{"params": [w]}, {"params": w}]),
        ValueError,
        "parameter 0 of group 1 .* twice",
    ),
    "no leaf": (lambda: optim.Adam([w * 2]), ValueError, "result of mul, not a leaf"),
    "frozen": (lambda: optim.Adam([sn.Tensor(np.zeros(2))]), ValueError, "requires no gradient"),
    "no group": (lambda: optim.SGD([{"lr": 1.0}]), TypeError, "dict with 'params'"),
    "option of a group": (lambda: optim.SGD([{"params": [w], "rate": 1.0}]), ValueError, r"\['rate'\]"),
    "negative lr": (lambda: optim.SGD([w], lr=-0.1), ValueError, r"SGD: lr must lie in \[0, inf\), got -0.1"),
    "negative lr of a group": (lambda: optim.Adam([{"params": [w], "lr": -1}]), ValueError, "Adam: lr"),
    "NaN": (lambda: optim.AdamW([w], lr=float("nan")), ValueError, "AdamW: lr .* got nan"),
    "text": (lambda: optim.RMSprop([w], lr="0.1"), TypeError, "RMSprop: lr must be a number, got '0.1'"),
    "momentum": (lambda: optim.SGD([w], momentum=-1), ValueError, "momentum"),
    "nesterov": (lambda: optim.SGD([w], nesterov=True), ValueError, "nesterov needs a momentum"),
    "nesterov, dampened": (
        lambda: optim.SGD([w], momentum=0.9, dampening=0.1, nesterov=True),
        ValueError,
        "dampening of 0, got 0.9 and 0.1",
    ),
    "beta1": (lambda: optim.Adam([w], betas=(1.0, 0.9)), ValueError, r"betas\[0\] must lie in \[0, 1\), got 1.0"),
    "betas": (lambda: optim.Adam([w], betas=0.9), ValueError, "betas must be a pair, got 0.9"),
    "eps": (lambda: optim.Adam([w], eps=-1e-8), ValueError, "eps"),
    "decay": (lambda: optim.AdamW([w], weight_decay=-1), ValueError, "AdamW: weight_decay"),
    "alpha": (lambda: optim.RMSprop([w], alpha=1.0), ValueError, "alpha"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (sn.Tensor(np.zeros(3)), ValueError, r"grad of parameter 1 of group 0 has shape \(3,\), the parameter \(2,\)"),
        (sn.Tensor(np.zeros(2, np.float32)), TypeError, "dtype float32, the parameter float64"),
        (np.zeros(2), TypeError, "must be a tensor, got ndarray"),
    ],
)
def test_a_gradient_that_does_not_fit_stops_the_step_before_it_begins(gradient, error, words):
    first, second = leaf([1.0]), leaf([1.0, 2.0])
    first.grad, second.grad = sn.Tensor(np.ones(1)), gradient
    with pytest.raises(error, match=words):
        optim.SGD([first, second], lr=0.1).step()
    assert first.data[0] == 1.0
