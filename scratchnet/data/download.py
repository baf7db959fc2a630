"""Downloading published files from a list of mirrors: checked, atomic, with a progress bar."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from scratchnet.files import atomic_file

CHUNK = 1 << 16
LARGEST = 1 << 30  # bytes; no data set here has a file half as large


def download(urls: Sequence[str], path: Path, published: str, *, progress: bool = True, timeout: float = 30.0) -> Path:
    """Fetch a file from the first mirror that has it, and put it at `path` once its checksum is right.

    Args:
        urls: where the file is published, best first.
        published: "md5:..." or "sha256:...", the checksum that is published with the file.
        timeout: seconds that a mirror may be silent.

    Raises:
        ConnectionError: no mirror gave the right file. It says what each of them did, and how to place the file by
            hand; a file that was at `path` before is still there.
    """
    from http.client import HTTPException

    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        try:
            with atomic_file(path) as file:
                _fetch(url, file, published, progress, timeout)
            return path
        except (OSError, HTTPException, ValueError) as error:
            failures.append(f"  {url}: {error}")
    raise ConnectionError(
        f"could not download {path.name}:\n" + "\n".join(failures) + f"\nWithout a network, {by_hand(path, published)}"
    )


def by_hand(path: Path, published: str) -> str:
    """What to do where nothing can be downloaded."""
    return f"put the file {path.name} ({published}) into {path.parent}"


def _fetch(url: str, file, published: str, progress: bool, timeout: float) -> None:
    """Write what `url` serves into `file`. ValueError where it is too long, too short or has another checksum."""
    from urllib.request import Request, urlopen

    algorithm, _, expected = published.partition(":")
    digest = hashlib.new(algorithm)
    request = Request(url, headers={"User-Agent": "scratchnet"})
    with urlopen(request, timeout=timeout) as response:
        length = response.headers.get("Content-Length", "")
        length = int(length) if length.isdecimal() else None
        received = 0
        with _progress_bar(url.rpartition("/")[2], length, progress) as bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                bar.update(len(chunk))
                if received > LARGEST:
                    raise ValueError(f"sent more than {LARGEST} bytes")
    if length is not None and received != length:
        raise ValueError(f"sent {received} of {length} bytes")
    if digest.hexdigest() != expected:
        raise ValueError(f"wrong checksum: {algorithm} is {digest.hexdigest()}, expected {expected}")


def _progress_bar(name: str, length: int | None, progress: bool):
    from tqdm import tqdm

    # disable=None draws the bar on terminals only.
    return tqdm(desc=name, total=length, unit="B", unit_scale=True, disable=None if progress else True)
