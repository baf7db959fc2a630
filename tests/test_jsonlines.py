"""Logs that describe themselves and can be gone on with."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.jsonlines import JsonLines, environment, read

SCHEMA = "test/1"


def written(path, *rows, **options):
    log = JsonLines(path, SCHEMA, {"a": 1}, **options)
    for row in rows:
        log.write(**row)
    log.close()
    return path


def test_a_first_line_and_rows(tmp_path):
    path = written(tmp_path / "log", {"step": 1, "x": 0.1}, {"step": 2, "x": [float("nan"), float("-inf")]})
    assert list(read(path, SCHEMA)) == [
        {"schema": SCHEMA, "a": 1},
        {"step": 1, "x": 0.1},
        {"step": 2, "x": ["NaN", "-Infinity"]},
    ]


def test_a_log_is_not_overwritten(tmp_path):
    path = written(tmp_path / "log")
    with pytest.raises(FileExistsError):
        written(path)


def test_going_on_drops_later_rows_and_a_line_cut_off(tmp_path):
    path = written(tmp_path / "log", *({"step": step} for step in (1, 2, 2, 3)))
    path.write_bytes(path.read_bytes() + b'{"step": 4')
    written(path, {"step": 3, "new": True}, resume_at=2)
    assert [*read(path, SCHEMA)][1:] == [{"step": 1}, {"step": 2}, {"step": 2}, {"step": 3, "new": True}]
    with pytest.raises(FileNotFoundError):
        written(tmp_path / "none", resume_at=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b'{"schema": "test/2"}\n', "its schema is 'test/2', expected 'test/1'"),
        (b'{"schema": "test/1"}\n[1]\n', "line 2: expected a JSON object"),
        (b'{"schema": "test/1"}\n\xff\n', "line 2: not JSON"),
        (b'{"schema": "test/1"}\n{"step": "x"}\n', "line 2: step must be an integer, got 'x'"),
        (b"[" * 100_000 + b"\n", "line 1: not JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        list(read(tmp_path / "log", SCHEMA))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(b'{"schema": "test/1"}\n' + junk)
    try:
        rows = list(read(path, SCHEMA))
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(row, dict) for row in rows)


def test_the_environment_is_json():
    facts = json.loads(json.dumps(environment()))
    assert {"versions", "platform", "cpus", "threads", "command"} <= facts.keys()
    assert {"python", "numpy"} <= facts["versions"].keys()
