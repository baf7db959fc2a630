"""MNIST, Fashion-MNIST and CIFAR-10, on small files of the published layout."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from scratchnet.data import CIFAR10, MNIST, FashionMNIST
from scratchnet.data.cifar import ARCHIVE, FOLDER, parse_records, read_members

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 12, dtype=np.uint8)
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def tiny(tmp_path, write_idx):
    """tiny(base, folder, suffix): writes 12 labelled images there, and a class like `base` that knows their sums."""

    def make(base, folder, suffix, images=IMAGES, labels=LABELS):
        sums = {}
        for name, array in zip(NAMES, (images, labels), strict=True):
            sums[name] = (md5(write_idx(tmp_path / folder / f"{name}{suffix}", array)),) * 2
        return type(base.__name__, (base,), {"md5": sums, "mirrors": ()})

    return make


@pytest.mark.parametrize(
    ("base", "folder"),
    [
        (MNIST, "."),
        (MNIST, "mnist"),
        (MNIST, "MNIST/raw"),
        (FashionMNIST, "fashion-mnist"),
        (FashionMNIST, "FashionMNIST/raw"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folders_that_people_have(tmp_path, tiny, base, folder, suffix):
    data = tiny(base, folder, suffix)(tmp_path, download=False)
    assert len(data) == 12 and len(data.classes) == 10
    assert data.images.shape == (12, 1, 28, 28) and data.images.dtype == np.uint8
    np.testing.assert_array_equal(data.labels, LABELS)
    image, label = data[3]
    np.testing.assert_array_equal(image, IMAGES[3][None] / np.float32(255), strict=True)
    assert label == LABELS[3]


def test_missing_files_are_downloaded(tmp_path, tiny, server):
    cls = tiny(MNIST, "served", ".gz")
    cls.mirrors = (server.url + "missing/", server.url)
    root = tmp_path / "root"
    np.testing.assert_array_equal(cls(root).images[:, 0], IMAGES)
    assert sorted(p.name for p in (root / "mnist").iterdir()) == [f"{name}.gz" for name in NAMES]
    server.folder.joinpath(f"{NAMES[0]}.gz").unlink()
    assert len(cls(root)) == 12, "the second time nothing is downloaded"


def test_offline_the_error_names_file_sum_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        MNIST(tmp_path, download=False)
    for part in ("train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873", str(tmp_path / "mnist")):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary\.tar\.gz \(md5:c32a1d4ab5d03f1284b67883e8d87530\)"):
        CIFAR10(tmp_path, download=False)


def test_the_environment_names_the_data_folder(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("SCRATCHNET_DATA", str(tmp_path))
    assert len(tiny(MNIST, "mnist", ".gz")(download=False)) == 12


def test_a_wrong_file_is_refused_and_left_alone(tmp_path, tiny):
    cls = tiny(MNIST, "mnist", ".gz")
    path = tmp_path / "mnist" / f"{NAMES[1]}.gz"
    damaged = path.read_bytes()[:-1] + b"?"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is not the published file"):
        cls(tmp_path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:11], "expected 12 uint8 labels, got uint8 .11"),
        (IMAGES, IMAGES, "expected 12 uint8 labels"),
        (IMAGES, LABELS.astype(np.int32), "expected 12 uint8 labels, got int32"),
        (IMAGES[0], LABELS, "expected uint8 images"),
        (IMAGES.astype(np.float32), LABELS, "expected uint8 images"),
        (IMAGES, LABELS + np.uint8(10), "label 1. of sample 0 is not in 0..9"),
    ],
)
def test_contents_that_are_no_labelled_images(tmp_path, tiny, images, labels, message):
    with pytest.raises(ValueError, match=message):
        tiny(MNIST, ".", "", images, labels)(tmp_path)


COLOUR = RNG.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
COLOUR_LABELS = np.array([3, 9, 0, 5, 5, 1], dtype=np.uint8)


def records(images, labels) -> bytes:
    return np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1).tobytes()


BATCHES = {
    "data_batch_1.bin": records(COLOUR[:2], COLOUR_LABELS[:2]),
    "data_batch_2.bin": records(COLOUR[2:4], COLOUR_LABELS[2:4]),
    "test_batch.bin": records(COLOUR[4:], COLOUR_LABELS[4:]),
}


def write_archive(path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def tiny_cifar(archive=None):
    members = {
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in BATCHES.items()},
        "archive_sum": f"md5:{md5(archive.read_bytes())}" if archive else "md5:0",
        "mirrors": (),
    }
    return type("CIFAR10", (CIFAR10,), members)


@pytest.mark.parametrize("folder", [".", FOLDER, f"cifar10/{FOLDER}", f"CIFAR10/{FOLDER}"])
def test_cifar_from_an_unpacked_folder(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, data in BATCHES.items():
        (tmp_path / folder / name).write_bytes(data)
    train, test = (tiny_cifar()(tmp_path, train=train, download=False) for train in (True, False))
    np.testing.assert_array_equal(train.images, COLOUR[:4], strict=True)
    np.testing.assert_array_equal(train.labels, COLOUR_LABELS[:4])
    np.testing.assert_array_equal(test.images, COLOUR[4:], strict=True)
    assert train.classes[3] == "cat"


def test_cifar_from_the_archive(tmp_path):
    backwards = {f"{FOLDER}/{name}": BATCHES[name] for name in sorted(BATCHES, reverse=True)}
    write_archive(tmp_path / "cifar10" / ARCHIVE, {"../../outside": b"x", **backwards})
    train = tiny_cifar(tmp_path / "cifar10" / ARCHIVE)(tmp_path, download=False)
    np.testing.assert_array_equal(train.images, COLOUR[:4])
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [ARCHIVE], "nothing is unpacked"


def test_cifar_is_downloaded(tmp_path, server):
    write_archive(server.folder / ARCHIVE, {f"{FOLDER}/{name}": data for name, data in BATCHES.items()})
    cls = tiny_cifar(server.folder / ARCHIVE)
    cls.mirrors = (server.url,)
    np.testing.assert_array_equal(cls(tmp_path / "root").labels, COLOUR_LABELS[:4])


def test_archives_that_are_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"folder/one": bytes(100), "two": b""})
    assert read_members(path, ["two", "folder/one"]) == [b"", bytes(100)]
    with pytest.raises(ValueError, match=r"a\.tar\.gz: one is missing"):
        read_members(path, ["two", "one"])
    with pytest.raises(ValueError, match="folder/one has 100 bytes; at most 99"):
        read_members(path, ["folder/one"], max_bytes=99)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a\.tar\.gz: damaged archive"):
        read_members(path, ["two"])
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged archive"):
        read_members(path, ["two"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes are not a whole number of records"),
        (bytes(3072), "3072 bytes are not"),
        (bytes(2 * 3073 + 1), "6147 bytes are not"),
        (bytes(3073) + b"\x0a" + bytes(3072), "label 10 of sample 1 is not in 0..9"),
    ],
)
def test_records_that_are_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=f"batch.bin: {message}"):
        parse_records(data, tmp_path / "batch.bin")
