"""Drawing with trained generators, as a user does, and the ways between codes."""

import numpy as np
import pytest
from PIL import Image
from scripts import run

import generate
from generate import linear, nearest, spherical
from scratchnet.models import PlaneVAE
from scratchnet.serialization import save_checkpoint

A, B = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])


@pytest.mark.parametrize("way", [linear, spherical])
def test_ways_begin_and_end_at_their_codes(way):
    np.testing.assert_allclose(way(A, B, 0.0), A, atol=1e-12)
    np.testing.assert_allclose(way(A, B, 1.0), B, atol=1e-12)


def test_the_middle_of_an_arc_keeps_the_length():
    assert np.linalg.norm(spherical(A, B, 0.5)) == pytest.approx(3, abs=1e-12)
    assert np.linalg.norm(linear(A, B, 0.5)) == pytest.approx(3 / np.sqrt(2), abs=1e-12)


@pytest.mark.parametrize(
    ("script", "model"),
    [("train_vae.py", "plane"), ("train_vae.py", "conditional"), ("train_gan.py", "conditional")],
    ids=["plane", "vae", "gan"],
)
def test_pictures_of_a_run(script, model, tmp_path, capsys):
    trained = run(script, "--smoke", "--epochs", 1, "--model", model, "--out", tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert generate.main([str(tmp_path), "--count", "20", "--rows", "3", "--neighbours", "4"]) == 0
    wanted = {"samples": (2, 10), "linear": (3, 10), "spherical": (3, 10)}
    wanted |= {"manifold": (15, 15)} if model == "plane" else {"classes": (10, 10)}
    for name, (rows, columns) in wanted.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (2 * (30 * columns + 2), 2 * (30 * rows + 2))
    assert {path.stem for path in tmp_path.glob("*.png")} == {*wanted, "neighbours", "curves"}
    distances = capsys.readouterr().out.splitlines()[0].split(": ")[1].split(", ")
    assert len(distances) == generate.NEIGHBOURS_OF and all(1 < float(distance) < 28 for distance in distances)


def test_each_row_of_a_conditional_model_is_a_class(tmp_path, monkeypatch):
    """A model that draws its label as a shade of grey."""
    config = {"model": "conditional", "classes": 4}
    draw = lambda codes, labels: np.full((len(codes), 1, 28, 28), labels[:, None, None, None] / 4)  # noqa: E731
    monkeypatch.setattr(generate, "load_model", lambda path, device: (draw, 3, config))
    assert generate.main([str(tmp_path), "--count", "50", "--rows", "5", "--neighbours", "0"]) == 0
    for name, rows in (("samples", 5), ("classes", 4), ("linear", 5), ("spherical", 5)):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))[30::60, 30::60]
        assert pixels.shape == (rows, 10)
        np.testing.assert_array_equal(pixels, np.rint(255 * (np.arange(rows) % 4) / 4)[:, None].repeat(10, 1))


def test_the_nearest_images_are_found_and_measured():
    generator = np.random.default_rng(0)
    images = generator.random((50, 3, 4, 4))
    samples = np.concatenate([images[[7, 31]], images[[3]] + 0.01])
    near, distances = nearest(samples, images, 6)
    assert near[:, 0].tolist() == [7, 31, 3]
    np.testing.assert_allclose(distances[:, 0], [0, 0, 0.01 * np.sqrt(48)], atol=1e-12)
    apart = np.linalg.norm((samples[:, None] - images).reshape(3, 50, -1), axis=2)
    np.testing.assert_array_equal(near, apart.argsort(1)[:, :6])
    np.testing.assert_allclose(distances, np.sort(apart)[:, :6], atol=1e-12)


def refusal(capsys, *arguments):
    assert generate.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "a checkpoint neither of train_vae.py nor of train_gan.py"),
        ({"model": "cnn", "in_channels": 1}, "a checkpoint neither of train_vae.py nor of train_gan.py"),
        ({"trainer": "vae", "model": "nouveau"}, "a model that is unknown here"),
        ({"trainer": "gan", "model": "nouveau"}, "model: expected one of dcgan, small"),
        ({"trainer": "gan"}, "a model that is unknown here"),
        ({"trainer": "gan", "model": "small"}, "has no state of generator; it has model"),
        ({"trainer": "vae", "model": "dense"}, "does not fit, nothing was loaded: model: "),
        ({"trainer": "vae", "model": "plane", "channels": 3}, "does not fit, nothing was loaded: model: "),
        ({"trainer": "vae", "model": "plane", "data": "folder"}, "--data folder needs --data-root"),
    ],
)
def test_checkpoints_of_something_else_are_refused(config, words, tmp_path, capsys):
    path = tmp_path / "step-00000001.safetensors"
    save_checkpoint(path, config=config and {"smoke": True} | config, model=PlaneVAE())
    assert words in refusal(capsys, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_images_of_other_channels_are_no_neighbours(tmp_path, capsys):
    config = {"trainer": "vae", "model": "plane", "channels": 3, "data": "digits", "smoke": True}
    save_checkpoint(tmp_path / "best.safetensors", config=config, model=PlaneVAE((3, 28, 28)))
    assert "the model draws 3 channels, the images of digits have 1" in refusal(capsys, tmp_path)


def test_what_is_no_checkpoint_is_refused(tmp_path, capsys):
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 64)
    assert "weights.safetensors" in refusal(capsys, tmp_path / "weights.safetensors")
    assert "best.safetensors" in refusal(capsys, tmp_path)
