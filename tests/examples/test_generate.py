"""Drawing with trained generators, as a user does, and the ways between codes."""

import numpy as np
import pytest
from PIL import Image
from scripts import run

from generate import linear, spherical

A, B = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])


@pytest.mark.parametrize("way", [linear, spherical])
def test_ways_begin_and_end_at_their_codes(way):
    np.testing.assert_allclose(way(A, B, 0.0), A, atol=1e-12)
    np.testing.assert_allclose(way(A, B, 1.0), B, atol=1e-12)


def test_the_middle_of_an_arc_keeps_the_length():
    assert np.linalg.norm(spherical(A, B, 0.5)) == pytest.approx(3, abs=1e-12)
    assert np.linalg.norm(linear(A, B, 0.5)) == pytest.approx(3 / np.sqrt(2), abs=1e-12)


@pytest.mark.parametrize(
    "script, model, side", [("train_vae.py", "plane", 28), ("train_gan.py", "conditional", 28)], ids=["vae", "gan"]
)
def test_pictures_of_a_run(script, model, side, tmp_path):
    trained = run(script, "--smoke", "--epochs", 1, "--model", model, "--out", tmp_path)
    assert trained.returncode == 0, trained.stderr
    result = run("generate.py", tmp_path, "--count", 20, "--rows", 3)
    assert result.returncode == 0, result.stderr
    for name, rows, columns in (("samples", 2, 10), ("linear", 3, 10), ("spherical", 3, 10)):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == tuple(2 * (n * (side + 2) + 2) for n in (columns, rows))
    assert (tmp_path / "manifold.png").exists() == (model == "plane")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 64)
    result = run("generate.py", tmp_path / "weights.safetensors")
    assert result.returncode == 2
    assert result.stderr.startswith("error:") and "weights.safetensors" in result.stderr
