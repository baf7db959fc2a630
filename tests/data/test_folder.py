"""ImageFolder reads what people have on their disks, and names the files that it cannot read."""

import io

import numpy as np
import pytest
from PIL import Image

from scratchnet.data import DataLoader, ImageFolder, read_image
from scratchnet.data.transforms import Resize

RNG = np.random.default_rng(0)


def pixels(height=6, width=4) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array=None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels() if array is None else array).save(file, "png")
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    """write(name, bytes or array): a file below the folder."""

    def put(name, content=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else png(content))
        return path

    return put


def test_classes_and_files_in_order(tmp_path, write):
    for name in (
        "dog/b.png",
        "cat/2.PNG",
        "dog/a.png",
        "cat/deep/1.png",
        "cat/.hidden.png",
        ".git/x.png",
        "readme.png",
    ):
        write(name)
    write("dog/notes.txt", b"no image")
    data = ImageFolder(tmp_path)
    assert data.classes == ["cat", "dog"]
    found = [(path.relative_to(tmp_path).as_posix(), label) for path, label in data.samples]
    assert found == [("cat/2.PNG", 0), ("cat/deep/1.png", 0), ("dog/a.png", 1), ("dog/b.png", 1)]


def test_samples_and_batches(tmp_path, write):
    arrays = [pixels(), pixels(), pixels()]
    for name, array in zip(("a/1.png", "a/2.png", "b/3.png"), arrays, strict=True):
        write(name, array)
    data = ImageFolder(tmp_path)
    wanted = np.stack(arrays).transpose(0, 3, 1, 2) / np.float32(255)
    image, label = data[1]
    np.testing.assert_array_equal(image, wanted[1], strict=True)
    assert label == 0 and label.dtype == np.int64
    images, labels = next(iter(DataLoader(data, 3)))
    np.testing.assert_array_equal(images.data, wanted, strict=True)
    np.testing.assert_array_equal(labels.data, np.array([0, 0, 1]), strict=True)
    np.testing.assert_array_equal(ImageFolder(tmp_path, transform=lambda x: 1 - x)[1][0], 1 - wanted[1])
    assert data[np.array([], dtype=int)][0].shape[:2] == (0, 3)


def test_mode_and_size(tmp_path, write):
    large, small = pixels(9, 9), pixels(4, 7)
    write("a/1.png", large)
    write("a/2.png", small)
    grey = ImageFolder(tmp_path, mode="L", size=(5, 3))
    images, _ = grey[np.arange(2)]
    assert images.shape == (2, 1, 5, 3)
    levels = np.asarray(Image.fromarray(large).convert("L"))[None]
    np.testing.assert_array_equal(images[0], Resize((5, 3))(levels) / np.float32(255), strict=True)
    with pytest.raises(ValueError, match=r"2\.png has shape \(3, 4, 7\) .* give size="):
        ImageFolder(tmp_path)[np.arange(2)]


GOOD = png()
CORRUPT = {
    "empty": b"",
    "text": b"this is no image",
    "truncated": GOOD[: len(GOOD) // 2],
    "header only": GOOD[:33],
    "flipped": GOOD[:60] + bytes(255 - b for b in GOOD[60:]),
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_files_are_named_or_skipped(tmp_path, write, content):
    write("a/good.png", GOOD)
    bad = write("a/bad.png", content)
    write("b/good.png", GOOD)
    data = ImageFolder(tmp_path)
    assert len(data) == 3 and data.skipped == []
    with pytest.raises(ValueError, match=r"bad\.png: not a readable image: "):
        data[0]
    data = ImageFolder(tmp_path, on_error="skip")
    assert [path.name for path, _ in data.samples] == ["good.png", "good.png"]
    [(path, reason)] = data.skipped
    assert path == bad and "not a readable image" in reason
    assert data[np.arange(2)][1].tolist() == [0, 1]
    assert "1 files skipped" in repr(data)


def test_huge_images_are_refused_before_they_are_decoded(write):
    path = write("big.png", np.zeros((10, 10), np.uint8))
    assert read_image(path, max_pixels=100).shape == (3, 10, 10)
    with pytest.raises(ValueError, match=r"big\.png: .* 10 x 10 pixels; at most 99"):
        read_image(path, max_pixels=99)


def test_pixel_formats(tmp_path):
    levels = np.array([[0, 256, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "16.png")
    np.testing.assert_array_equal(read_image(tmp_path / "16.png", "L"), [[[0, 1, 255]]])
    palette = Image.fromarray(pixels()).quantize(4)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    )
    Image.fromarray(np.float32([[0.5]])).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match="pixel format 'F' has no fixed range"):
        read_image(tmp_path / "float.tiff")


def test_photographs_are_turned_upright(tmp_path):
    array = pixels(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise by 90 degrees
    Image.fromarray(array).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png"), np.rot90(array, -1).transpose(2, 0, 1))


def test_folders_that_are_refused(tmp_path, write):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected one subfolder a class"):
        ImageFolder(tmp_path)
    write("a/1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(FileNotFoundError, match=r"b: no image file \(.bmp"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"on_error": "ignore"}, "on_error: expected 'raise' or 'skip'"),
        ({"mode": "CMYK"}, "mode: expected 'RGB' or 'L'"),
        ({"size": 32}, r"size: expected \(height, width\)"),
        ({"size": (0, 5)}, r"size: expected \(height, width\)"),
    ],
)
def test_options_that_are_refused(tmp_path, write, option, message):
    write("a/1.png")
    with pytest.raises(ValueError, match=message):
        ImageFolder(tmp_path, **option)
