"""Whatever stops a run: it says so in words, keeps the last good state, and goes on from it to the same result."""

import json
import os
import resource

import pytest

from scratchnet import jsonlines
from scratchnet.checkpoint import CheckpointFolder

REFUSED, ANOMALY, FILES, INTERRUPTED = 2, 3, 4, 130


def stopped(result, code, *words):
    """One line on stderr that begins with "error:", and no traceback."""
    assert result.returncode == code, result.stderr
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def resumes(train, whole, assert_equal):
    def go_on(folder, *arguments):
        result = train(folder, "--resume", *arguments)
        assert result.returncode == 0, result.stderr
        assert_equal(folder, whole)

    return go_on


def test_an_interrupt_saves_the_step_under_way(train, resumes, tmp_path):
    stopped(train(tmp_path, "--interrupt", 6), INTERRUPTED, "step 6 is saved, --resume goes on from there")
    resumes(tmp_path)


def test_a_second_interrupt_stops_at_once(train, resumes, tmp_path):
    stopped(train(tmp_path, "--interrupt", 6, "--twice"), INTERRUPTED, "stopped at once. Step 4 is saved")
    resumes(tmp_path)


def test_a_nan_stops_with_op_and_step(train, resumes, tmp_path):
    result = train(tmp_path, "--poison", 6)
    stopped(
        result, ANOMALY, "step 6: conv2d_bias: its input 0 of shape (8, 1, 6, 6) held NaN", "raised in Sequential.0"
    )
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "anomaly" and events[-1]["step"] == 6
    resumes(tmp_path)


def test_weights_that_explode_are_not_saved(train, resumes, tmp_path):
    stopped(train(tmp_path, "--explode", 6), ANOMALY, "step 6", "left NaN or infinity in model.0.weight", "Step 4 is")
    resumes(tmp_path)
    # Between two saves it is the next step's op that notices.
    folder = tmp_path / "later"
    stopped(train(folder, "--explode", 5), ANOMALY, "step 6: conv2d_bias: its input 1 of shape (6, 1, 3, 3)")
    assert train(tmp_path / "on", "--poison", 6, "--allow-nonfinite").returncode == 0


def test_a_full_disk(train, resumes, tmp_path):
    train(tmp_path, "--poison", 6)
    small_files = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))}
    result = train(tmp_path, "--resume", **small_files)
    stopped(result, FILES, "step 6", "File too large: nothing was written", "Step 4 is saved")
    resumes(tmp_path)


def test_a_disk_that_a_log_fills(train, resumes, tmp_path):
    train(tmp_path, "--interrupt", 6, "--certificate")
    size = (tmp_path / "certificate.jsonl").stat().st_size + 40  # the next line does not fit; a state would
    small_files = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    result = train(tmp_path, "--resume", "--certificate", **small_files)
    stopped(result, FILES, "step 7: [Errno 27] File too large. Step 6 is saved")
    resumes(tmp_path, "--certificate")


def test_a_folder_that_cannot_be_written_to(train, tmp_path):
    (tmp_path / "file").write_text("")
    stopped(train(tmp_path / "file" / "run"), REFUSED, "Not a directory")
    if os.getuid():  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        stopped(train(tmp_path / "closed"), REFUSED, "Permission denied")


def test_a_second_run_in_the_folder_is_refused(train, tmp_path):
    train(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stopped(train(tmp_path), REFUSED, "holds a run already: use --resume, or another --out")
    stopped(train(tmp_path, "--resume", "--lr", 1), REFUSED, "run with other settings: lr was 0.01, now 1.0")
    stopped(train(tmp_path, "--resume", 7), REFUSED, "has no state of step 7; it has 12, 15, 16")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with CheckpointFolder(tmp_path):
        stopped(train(tmp_path, "--resume"), REFUSED, "is in use by another run, which still goes on")
    assert train(tmp_path, "--resume").returncode == 0  # of a finished run: nothing is left to do


@pytest.mark.parametrize("damage", ["truncated", "bit flipped", "empty"])
def test_a_damaged_state_is_refused_and_the_one_before_is_offered(train, resumes, tmp_path, damage):
    train(tmp_path, "--interrupt", 7)
    last = tmp_path / "step-00000007.safetensors"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes({"truncated": data[:-1], "bit flipped": data, "empty": b""}[damage])
    result = train(tmp_path, "--resume")
    stopped(result, REFUSED, "step-00000007.safetensors is damaged", "step 6 is whole: go on from there instead")
    resumes(tmp_path, 6)


def test_resuming_where_nothing_is_begins_and_says_so(train, whole, assert_equal, tmp_path):
    result = train(tmp_path / "new", "--resume", "--quiet")
    assert result.stderr == f"{tmp_path / 'new'} has no checkpoint yet: beginning at step 1\n"
    assert_equal(tmp_path / "new", whole)
    stopped(train(tmp_path / "other", "--resume", 5), REFUSED, "has no state of step 5; it has none")


def test_a_damaged_log_is_refused(train, tmp_path):
    train(tmp_path, "--interrupt", 7)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join([*lines[:2], "oops\n", *lines[3:]]))
    stopped(train(tmp_path, "--resume"), REFUSED, "metrics.jsonl, line 3: not JSON")


def test_the_log_describes_itself(whole):
    first, *rows = jsonlines.read(whole / "metrics.jsonl", "scratchnet.metrics/1")
    assert first["config"] == {"lr": 0.01, "width": 6}
    assert {"python", "numpy"} <= first["environment"]["versions"].keys()
    assert [row["step"] for row in rows] == [*range(1, 17), 16]
    assert rows[-1]["event"] == "done"


def test_output_without_a_terminal(train, tmp_path):
    result = train(tmp_path / "a")
    assert result.stdout == "ready\n" and result.stderr == ""
    result = train(tmp_path / "b", "--quiet")
    assert result.stdout == "" and result.stderr == ""
