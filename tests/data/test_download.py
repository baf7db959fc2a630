"""Downloads end in the right file or leave what was there; local copies are found by their checksums."""

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scratchnet.data.download import download
from scratchnet.data.files import cache_folder, find_file
from scratchnet.files import atomic_file

CONTENT = bytes(range(256)) * 1000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(server):
    (server.folder / "set.bin").write_bytes(CONTENT)
    (server.folder / "other").mkdir()
    (server.folder / "other" / "set.bin").write_bytes(CONTENT[:-1] + b"?")
    return server


@pytest.mark.parametrize("published", [MD5, SHA256])
def test_download(served, tmp_path, published):
    path = tmp_path / "new" / "folder" / "set.bin"
    assert download([served.url + "set.bin"], path, published) == path
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["set.bin"]


@pytest.mark.parametrize("bad", ["missing/", "forbidden/", "half/", "other/"])
def test_a_bad_mirror_is_passed_over(served, tmp_path, bad):
    path = tmp_path / "set.bin"
    download([served.url + bad + "set.bin", served.url + "set.bin"], path, MD5)
    assert path.read_bytes() == CONTENT


def test_a_mirror_that_is_off_is_passed_over(served, tmp_path):
    download(["http://127.0.0.1:9/set.bin", served.url + "set.bin"], tmp_path / "set.bin", MD5)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("missing/", "404"),
        ("forbidden/", "403"),
        ("half/", "sent 128000 of 256000 bytes"),
        ("other/", "wrong checksum: md5 is"),
    ],
)
def test_what_was_there_is_kept_and_the_error_says_what_to_do(served, tmp_path, bad, why):
    path = tmp_path / "here" / "set.bin"
    path.parent.mkdir()
    path.write_bytes(b"the good copy")
    with pytest.raises(ConnectionError) as caught:
        download([served.url + bad + "set.bin"], path, MD5)
    assert path.read_bytes() == b"the good copy"
    assert [p.name for p in path.parent.iterdir()] == ["set.bin"]
    for part in (served.url + bad, why, f"put the file set.bin ({MD5}) into {path.parent}"):
        assert part in str(caught.value)


def test_endless_answers_are_cut_off(served, tmp_path, monkeypatch):
    monkeypatch.setattr("scratchnet.data.download.LARGEST", 100_000)
    with pytest.raises(ConnectionError, match="more than 100000 bytes"):
        download([served.url + "set.bin"], tmp_path / "set.bin", MD5)


def test_a_mirror_that_never_answers_is_given_up(served, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/set.bin"
        download([url, served.url + "set.bin"], tmp_path / "set.bin", MD5, timeout=0.2)
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


def test_two_processes_at_once(served, tmp_path):
    path = tmp_path / "shared" / "set.bin"
    code = (
        "import sys, pathlib; from scratchnet.data.download import download\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "download([sys.argv[1]], pathlib.Path(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, served.url + "set.bin", str(path), MD5]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0]
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["set.bin"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_find_file_goes_by_the_checksum(tmp_path):
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.mkdir()
    good.mkdir()
    sums = {"set.gz": "md5:0", "set.bin": SHA256}
    assert find_file([bad, good], sums) is None
    (bad / "set.bin").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"set\.bin is not the published file: its sha256 is .*, expected "):
        find_file([bad, good], sums)
    (good / "set.bin").write_bytes(CONTENT)
    assert find_file([bad, good], sums) == good / "set.bin"


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "scratchnet" / "data"
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder("elsewhere") == Path("elsewhere")
