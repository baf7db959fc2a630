"""Certify that two runs are the same, bit for bit, or find the first step and the first op where they part.

    python examples/train_cnn.py --smoke --certificate --out a
    NUMBA_NUM_THREADS=1 python examples/train_cnn.py --smoke --certificate --out b
    python -m scratchnet.replay a/certificate.jsonl b/certificate.jsonl

A certificate has a line a step: the hash of every op's result in order, forward and backward, and the hash of every
array of the state after the step. The exit code is 0 for equal runs, 1 for runs that differ or of which one is longer,
2 for files that cannot be read.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest

import numpy as np

from scratchnet.device import to_device
from scratchnet.jsonlines import JsonLines, environment, read
from scratchnet.observe import borrowing, observe_ops
from scratchnet.serialization import snapshot

SCHEMA = "scratchnet.certificate/1"


class Certificate:
    """Writes the hashes of a run.

        certificate = Certificate("certificate.jsonl")
        with certificate.watch():
            for step, (x, y) in enumerate(loader, 1):
                ...  # forward, backward, optimizer.step()
                certificate.write(step, model=model, optimizer=optimizer, loader=loader)

    Args:
        path: of the file.
        header: what else the first line says, beside versions and threads.
        resume_at: go on after this step with the file of an earlier process, see ``JsonLines``.
    """

    def __init__(self, path: str | os.PathLike, header: dict | None = None, resume_at: int | None = None):
        self._lines = JsonLines(path, SCHEMA, {**(header or {}), "environment": environment()}, resume_at)
        self._ops: list[tuple[str, str]] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Hash the results of the ops that run in the block."""
        with observe_ops(borrowing(lambda name, result, inputs: self._ops.append((name, _hash(result.data))))):
            yield

    def write(self, step: int, **parts) -> None:
        """End a step: hash the state of the parts, which are those of ``save_checkpoint``."""
        self._lines.write(step=step, ops=self._ops, state=state_hashes(parts))
        self._ops = []

    def close(self) -> None:
        self._lines.close()


def state_hashes(parts: dict) -> dict[str, str]:
    """A hash of every array in the state of the parts, by name, and one of all that is no array, by part."""
    tree, arrays = snapshot(parts)
    rest = {name: hashlib.blake2b(json.dumps(tree[name]).encode(), digest_size=8).hexdigest() for name in tree}
    return {name: _hash(array) for name, array in arrays.items()} | rest


def _hash(array) -> str:
    """Of dtype, shape and values, in logical order: how an array lies in memory does not count."""
    array = np.ascontiguousarray(to_device(array, "cpu"))
    digest = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
    digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def compare(a: str | os.PathLike, b: str | os.PathLike) -> tuple[bool, str]:
    """Whether two certificates agree throughout, and a report in words.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    rows_a, rows_b = _rows(a), _rows(b)
    notes = _header_differences(next(rows_a), next(rows_b))
    steps = 0
    for row_a, row_b in zip_longest(rows_a, rows_b):
        if row_a is None or row_b is None:
            ended = a if row_a is None else b
            return False, "\n".join([*notes, f"equal for {steps} steps, then {ended} ends"])
        difference = _first_difference(row_a, row_b)
        if difference:
            return False, "\n".join([*notes, difference])
        steps += 1
    if not steps:
        raise ValueError(f"{a} and {b} hold no step: there is nothing to compare")
    return True, "\n".join([*notes, f"equal, bit for bit, in all {steps} steps"])


def _rows(path) -> Iterator[dict]:
    for number, row in enumerate(read(path, SCHEMA), 1):
        if number == 1:
            sound = isinstance(row.get("environment"), dict)
        else:
            ops, state = row.get("ops"), row.get("state")
            pairs = isinstance(ops, list) and all(isinstance(op, list) and len(op) == 2 for op in ops)
            sound = "step" in row and pairs and isinstance(state, dict)
        if not sound:
            raise ValueError(f"{path}, line {number}: no line of a certificate")
        yield row


def _header_differences(a: dict, b: dict) -> list[str]:
    a, b = (header["environment"] for header in (a, b))
    names = [name for name in a.keys() | b.keys() if name != "command" and a.get(name) != b.get(name)]
    return [f"{name}: {a.get(name)} and {b.get(name)}" for name in sorted(names)]


def _first_difference(a: dict, b: dict) -> str | None:
    if a["step"] != b["step"]:
        return f"the files part at steps {a['step']} and {b['step']}: one lacks a step"
    step, count = a["step"], max(len(a["ops"]), len(b["ops"]))
    for i, (op_a, op_b) in enumerate(zip_longest(a["ops"], b["ops"], fillvalue=["no op", ""]), 1):
        if op_a[0] != op_b[0]:
            return f"step {step}, op {i} of {count}: {op_a[0]} in one run, {op_b[0]} in the other"
        if op_a[1] != op_b[1]:
            return f"step {step}, op {i} of {count}: {op_a[0]} gives other bits; what came before is equal"
    names = [name for name in a["state"].keys() | b["state"].keys() if a["state"].get(name) != b["state"].get(name)]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"step {step}: all {count} ops agree, but the state after it differs in {min(names)}{more}"
    return None


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scratchnet.replay", description=__doc__.splitlines()[0])
    parser.add_argument("a", help="a certificate.jsonl")
    parser.add_argument("b", help="another one")
    args = parser.parse_args(argv)
    try:
        equal, report = compare(args.a, args.b)
    except (OSError, ValueError) as error:
        print(f"error: {error}")
        return 2
    print(report)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
