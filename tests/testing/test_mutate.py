"""The mutation score counts what it claims to count."""

import numpy as np
import pytest

from scratchnet.ops import OPS
from scratchnet.testing import mutate
from scratchnet.testing.mutants import FAMILIES, mutants
from scratchnet.testing.mutate import EQUIVALENT, SURVIVED, Verdict, judge, main, table, write_between_markers
from scratchnet.testing.op_checks import check_first_order, check_value, samples
from scratchnet.testing.planting import Mutant, planted


def fault(op, family):
    return next(m for m in mutants(OPS[op]) if m.family == family)


@pytest.mark.parametrize("name", ["mul", "relu", "conv2d", "batch_norm", "stack", "softmax", "gelu", "cross_entropy"])
def test_planting_alone_changes_nothing(name):
    """So what is found is the fault; derived ops included, which become one node for the time."""
    assert judge(OPS[name], Mutant("none")).letter == EQUIVALENT


@pytest.mark.parametrize("name", ["mul", "mean", "batch_norm"])
def test_ops_are_restored(name):
    op = OPS[name]
    before = dict(vars(op))
    with pytest.raises(ZeroDivisionError), planted(op, fault(name, "sign")):
        assert vars(op) != before
        raise ZeroDivisionError
    assert vars(op) == before
    check_first_order(op, samples(op)[0])


@pytest.mark.parametrize(
    ("name", "family", "letter"),
    [
        ("conv2d", "unflipped", "1"),
        ("conv2d", "option reset", "x"),
        ("softmax", "wrong axis", "1"),
        ("avg_pool2d", "option reset", "1"),
        ("exp", "overwrites saved", "i"),
        ("exp", "overwrites cotangent", "x"),
        ("mean", "missing 1/N", "1"),
        ("mul", "first slice", "1"),
        ("tanh", "rounded", "1"),
        ("tanh", "one entry", "1"),
        ("tanh", "saved detached", "2"),
        ("batch_norm", "recorded differs", "2"),
        ("exp", "float64 gradient", "d"),
        ("relu", "wrong tie", "k"),
        ("max_pool2d", "wrong tie", "k"),
        ("exp", "cotangent layout", "p"),
        ("exp", "stale", "i"),
        ("sin", "shared result", "i"),
        ("add", "swapped", EQUIVALENT),
        ("sum", "unflipped", EQUIVALENT),
    ],
)
def test_a_fault_is_found_by_the_check_made_for_it(name, family, letter):
    letters = {judge(OPS[name], m).letter for m in mutants(OPS[name]) if m.family == family}
    assert letter in letters
    assert SURVIVED not in letters


def test_what_no_check_finds_has_survived(monkeypatch):
    monkeypatch.setattr(mutate, "CHECKS", {"v": ("value", check_value)})
    assert judge(OPS["sin"], fault("sin", "0.1 % off")).letter == SURVIVED
    assert judge(OPS["add"], fault("add", "swapped")).letter == EQUIVALENT


def test_a_fault_can_be_planted_at_one_node():
    from scratchnet import autograd
    from scratchnet.tensor import Tensor

    x = Tensor(np.ones(2), requires_grad=True)
    y = x * 3.0
    z = y * 5.0
    with planted(OPS["mul"], fault("mul", "sign"), only={y.node}.__contains__):
        (wrong,) = autograd.grad(z.sum(), x, retain_graph=True)
    np.testing.assert_array_equal(wrong.data, [-15.0, -15.0])


def test_the_table_shows_every_verdict():
    verdicts = [
        Verdict("sin", Mutant("sign"), "1"),
        Verdict("sin", Mutant("zero"), SURVIVED),
        Verdict("relu", Mutant("option reset", "a"), "1"),
        Verdict("relu", Mutant("option reset", "b"), EQUIVALENT),
    ]
    lines = table(verdicts).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["`sin`", "1", "S", "·", "1/2"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["`relu`", "·", "·", "1=", "1/1"]
    assert f"2. *zero*: {FAMILIES['zero']}" in lines


def test_the_table_in_a_file_is_replaced(tmp_path, capsys):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- mutation-table -->\nold\n<!-- /mutation-table -->\nafter\n")
    assert main(["sin", "--write", str(path)]) == 0
    text = path.read_text()
    assert text.startswith("before\n<!-- mutation-table -->\n| op ") and text.endswith(
        "<!-- /mutation-table -->\nafter\n"
    )
    assert "| `sin` " in text and "old" not in text
    assert "mutants killed in 1 op" in capsys.readouterr().out
    path.write_text("no markers")
    with pytest.raises(ValueError, match="no markers <!-- mutation-table -->"):
        write_between_markers(path, "mutation-table", "text")


@pytest.mark.parametrize(("arguments", "said"), [(["sine"], "no ops named sine"), (["equal"], "none of these ops")])
def test_names_that_make_no_sense_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err
