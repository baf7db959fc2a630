"""Folders of images as the generative examples read them, and whether labels are heeded."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scripts import run

from images import FolderImages, agreement, left_out, load_images


def picture(path, size=(40, 30), mode="L", value=200):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """Sixteen training and eight test images of two classes."""
    for i in range(24):
        part, name = ("train" if i < 16 else "test"), ("dark", "light")[i % 2]
        picture(tmp_path / "data" / part / name / f"{i}.png", value=40 + 150 * (i % 2) + i)
    return tmp_path / "data"


def options(root, **others):
    given = {"data": "folder", "data_root": root, "channels": 1, "image_size": 28, "corrupt": "refuse", "smoke": False}
    return SimpleNamespace(**given | others)


def test_the_middle_square_is_what_is_learnt(tmp_path):
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, 30:60] = 255, 128, 0
    (tmp_path / "class").mkdir()
    Image.fromarray(stripes).save(tmp_path / "class" / "wide.png")
    Image.fromarray(stripes.transpose(1, 0, 2)).save(tmp_path / "class" / "high.png")
    images = FolderImages(tmp_path, 3, 10)
    assert images.images.shape == (2, 3, 10, 10)
    assert (images.images[:, :, :, 1:-1][:, :, 1:-1] == np.array([255, 128, 0])[:, None, None]).all()


@pytest.mark.parametrize(
    ("name", "mode", "value", "grey"),
    [
        ("grey.png", "L", 100, 100),
        ("transparent.png", "RGBA", (100, 100, 100, 7), 100),
        ("palette.gif", "P", 0, 0),
        ("bits.png", "1", 1, 255),
        ("sixteen.png", "I;16", 25_700, 100),
        ("ink.jpg", "CMYK", (0, 0, 0, 155), 100),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_other_pixel_formats_are_converted(name, mode, value, grey, channels, tmp_path):
    picture(tmp_path / "class" / name, (12, 12), mode, value)
    images = FolderImages(tmp_path, channels, 8).images
    assert images.shape == (1, channels, 8, 8)
    assert np.abs(images.astype(int) - grey).max() <= 1


def test_unfit_files_are_all_named(folder):
    (folder / "train" / "dark" / "broken.png").write_bytes(b"no image")
    picture(folder / "train" / "light" / "float.tiff", mode="F", value=0.5)
    picture(folder / "test" / "light" / "tiny.png", size=(400, 27))
    with pytest.raises(
        ValueError, match=r"broken.png: not a readable image.* \(3 such files; --corrupt skip leaves them"
    ):
        load_images(options(folder))
    train, test = load_images(options(folder, corrupt="skip"))
    assert (len(train), len(test)) == (16, 8)
    reasons = {path.name: reason for path, reason in left_out(train, test)}
    assert reasons.keys() == {"broken.png", "float.tiff", "tiny.png"}
    assert "400 x 27 pixels, but 28 x 28 are to be learnt" in reasons["tiny.png"]
    assert "pixel format 'F' has no fixed range" in reasons["float.tiff"]


def test_folders_that_are_of_no_use(folder, tmp_path):
    def refusal(root, **others):
        with pytest.raises((OSError, ValueError)) as caught:
            load_images(options(root, **others))
        return str(caught.value)

    assert "--data folder needs --data-root" in refusal(None)
    assert "train: no such folder" in refusal(tmp_path / "elsewhere")
    assert "none of its 16 image files is fit" in refusal(folder, image_size=64, corrupt="skip")
    (folder / "test" / "other").mkdir()
    assert "other: no image file" in refusal(folder)
    picture(folder / "test" / "other" / "a.png")
    assert "train has the classes ['dark', 'light'], test ['dark', 'light', 'other']" in refusal(folder)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    assert "expected one subfolder a class, there is none" in refusal(tmp_path / "empty")


def test_a_smoke_run_takes_from_every_class(tmp_path):
    for name in ("a", "b"):
        for i in range(300):
            picture(tmp_path / "train" / name / f"{i}.png", (4, 4))
        picture(tmp_path / "test" / name / "0.png", (4, 4))
    train, test = load_images(options(tmp_path, image_size=4, smoke=True))
    assert (len(train), len(test)) == (512, 2)
    assert np.bincount(train.labels).tolist() == [256, 256]


def test_agreement_is_that_of_the_nearest_mean_image():
    generator = np.random.default_rng(0)
    centres = generator.random((3, 1, 5, 5)).astype(np.float32)
    labels = np.arange(300) % 3
    images = centres[labels] + 0.02 * generator.standard_normal((300, 1, 5, 5)).astype(np.float32)
    assert agreement(images, labels, images, labels) == 1
    assert agreement(images, (labels + 1) % 3, images, labels) == 0
    assert agreement(np.repeat(images[:1], 300, axis=0), labels, images, labels) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("script", "model"), [("train_gan.py", "linear"), ("train_vae.py", "dense")])
def test_training_on_a_folder(script, model, folder, tmp_path):
    bad = folder / "train" / "dark" / "bad.png"
    bad.write_bytes(b"no image")
    arguments = [script, "--data", "folder", "--data-root", folder, "--model", model, "--epochs", 5, "--batch-size", 8]
    arguments += ["--quiet", "--out", tmp_path / "run"]
    refused = run(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {bad}: not a readable image")
    assert not (tmp_path / "run").exists()
    trained = run(*arguments, "--corrupt", "skip", "--smoke")
    assert trained.returncode == 0, trained.stderr
    assert f"left out {bad}: not a readable image" in trained.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["count"] for row in rows if row.get("event") == "skipped"] == [1]
    assert rows[0]["config"]["channels"] == 3 and rows[0]["config"]["classes"] == 2
