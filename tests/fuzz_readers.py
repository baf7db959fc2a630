"""Every reader of files, with good files to mutate. CI takes some thousands; by night, from the project's folder:

    python -m tests.fuzz_readers --files 1000000

The exit code is 1 where a reader failed; the files that did it are kept in the folder that is named.
"""

import argparse
import gzip
import io
import json
import random
import sys
import tarfile
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import scratchnet as sn
from scratchnet import jsonlines, optim, replay
from scratchnet.data import read_idx, read_image
from scratchnet.data.cifar import RECORD, parse_records, read_members
from scratchnet.serialization import _encode, load_checkpoint, load_file, save_checkpoint, save_file
from scratchnet.testing.fuzz import FuzzReport, fuzz, repaired_png
from tests.data.idx_writer import idx_bytes


@dataclass
class Reader:
    """What reads a file, good files, and its suffix."""

    read: object
    samples: list[bytes]
    suffix: str = ""


def through(change, read):
    """A reader of what ``change`` makes of the mutant: packed again, or with its checksums put right."""

    def reader(path: Path):
        path.write_bytes(change(path.read_bytes()))
        return read(path)

    return reader


def readers(folder: Path) -> dict[str, Reader]:
    idx = [idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), idx_bytes(np.linspace(0, 1, 6, dtype="f8"))]
    files, names = {"a/b.bin": bytes(700), "a/c.bin": b"xyz"}, ["a/b.bin", "a/c.bin"]
    tars = [tar_of(files, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
    logs = [b'{"schema": "s/1", "a": [1, null]}\n{"step": 1, "x": 0.5}\n{"step": 2, "event": "done"}\n']
    state = checkpoint_bytes(folder / "checkpoint")
    content = json.loads(state[8 : 8 + int.from_bytes(state[:8], "little")])["__metadata__"]["scratchnet.checkpoint"]
    arrays = {name: value.data for name, value in load_file(folder / "checkpoint").items()}
    plain = tensors_bytes(folder / "tensors")
    result = {
        "idx": Reader(lambda path: read_idx(path, max_bytes=1 << 24), idx),
        "idx.gz": Reader(read_idx, [gzip.compress(data) for data in idx], ".gz"),
        "idx inside gz": Reader(through(gzip.compress, read_idx), idx, ".gz"),
        "tar": Reader(lambda path: read_members(path, names), tars),
        "tar.gz": Reader(lambda path: read_members(path, names), [gzip.compress(data) for data in tars]),
        "records": Reader(lambda path: parse_records(path.read_bytes(), path), [bytes(2 * RECORD)]),
        "safetensors": Reader(load_file, [plain]),
        "checkpoint": Reader(load_checkpoint, [state]),
        "checkpoint's content": Reader(through(with_right_sum(arrays), load_checkpoint), [content.encode()]),
        "jsonlines": Reader(lambda path: list(jsonlines.read(path, "s/1")), logs),
        "certificate": Reader(lambda path: replay.compare(path, path), [certificate_bytes()]),
    }
    for form in ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP"):
        result[form.lower()] = Reader(image, pictures(form), f".{form.lower()}")
    result["png's content"] = Reader(through(repaired_png, image), pictures("PNG"), ".png")
    return result


def image(path: Path) -> np.ndarray:
    return read_image(path, size=(4, 4), max_pixels=1 << 20)


def tar_of(files: dict[str, bytes], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.pax_headers = {"comment": "x" * 20}
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def tensors_bytes(path: Path) -> bytes:
    """A file without our checksum, so that mutants are read."""
    save_file({"w": np.ones((2, 3), np.float32), "n": np.array(3)}, path)
    data = path.read_bytes()
    return data.replace(b"scratchnet.sha256", b"scratchnet.sha---")


def checkpoint_bytes(path: Path) -> bytes:
    weight = sn.ones(2, requires_grad=True)
    optimizer = optim.Adam([weight])
    weight.grad = sn.ones(2)
    optimizer.step()
    save_checkpoint(path, step=1, config={"a": (1, "b")}, optimizer=optimizer, generator=np.random.default_rng(0))
    return path.read_bytes()


def with_right_sum(arrays: dict):
    """The mutated content with the arrays it speaks of, in a file whose checksum is right."""

    def change(data: bytes) -> bytes:
        return b"".join(_encode(arrays, {"scratchnet.checkpoint": data.decode(errors="replace")}))

    return change


def certificate_bytes() -> bytes:
    rows = [{"schema": replay.SCHEMA, "environment": {}}, {"step": 1, "ops": [["add", "00"]], "state": {"w": "11"}}]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def pictures(form: str) -> list[bytes]:
    files = []
    for mode in ("RGB", "L") + (("P",) if form in ("PNG", "GIF", "TIFF") else ()):
        out = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(out, form)
        files.append(out.getvalue())
    return files


def fuzz_all(files: int, seed: int, folder: Path, only: str = "") -> dict[str, FuzzReport]:
    chosen = {name: reader for name, reader in readers(folder).items() if only in name}
    reports = {}
    for i, (name, reader) in enumerate(chosen.items()):
        rng = random.Random(f"{seed} {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of much that it reads
            count = files * (i + 1) // len(chosen) - files * i // len(chosen)
            reports[name] = fuzz(
                reader.read, reader.samples, count, folder, suffix=reader.suffix, seed=rng.randrange(2**32)
            )
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000, help="mutants, over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="", help="only readers whose name contains this")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    reports = fuzz_all(args.files, args.seed, folder, args.reader)
    for name, report in reports.items():
        print(f"{name:22} {report}")
    failed = any(report.failures for report in reports.values())
    print(f"files are in {folder}" if failed else "no failures")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
