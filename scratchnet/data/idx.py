"""The IDX format of MNIST: a big-endian array of any shape, plain or gzipped.

Bytes 0 and 1 are zero, byte 2 names the type, byte 3 the number of axes; their sizes follow as unsigned 32-bit
integers, then the values (http://yann.lecun.com/exdb/mnist, "The IDX file format").
"""

import gzip
import math
import os
import struct
import zlib
from typing import BinaryIO

import numpy as np

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike, max_bytes: int = 1 << 30) -> np.ndarray:
    """Read an IDX file as an array of the machine's byte order; files that begin like gzip are unpacked on the way.

    Args:
        max_bytes: refuse arrays larger than this. No more than the header promises is ever unpacked.

    Raises:
        ValueError: not an IDX file, truncated, too long, damaged gzip, or larger than `max_bytes`.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return _read(gzip.GzipFile(fileobj=file) if gzipped else file, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from error


def _read(stream: BinaryIO, path, max_bytes: int) -> np.ndarray:
    magic = _take(stream, 4, path)
    if magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise ValueError(f"{path}: not an IDX file: it begins with {magic.hex(' ')}")
    if magic[3] > 8:
        raise ValueError(f"{path}: an IDX file of {magic[3]} axes; at most 8 are read")
    shape = struct.unpack(f">{magic[3]}I", _take(stream, 4 * magic[3], path))
    dtype = np.dtype(TYPES[magic[2]])
    # Axes of no length do not excuse the others: NumPy could not hold their product.
    if math.prod(max(1, n) for n in shape) * dtype.itemsize > max_bytes:
        raise ValueError(f"{path}: the header promises shape {shape}; at most {max_bytes} bytes are read")
    size = math.prod(shape) * dtype.itemsize
    values = np.frombuffer(_take(stream, size, path), dtype).reshape(shape)
    # At the end of the stream gzip checks its own checksum.
    if stream.read(1):
        raise ValueError(f"{path}: there are bytes after the {size} that shape {shape} asks for")
    return values.astype(dtype.newbyteorder("="), copy=False)


def _take(stream: BinaryIO, size: int, path) -> bytearray:
    """Exactly `size` bytes, piece by piece: a lying header must not cost memory that no data fills."""
    taken = bytearray()
    while len(taken) < size:
        piece = stream.read(min(CHUNK, size - len(taken)))
        if not piece:
            raise ValueError(f"{path}: truncated: {size} bytes were to follow, {len(taken)} did")
        taken += piece
    return taken
