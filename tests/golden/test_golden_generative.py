"""Twenty training steps of each generative model follow PyTorch's, kept in generative.npz by make_generative.py."""

from pathlib import Path

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import models, nn, optim
from scratchnet.nn import functional as F
from tests.golden.generative import PARTS, RUNS, STEPS, fingerprint

GOLDEN = np.load(Path(__file__).parent / "generative.npz", allow_pickle=False)


def golden(name):
    return {key.removeprefix(f"{name}/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{name}/")}


@pytest.mark.parametrize("name", RUNS)
def test_losses_gradients_and_states_follow_pytorch(name):
    expected = golden(name)
    distance = expected.pop("float32 distance")
    seen = RUNS[name](sn, nn, optim, models, F, "float64")
    assert seen.keys() == expected.keys() and distance.shape == expected["losses"].shape == (STEPS, 2)
    for key, value in seen.items():
        if key.endswith("names"):
            assert value.tolist() == expected[key].tolist()
        else:
            assert value.shape == expected[key].shape
            bound = 1e-9 if key == "losses" else 1e-7
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=bound, err_msg=key)


@pytest.mark.parametrize("name", RUNS)
def test_float32_stays_as_close_as_pytorchs_own(name):
    """No fixed bound is honest: from tiny gradients Adam makes full steps, whose signs are rounding errors."""
    expected = golden(name)
    losses = RUNS[name](sn, nn, optim, models, F, "float32")["losses"]
    rounding = np.finfo(np.float32).eps * np.abs(expected["losses"])  # PyTorch may have been luckier than that
    allowed = 10 * np.maximum(expected["float32 distance"], rounding)
    worst = (np.abs(losses - expected["losses"]) / allowed).max(axis=1)
    assert worst.max() <= 1, f"at step {worst.argmax()}, {10 * worst.max():.1f} times PyTorch's distance"


def test_no_golden_value_is_left_over():
    assert {key.split("/")[0] for key in GOLDEN} == {*RUNS}


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (64, 32, 4, 4)])
def test_a_fingerprint_shows_every_element(shape):
    array = np.random.default_rng(0).standard_normal(shape)
    print_before = np.array(fingerprint(array))
    assert print_before.shape == (PARTS,)
    for place in {0, array.size // 2, array.size - 1}:
        changed = array.copy()
        changed.flat[place] += 1e-6
        np.testing.assert_allclose(np.abs(fingerprint(changed) - print_before).max(), 1e-6, rtol=1e-4)
    if array.size > PARTS:
        assert not np.allclose(fingerprint(array[::-1]), print_before, atol=1e-3)
