"""Files of tensors and checkpoints: nothing lost, nothing silent."""

import errno
import json
import os
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kernels
import scratchnet as sn
from scratchnet import nn, optim, serialization
from scratchnet.data import DataLoader, TensorDataset
from scratchnet.serialization import Checkpoint, load_checkpoint, load_file, save_checkpoint, save_file

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "channels last": np.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2),
    "big end": np.array([1.0, 2.0], ">f4"),
    "bn.num_batches_tracked": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.array([1.5], np.float16),
    "mask": np.array([True, False]),
    "state": np.array([2**64 - 1], np.uint64),
}


def parts_of(path):
    """Header and values of a safetensors file, read by the format's description alone."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_raw(path, header, values):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


# Weights


def test_values_dtypes_and_shapes_come_back(tmp_path):
    save_file({name: sn.Tensor(array) for name, array in ARRAYS.items()}, tmp_path / "a.safetensors")
    loaded = load_file(tmp_path / "a.safetensors")
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert isinstance(loaded[name], sn.Tensor)
        assert loaded[name].dtype == array.dtype.newbyteorder("=") and loaded[name].shape == array.shape
        assert np.array_equal(loaded[name].data, array)
    loaded["conv.weight"].data += 1  # writable


def test_the_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a.weight": np.array([[1.0, 2.0]], np.float32)}, path, {"made by": "a test"})
    header, values = parts_of(path)
    assert header["a.weight"] == {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
    assert header["__metadata__"]["made by"] == "a test"
    assert values == np.array([1.0, 2.0], "<f4").tobytes()


def test_files_of_others_carry_no_sum_and_load(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}
    write_raw(path, {"w": entry, "__metadata__": {"format": "pt"}}, np.array([1.0, 2.0]).tobytes())
    assert load_file(path)["w"].tolist() == [1.0, 2.0]


def test_equal_content_gives_equal_bytes(tmp_path):
    metadata = {str(i): "x" for i in range(8)}
    for name in "ab":
        save_file(ARRAYS, tmp_path / name, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert list(parts_of(tmp_path / "a")[0]["__metadata__"]) == [*metadata, "scratchnet.sha256"]


def test_a_flipped_bit_in_any_byte_is_refused_or_harmless(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"w": np.array([1.0, 2.0], np.float32), "n": np.array(3)}
    save_file(arrays, path, {"note": "x"})
    good = path.read_bytes()
    harmless = []
    for bit in range(0, 8 * len(good), 3):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            loaded = load_file(path)
        except ValueError as error:
            assert str(path) in str(error)
            continue
        assert all(np.array_equal(loaded[name].data, array) for name, array in arrays.items())
        harmless.append(bit // 8)
    # Only the name of the sum can change unnoticed: the file then looks like one of others, its values intact.
    start = good.index(b"scratchnet.sha256")
    assert set(harmless) <= set(range(start, start + len("scratchnet.sha256")))


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": np.array([1.0, 2.0], np.float32)}, path)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is damaged")):
            load_file(path)


@pytest.mark.parametrize(
    ("state", "metadata", "words"),
    [
        ({1: np.zeros(1)}, None, "names must be strings .* got 1"),
        ({"__metadata__": np.zeros(1)}, None, "'__metadata__'"),
        ({"w": 3.0}, None, "w must be a tensor or an array, got float"),
        ({"w": np.zeros(1, complex)}, None, "w: arrays of dtype complex128"),
        ({"w": np.array([{}])}, None, "w: arrays of dtype object"),
        ({}, {"step": 3}, "metadata must map strings to strings, got 'step': 3"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_no_file(tmp_path, state, metadata, words):
    with pytest.raises(TypeError, match=words):
        save_file(state, tmp_path / "a", metadata)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing"):
        load_file(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="nothing was written"):
        save_file({}, tmp_path / "no folder" / "a")


def test_a_file_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (events.append(name), real(*args))[1])
    save_file(ARRAYS, tmp_path / "a")
    assert events == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch, function):
    path = tmp_path / "a.safetensors"
    save_file({"w": np.ones(3)}, path)
    good = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match=r"No space left on device: nothing was written; the file that was there is kept"):
        save_file({"w": np.zeros(3)}, path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


# Checkpoints


class Line:
    """A model as a checkpoint sees it: y = x w + b."""

    def __init__(self, features=3):
        self.w = sn.tensor(np.zeros((features, 1)), requires_grad=True)
        self.b = sn.tensor(np.zeros(1), requires_grad=True)

    def __call__(self, x):
        return x @ self.w + self.b

    def parameters(self):
        return [self.w, self.b]

    def state_dict(self):
        return {"w": self.w, "b": self.b}

    def load_state_dict(self, state):
        for name, value in self.state_dict().items():
            if state[name].shape != value.shape:
                raise ValueError(f"{name} has shape {state[name].shape}, expected {value.shape}")
            value.detach().copy_(state[name])


def make_run(seed=0, features=3):
    model = Line(features)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    return {
        "model": model,
        "optimizer": optimizer,
        "scheduler": optim.lr_scheduler.OneCycleLR(optimizer, 0.3, 60),
        "ema": optim.ExponentialMovingAverage(model.parameters(), 0.9),
        "generator": np.random.default_rng(seed),
    }


def train(run, steps):
    with kernels.use("reference"):
        for _ in range(steps):
            x = sn.Tensor(run["generator"].standard_normal((8, 3)))
            loss = ((run["model"](x) - x.data.sum(axis=1, keepdims=True)) ** 2).mean()
            run["optimizer"].zero_grad()
            loss.backward()
            run["optimizer"].step()
            run["scheduler"].step()
            run["ema"].update()


def bits(run):
    """Everything that a run consists of, in a form that can be compared."""
    model = {name: value.data.tobytes() for name, value in run["model"].state_dict().items()}
    state = run["optimizer"].state_dict()
    entries = {i: {k: np.asarray(v).tobytes() for k, v in entry.items()} for i, entry in state["state"].items()}
    averages = [array.tobytes() for array in run["ema"].averages]
    generator = run["generator"].bit_generator.state
    return model, entries, state["param_groups"], run["scheduler"].state_dict(), averages, generator


def test_a_run_resumes_bit_for_bit(tmp_path):
    straight = make_run()
    train(straight, 40)
    first = make_run()
    train(first, 17)
    save_checkpoint(tmp_path / "c", step=17, config={"lr": 0.1}, **first)
    second = make_run(seed=99)
    train(second, 3)
    assert load_checkpoint(tmp_path / "c", **second) == Checkpoint(17, {"lr": 0.1})
    assert bits(second) == bits(first)
    train(second, 23)
    assert bits(second) == bits(straight)


def make_classifier(seed):
    """Everything with a state of its own: running statistics, dropout's generator, a shuffling loader."""
    generator = sn.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3, generator=generator), nn.Linear(8, 3))
    rng = np.random.default_rng(1)
    data = TensorDataset(rng.standard_normal((24, 5)).astype(np.float32), rng.integers(0, 3, 24))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(data, 5, shuffle=True, generator=np.random.default_rng(seed))
    return {"model": model, "optimizer": optimizer, "loader": loader, "generator": generator}


def train_classifier(run, steps):
    while steps > 0:
        for x, y in run["loader"]:
            loss = nn.functional.cross_entropy(run["model"](x), y)
            run["optimizer"].zero_grad()
            loss.backward()
            run["optimizer"].step()
            steps -= 1
            if steps == 0:
                return


def test_modules_and_loaders_resume_in_the_middle_of_an_epoch(tmp_path):
    with kernels.use("reference"):
        straight, first, second = make_classifier(0), make_classifier(0), make_classifier(9)
        train_classifier(straight, 20)
        train_classifier(first, 7)
        save_checkpoint(tmp_path / "c", step=7, **first)
        load_checkpoint(tmp_path / "c", **second)
        train_classifier(second, 13)
    for a, b in zip(straight["model"].state_dict().values(), second["model"].state_dict().values(), strict=True):
        assert np.array_equal(a.data, b.data)


def test_the_same_run_gives_the_same_file(tmp_path):
    for name in "ab":
        run = make_run()
        train(run, 3)
        save_checkpoint(tmp_path / name, step=3, **run)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_can_be_taken_from_a_checkpoint_by_name(tmp_path):
    run = make_run()
    train(run, 2)
    save_checkpoint(tmp_path / "c", **run)
    assert np.array_equal(load_file(tmp_path / "c")["model.w"].data, run["model"].w.data)
    model = Line()
    load_checkpoint(tmp_path / "c", model=model)
    assert np.array_equal(model.w.data, run["model"].w.data)


def test_parts_may_be_dicts_of_parts(tmp_path):
    gan = {"generator": Line(2), "discriminator": Line(3)}
    gan["generator"].w.data += 5
    randoms = {"noise": np.random.Generator(np.random.MT19937(1)), "data": np.random.Generator(np.random.Philox(2))}
    save_checkpoint(tmp_path / "c", model=gan, generators=randoms)
    wanted = [generator.integers(1000) for generator in randoms.values()]
    other = {"generator": Line(2), "discriminator": Line(3)}
    load_checkpoint(tmp_path / "c", model=other, generators=randoms)
    assert other["generator"].w.tolist() == [[5.0], [5.0]]
    assert [generator.integers(1000) for generator in randoms.values()] == wanted
    with pytest.raises(ValueError, match=r"model: the parts are \['generator'\], the checkpoint has"):
        load_checkpoint(tmp_path / "c", model={"generator": Line(2)})


keys = st.text(max_size=4) | st.sampled_from(["$tensor", "$items", "$"]) | st.integers()
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
trees = st.recursive(
    scalars,
    lambda child: st.lists(child, max_size=3) | st.tuples(child, child) | st.dictionaries(keys, child, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(config=trees)
@example(config={"$tensor": "w"})
@example(config={"$items": {"$array": [1, 2]}, 3: ("$tuple",)})
def test_a_config_comes_back_as_it_was(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "c"
    save_checkpoint(path, config=config)
    found = load_checkpoint(path).config
    assert repr(found) == repr(config)  # which tells tuples from lists, 1 from 1.0 from True, and 0.0 from -0.0


def test_arrays_in_a_config_come_back():
    arrays = {}
    packed = serialization._pack({"a": {"b": np.arange(3)}, "a.b": np.ones(2), "n": np.float32(0.1)}, "config", arrays)
    found = serialization._unpack(json.loads(json.dumps(packed)), arrays)
    assert np.array_equal(found["a"]["b"], np.arange(3)) and np.array_equal(found["a.b"], np.ones(2))
    assert found["n"] == np.float32(0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": Line(4)}, r"does not fit, nothing was loaded: model: w has shape \(3, 1\), expected \(4, 1\)"),
        ({"generator": np.random.Generator(np.random.MT19937())}, "nothing was loaded: generator: .*MT19937"),
        ({"loader": make_run()["scheduler"]}, "has no state of loader; it has model, optimizer, scheduler"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(tmp_path, change, words):
    saved = make_run()
    train(saved, 3)
    save_checkpoint(tmp_path / "c", **saved)
    run = make_run(seed=5)
    train(run, 2)
    before = bits(run)
    # What does not fit comes last: all others have been loaded by then, and must be put back.
    parts = {**{name: part for name, part in run.items() if name not in change}, **change}
    with pytest.raises(ValueError, match=words) as caught:
        load_checkpoint(tmp_path / "c", **parts)
    assert str(tmp_path / "c") in str(caught.value)
    assert bits(run) == before


def test_another_version_and_other_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "CHECKPOINT_VERSION", 2)
    save_checkpoint(tmp_path / "new", step=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="new is no checkpoint that can be read here: it has version 2"):
        load_checkpoint(tmp_path / "new")
    save_file({"w": np.ones(2)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="weights is no checkpoint .* 'scratchnet.checkpoint' is missing"):
        load_checkpoint(tmp_path / "weights")
    (tmp_path / "text").write_text("hello, this is no tensor")
    with pytest.raises(ValueError, match="text is damaged, or no safetensors file"):
        load_checkpoint(tmp_path / "text")


def test_a_checkpoint_without_its_sum_is_refused(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, step=3)
    header, values = parts_of(path)
    del header["__metadata__"]["scratchnet.sha256"]
    write_raw(path, header, values)
    with pytest.raises(ValueError, match="its checksum is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"version": 1}',
        '{"version": 1, "step": 0, "config": null, "parts": []}',
        '{"version": 1, "step": 0, "config": {"$array": "nowhere"}, "parts": {}}',
        '{"version": 1, "step": 0, "config": {"$items": [[[], 1]]}, "parts": {}}',
        "[" * 100_000,
    ],
)
def test_nonsense_with_a_right_sum_is_refused(tmp_path, content):
    save_file({}, tmp_path / "c", {"scratchnet.checkpoint": content})
    with pytest.raises(ValueError, match="is no checkpoint that can be read here"):
        load_checkpoint(tmp_path / "c")


def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"config\.f\.1: a function cannot be saved"):
        save_checkpoint(tmp_path / "c", config={"f": [1, bits]})
    with pytest.raises(TypeError, match="model must have a state_dict"):
        save_checkpoint(tmp_path / "c", model=3)
    with pytest.raises(TypeError, match="step must be an integer, got 1.5"):
        save_checkpoint(tmp_path / "c", step=1.5)
    assert list(tmp_path.iterdir()) == []
