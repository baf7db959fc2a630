"""CIFAR-10 in its binary version, the one that needs no pickle."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from scratchnet.data.dataset import ImageDataset, check_labels
from scratchnet.data.download import by_hand, download
from scratchnet.data.files import cache_folder, find_file

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes row by row


class CIFAR10(ImageDataset):
    """60,000 colour 32x32 images of 10 classes (Krizhevsky, 2009), 50,000 of them for training.

    In `root`, `root`/cifar10 or `root`/CIFAR10 lies either the archive cifar-10-binary.tar.gz or the folder
    cifar-10-batches-bin that it unpacks to; otherwise the archive is downloaded to `root`/cifar10. It is read where it
    is, and never unpacked to the disk.

    Args:
        root: a data folder; by default the cache folder, see `cache_folder`.
        train: the training or the test images.
        transform: applied to the float32 images, see `ImageDataset`.
        download: fetch the archive from the mirrors if there is nothing.

    Raises:
        FileNotFoundError: nothing is there and download is False. The message says what to put where.
        ConnectionError: nothing is there and no mirror has it.
        ValueError: a wrong checksum, a missing member, or a file that does not hold records of 3,073 bytes.
    """

    mirrors = (
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    )
    archive_sum = "md5:c32a1d4ab5d03f1284b67883e8d87530"
    sha256: ClassVar[Mapping[str, str]] = {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        train: bool = True,
        transform: Callable | None = None,
        download: bool = True,
    ) -> None:
        names = [name for name in self.sha256 if name.startswith("data" if train else "test")]
        parts = [parse_records(data, path) for path, data in self._read(names, cache_folder(root), download)]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        super().__init__(images, labels, self.class_names, transform)

    @classmethod
    def _read(cls, names: list[str], root: Path, fetch: bool) -> list[tuple[Path, bytes]]:
        folders = [root, root / "cifar10", root / "CIFAR10"]
        unpacked = [root, *(folder / FOLDER for folder in folders)]
        paths = [find_file(unpacked, {name: f"sha256:{cls.sha256[name]}"}) for name in names]
        if all(paths):
            return [(path, path.read_bytes()) for path in paths]
        archive = find_file(folders, {ARCHIVE: cls.archive_sum})
        if archive is None:
            archive = folders[1] / ARCHIVE
            if not fetch:
                how = by_hand(archive, cls.archive_sum)
                raise FileNotFoundError(f"{cls.__name__}: {how}, unpacked or not, or allow the download")
            download([mirror + ARCHIVE for mirror in cls.mirrors], archive, cls.archive_sum)
        members = [f"{FOLDER}/{name}" for name in names]
        return [(archive / name, data) for name, data in zip(members, read_members(archive, members), strict=True)]


def read_members(
    archive: Path, names: Sequence[str], max_bytes: int = 1 << 26, max_total: int = 1 << 28
) -> list[bytes]:
    """The contents of the files `names` of a tar archive, gzipped or not. Nothing is unpacked to the disk.

    Raises:
        ValueError: not a tar archive, a damaged one, a name that is missing, a file of more than `max_bytes`, or an
            archive that unpacks to more than `max_total`.
    """
    found = {}
    try:
        with open(archive, "rb") as file:
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            unpacked = _Limited(gzip.GzipFile(fileobj=file) if gzipped else file, max_total, archive)
            tar = tarfile.open(fileobj=unpacked, mode="r|")  # noqa: SIM115 - nothing of its own is open
            for member in tar:
                if member.name in names and member.isreg():
                    if member.size > max_bytes:
                        raise _TooLargeError(
                            f"{archive}: {member.name} has {member.size} bytes; at most {max_bytes} are read"
                        )
                    found[member.name] = tar.extractfile(member).read()
    except _TooLargeError:
        raise
    # tarfile raises what it likes on damaged headers: ValueError, OverflowError, UnicodeError ...
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{archive}: damaged archive: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{archive}: {', '.join(missing)} is missing")
    return [found[name] for name in names]


class _TooLargeError(ValueError):
    pass


class _Limited:
    """A stream that ends in an error where it is longer than it may be: a small archive can unpack to anything."""

    def __init__(self, stream, most: int, name: Path):
        self._stream, self._left, self._most, self._name = stream, most, most, name

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError(f"{self._name}: unpacks to more than {self._most} bytes, which is all that is read")
        return data


def parse_records(data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 records as images, uint8 (N, 3, 32, 32), and labels, int64 (N,).

    Raises:
        ValueError: the length is no multiple of 3,073, or a label is above 9.
    """
    if len(data) == 0 or len(data) % RECORD:
        raise ValueError(f"{path}: {len(data)} bytes are not a whole number of records of {RECORD}")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0].astype(np.int64)
    check_labels(labels, 10, str(path))
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
