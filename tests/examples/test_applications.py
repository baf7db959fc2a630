"""What people do with generative models: the scripts, run as a user runs them, on little data, and their measures."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import run

import augment
import complete
import control
import denoise
import scratchnet as sn
from scratchnet import nn
from scratchnet.models import DenseVAE, Discriminator, Generator
from scratchnet.serialization import save_checkpoint
from trained import load_networks

SMOKE = ["--smoke", "--out"]


def rows(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines[1:] if "event" not in row]


def is_sheet(path, count, columns):
    """Whether a picture is a grid of so many rows and columns of 28 x 28 images, enlarged twice, not all the same."""
    with Image.open(path) as picture:
        return picture.size == (2 * (30 * columns + 2), 2 * (30 * count + 2)) and np.ptp(np.asarray(picture)) > 100


def test_denoising(tmp_path):
    result = run("denoise.py", *SMOKE, tmp_path, "--epochs", 2)
    assert result.returncode == 0, result.stderr
    first, last = rows(tmp_path)
    assert last["denoised_psnr"] > first["denoised_psnr"]
    assert last["noisy_psnr"] == pytest.approx(-20 * np.log10(0.3), abs=0.1)
    gain = last["denoised_psnr"] - last["clipped_psnr"]
    assert f"gain {gain:.2f} dB over the clipped noisy images" in result.stdout
    assert is_sheet(tmp_path / "denoised.png", 9, 8)


def test_what_a_denoiser_gains_is_counted_from_the_clipped_image():
    clean = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    noisy = clean + np.float32(0.5)
    identity = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(identity.weight)
    psnr = denoise.evaluate(identity, clean, noisy)
    assert psnr["denoised_psnr"] == psnr["clipped_psnr"] > psnr["noisy_psnr"]
    assert psnr["noisy_psnr"] == pytest.approx(20 * np.log10(2), abs=1e-5)


@pytest.mark.parametrize(("count", "rows", "columns"), [(30, 12, 10), (7, 4, 7)])
def test_completion(count, rows, columns, tmp_path):
    arguments = ["complete.py", "--count", count, "--starts", 2, "--steps", 20, *SMOKE, tmp_path]
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "completed.json").read_text())
    assert found["gain"] == pytest.approx(found["completed_psnr"] - found["mean_fill_psnr"])
    assert is_sheet(tmp_path / "completed.png", rows, columns)
    assert found["count"] == count


class Valleys:
    """Two codes make a flat image; the energy has a shallow valley at -1 and a deeper one at 1."""

    latent = 2

    def energy(self, z, images, known):
        apart = ((self.draw(z) - images) * known).abs().sum((1, 2, 3))
        return sn.square(sn.square(z[:, 0]) - 1) - 0.3 * z[:, 0] + apart

    def draw(self, z):
        return z[:, :, None, None].expand((len(z), 2, 4, 4))[:, 1:] * 1.0


def search(images, known, starts):
    rng = np.random.default_rng(0)
    return complete.search(Valleys(), images, known, starts=starts, steps=100, lr=0.1, rng=rng)


def test_a_search_fits_what_is_known_and_does_not_see_the_rest():
    images = np.full((3, 1, 4, 4), 0.25, np.float32) * np.array([1, 2, 3], np.float32)[:, None, None, None]
    known = np.ones((4, 4), np.float32)
    known[1:3, 1:3] = 0
    drawn = search(images, known, starts=2)
    np.testing.assert_allclose(drawn, images, atol=0.05)
    spoilt = np.where(known, images, 7).astype(np.float32)
    np.testing.assert_array_equal(search(spoilt, known, starts=2), drawn)


def test_the_lowest_of_many_starts_counts():
    class Shown(Valleys):
        def draw(self, z):
            return z[:, :1, None, None] * sn.ones(1, 1, 4, 4)

        def energy(self, z, images, known):
            return sn.square(sn.square(z[:, 0]) - 1) - 0.3 * z[:, 0]

    rng = np.random.default_rng(0)
    found = {}
    for starts in (1, 12):
        options = dict(starts=starts, steps=60, lr=0.1, rng=rng)
        found[starts] = complete.search(Shown(), np.zeros((20, 1, 4, 4), np.float32), np.ones((4, 4)), **options)
    assert (found[1] < 0).any() and (found[12] > 0.9).all()


def test_energies_are_those_of_the_documentation():
    rng = np.random.default_rng(0)
    images, z = rng.random((3, 1, 28, 28), np.float32), rng.standard_normal((3, 100), np.float32)
    known = np.float32(1 - complete.centre(28, rng))
    tensors = [sn.Tensor(array) for array in (z, images, known)]

    vae = complete.VAEDrawer(DenseVAE(latent=100))
    pixels = vae.draw(tensors[0]).data
    nats = -(images * np.log(pixels) + (1 - images) * np.log(1 - pixels)) * known
    np.testing.assert_allclose(vae.energy(*tensors).data, nats.sum((1, 2, 3)) + (z**2).sum(1) / 2, rtol=1e-4)

    networks = [net.eval() for net in (Generator(features=4, image_size=28), Discriminator(features=4, image_size=28))]
    gan = complete.GANDrawer(*networks)
    likely = 1 / (1 + np.exp(-networks[1](networks[0](tensors[0])).data))
    wanted = (np.abs(gan.draw(tensors[0]).data - images) * known).sum((1, 2, 3)) + 0.003 * np.log(1 - likely)
    np.testing.assert_allclose(gan.energy(*tensors).data, wanted, rtol=1e-4)


def test_holes():
    sizes = {name: hole(28, np.random.default_rng(0)).sum() / 784 for name, hole in complete.HOLES.items()}
    assert sizes == {"centre": 0.25, "lower": 0.5, "scattered": pytest.approx(0.8, abs=0.05)}
    assert complete.centre(28, None)[7:21, 7:21].all() and complete.lower(28, None)[14:].all()


@pytest.mark.parametrize("model", ["conditional", "gaussian", "wgan-gp"])
def test_completion_refuses_models_it_does_not_know(model, monkeypatch, tmp_path):
    monkeypatch.setattr(complete, "load_networks", lambda path, device: ({}, {"trainer": "vae", "model": model}))
    with pytest.raises(ValueError, match=f"not written for the {model} model"):
        complete.load_drawer(tmp_path)


def test_checkpoints_of_unknown_models_are_refused(tmp_path):
    path = tmp_path / "step-00000001.safetensors"
    save_checkpoint(path, step=1, config={"trainer": "vae", "model": "nouveau"}, model=nn.Linear(1, 1))
    with pytest.raises(ValueError, match="step-00000001.safetensors is of a model that is unknown here, 'nouveau'"):
        load_networks(tmp_path)


def test_augmentation(tmp_path):
    result = run("augment.py", *SMOKE, tmp_path)
    assert result.returncode == 0, result.stderr
    found = rows(tmp_path)
    assert [row["seed"] for row in found] == [0, 1, 2, 3, 4]
    differences = [row["with_generated"] - row["without"] for row in found]
    assert len(set(differences)) > 1
    mean, low, high = (100 * end for end in augment.interval(differences))
    assert f"difference {mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}" in result.stdout
    assert is_sheet(tmp_path / "images.png", 10, 10)
    assert run("augment.py", *SMOKE, tmp_path, "--pairs", 4).returncode == 2


def test_augmentation_resumed_makes_the_pairs_that_are_left(monkeypatch, tmp_path):
    made = []

    def pair(args, seed, train, test, classes):
        if len(made) == 2:
            made.append(None)
            raise OSError("no space left")
        made.append(seed)
        return seed / 10, seed / 10 + 0.01 * seed, *[np.zeros((50, 1, 28, 28))] * 2

    monkeypatch.setattr(augment, "pair", pair)
    arguments = [*SMOKE, str(tmp_path), "--quiet"]
    with pytest.raises(SystemExit):
        augment.main(arguments)
    result = augment.main([*arguments, "--resume"])
    assert made == [0, 1, None, 2, 3, 4]
    assert result["difference"] == pytest.approx(0.02) and result["low"] < 0.02 < result["high"]


@pytest.mark.parametrize(("df", "wanted"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (30, 2.04227)])
def test_quantiles_of_student_t(df, wanted):
    assert augment.t_quantile(0.975, df) == pytest.approx(wanted, rel=1e-4)


def test_the_interval_holds_the_mean_of_95_in_100_samples():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (400, 5))
    held = [low <= 3.0 <= high for _, low, high in map(augment.interval, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 400))


def test_only_the_chosen_images_are_seen():
    dataset = sn.data.TensorDataset(np.arange(60), np.arange(60) % 3)
    images, labels = augment.choose(dataset, 3, 4, np.random.default_rng(0))
    assert len(set(images)) == 12 and (images % 3 == labels).all() and np.bincount(labels).tolist() == [4, 4, 4]


def test_control(tmp_path):
    result = run("control.py", *SMOKE, tmp_path, "--count", 20, "--rows", 4)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "control.json").read_text())
    assert 0 <= found["agreement"] <= 1
    assert f"slant: rank correlation {found['slant']:.3f}" in result.stdout
    for name in ("classes", "thickness", "slant", "interpolation"):
        assert is_sheet(tmp_path / f"{name}.png", 4, 10)


def bar(width, lean=0.0):
    image = np.zeros((1, 1, 28, 28))
    for y in range(4, 24):
        x = 12 + round(lean * (14 - y))
        image[0, 0, y, x : x + width] = 1
    return image


def test_thickness_is_that_of_bars_in_any_ink():
    measured = [control.thickness(bar(width))[0] for width in (1, 2, 4)]
    np.testing.assert_allclose(measured, [20 * w / (20 + w) for w in (1, 2, 4)], rtol=0.06)
    np.testing.assert_allclose(control.thickness(0.5 * bar(4)), measured[2:], rtol=1e-12)


def test_slant_is_positive_to_the_right():
    measured = [control.slant(bar(3, lean))[0] for lean in (-0.4, 0.0, 0.4)]
    np.testing.assert_allclose(measured, [-0.4, 0, 0.4], atol=0.02)


def test_a_direction_is_found_within_classes_and_followed():
    rng = np.random.default_rng(0)
    codes, labels = rng.standard_normal((20_000, 6)), rng.integers(0, 3, 20_000)
    true = np.array([0, 3, 0, 0, -4, 0]) / 5
    values = 2 * codes @ true + 50 * labels
    codes[:, 0] += 9 * labels  # a class may have codes of its own: that is no direction of the attribute
    along = control.direction(codes, values, labels)
    np.testing.assert_allclose(along, true, atol=0.05)
    codes = codes[:500]
    places = np.linspace(-2, 2, 5)
    moved = control.moved(codes, along, places)
    np.testing.assert_allclose(moved @ along, np.tile(places, (500, 1)), atol=1e-9)
    across = np.eye(6) - np.outer(along, along)
    np.testing.assert_allclose(moved @ across, np.repeat((codes @ across)[:, None], 5, 1), atol=1e-9)


def test_rank_correlations():
    values = np.array([[1.0, 2, 30, 31], [4, 3, 2, -9], [2, 1, 4, 3], [0, 0, 1, 1], [5, 5, 5, 5]])
    tied = np.corrcoef([1.5, 1.5, 3.5, 3.5], [1, 2, 3, 4])[0, 1]
    np.testing.assert_allclose(control.spearman(values), [1, -1, 0.6, tied, np.nan])


@pytest.mark.parametrize("script", [complete, control])
def test_images_that_a_model_does_not_draw_are_refused(script, monkeypatch, tmp_path, capsys):
    config = {"trainer": "gan", "model": "conditional", "channels": 3, "classes": 10, "image_size": 28}
    monkeypatch.setattr(control, "load_model", lambda path, device: (None, 100, config))
    monkeypatch.setattr(
        complete, "load_drawer", lambda path, device: complete.GANDrawer(Generator(100, 3, 4, 28), None)
    )
    with pytest.raises(SystemExit, match="2"):
        script.main([*SMOKE, str(tmp_path), "--checkpoint", str(tmp_path)])
    assert "3 channels" in capsys.readouterr().err
