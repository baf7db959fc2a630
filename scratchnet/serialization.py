"""Files that hold tensors: weights in safetensors, and whole training states in the same format, without pickle.

A file appears under its name complete or not at all, carries a SHA-256 of what is in it, and is refused when the
bytes do not match.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.device import to_device
from scratchnet.files import atomic_file
from scratchnet.tensor import Tensor

CHECKPOINT_VERSION = 1
_SUM = "scratchnet.sha256"
_CHECKPOINT = "scratchnet.checkpoint"


def save_file(state_dict: Mapping[str, Tensor | np.ndarray], path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as a safetensors file, which PyTorch, JAX and others read as well.

    The file is written beside ``path``, flushed to the disk and renamed: ``path`` is the old file or the new one.

    Raises:
        TypeError: a name is no string, a value no tensor, or its dtype unknown to the format.
        OSError: the disk is full, the folder missing or read-only; what was at ``path`` is still there.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"save_file: expected a dict of names to tensors, got {type(state_dict).__name__}")
    arrays = {}
    for name, value in state_dict.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise TypeError(f"save_file: names must be strings other than '__metadata__', got {name!r}")
        if not isinstance(value, Tensor | np.ndarray):
            raise TypeError(f"save_file: {name} must be a tensor or an array, got {type(value).__name__}")
        arrays[name] = _host_array(value, name)
    _write(_path(path), arrays, dict(metadata or {}))


def load_file(path) -> dict[str, Tensor]:
    """Read a safetensors file, whoever wrote it, into tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no safetensors file, truncated or altered since it was written.
    """
    arrays, _ = _read(_path(path))
    return {name: Tensor(array) for name, array in arrays.items()}


@dataclass
class Checkpoint:
    """What a checkpoint says about itself: its ``step``, the ``config`` of the run, its ``score`` where it has one."""

    step: int
    config: Any
    score: float | None = None


def save_checkpoint(path, *, step: int = 0, config: Any = None, score: float | None = None, **parts) -> None:
    """Write the state of a training run, so that ``load_checkpoint`` can go on bit for bit.

        save_checkpoint(path, step=step, config=vars(args), model=model, optimizer=optimizer, scheduler=scheduler,
                        ema=ema, loader=loader, generator=scratchnet.default_generator())

    Args:
        path: replaced as a whole, as by ``save_file``.
        step: how far the run has come.
        config: what is needed to build the parts again: dicts, lists, strings, numbers.
        score: how good it is, where that was measured.
        parts: anything with ``state_dict()`` and ``load_state_dict()``, a ``numpy.random.Generator``, or a dict of
            such parts (a GAN's two models). Name every part that changes during training, generators included.

    The tensors are ordinary safetensors entries named after the parts ("model.fc.weight"); the rest is JSON in the
    file's metadata.

    Raises:
        TypeError: a part has no state, or the state holds something that is neither number, string nor array.
        OSError: as ``save_file``.
    """
    if not isinstance(step, int):
        raise TypeError(f"save_checkpoint: step must be an integer, got {step!r}")
    if not isinstance(score, int | float | None):
        raise TypeError(f"save_checkpoint: score must be a number or None, got {score!r}")
    trees, arrays = snapshot(parts)
    content = {
        "version": CHECKPOINT_VERSION,
        "step": step,
        "config": _pack(config, "config", arrays),
        "score": score,
        "parts": trees,
    }
    _write(_path(path), arrays, {_CHECKPOINT: json.dumps(content, separators=(",", ":"))})


def snapshot(parts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state of each part as a tree that JSON can hold, and copies of all arrays in them by dotted name."""
    arrays: dict[str, np.ndarray] = {}
    return {name: _pack(_state_of(part, name), name, arrays) for name, part in parts.items()}, arrays


def load_checkpoint(path, **parts) -> Checkpoint:
    """Read a checkpoint into the ``parts`` that are given, which may be fewer than were saved: none reads ``config``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, no checkpoint, or of another version; it lacks a part, or a part does not fit
            (another model). All parts are as they were before, then.
    """
    arrays, metadata = _read(_path(path))
    try:
        content = json.loads(metadata[_CHECKPOINT])
        version = content["version"]
        if version != CHECKPOINT_VERSION:
            raise ValueError(f"it has version {version}, this program reads {CHECKPOINT_VERSION}")
        saved = {name: _unpack(tree, arrays) for name, tree in content["parts"].items()}
        step, score = content["step"], content.get("score")
        if not isinstance(step, int) or not isinstance(score, int | float | None):
            raise ValueError(f"it has step {step!r:.40} and score {score!r:.40}")
        checkpoint = Checkpoint(step, _unpack(content["config"], arrays), score)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint that can be read here: {_words(error)}") from error
    missing = sorted(parts.keys() - saved.keys())
    if missing:
        raise ValueError(f"{path} has no state of {', '.join(missing)}; it has {', '.join(saved) or 'none'}")

    copies: dict[str, np.ndarray] = {}
    packed = _pack(_state_of(parts, "parts"), "parts", copies)
    try:
        for name, part in parts.items():
            _restore(part, saved[name], name)
    except Exception as error:
        _restore(parts, _unpack(packed, copies), "parts")
        raise ValueError(f"{path} does not fit, nothing was loaded: {_words(error)}") from error
    return checkpoint


def _path(path) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected a file's path, got {path!r:.80}")
    return Path(path)


def _words(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)


def _state_of(part, name: str):
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if isinstance(part, Mapping):
        return {key: _state_of(child, f"{name}.{key}") for key, child in part.items()}
    raise TypeError(f"{name} must have a state_dict() or be a numpy Generator, got {type(part).__name__}")


def _restore(part, state, name: str) -> None:
    if isinstance(part, Mapping) and not hasattr(part, "state_dict"):
        if not isinstance(state, dict) or part.keys() != state.keys():
            raise ValueError(f"{name}: the parts are {list(part)}, the checkpoint has {list(state)}")
        for key, child in part.items():
            _restore(child, state[key], f"{name}.{key}")
        return
    try:
        if isinstance(part, np.random.Generator):
            part.bit_generator.state = state
        else:
            part.load_state_dict(state)
    except Exception as error:
        raise ValueError(f"{name}: {_words(error)}") from error


def _pack(value, name: str, arrays: dict[str, np.ndarray]):
    """``value`` as JSON can hold it. Copies of its arrays and tensors go into ``arrays``, references stay behind."""
    if isinstance(value, Tensor | np.ndarray) or hasattr(value, "__cuda_array_interface__"):
        kind = "$tensor" if isinstance(value, Tensor) else "$array"
        while name in arrays:
            name += "_"
        arrays[name] = _host_array(value, name)
        return {kind: name}
    if isinstance(value, Mapping):
        pairs = [(key, _pack(child, f"{name}.{key}", arrays)) for key, child in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(pairs)
        return {"$items": [[_pack(key, name, {}), child] for key, child in pairs]}
    if isinstance(value, list | tuple):
        items = [_pack(child, f"{name}.{i}", arrays) for i, child in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a {type(value).__name__} cannot be saved; numbers, strings, arrays, lists and dicts can")


def _unpack(tree, arrays: dict[str, np.ndarray]):
    """What ``_pack`` was given."""
    if isinstance(tree, list):
        return [_unpack(child, arrays) for child in tree]
    if not isinstance(tree, dict):
        return tree
    if "$tensor" in tree:
        return Tensor(arrays[tree["$tensor"]])
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$tuple" in tree:
        return tuple(_unpack(child, arrays) for child in tree["$tuple"])
    if "$items" in tree:
        return {_unpack(key, arrays): _unpack(child, arrays) for key, child in tree["$items"]}
    return {key: _unpack(child, arrays) for key, child in tree.items()}


def _host_array(value, name: str) -> np.ndarray:
    """A copy on the host, in C order and the machine's byte order."""
    array = to_device(value.data if isinstance(value, Tensor) else value, "cpu")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: arrays of dtype {array.dtype} cannot be saved")
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of names, dtypes, shapes and values, and of the metadata but for the sum itself."""
    facts = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    texts = {name: text for name, text in metadata.items() if name != _SUM}
    digest = hashlib.sha256(json.dumps([facts, texts], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    _replace(path, _encode(arrays, metadata))


def _encode(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> list[bytes | memoryview]:
    """A file with its checksum, in pieces."""
    from safetensors.numpy import save

    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"metadata must map strings to strings, got {name!r}: {text!r}")
    metadata = {**metadata, _SUM: _checksum(arrays, metadata)}
    return _with_sorted_metadata(save(arrays, metadata))


def _with_sorted_metadata(data: bytes) -> list[bytes | memoryview]:
    """A safetensors file, in pieces, with its metadata in order: the package's order changes from run to run."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, memoryview(data)[end:]]


def _replace(path: Path, pieces: list[bytes | memoryview]) -> None:
    try:
        with atomic_file(path) as file:
            file.writelines(pieces)
    except OSError as error:
        kept = "; the file that was there is kept" if path.exists() else ""
        raise type(error)(error.errno, f"{error.strerror}: nothing was written{kept}", str(path)) from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no dict
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or no safetensors file that can be read here: {_words(error)}") from error
    expected = metadata.get(_SUM)
    if expected is None and _CHECKPOINT in metadata:
        raise ValueError(f"{path} is damaged: its checksum is missing")
    if expected is not None and _checksum(arrays, metadata) != expected:
        raise ValueError(f"{path} is damaged: its contents do not match their SHA-256")
    return arrays, metadata
