"""The derivative matrix: no cell is blank, the published one is up to date, and a wrong derivative shows in it."""

from pathlib import Path

import numpy as np
import pytest

from scratchnet.ops import OPS
from scratchnet.ops.registry import S, op
from scratchnet.testing.matrix import (
    DTYPES,
    FAIL,
    LAYOUTS,
    NO_GPU,
    NO_KERNEL,
    NOT_DIFFERENTIABLE,
    ORDERS,
    PASS,
    Cell,
    blanks,
    cells,
    declared,
    document,
    implementations_used,
    main,
    overlapping,
    published,
    verdict,
)
from scratchnet.testing.mutants import mutants
from scratchnet.testing.planting import planted

PUBLISHED = Path(__file__).parents[2] / "docs" / "derivatives.md"


def test_the_published_matrix_has_no_blank_and_no_failure():
    found = published(PUBLISHED.read_text())
    assert not blanks(found), "run python -m scratchnet.testing.matrix --write docs/derivatives.md"
    assert not [cell for cell, said in found.items() if said == FAIL]
    assert {cell.op for cell in found} == set(OPS)


def test_the_published_declarations_are_those_of_today():
    for cell, said in published(PUBLISHED.read_text()).items():
        assert said == (declared(cell) or PASS), cell


def test_a_new_op_is_a_blank():
    before = published(PUBLISHED.read_text())
    try:

        @op(vjp=None, samples=lambda r: [S(r.normal(2))], reference=np.rint)
        def rint(x, /):
            """The nearest integer."""
            return np.rint(x)

        assert {cell.op for cell in blanks(before)} == {"rint"}
    finally:
        del OPS["rint"]


def test_what_is_written_can_be_read_back():
    found = dict.fromkeys(cells(["sin"]), PASS)
    found[Cell("sin", 2, "numba", "float32", "strided")] = FAIL
    found |= dict.fromkeys(cells(["sign"]), NOT_DIFFERENTIABLE)
    assert published(document(found)) == found
    del found[Cell("sign", 3, "gpu", "float64", "aliased")], found[Cell("sin", 1, "numba", "float64", "aliased")]
    read = published(document(found))
    assert {cell for cell in cells(["sin", "sign"]) if not read[cell]} == set(cells(["sin", "sign"])) - set(found)


def some_cells():
    """Every order of every differentiable op, in a dtype and layout that differ from op to op."""
    names = [name for name, op in OPS.items() if op.differentiable]
    for i, name in enumerate(names):
        for order in ORDERS:
            yield Cell(name, order, "reference", DTYPES[(i + order) % 2], LAYOUTS[(i // 2 + order) % 3])


@pytest.mark.parametrize("cell", list(some_cells()), ids=lambda cell: "-".join(map(str, cell)))
def test_some_derivatives_on_the_first_sample(cell):
    assert verdict(cell, count=1) == PASS


@pytest.mark.parametrize("name", ["conv2d", "batch_norm"])
def test_second_order_through_numba_kernels(name):
    assert verdict(Cell(name, 2, "numba", "float64", "strided"), count=1) == PASS


def test_what_is_not_offered_is_declared():
    assert declared(Cell("equal", 1, "reference", "float32", "strided")) == NOT_DIFFERENTIABLE
    assert declared(Cell("mul", 1, "numba", "float32", "strided")) == NO_KERNEL
    assert declared(Cell("mul", 1, "gpu", "float32", "strided")) == NO_GPU
    assert declared(Cell("conv2d", 3, "numba", "float32", "aliased")) is None


def test_ops_that_use_kernels_are_recognised():
    for name in ("conv2d", "max_pool2d", "group_norm", "adaptive_avg_pool2d", "sum"):
        assert implementations_used(OPS[name]) - {"reference"}
    for name in ("mul", "softmax", "cumsum"):
        assert not implementations_used(OPS[name])


def fault(name, family):
    return next(m for m in mutants(OPS[name]) if m.family == family)


@pytest.mark.parametrize(
    ("faulty", "family", "wrong"),
    [
        ("sin", "0.1 % off", {1, 3}),  # sin's gradient is made of cos, and cos's of sin
        ("sin", "saved detached", {2, 3}),
        ("cos", "0.1 % off", {2, 3}),
        ("cos", "saved detached", {3}),
    ],
)
def test_a_fault_shows_at_its_order(faulty, family, wrong):
    with planted(OPS[faulty], fault(faulty, family)):
        found = {order: verdict(Cell("sin", order, "reference", "float64", "contiguous")) for order in ORDERS}
    assert {order for order, said in found.items() if said.startswith(FAIL)} == wrong
    assert all(said == PASS for order, said in found.items() if order not in wrong)


def test_a_fault_in_reading_memory_shows_in_its_layout():
    with planted(OPS["sin"], fault("sin", "saved layout")):
        found = {layout: verdict(Cell("sin", 1, "reference", "float64", layout)) for layout in LAYOUTS}
    assert found["contiguous"] == PASS
    assert found["strided"].startswith(FAIL)


def test_overlapping_arrays_share_memory_between_neighbours():
    x = overlapping(np.array([[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(x, [[0, 1, 2], [1, 2, 3]])
    assert not x.flags.writeable and np.shares_memory(x[0, 1:], x[1, :2])
    assert overlapping(np.float64(2.0).reshape(())).shape == ()


def test_the_program_prints_and_writes(tmp_path, capsys):
    path = tmp_path / "matrix.md"
    assert main(["sin", "--write", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "| `sin` | 123 123 123" in printed and "54 cells: 18 pass, 0 fail, 36 declared" in printed
    assert path.read_text().startswith("# Derivatives")
    with planted(OPS["sin"], fault("sin", "sign")):
        assert main(["sin"]) == 1
    printed = capsys.readouterr().out
    assert "sin 1 reference float32 contiguous FAIL: " in printed and "| `sin` | F" in printed
