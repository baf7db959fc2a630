"""The generated tests can fail: faults planted in each op's backward pass are found by the checks they call.

Here it is every twelfth fault of each op, another twelfth for each; ``python -m scratchnet.testing.mutate`` plants all.
"""

import pytest

from scratchnet.ops import OPS
from scratchnet.testing.mutants import mutants
from scratchnet.testing.mutate import SURVIVED, judge
from scratchnet.testing.op_checks import check_dtype, check_independence, check_purity_and_layout, samples

DIFFERENTIABLE = [op for op in OPS.values() if op.differentiable]


@pytest.mark.parametrize(("number", "op"), list(enumerate(DIFFERENTIABLE)), ids=[op.name for op in DIFFERENTIABLE])
def test_planted_faults_are_found(number, op):
    survivors = [str(m) for m in mutants(op)[number % 12 :: 12] if judge(op, m).letter == SURVIVED]
    assert not survivors


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_at_least_twelve_faults_apply(op):
    assert len({m.family for m in mutants(op)}) >= 12


@pytest.mark.parametrize(
    ("op", "sample"),
    [pytest.param(op, s, id=f"{op.name}-{k}") for op in OPS.values() for k, s in enumerate(samples(op))],
)
@pytest.mark.parametrize("check", [check_dtype, check_purity_and_layout, check_independence])
def test_dtype_memory_and_state(check, op, sample):
    check(op, sample)
