"""The same seed gives the same bits: for any number of threads, in any process, after resuming."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scratchnet.replay import Certificate, compare, main

SCRIPT = Path(__file__).parent / "certified.py"
POOLS = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def certify(folder, threads, *options, steps=4, **variables):
    environment = os.environ | dict.fromkeys(POOLS, str(threads)) | variables
    command = [sys.executable, SCRIPT, folder, str(steps), *options]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return certify(tmp_path_factory.mktemp("threads") / "1", threads=1)


@pytest.fixture(scope="module", params=["2 threads", "8 threads", "resumed", "together", "in turns"])
def other(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("threads") / "other"
    if request.param == "resumed":  # in the middle of an epoch, with another number of threads
        return certify(certify(folder, 8, steps=2), 1)
    if request.param == "together":  # the three trainings run at once in one process
        return certify(folder, 2, "together")
    if request.param == "in turns":  # the same, with threads of Numba's that only one Python thread may use at a time
        return certify(folder, 2, "together", NUMBA_THREADING_LAYER="workqueue")
    return certify(folder, int(request.param[0]))


@pytest.mark.parametrize("kind", ["Classifier", "GAN", "VAE"])
def test_bits_depend_on_the_seed_alone(certified, other, kind):
    a, b = (folder / kind / "certificate.jsonl" for folder in (certified, other))
    assert compare(a, b)[0], compare(a, b)[1]
    weights = [(folder / kind / "step-00000004.safetensors").read_bytes() for folder in (certified, other)]
    assert weights[0] == weights[1]


# How a difference is reported


def edited(source, target, step, change):
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    change(lines[step])
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return target


def first_conv_backward(row):
    i = next(i for i, (name, _) in enumerate(row["ops"]) if "backward pass of conv2d" in name)
    row["ops"][i][1] = "0" * 16


def drop(row):
    del row["ops"][3]


def weight(row):
    row["state"]["model.5.weight"] = "0" * 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            first_conv_backward,
            r"step 3, op \d+ of \d+: .* in the backward pass of conv2d_bias gives other bits; what came",
        ),
        (drop, r"step 3, op 4 of \d+: \w+ in one run, \w+ in the other"),
        (weight, r"step 3: all \d+ ops agree, but the state after it differs in model.5.weight"),
        (lambda row: row.update(step=4), "the files part at steps 3 and 4"),
    ],
)
def test_the_first_difference_is_named(whole, tmp_path, capsys, change, words):
    certificate = whole / "certificate.jsonl"
    other = edited(certificate, tmp_path / "b.jsonl", 3, change)
    assert main([str(certificate), str(other)]) == 1
    assert re.search(words, capsys.readouterr().out)


def test_equal_and_shorter_runs(whole, train, tmp_path, capsys):
    train(tmp_path, "--certificate", "--interrupt", 7)
    paths = [str(folder / "certificate.jsonl") for folder in (whole, tmp_path)]
    assert main(paths) == 1
    assert capsys.readouterr().out == f"equal for 7 steps, then {paths[1]} ends\n"
    train(tmp_path, "--certificate", "--resume", 6)
    assert main(paths) == 0
    assert capsys.readouterr().out == "equal, bit for bit, in all 16 steps\n"


def test_another_learning_rate_is_found_in_the_state_of_the_first_step(whole, train, tmp_path):
    train(tmp_path, "--certificate", "--lr", 0.02)
    equal, report = compare(whole / "certificate.jsonl", tmp_path / "certificate.jsonl")
    assert not equal and "step 1: all" in report and "the state after it differs in ema.averages.0 and" in report


def test_files_that_are_no_certificates(tmp_path, capsys):
    (tmp_path / "a").write_text('{"schema": "scratchnet.metrics/1"}\n')
    (tmp_path / "b").write_text('{"schema": "scratchnet.certificate/1"}\n{"step": 1}\n')
    for pair in (("a", "b"), ("none", "b"), ("b", "b")):
        assert main([str(tmp_path / name) for name in pair]) == 2
        assert capsys.readouterr().out.startswith("error: ")


def test_a_step_holds_no_more_than_itself(tmp_path):
    certificate = Certificate(tmp_path / "c")
    with certificate.watch():
        for step in range(3):
            certificate.write(step)
    assert certificate._ops == []
    certificate.close()


def test_two_runs_without_a_step_are_not_called_equal(tmp_path, capsys):
    for name in "ab":
        Certificate(tmp_path / name).close()
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "hold no step: there is nothing to compare" in capsys.readouterr().out
