"""Files that are made to do harm, or to take all memory, are refused; every reader bears some thousand mutants."""

import gzip
import io
import os
import tarfile
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from scratchnet.data import ImageFolder, read_idx, read_image
from scratchnet.data.cifar import read_members
from scratchnet.serialization import load_file
from scratchnet.testing.fuzz import fuzz
from tests import fuzz_readers


@pytest.mark.skipif(os.name == "nt", reason="the fuzzer asks POSIX for the memory that was used")
def test_every_reader_bears_mutants(tmp_path):
    reports = fuzz_readers.fuzz_all(4_000, 0, tmp_path)
    assert all(report.failures == [] for report in reports.values()), {k: str(r) for k, r in reports.items()}
    assert sum(report.read for report in reports.values()) > 400
    assert min(report.read + report.refused for report in reports.values()) >= 200


def test_the_fuzzer_finds_what_is_wrong(tmp_path):
    def reader(path):
        data = path.read_bytes()
        if data[:1] > b"\xf0":
            raise IndexError("out of range")
        if not data:
            raise ValueError("nameless")
        if data[0] == 1 and not hoard:
            hoard.append(bytearray(b"x") * (64 << 20))

    hoard = []
    report = fuzz(reader, [b"abc"], 600, tmp_path, megabytes=32)
    problems = {what.partition(":")[0].partition(" ")[0] for what, _ in report.failures}
    assert problems == {"IndexError", "the", "took"}
    assert all(path.is_file() for _, path in report.failures)


@contextmanager
def little_memory():
    """No more than 16 MB, counted by Python, above what was in use."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def tar_gz(path, *members):
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, size in members:
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    return path


def test_an_archive_that_unpacks_to_too_much(tmp_path):
    path = tar_gz(tmp_path / "bomb.tar.gz", ("padding", 40 << 20), ("wanted", 3))
    with (
        little_memory(),
        pytest.raises(ValueError, match=r"bomb\.tar\.gz: unpacks to more than 33554432 bytes, which is all"),
    ):
        read_members(path, ["wanted"], max_total=32 << 20)
    assert read_members(path, ["wanted"], max_total=48 << 20) == [bytes(3)]


def test_a_member_that_is_too_large(tmp_path):
    path = tar_gz(tmp_path / "bomb.tar.gz", ("wanted", 20 << 20))
    with little_memory(), pytest.raises(ValueError, match="wanted has 20971520 bytes; at most 1000 are read"):
        read_members(path, ["wanted"], max_bytes=1000)


def test_archives_write_nothing_to_the_disk(tmp_path):
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../escaped", "/tmp/escaped", "a/../../escaped"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("wanted")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match="wanted is missing"):  # a link is no file
        read_members(path, ["wanted"])
    assert list(tmp_path.parent.glob("escaped")) == [] and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**31, 2, 2), (0, 2**32 - 1, 2**32 - 1), (60000, 28, 28)])
def test_absurd_idx_sizes(tmp_path, sizes):
    path = tmp_path / "idx"
    path.write_bytes(b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in sizes))
    with little_memory(), pytest.raises(ValueError, match="idx: (the header promises shape|truncated)"):
        read_idx(path)


def test_a_gzip_bomb_below_an_honest_header(tmp_path):
    path = tmp_path / "idx.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05" + bytes(64 << 20), 1))
    with little_memory(), pytest.raises(ValueError, match="there are bytes after the 5"):
        read_idx(path)


def png_of(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels, 1)) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_image_bombs(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(*size, bytes(1 << 20)))
    with little_memory(), pytest.raises(ValueError, match=r"bomb\.png: not a readable image: "):
        read_image(path)


def test_an_image_with_too_little_data(tmp_path):
    path = tmp_path / "short.png"
    path.write_bytes(png_of(1000, 1000, bytes(100)))
    with little_memory(), pytest.raises(ValueError, match=r"short\.png: not a readable image: "):
        read_image(path)


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%stdout) (w) file (hello) writestring\n",
        b"\xd7\xcd\xc6\x9a" + bytes(60),  # a Windows metafile
        b"8BPS" + bytes(60),
    ],
)
def test_a_file_of_another_format_is_not_opened_whatever_its_name(tmp_path, content):
    """Pillow would start Ghostscript for the first."""
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png: not a readable image: cannot identify image file"):
        read_image(tmp_path / "x.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path):
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "a" / "good.png")
    with pytest.raises(ValueError, match=r"pipe\.png: not a readable image: no regular file"):
        read_image(tmp_path / "a" / "pipe.png")
    assert len(ImageFolder(tmp_path, on_error="skip")) == 1


def test_a_header_of_tensors_that_promises_too_much(tmp_path):
    path = tmp_path / "w.safetensors"
    for header in (b'{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,8]}}', b'{"w":' * 20_000):
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        with little_memory(), pytest.raises(ValueError, match=r"w\.safetensors is damaged"):
            load_file(path)
    path.write_bytes((2**63).to_bytes(8, "little") + bytes(100))
    with little_memory(), pytest.raises(ValueError, match=r"w\.safetensors is damaged"):
        load_file(path)
