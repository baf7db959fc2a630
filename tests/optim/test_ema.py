"""Averaged weights."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.optim import ExponentialMovingAverage


def some_params():
    rng = np.random.default_rng(0)
    return [sn.tensor(rng.standard_normal(shape), requires_grad=True) for shape in [(3, 2), (4,), ()]]


def move(params, step):
    rng = np.random.default_rng(step)
    for param in params:
        param.data += rng.standard_normal(param.shape)


def test_200_updates_follow_the_formula():
    params = some_params()
    ema = ExponentialMovingAverage(params, decay=0.9)
    history = []
    for step in range(200):
        move(params, step)
        ema.update()
        history.append([param.data.copy() for param in params])
    # The first update copies, so that value has the weight decay^199, and every later one (1 - decay) decay^age.
    weights = [0.9**199, *(0.1 * 0.9 ** (199 - k) for k in range(1, 200))]
    for i, average in enumerate(ema.averages):
        wanted = sum(weight * values[i] for weight, values in zip(weights, history, strict=True))
        np.testing.assert_allclose(average, wanted, rtol=1e-12)


def test_the_first_update_copies():
    params = some_params()
    ema = ExponentialMovingAverage(params, decay=0.999)
    move(params, 1)
    ema.update()
    assert all(np.array_equal(average, param.data) for average, param in zip(ema.averages, params, strict=True))


def test_averages_are_lent_to_the_parameters_and_taken_back_after_an_error():
    params = some_params()
    ema = ExponentialMovingAverage(params, decay=0.5)
    move(params, 1)
    own, arrays = [param.data.copy() for param in params], [param.data for param in params]
    versions = [param.version[0] for param in params]
    with pytest.raises(ZeroDivisionError), ema.average_parameters():
        for param, average, value in zip(params, ema.averages, own, strict=True):
            assert np.array_equal(param.data, average) and not np.array_equal(param.data, value)
        params[0].data += 1  # must not reach the averages
        assert not np.array_equal(params[0].data, ema.averages[0])
        1 / 0  # noqa: B018
    for i, param in enumerate(params):
        assert param.data is arrays[i] and np.array_equal(param.data, own[i])
        assert param.version[0] == versions[i] + 2
    ema.update()


def test_a_module_gives_its_parameters():
    class Module:
        def __init__(self, params):
            self.params = params

        def parameters(self):
            return iter(self.params)

    params = some_params()
    assert ExponentialMovingAverage(Module(params)).parameters == params


def test_goes_on_from_its_state_bit_for_bit():
    params = some_params()
    ema = ExponentialMovingAverage(params, decay=0.7)
    for step in range(3):
        move(params, step)
        ema.update()
    state = ema.state_dict()
    twin = ExponentialMovingAverage(some_params(), decay=0.1)
    twin.load_state_dict(state)
    twin.parameters = params
    for step in range(3):
        move(params, step)
        ema.update()
        twin.update()
    assert all(np.array_equal(a, b) for a, b in zip(ema.averages, twin.averages, strict=True))
    assert twin.num_updates == ema.num_updates == 6


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    params = some_params()
    ema = ExponentialMovingAverage(params)
    before = ema.state_dict()
    for wrong in (before["averages"][:2], [array.astype(np.float32) for array in before["averages"]]):
        with pytest.raises(ValueError, match="the state_dict has averages float"):
            ema.load_state_dict({"decay": 0.1, "num_updates": 5, "averages": wrong})
    with pytest.raises(ValueError, match="decay, num_updates and averages"):
        ema.load_state_dict({})
    assert ema.decay == 0.999 and ema.num_updates == 0


def test_wrong_use_is_refused_in_words():
    w = some_params()[0]
    for wrong in (w, 3):
        with pytest.raises(TypeError, match="expected a module or tensors"):
            ExponentialMovingAverage(wrong)
    with pytest.raises(TypeError, match="parameter 1 is no floating tensor"):
        ExponentialMovingAverage([w, sn.tensor([1, 2])])
    with pytest.raises(ValueError, match="no parameters"):
        ExponentialMovingAverage([])
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1.5"):
        ExponentialMovingAverage([w], decay=1.5)
    ema = ExponentialMovingAverage([w])
    with pytest.raises(RuntimeError, match="average averages"), ema.average_parameters():
        ema.update()
    w.data = w.data.astype(np.float32)
    with pytest.raises(ValueError, match="float32.* by now, their averages float64"):
        ema.update()
