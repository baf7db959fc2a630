"""Logs as JSON lines: a first line that says what the others are, appended to and never rewritten but to resume."""

import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from scratchnet.files import atomic_file

PACKAGES = ("scratchnet", "numpy", "numba", "safetensors", "pillow", "cupy-cuda13x")


def environment() -> dict:
    """Versions and facts of this process that can change what it computes or how fast."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    threads = {key: value for key, value in sorted(os.environ.items()) if key.endswith("_NUM_THREADS")}
    return {
        "versions": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "command": sys.argv,
    }


class JsonLines:
    """A growing file of JSON objects, one a line. Its first line is ``{"schema": schema, **header}``.

    NaN and the infinities, which JSON has no numbers for, are written as the strings "NaN", "Infinity", "-Infinity".

    Args:
        path: of the file.
        schema: the name and version of what the lines hold, such as "scratchnet.metrics/1".
        header: what else the first line says.
        resume_at: go on with the file of an earlier process: its rows up to this "step" stay, later ones and a last
            line that was cut off go, because they will be written again.

    Raises:
        FileExistsError: the file exists and ``resume_at`` is not given.
        FileNotFoundError: ``resume_at`` is given and there is no file.
        ValueError: the file to go on with is damaged, or of another schema.
    """

    def __init__(self, path: str | os.PathLike, schema: str, header: dict, resume_at: int | None = None):
        self.path = Path(path)
        if resume_at is None:
            self._file = open(self.path, "xb")  # noqa: SIM115 - stays open as long as this object
            self._append({"schema": schema, **header})
            return
        first, *rows = read(self.path, schema)
        kept = [row for row in rows if row.get("step", 0) <= resume_at]
        with atomic_file(self.path) as file:
            file.writelines(map(_line, [first, *kept]))
        self._file = open(self.path, "ab")  # noqa: SIM115

    def write(self, **row) -> None:
        """Append a row. It outlives the process at once, and a power failure after ``sync()``."""
        self._append(row)

    def _append(self, row: dict) -> None:
        self._file.write(_line(row))
        self._file.flush()

    def sync(self) -> None:
        """Flush the file to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: str | os.PathLike, schema: str) -> Iterator[dict]:
    """The first line and the rows of a file, one after the other. A last line that was cut off is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no JSON object, or the first is of another schema; the message has its number.
    """
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") and number > 1:
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: expected a JSON object, got {line[:40]!r}")
            if number == 1 and row.get("schema") != schema:
                raise ValueError(f"{path}: its schema is {row.get('schema')!r:.80}, expected {schema!r}")
            if not isinstance(row.get("step", 0), int):
                raise ValueError(f"{path}, line {number}: step must be an integer, got {row['step']!r:.40}")
            yield row
    if not number:
        raise ValueError(f"{path} is empty")


def _line(row: dict) -> bytes:
    return json.dumps(_finite(row), allow_nan=False).encode() + b"\n"


def _finite(value):
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return value
