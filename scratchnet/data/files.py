"""Where data files live, and how one is told by its checksum."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def cache_folder(root: str | os.PathLike | None = None) -> Path:
    """`root` if given, else the folder named by SCRATCHNET_DATA, else ~/.cache/scratchnet/data."""
    if root is not None and not isinstance(root, str | os.PathLike):
        raise TypeError(f"root: expected a folder's path, got {root!r}")
    return Path(root or os.environ.get("SCRATCHNET_DATA") or "~/.cache/scratchnet/data").expanduser()


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
