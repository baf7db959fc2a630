"""Fuzz a reader of files: mutate good files at random and see that it reads or refuses them, in words, time and memory.

    report = fuzz(read_idx, [good_bytes], count=10_000, folder=tmp_path)
    assert not report.failures, report

POSIX only: the memory of the process is asked for.
"""

import random
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

EXTREMES = [n.to_bytes(4, order) for n in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF) for order in ("big", "little")]


@dataclass
class FuzzReport:
    """How many mutants were ``read`` and ``refused``, and the ``failures``: (what happened, where the file is)."""

    read: int = 0
    refused: int = 0
    failures: list[tuple[str, Path]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.read} read, {self.refused} refused, {len(self.failures)} failures"]
        return "\n".join([*lines, *(f"  {path}: {what}" for what, path in self.failures)])


def fuzz(
    reader: Callable[[Path], object],
    samples: Sequence[bytes],
    count: int,
    folder: Path,
    *,
    suffix: str = "",
    seed: int = 0,
    refusals: tuple[type[Exception], ...] = (ValueError,),
    seconds: float = 5.0,
    megabytes: float = 256.0,
) -> FuzzReport:
    """Give ``reader`` the paths of ``count`` mutants of good files.

    A failure is: an exception other than ``refusals``; a refusal whose message does not name the file; more than
    ``seconds`` of processor time for one file; the largest memory of the process growing by more than ``megabytes``.
    Files that failed are kept in ``folder``. A reader that takes the process down leaves its file there as well.
    """
    report, path = FuzzReport(), folder / f"mutant{suffix}"
    rng = random.Random(seed)
    _forget_peak()
    before = _peak_megabytes()
    for i in range(count):
        data = mutated(rng.choice(samples), rng, samples)
        path.write_bytes(data)
        began = time.process_time()
        problem = _problem(reader, path, refusals, report)
        if (took := time.process_time() - began) > seconds:
            problem = f"took {took:.1f} s"
        if (peak := _peak_megabytes()) - before > megabytes:
            problem, before = f"took {peak - before:.0f} MB", peak
        if problem:
            kept = folder / f"failure-{seed}-{i}{suffix}"
            kept.write_bytes(data)
            report.failures.append((problem, kept))
    path.unlink(missing_ok=True)
    return report


def _problem(reader, path: Path, refusals, report: FuzzReport) -> str | None:
    try:
        reader(path)
    except refusals as error:
        report.refused += 1
        return None if path.name in str(error) else f"the message names no file: {error!r:.200}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    report.read += 1
    return None


def mutated(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """One to five random changes: bits, extreme numbers, pieces cut, doubled, moved, or taken from another file."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        rng.choice(_CHANGES)(data, rng, others)
    return bytes(data)


def _place(data, rng) -> int:
    """Headers are where the decisions are: half of the changes hit the first 64 bytes."""
    return rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(data, rng, _):
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data, rng, _):
    if data:
        data[_place(data, rng)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])


def _extreme(data, rng, _):
    i = _place(data, rng)
    data[i : i + 4] = rng.choice(EXTREMES)


def _cut(data, rng, _):
    i = _place(data, rng)
    del data[i : i + rng.randint(1, 64)]


def _double(data, rng, _):
    i = _place(data, rng)
    piece = data[i : i + rng.randint(1, 64)]
    data[i:i] = piece * rng.choice([1, 2, 50])


def _junk(data, rng, _):
    i = _place(data, rng)
    data[i:i] = rng.randbytes(rng.randint(1, 16))


def _truncate(data, rng, _):
    del data[rng.randrange(len(data) + 1) :]


def _splice(data, rng, others):
    if others:
        other = rng.choice(others)
        data[_place(data, rng) :] = other[rng.randrange(len(other) + 1) :]


_CHANGES = (_flip, _flip, _byte, _extreme, _cut, _double, _junk, _truncate, _splice)


def _forget_peak() -> None:
    """Let the largest memory so far be today's: Linux can. Elsewhere only what exceeds the old peak is noticed."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> float:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def repaired_png(data: bytes) -> bytes:
    """A PNG with every chunk's checksum made right, so that a mutant gets past it."""
    out, i = bytearray(data[:8]), 8
    while i + 12 <= len(data):
        length = int.from_bytes(data[i : i + 4], "big")
        if i + 12 + length > len(data):
            break
        body = data[i + 4 : i + 8 + length]
        out += data[i : i + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        i += 12 + length
    return bytes(out + data[i:])
