"""The mutation score: plant faults in an op, one at a time, and see which check finds each.

    python -m scratchnet.testing.mutate conv2d relu     # some ops
    python -m scratchnet.testing.mutate                 # all of them
    python -m scratchnet.testing.mutate --write FILE.md # and put the table between FILE's mutation-table markers

A mutant that every check lets pass is *equivalent* where the op demonstrably does the same with it (``behaviour``),
and otherwise it has *survived*: a hole in the checks. The program exits with 1 if there is one.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scratchnet import autograd
from scratchnet.ops import OPS
from scratchnet.ops.registry import Kink, Op, S
from scratchnet.tensor import Tensor
from scratchnet.testing import op_checks
from scratchnet.testing.mutants import FAMILIES, mutants
from scratchnet.testing.planting import Mutant, planted

CHECKS = {  # the fast ones first
    "v": ("value", op_checks.check_value),
    "d": ("dtype", op_checks.check_dtype),
    "p": ("purity and layout", op_checks.check_purity_and_layout),
    "i": ("independence of calls", op_checks.check_independence),
    "k": ("kinks", op_checks.check_kinks),
    "1": ("first order", op_checks.check_first_order),
    "2": ("second order", op_checks.check_second_order),
}
RAISES, EQUIVALENT, SURVIVED = "x", "=", "S"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the letter of the check that killed it, ``x``, ``=`` or ``S``."""

    op: str
    mutant: Mutant
    letter: str


def judge(op: Op, mutant: Mutant) -> Verdict:
    """Plant the mutant and ask one check after the other, each on all samples, until one fails."""
    with planted(op, mutant):
        for letter, (_, check) in CHECKS.items():
            for sample in _kinks(op) if letter == "k" else op_checks.samples(op):
                try:
                    check(op, sample)
                except AssertionError:
                    return Verdict(op.name, mutant, letter)
                except Exception:  # in "p" a write into what is read-only, elsewhere shapes that do not fit and such
                    return Verdict(op.name, mutant, letter if letter == "p" else RAISES)
    same = _alike(behaviour(op, Mutant("none")), behaviour(op, mutant))
    return Verdict(op.name, mutant, EQUIVALENT if same else SURVIVED)


def _kinks(op: Op) -> list[Kink]:
    """The declared kinks on fresh arrays: a mutant may write into them."""
    return [
        Kink(k.where, S(*(a.copy() for a in k.sample.arrays), **k.sample.params), k.gradients, k.torch)
        for k in op.kinks
    ]


def behaviour(op: Op, mutant: Mutant) -> list:
    """Everything that can be observed of an op on its samples and kinks: pairs of a dtype and an array or exception.

    For both dtypes and for contiguous and strided arrays: results, gradients of both orders (recorded and not), and
    what is left of them, of the inputs and of the cotangent after the op has been used on something else.
    """
    facts = []
    with planted(op, mutant):
        for sample in [*op_checks.samples(op), *(k.sample for k in _kinks(op))]:
            for dtype in (np.float64, np.float32):
                for layout in (np.array, *op_checks.LAYOUTS):
                    try:
                        facts += [(dtype, fact) for fact in _observe(op, sample, dtype, layout)]
                    except Exception as error:
                        facts.append((dtype, type(error).__name__))
    return facts


def _observe(op, sample, dtype, layout):
    generator = np.random.default_rng(0)
    arrays = [layout(a.astype(dtype) if a.dtype.kind == "f" else a) for a in sample.arrays]
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    inputs = [t for t in tensors if t.requires_grad]
    out = op_checks.call(op, sample, tensors)
    cotangent = Tensor(layout(generator.standard_normal(out.shape).astype(out.dtype)), requires_grad=True)

    def gradients(**options):
        return autograd.grad(out, inputs, cotangent, retain_graph=True, allow_unused=True, **options)

    seen = [out, *gradients(), *arrays, cotangent]
    then = [_copy(x) for x in seen]
    others = [Tensor(np.flip(a).copy(), requires_grad=a.dtype.kind == "f") for a in arrays]
    other_out = op_checks.call(op, sample, others)
    autograd.grad(other_out, [t for t in others if t.requires_grad], other_out.detach() + 1.0, allow_unused=True)
    now = [_copy(x) for x in seen]
    once = [g for g in gradients(create_graph=True) if g is not None and g.requires_grad]
    weights = [Tensor(generator.standard_normal(g.shape).astype(g.dtype)) for g in once]
    twice = autograd.grad(once, [cotangent, *inputs], weights, allow_unused=True) if once else ()
    return [*then, *now, *map(_copy, [*gradients(), *once, *twice])]


def _copy(x):
    array = x.data if isinstance(x, Tensor) else x
    return None if array is None else np.array(array)


def _alike(a: list, b: list) -> bool:
    return len(a) == len(b) and all(_same(x, y, dtype) for (dtype, x), (_, y) in zip(a, b, strict=True))


def _same(a, b, dtype) -> bool:
    """Equal but for rounding of the last few bits of computations in ``dtype``."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return type(a) is type(b) and a == b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    tolerance = 1e3 * np.finfo(dtype).eps * np.abs(a[np.isfinite(a)]).max(initial=0)
    return np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True)


def table(verdicts: list[Verdict]) -> str:
    """Markdown: one row an op, one column a family of faults, and what the letters and columns mean."""
    cells: dict[tuple[str, str], set[str]] = {}
    for v in verdicts:
        cells.setdefault((v.op, v.mutant.family), set()).add(v.letter)
    columns = [f for f in FAMILIES if any((op, f) in cells for op in {v.op for v in verdicts})]
    rows = [["op", *(str(i + 1) for i in range(len(columns))), "killed"]]
    for op in dict.fromkeys(v.op for v in verdicts):
        row = ["".join(sorted(cells.get((op, f), "·"))) for f in columns]
        rows.append([f"`{op}`", *row, score([v for v in verdicts if v.op == op])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    letters = ", ".join(f"`{letter}` {name}" for letter, (name, _) in CHECKS.items())
    others = "`x` an exception of the op or the engine. `=` equivalent, `S` survived, `·` does not apply."
    legend = [
        "",
        f"Killed by: {letters}, {others}",
        "",
        *(f"{i + 1}. *{f}*: {FAMILIES[f]}" for i, f in enumerate(columns)),
    ]
    return "\n".join([*lines, *legend])


def score(verdicts: list[Verdict]) -> str:
    """Killed out of all that are not equivalent."""
    different = [v for v in verdicts if v.letter != EQUIVALENT]
    return f"{sum(v.letter != SURVIVED for v in different)}/{len(different)}"


def summary(verdicts: list[Verdict]) -> str:
    equivalent = sum(v.letter == EQUIVALENT for v in verdicts)
    return f"{score(verdicts)} mutants killed in {len({v.op for v in verdicts})} ops, {equivalent} more were equivalent"


def write_between_markers(path: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a file.

    Raises:
        ValueError: the file lacks the markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found_start, rest = path.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise ValueError(f"{path}: no markers {start} and {end}")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.testing.mutate", description=__doc__.split("\n\n")[0])
    parser.add_argument("ops", nargs="*", help="names of ops; all differentiable ones if none is given")
    parser.add_argument("--write", type=Path, metavar="FILE", help="markdown file whose table is replaced")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.ops) - set(OPS))
    if unknown:
        parser.error(f"no ops named {', '.join(unknown)}")
    start = time.perf_counter()
    verdicts = []
    for op in [OPS[name] for name in options.ops] or OPS.values():
        verdicts += [judge(op, mutant) for mutant in mutants(op)]
    if not verdicts:
        parser.error("none of these ops is differentiable")
    text = f"{table(verdicts)}\n\n{summary(verdicts)}."
    print(f"{text[:-1]}, in {time.perf_counter() - start:.0f} s.\n")
    for op in dict.fromkeys(v.op for v in verdicts):
        equivalent = [str(v.mutant) for v in verdicts if v.op == op and v.letter == EQUIVALENT]
        if equivalent:
            print(f"equivalent in {op}: {', '.join(equivalent)}")
    survivors = [v for v in verdicts if v.letter == SURVIVED]
    for v in survivors:
        print(f"SURVIVED in {v.op}: {v.mutant} ({FAMILIES[v.mutant.family]})")
    if options.write:
        write_between_markers(options.write, "mutation-table", text)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
