"""The gradient checker put to the test: no false alarm on what is right, no silence on what is wrong.

    python -m scratchnet.testing.certify                    # a sample of everything, a few minutes
    python -m scratchnet.testing.certify --cases 100000     # the certificate: nightly

It draws random cases from the op registry, of both dtypes and of first and second order, and asks for three things:
no FAIL where inputs are random; no FAIL where many inputs are moved to kinks and ties; and FAIL, with the right
entry named, for a relative error of 1e-4 (float64) or 1e-2 (float32) planted in one entry of one gradient, for every
entry of every sample of every op. The program exits with 1 if one of them does not hold.
"""

import argparse
import collections
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scratchnet.ops import OPS, alias
from scratchnet.ops.registry import Draw, Op, S
from scratchnet.tensor import Tensor
from scratchnet.testing.gradcheck import bind, check_gradients, differentiated
from scratchnet.testing.problem import PRECISION, signed
from scratchnet.testing.report import GradientReport, Verdict

DIFFERENTIABLE = [op for op in OPS.values() if op.differentiable]
KINKED = [op for op in DIFFERENTIABLE if op.kinks]
DTYPES = list(PRECISION)


@dataclass(frozen=True)
class Case:
    """A call of an op, and what to check about it."""

    op: Op
    sample: S
    order: int
    seed: int

    def check(self) -> GradientReport:
        return check_gradients(self.op, self.sample.arrays, params=self.sample.params, order=self.order, seed=self.seed)

    def __str__(self):
        values = ", ".join(repr(a.tolist()) for a in self.sample.arrays)
        return f"{self.op.name}({values}, **{self.sample.params})"


def random_case(seed: int, at_kinks: bool = False) -> Case:
    """An op, one of its samples with fresh values, a dtype and an order, all from a seed.

    ``at_kinks`` moves some entries to kinks and ties, and takes every other op from those that declare some.
    """
    generator = np.random.default_rng(seed)
    ops = KINKED if at_kinks and generator.random() < 0.5 else DIFFERENTIABLE
    op = ops[generator.integers(len(ops))]
    samples = op.samples(Draw(generator))
    sample = samples[generator.integers(len(samples))]
    arrays = moved_to_kinks(sample, generator) if at_kinks else sample.arrays
    dtype = DTYPES[generator.integers(len(DTYPES))]
    return Case(op, S(*as_dtype(arrays, dtype), **sample.params), int(generator.integers(1, 3)), seed)


def as_dtype(arrays, dtype) -> list[np.ndarray]:
    return [np.asarray(a, dtype) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in arrays]


def moved_to_kinks(sample: S, generator: np.random.Generator) -> list[np.ndarray]:
    """The sample's arrays, some of their entries moved to where kinks are.

    That is to 0, 1, -1 or a number among the parameters; onto another entry of the array; or onto the entry at the
    same place of an earlier array. Signs stay as they are where all entries have the same.
    """
    numbers = [float(v) for v in sample.params.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    special = np.array([0.0, 0.0, 1.0, -1.0, *numbers])
    arrays: list[np.ndarray] = []
    for a in map(np.array, sample.arrays):
        if a.dtype.kind == "f" and a.size:
            pool = [generator.choice(np.abs(special) if a.min() >= 0 else special), generator.choice(a.flat)]
            for place in generator.integers(a.size, size=generator.integers(1, 4)):
                fellows = [b.flat[place] for b in arrays if b.shape == a.shape and b.dtype == a.dtype]
                a.flat[place] = generator.choice([*pool, *fellows])
        arrays.append(a)
    return arrays


def planted(function, number: int, index: tuple[int, ...], error: float):
    """``function``, but the gradient of entry ``index`` of input ``number`` is off by the relative ``error``."""

    def faulty(*tensors):
        tensors = list(tensors)
        x = alias(tensors[number])
        if x.requires_grad:
            factor = np.ones(x.shape, x.dtype)
            factor[index] += error
            x.register_hook(lambda g: g * Tensor(factor))
        tensors[number] = alias(x)
        return function(*tensors)

    return faulty


def faults(op: Op, seed: int, order: int, entries: int | None = None) -> Iterator[tuple[str, GradientReport, bool]]:
    """Plant an error of the promised size in one entry after the other.

    Args:
        entries: how many of each input, drawn at random; all of them for None. Entries whose gradient is 0 have no
            relative error and are left out.

    Yields:
        Where it was planted, in words; the report; whether that is a FAIL of this one entry.
    """
    generator = np.random.default_rng(seed)
    for k, sample in enumerate(op.samples(Draw(generator))):
        for dtype, promise in PRECISION.items():
            function, arrays = bind(op, sample.params), as_dtype(sample.arrays, dtype)
            for _ in range(1, order):
                function, arrays = differentiated(function, arrays, generator)
            if len({a.dtype for a in arrays if a.dtype.kind == "f"}) > 1:
                continue  # astype to float64: the cotangent of order 2 is not float32
            for number, index in _nonzero_entries(function, arrays, generator, entries):
                report = check_gradients(
                    planted(function, number, index, promise.sharp), arrays, linear=op.degree == 1, seed=seed
                )
                found = report.verdict is Verdict.FAIL and (report.input, report.index) == (number, index)
                yield f"{op.name}, sample {k}, {dtype}, order {order}, input {number}{list(index)}", report, found


def _nonzero_entries(function, arrays, generator, entries):
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    out = function(*tensors)
    if not out.requires_grad:
        return
    out.backward(Tensor(signed(generator, out.shape).astype(out.dtype)))
    for number, x in enumerate(tensors):
        if x.grad is not None:
            places = np.argwhere(x.grad.data)
            for place in generator.permutation(places)[:entries]:
                yield number, tuple(map(int, place))


def certify_correct(cases: int, seed: int, at_kinks: bool) -> collections.Counter:
    """Check random cases, print those that FAIL, and count the verdicts."""
    verdicts = collections.Counter()
    for n in range(cases):
        case = random_case(seed + n, at_kinks)
        try:
            report = case.check()
        except ValueError:  # moved out of the domain
            verdicts["refused"] += 1
            continue
        verdicts[str(report.verdict)] += 1
        if report.verdict is Verdict.FAIL:
            print(f"false alarm, seed {case.seed}: {report}\n    {case}")
    return verdicts


def certify_faults(seed: int, order: int, entries: int | None) -> collections.Counter:
    """Plant faults in all ops, print those that were not found, and count."""
    outcomes = collections.Counter()
    for op in DIFFERENTIABLE:
        for where, report, found in faults(op, seed, order, entries):
            outcomes["found" if found else "missed"] += 1
            if not found:
                print(f"missed: {where}: {report}")
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scratchnet.testing.certify", description="Certify the gradient checker on the library's ops."
    )
    parser.add_argument("--cases", type=int, default=2_000, help="random correct cases, and as many with kinks")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each has the next")
    parser.add_argument("--entries", type=int, help="faults an input and sample; default: 3, or all from 100,000 cases")
    options = parser.parse_args()
    entries = options.entries or (None if options.cases >= 100_000 else 3)
    wrong = 0
    for title, run in (
        ("random inputs", lambda: certify_correct(options.cases, options.seed, False)),
        ("inputs at kinks and ties", lambda: certify_correct(options.cases, options.seed, True)),
        ("planted faults, order 1", lambda: certify_faults(options.seed, 1, entries)),
        ("planted faults, order 2", lambda: certify_faults(options.seed, 2, 3 if entries is None else entries)),
    ):
        start = time.process_time()
        counts = run()
        wrong += counts["FAIL"] + counts["missed"]
        tally = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
        print(f"{title}: {tally} ({time.process_time() - start:.0f} s)", flush=True)
    print("certified" if not wrong else f"NOT certified: {wrong} wrong verdicts")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
