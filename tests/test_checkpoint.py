"""A folder of checkpoints keeps the last few and the best, and offers what is whole."""

import itertools
import os

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn, serialization
from scratchnet.checkpoint import CheckpointFolder


def filled(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        parameter.data[...] = value
    return layer


def names(path):
    return sorted(file.name for file in path.iterdir() if file.name != ".lock")


def test_the_last_and_the_best_stay(tmp_path):
    with CheckpointFolder(tmp_path / "deep" / "run", keep=2) as folder:
        for step, score in enumerate([0.1, 0.5, float("nan"), 0.5, 0.3], 1):
            folder.save(step, {"lr": 1}, score=score, model=filled(step))
        assert folder.steps() == [4, 5]
        assert names(folder.path) == ["best.safetensors", "model.safetensors"] + [
            f"step-0000000{step}.safetensors" for step in (4, 5)
        ]
        model = filled(0)
        found = folder.load(model=model)
        assert (found.step, found.config, found.score) == (5, {"lr": 1}, 0.3)
        assert model.weight.tolist() == [[5, 5]]
        folder.load(4, model=model)
        assert model.weight.tolist() == [[4, 4]]
        assert sn.load_checkpoint(folder.best).step == 2  # of equal scores the first
    weights = sn.load_file(folder.path / "model.safetensors")
    assert {name: value.tolist() for name, value in weights.items()} == {"weight": [[2, 2]], "bias": [2]}


def test_without_scores_the_weights_are_the_last(tmp_path):
    with CheckpointFolder(tmp_path) as folder:
        for step in (1, 2):
            folder.save(step, model=filled(step), randoms=np.random.default_rng(0))
    assert names(tmp_path) == ["model.safetensors", "step-00000001.safetensors", "step-00000002.safetensors"]
    assert sn.load_file(tmp_path / "model.safetensors")["bias"].tolist() == [2]


class KilledError(BaseException):
    pass


SCORES = {1: 0.1, 2: 0.5, 3: 0.7, 4: 0.3}


def go_on(path, die_at=0):
    """Save what is left of four steps, killed before the n-th write, flush, renaming or deletion."""
    events = itertools.count(1)

    def killed(function):
        def wrapper(*args):
            if next(events) == die_at:
                raise KilledError
            return function(*args)

        return wrapper

    with CheckpointFolder(path, keep=2) as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "unlink"):
            patch.setattr(os, name, killed(getattr(os, name)))
        found = folder.load(model=filled(0))
        for step in range(found.step + 1 if found else 1, 5):
            folder.save(step, score=SCORES[step], model=filled(step))
    return next(events) - 1


def test_a_save_may_be_killed_at_any_point(tmp_path):
    count = go_on(tmp_path / "whole")
    assert count > 20
    for event in range(1, count + 1):
        with pytest.raises(KilledError):
            go_on(tmp_path / str(event), die_at=event)
        go_on(tmp_path / str(event))
        for file in (tmp_path / "whole").iterdir():  # an older state may be left over, until the next is saved
            assert (tmp_path / str(event) / file.name).read_bytes() == file.read_bytes(), (event, file.name)


def test_an_empty_folder_has_nothing_to_load(tmp_path):
    with CheckpointFolder(tmp_path) as folder:
        assert folder.load(model=filled(0)) is None
        with pytest.raises(FileNotFoundError, match="has no state of step 3; it has none"):
            folder.load(3)


def test_what_a_killed_writer_left_is_swept_up(tmp_path):
    (tmp_path / ".step-00000001.safetensors.0123456789abcdef.part").write_bytes(b"half")
    with CheckpointFolder(tmp_path):
        assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["step-00000002 (copy)", "step-3", "step-000000002", "step-last", "step-٠٠٠٠٠٠٠٣"])
def test_files_of_other_names_are_left_alone(tmp_path, name):
    (tmp_path / f"{name}.safetensors").write_bytes(b"mine")
    with CheckpointFolder(tmp_path, keep=1) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, model=filled(step))
        assert checkpoints.steps() == [2] and checkpoints.load().step == 2
    assert f"{name}.safetensors" in names(tmp_path)


def test_one_run_at_a_time(tmp_path):
    with CheckpointFolder(tmp_path), pytest.raises(BlockingIOError, match="is in use by another run"):
        CheckpointFolder(tmp_path)
    CheckpointFolder(tmp_path).close()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other version", "not ours"])
def test_a_step_that_cannot_be_read_is_named_and_another_offered(tmp_path, monkeypatch, damage):
    with CheckpointFolder(tmp_path) as folder:
        for step in (10, 20, 30):
            if step == 30 and damage == "other version":
                monkeypatch.setattr(serialization, "CHECKPOINT_VERSION", 99)
            folder.save(step, model=filled(step))
            monkeypatch.undo()
        data = bytearray(folder.file(30).read_bytes())
        if damage == "truncated":
            folder.file(30).write_bytes(data[: len(data) // 2])
        elif damage == "flipped":
            data[-1] ^= 1
            folder.file(30).write_bytes(data)
        elif damage == "not ours":
            sn.save_file({"w": np.ones(3)}, folder.file(30))
        model = filled(0)
        with pytest.raises(ValueError, match=r"step-00000030.*; step 20 is whole: go on from there instead") as caught:
            folder.load(model=model)
        assert (
            "its version is 99" in str(caught.value) or damage != "other version" or "version 99" in str(caught.value)
        )
        assert model.weight.tolist() == [[0, 0]]
        folder.load(20, model=model)
        for step in (10, 20):
            folder.file(step).write_bytes(b"")
        with pytest.raises(ValueError, match="no other state is left"):
            folder.load(model=model)


def test_another_model_is_refused_and_no_other_step_is_offered(tmp_path):
    with CheckpointFolder(tmp_path) as folder:
        for step in (1, 2):
            folder.save(step, model=filled(step))
        with pytest.raises(
            ValueError, match=r"does not fit, nothing was loaded: model: (.|\n)*weight: has shape"
        ) as caught:
            folder.load(model=nn.Linear(3, 1))
        assert "whole" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, -1, 1.5])
def test_keep_is_a_count(tmp_path, keep):
    with pytest.raises(ValueError, match="keep must be an integer of at least 1, got"):
        CheckpointFolder(tmp_path, keep)
