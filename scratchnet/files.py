"""Files that appear whole or not at all, and folders that belong to one process at a time."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes ``path`` when the block ends well, and vanishes when it does not.

    The bytes go to a temporary file of a unique name in the same folder, are flushed to the disk and renamed, and the
    folder is flushed as well. A reader sees the old file or the new one, also after a power failure, and two writers
    do not disturb each other.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make what was renamed or deleted in a folder last. Windows cannot open folders, and has no need of it."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed. Only for folders that nobody else writes to."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


class FolderLock:
    """Hold a folder until ``close()`` or the end of the process, however it ends: the system frees the lock.

    Raises:
        BlockingIOError: another process, or another part of this one, holds the folder.
    """

    def __init__(self, folder: Path):
        self._file = open(folder / ".lock", "ab")  # noqa: SIM115 - held open on purpose
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise BlockingIOError(f"{folder} is in use by another run, which still goes on") from error

    def close(self) -> None:
        self._file.close()


def _lock(file) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
