"""Learning-rate schedules: PyTorch's values, positions, refusals."""

import json
import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import optim
from scratchnet.optim import lr_scheduler as schedules

# What torch 2.13 gives for SGD(lr=1, momentum=0.9): the rate at t = 0, 1, ...; for one-cycle (rate, momentum).
GOLDEN = {
    "step": (lambda o: schedules.StepLR(o, 3, 0.5), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    "multi": (lambda o: schedules.MultiStepLR(o, [5, 2, 5]), [1, 1, 0.1, 0.1, 0.1, 0.001, 0.001]),
    "linear": (lambda o: schedules.LinearLR(o, 0.25, 1.0, 3), [0.25, 0.5, 0.75, 1, 1, 1]),
    "cosine": (
        lambda o: schedules.CosineAnnealingLR(o, 4, 0.1),
        [1, 0.8681980515, 0.55, 0.2318019485, 0.1, 0.2318019485, 0.55, 0.8681980515, 1, 0.8681980515],
    ),
    "lambda": (lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)), [1, 1 / 2, 1 / 3, 1 / 4]),
    "warm-up, then cosine": (
        lambda o: schedules.SequentialLR(
            o, [schedules.LinearLR(o, 0.25, 1.0, 3), schedules.CosineAnnealingLR(o, 4)], [3]
        ),
        [0.25, 0.5, 0.75, 1, 0.8535533906, 0.5, 0.1464466094, 0],
    ),
    "one cycle": (
        lambda o: schedules.OneCycleLR(o, 0.1, 10),
        [
            *[(0.004, 0.95), (0.052, 0.9), (0.1, 0.85), (0.0950484632, 0.8549515566), (0.08117456539, 0.8688255099)],
            *[(0.06112620219, 0.8888739533), (0.03887419781, 0.9111260467), (0.01882583461, 0.9311744901)],
            *[(0.004951936799, 0.9450484434), (4e-07, 0.95), (0.004951936799, 0.9450484434)],
        ],
    ),
    "one cycle, linear": (
        lambda o: schedules.OneCycleLR(
            *(o, 0.1),
            epochs=4,
            steps_per_epoch=2,
            pct_start=0.5,
            anneal_strategy="linear",
            base_momentum=0.8,
            max_momentum=0.9,
            div_factor=10,
            final_div_factor=100,
        ),
        [
            *[(0.01, 0.9), (0.04, 0.8666666667), (0.07, 0.8333333333), (0.1, 0.8)],
            *[(0.075025, 0.825), (0.05005, 0.85), (0.025075, 0.875), (0.0001, 0.9)],
        ],
    ),
}


def make_optimizer(cls=optim.SGD, **options):
    options = options or {"lr": 1.0, "momentum": 0.9}
    return cls([sn.tensor(np.zeros(2), requires_grad=True)], **options)


@pytest.mark.parametrize("name", GOLDEN)
def test_values_are_pytorchs(name):
    make, wanted = GOLDEN[name]
    optimizer = make_optimizer()
    scheduler = make(optimizer)
    group = optimizer.param_groups[0]
    for t, value in enumerate(wanted):
        if t:
            scheduler.step()
        assert scheduler.last_epoch == t
        assert scheduler.get_last_lr() == [group["lr"]]
        found = (group["lr"], group["momentum"]) if isinstance(value, tuple) else group["lr"]
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_schedule_goes_on_from_its_state(name):
    make, wanted = GOLDEN[name]
    optimizer = make_optimizer()
    scheduler = make(optimizer)
    scheduler.step()
    state = json.loads(json.dumps([optimizer.state_dict(), scheduler.state_dict()]))
    resumed_optimizer = make_optimizer()
    resumed = make(resumed_optimizer)
    resumed_optimizer.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for _ in range(2, len(wanted)):
        scheduler.step()
        resumed.step()
        assert resumed.last_epoch == scheduler.last_epoch and resumed.get_last_lr() == scheduler.get_last_lr()
        for own, other in zip(optimizer.param_groups, resumed_optimizer.param_groups, strict=True):
            assert {**own, "params": 0} == {**other, "params": 0}


def test_every_group_keeps_its_own_base():
    a, b = (sn.tensor(np.zeros(1), requires_grad=True) for _ in "ab")
    optimizer = optim.Adam([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.4}])
    scheduler = schedules.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 1.0])
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05, 0.4]
    schedules.OneCycleLR(optimizer, [1.0, 2.0], 100)
    np.testing.assert_allclose([group["lr"] for group in optimizer.param_groups], [0.04, 0.08], rtol=1e-12)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.95, 0.999)] * 2


def test_one_cycle_without_momentum_leaves_it_alone():
    optimizer = make_optimizer()
    scheduler = schedules.OneCycleLR(optimizer, 0.1, 10, cycle_momentum=False)
    scheduler.step()
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(("total_steps", "pct_start"), [(1, 0.3), (2, 0.5), (5, 0.0), (5, 0.2)])
def test_one_cycle_of_few_steps_stays_between_its_ends(total_steps, pct_start):
    scheduler = schedules.OneCycleLR(make_optimizer(), 0.1, total_steps, pct_start=pct_start)
    rates = scheduler.get_last_lr()
    for _ in range(total_steps - 1):
        scheduler.step()
        rates += scheduler.get_last_lr()
    assert all(rate * (1 + 1e-12) >= 4e-7 and rate <= 0.1 for rate in rates)
    assert math.isclose(rates[-1], 4e-7)


def test_last_epoch_goes_on_without_a_state():
    optimizer = make_optimizer()
    scheduler = schedules.StepLR(optimizer, 3, 0.5)
    for _ in range(4):
        scheduler.step()
    assert schedules.StepLR(optimizer, 3, 0.5, last_epoch=scheduler.last_epoch).get_last_lr() == [0.5]
    with pytest.raises(ValueError, match="'initial_lr'"):
        schedules.StepLR(make_optimizer(), 3, last_epoch=4)


def test_the_saved_schedule_wins_over_the_one_that_was_made():
    def make(optimizer, warm_up, period):
        parts = [schedules.LinearLR(optimizer, 0.1, 1.0, warm_up), schedules.StepLR(optimizer, period)]
        return schedules.SequentialLR(optimizer, parts, [warm_up])

    saved, other = make(make_optimizer(), 2, 3), make(make_optimizer(), 5, 7)
    other.load_state_dict(saved.state_dict())
    for _ in range(9):
        saved.step()
        other.step()
        assert saved.get_last_lr() == other.get_last_lr()


def test_no_step_beyond_the_cycle():
    scheduler = schedules.OneCycleLR(make_optimizer(), 0.1, 2)
    scheduler.step()
    scheduler.step()
    with pytest.raises(ValueError, match="step 3 of a schedule of total_steps=2"):
        scheduler.step()
    assert scheduler.last_epoch == 2


def test_a_group_added_later_is_refused():
    optimizer = make_optimizer()
    scheduler = schedules.StepLR(optimizer, 3)
    optimizer.add_param_group({"params": sn.tensor(np.zeros(1), requires_grad=True)})
    with pytest.raises(ValueError, match="made for 1 parameter groups, the optimiser has 2"):
        scheduler.step()


REFUSALS = {
    "no optimiser": (lambda o: schedules.StepLR("sgd", 3), TypeError, "StepLR: expected an Optimizer, got str"),
    "no steps": (lambda o: schedules.StepLR(o, 0), ValueError, "step_size must be an integer above 0, got 0"),
    "half steps": (lambda o: schedules.CosineAnnealingLR(o, 2.5), ValueError, "T_max"),
    "functions": (lambda o: schedules.LambdaLR(o, [abs, abs]), ValueError, "2 values of lr_lambda for 1 parameter"),
    "factor": (lambda o: schedules.LinearLR(o, -0.5), ValueError, "start_factor"),
    "length": (lambda o: schedules.OneCycleLR(o, 0.1, epochs=3), ValueError, "total_steps, or epochs and steps"),
    "peak": (lambda o: schedules.OneCycleLR(o, -0.1, 10), ValueError, "max_lr"),
    "turn": (lambda o: schedules.OneCycleLR(o, 0.1, 10, pct_start=1.5), ValueError, "pct_start"),
    "strategy": (lambda o: schedules.OneCycleLR(o, 0.1, 10, anneal_strategy="exp"), ValueError, "'exp'"),
    "divisor": (lambda o: schedules.OneCycleLR(o, 0.1, 10, div_factor=0), ValueError, "div_factor"),
    "milestones": (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [3]), ValueError, "milestone"),
    "other optimiser": (
        lambda o: schedules.SequentialLR(o, [schedules.StepLR(make_optimizer(), 1)], []),
        ValueError,
        r"schedulers\[0\] belongs to another optimiser",
    ),
    "state": (
        lambda o: schedules.StepLR(o, 3).load_state_dict(schedules.MultiStepLR(o, [3]).state_dict()),
        ValueError,
        "StepLR: the state_dict has .*expected",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call(make_optimizer())
