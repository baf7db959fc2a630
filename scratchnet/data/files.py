"""Where data files live, and how one is written so that nobody ever sees half of it."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def cache_folder(root: str | os.PathLike | None = None) -> Path:
    """`root` if given, else the folder named by SCRATCHNET_DATA, else ~/.cache/scratchnet/data."""
    return Path(root or os.environ.get("SCRATCHNET_DATA") or "~/.cache/scratchnet/data").expanduser()


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well, and vanishes when it does not.

    The bytes go to a temporary file of a unique name in the same folder, are flushed to the disk and renamed, so that
    a reader sees the old file or the new one, and two writers do not disturb each other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def checksum(path: Path, algorithm: str) -> str:
    """The "md5" or "sha256" of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def find_file(folders: Sequence[Path], sums: Mapping[str, str]) -> Path | None:
    """The first file in `folders` that has one of the names of `sums` and the sum that goes with it.

    Args:
        sums: file name to "md5:..." or "sha256:...".

    Returns:
        None where there is no file of these names.

    Raises:
        ValueError: there are such files, but every one has another sum.
    """
    wrong = []
    for path in (folder / name for folder in folders for name in sums):
        if path.is_file():
            algorithm, _, expected = sums[path.name].partition(":")
            actual = checksum(path, algorithm)
            if actual == expected:
                return path
            wrong.append(f"{path} is not the published file: its {algorithm} is {actual}, expected {expected}")
    if wrong:
        raise ValueError("; ".join(wrong) + ". Delete or move it, and it can be downloaded again.")
    return None
