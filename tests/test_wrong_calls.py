"""Thousands of wrong calls of all public functions, none of which may end in words of NumPy's."""

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet.ops import OPS
from tests.fuzz_calls import Call, fuzz_calls, leak, right_calls


def test_the_calls_are_right_before_they_are_made_wrong():
    with kernels.use("reference"):
        assert [(str(call), problem) for call in right_calls() if (problem := _raised(call))] == []


def _raised(call):
    try:
        call.function(*call.args, **call.keywords)
    except Exception as error:
        return repr(error)
    return None


def test_every_op_and_layer_is_called():
    called = {call.name for call in right_calls()}
    assert set(OPS) <= called
    abstract = {"Module", "Parameter", "Sequential", "ModuleList", "ModuleDict", "Identity", "BCELoss"}
    layers = {name for name, value in vars(sn.nn).items() if isinstance(value, type)} - abstract
    assert {f"nn.{name}" for name in layers} <= called


def test_every_refusal_is_in_words_of_ours():
    with kernels.use("reference"):
        found = fuzz_calls(15_000, seed=0)
    assert not found, "\n".join(first for _, first in found.values())


@pytest.mark.parametrize(
    "fault",
    [
        lambda: np.ones(3) + np.ones(4),
        lambda: [1, 2][5],
        lambda: None.shape,
        lambda: 1 // 0,
        lambda: sn.ones(2, 2).data.sum(axis=3),
    ],
)
def test_the_fuzzer_sees_words_that_are_not_ours(fault):
    assert leak(Call("fault", fault, ())) is not None


def test_an_error_in_a_users_function_stays_as_it_is():
    def critic(x):
        return x.no_such_method()

    with pytest.raises(AttributeError, match="no attribute 'no_such_method'"):
        sn.nn.functional.gradient_penalty(critic, sn.ones(2, 3), sn.zeros(2, 3))


def test_who_was_given_what_and_what_was_expected():
    with pytest.raises(TypeError) as caught:
        sn.einsum(3, sn.ones(2))
    given = "given operands: [(2,) float32], equation: 3; expected einsum(*operands, equation)"
    assert str(caught.value) == f"einsum: 'int' object has no attribute 'replace' ({given})"
    with pytest.raises(TypeError, match=r"^Dropout: .* \(given p: \[0.5, 1\]; expected Dropout\(p: float = 0.5"):
        sn.nn.Dropout([0.5, 1])
