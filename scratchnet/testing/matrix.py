"""The derivative matrix: which derivatives there are, of every op, and whether they are right.

    python -m scratchnet.testing.matrix conv2d relu            # some ops
    python -m scratchnet.testing.matrix                        # all of them
    python -m scratchnet.testing.matrix --write docs/derivatives.md

Op x order x implementation x dtype x layout, computed from the registry. Every cell is a verdict of
``check_gradients`` on all samples of the op, or a declaration of why there is none; no cell is blank.
"""

import argparse
import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import kernels
import kernels.registry
from scratchnet import autograd
from scratchnet.ops import OPS
from scratchnet.ops.registry import Op, S
from scratchnet.tensor import Tensor
from scratchnet.testing.gradcheck import check_gradients
from scratchnet.testing.op_checks import call, samples, scattered
from scratchnet.testing.planting import instead
from scratchnet.testing.report import Verdict

ORDERS = (1, 2, 3)
IMPLEMENTATIONS = ("reference", "numba", "gpu")
DTYPES = ("float32", "float64")
LAYOUTS = ("contiguous", "strided", "aliased")

PASS, FAIL = "PASS", "FAIL"
NOT_DIFFERENTIABLE = "not differentiable"
NO_KERNEL = "not offered: the op uses no kernel, NumPy computes it"
TOO_SMALL = "not offered at the samples' sizes: the Numba kernel leaves them to NumPy"
NO_GPU = "not run: needs a GPU; the CUDA kernels themselves are compared with the reference in tests/emulator"
LETTERS = {NOT_DIFFERENTIABLE: "–", NO_KERNEL: "n", TOO_SMALL: "m", NO_GPU: "g"}


class Cell(NamedTuple):
    op: str
    order: int
    implementation: str
    dtype: str
    layout: str


def cells(ops=None) -> Iterator[Cell]:
    """Every cell of the matrix of the ops named (default: all that are registered)."""
    names = list(OPS) if ops is None else ops
    return map(Cell._make, itertools.product(names, ORDERS, IMPLEMENTATIONS, DTYPES, LAYOUTS))


def verdict(cell: Cell, count: int | None = None) -> str:
    """``"PASS"``, ``"FAIL: what and where"``, or a declaration, from the op's first ``count`` samples (default: all).

    All points are smooth ones: the verdicts KINK and INCONCLUSIVE are failures.
    """
    op = OPS[cell.op]
    declaration = declared(cell)
    if declaration:
        return declaration
    with _using(cell.implementation):
        for sample in samples(op)[:count]:
            for function, arrays in _arranged(op, _cast(sample, cell.dtype), cell.layout):
                try:
                    report = check_gradients(function, arrays, order=cell.order)
                except Exception as error:  # an op that raises has no derivative either
                    return f"{FAIL}: {type(error).__name__}: {error}"
                if report.verdict is not Verdict.PASS:
                    return f"{FAIL}: {report}"
    return PASS


def declared(cell: Cell) -> str | None:
    """Why nothing is computed for a cell; None where it is."""
    if not OPS[cell.op].differentiable:
        return NOT_DIFFERENTIABLE
    if cell.implementation == "gpu":
        return NO_GPU
    if cell.implementation == "numba":
        used = implementations_used(OPS[cell.op])
        return NO_KERNEL if not used else TOO_SMALL if used == {"reference"} else None
    return None


@functools.cache
def implementations_used(op: Op) -> frozenset[str]:
    """What runs in place of the reference where an op and its gradient, on its samples, call kernels."""
    used = set()
    choose = kernels.registry.Kernel._choose

    def noticed(kernel, *args):
        implementation, reason = choose(kernel, *args)
        used.add(implementation.name)
        return implementation, reason

    for sample in samples(op):  # some samples are made with kernels
        with instead(kernels.registry.Kernel, _choose=noticed), _using("numba"):
            tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in sample.arrays]
            _pull_back(call(op, sample, tensors), tensors)
    return frozenset(used)


def _pull_back(out, tensors) -> None:
    if out.requires_grad:
        autograd.grad(out, [t for t in tensors if t.requires_grad], Tensor(np.ones_like(out.data)), allow_unused=True)


@contextlib.contextmanager
def _using(implementation: str):
    """The reference of every kernel, or the Numba implementation that comes first."""
    if implementation == "reference":
        wishes = dict.fromkeys(kernels.registry.declared(), "reference")
    else:
        wishes = {n: getattr(kernels, n).implementations("cpu")[0] for n in kernels.registry.declared()}
    with kernels.use(**wishes):
        yield


def _cast(sample: S, dtype: str) -> S:
    """The sample in a floating dtype, a dtype among its plain arguments included."""
    params = {k: np.dtype(dtype).type if v is np.float64 else v for k, v in sample.params.items()}
    return S(*(a.astype(dtype) if a.dtype.kind == "f" else a for a in sample.arrays), **params)


def _arranged(op: Op, sample: S, layout: str):
    """Functions and the arrays to check them at."""

    def function(*xs):
        return call(op, sample, xs)

    if layout == "contiguous":
        yield function, list(sample.arrays)
    elif layout == "strided":
        yield function, [scattered(a.T).T for a in sample.arrays]  # with gaps, and the first axis the fastest
    else:
        yield function, [overlapping(a) if a.dtype.kind == "f" else a for a in sample.arrays]
        pair = _pair_of_one_shape(sample)
        if pair:
            yield _twice(op, sample, *pair)


def overlapping(array: np.ndarray) -> np.ndarray:
    """A read-only array of this shape whose entry (i, j, ...) is memory's entry i + j + ...: neighbours share it.

    Memory holds the array's values, ascending: the largest entry of any block is then a single one, not a tie.
    """
    if array.size < 2:
        return array
    memory = np.sort(array, axis=None)
    strides = (memory.itemsize,) * array.ndim
    return np.lib.stride_tricks.as_strided(memory, array.shape, strides, writeable=False)


def _pair_of_one_shape(sample: S) -> tuple[int, int] | None:
    floating = [i for i, a in enumerate(sample.arrays) if a.dtype.kind == "f"]
    pairs = itertools.combinations(floating, 2)
    return next(((i, j) for i, j in pairs if sample.arrays[i].shape == sample.arrays[j].shape), None)


def _twice(op: Op, sample: S, i: int, j: int):
    """The op with one tensor in two places. Its values are positive: arguments of logs and divisors must be."""
    others = [a for k, a in enumerate(sample.arrays) if k not in (i, j)]

    def function(x, *rest):
        values = list(rest)
        values.insert(i, x)
        values.insert(j, x)
        return call(op, sample, values)

    return function, [np.abs(sample.arrays[i]), *others]


def table(found: dict[Cell, str]) -> str:
    """Markdown: one row an op, one column an implementation and dtype; the three layouts stand in one cell."""
    columns = list(itertools.product(IMPLEMENTATIONS, DTYPES))
    rows = [["op", *(" ".join(column) for column in columns)]]
    for op in dict.fromkeys(cell.op for cell in found):
        rows.append([f"`{op}`"])
        for column in columns:
            at = [[found.get(Cell(op, order, *column, layout), "") for order in ORDERS] for layout in LAYOUTS]
            rows[-1].append(" ".join(map(_orders, at)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def _orders(verdicts: list[str]) -> str:
    """``123`` where the first three orders pass, ``12F`` where the third fails, a letter where all are declared."""
    if len(set(verdicts)) == 1 and verdicts[0] in LETTERS:
        return LETTERS[verdicts[0]]
    return "".join(
        "?" if not v else str(n) if v == PASS else LETTERS.get(v, "F") for n, v in zip(ORDERS, verdicts, strict=True)
    )


HEADING = """# Derivatives

Every op, order of derivative, implementation of the kernels (`reference` is NumPy), dtype and memory layout, written
from the op registry by `python -m scratchnet.testing.matrix --write docs/derivatives.md`.

A cell has three groups, for arrays that are contiguous, strided, and aliased: neighbouring entries share memory, and
where two inputs have one shape, one tensor stands in both places. A digit stands for an order of derivative that
agrees, on all samples of the op, with difference quotients of the order below. Signs:
"""


def document(found: dict[Cell, str]) -> str:
    legend = [f"- `{letter}`: {meaning}" for meaning, letter in LETTERS.items()]
    return "\n".join([HEADING, *legend, "- `F`: it does not agree", "- `?`: nobody has looked", "", table(found), ""])


def published(text: str) -> dict[Cell, str]:
    """What a ``document`` says of each cell: ``PASS``, ``FAIL``, a declaration, or nothing where it is blank."""
    meanings = {"F": FAIL, **{letter: meaning for meaning, letter in LETTERS.items()}}
    found = {}
    for line in text.splitlines():
        name, *columns = (part.strip() for part in line.strip("|").split("|"))
        if not name.startswith("`"):
            continue
        for (implementation, dtype), column in zip(itertools.product(IMPLEMENTATIONS, DTYPES), columns, strict=True):
            for layout, signs in zip(LAYOUTS, column.split(), strict=False):
                signs = signs * len(ORDERS) if signs in LETTERS.values() else signs
                for order, sign in zip(ORDERS, signs, strict=False):
                    said = PASS if sign == str(order) else meanings.get(sign, "")
                    found[Cell(name.strip("`"), order, implementation, dtype, layout)] = said
    return found


def blanks(found: dict[Cell, str]) -> list[Cell]:
    """The cells of registered ops of which nothing is said."""
    return [cell for cell in cells() if not found.get(cell)]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.testing.matrix", description=__doc__.split("\n\n")[0])
    parser.add_argument("ops", nargs="*", help="names of ops; all if none is given")
    parser.add_argument("--write", type=Path, metavar="FILE", help="markdown file to write")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.ops) - set(OPS))
    if unknown:
        parser.error(f"no ops named {', '.join(unknown)}")
    start = time.perf_counter()
    found = {cell: verdict(cell) for cell in cells(options.ops or None)}
    failures = {cell: v for cell, v in found.items() if v.startswith(FAIL)}
    print(table(found))
    print(
        f"{len(found)} cells: {sum(v == PASS for v in found.values())} pass, {len(failures)} fail, "
        f"{sum(v in LETTERS for v in found.values())} declared; {time.perf_counter() - start:.0f} s"
    )
    for cell, v in failures.items():
        print(*cell, v)
    if options.write:
        options.write.write_text(document(found))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
