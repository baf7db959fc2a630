"""The IDX reader reads what was written, and refuses everything else by name."""

import gzip
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from idx_writer import IDX_CODES, idx_bytes

from scratchnet.data import read_idx

ARRAYS = hnp.arrays(
    st.sampled_from(sorted(IDX_CODES)).map(np.dtype),
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    elements={"allow_nan": False},
)


@given(array=ARRAYS, gzipped=st.booleans())
def test_round_trip(tmp_path_factory, array, gzipped):
    path = tmp_path_factory.mktemp("idx") / "file"
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data) if gzipped else data)
    read = read_idx(path)
    assert read.dtype == array.dtype and read.dtype.isnative
    np.testing.assert_array_equal(read, array, strict=True)


SAMPLE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("gzipped", [False, True])
def test_every_truncation_is_refused(tmp_path, gzipped):
    path = tmp_path / "cut-idx3-ubyte"
    data = idx_bytes(SAMPLE)
    data = gzip.compress(data) if gzipped else data
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="cut-idx3-ubyte"):
            read_idx(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file: it begins with 00 00 07 01"),
        (b"\1\0\x08\x01\0\0\0\0", "not an IDX file"),
        (b"\0\0\x08\x00", "not an IDX file"),
        (b"\0\0\x08\xff", "255 axes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "promises shape .4294967295, 4294967295, 4294967295."),
        (b"\0\0\x08\x03" + b"\0" * 4 + b"\xff" * 8, "promises shape .0, 4294967295, 4294967295."),
        (b"\0\0\x08\x01\x3f\xff\xff\xff" + b"x" * 9, "truncated: 1073741823 bytes were to follow, 9 did"),
        (idx_bytes(SAMPLE) + b"x", "bytes after the 24"),
        (gzip.compress(idx_bytes(SAMPLE) + b"x", mtime=0), "bytes after the 24"),
        (gzip.compress(idx_bytes(SAMPLE), mtime=0)[:-8] + b"\0" * 8, "damaged gzip"),
        (b"\x1f\x8b" + b"\0" * 40, "damaged gzip"),
        (b"", "truncated"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, data, message):
    path = tmp_path / "bad.idx"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"bad\.idx: .*{message}"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(SAMPLE) + bytes(64 << 20), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(ValueError, match="bytes after the 24"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_larger_than_allowed(tmp_path, write_idx):
    path = tmp_path / "large"
    write_idx(path, SAMPLE)
    assert read_idx(path, max_bytes=24).nbytes == 24
    with pytest.raises(ValueError, match="at most 23 bytes"):
        read_idx(path, max_bytes=23)


@given(cuts=st.lists(st.integers(0, 60), max_size=4), junk=st.binary(max_size=8), gzipped=st.booleans())
def test_mutated_files_raise_nothing_but_value_error(tmp_path_factory, cuts, junk, gzipped):
    data = gzip.compress(idx_bytes(SAMPLE)) if gzipped else idx_bytes(SAMPLE)
    parts = [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
    path = tmp_path_factory.mktemp("idx") / "mutant"
    path.write_bytes(junk.join(parts))
    try:
        read_idx(path, max_bytes=1 << 16)
    except ValueError as error:
        assert "mutant" in str(error)
