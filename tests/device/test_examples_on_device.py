"""The example trainers on the pretended GPU, in this process, since a process of its own would find no GPU."""

import re

import pytest

import augment
import complete
import control
import denoise
import generate
import predict
import train_cnn
import train_gan
import train_vae
from scratchnet.cuda import is_available
from scratchnet.data import Digits


def test_a_classifier_learns_there_and_predicts_anywhere(cuda, tmp_path, capsys, monkeypatch):
    digits = [Digits(size=n, train=n == 128) for n in (128, 64)]
    monkeypatch.setattr(train_cnn, "load_data", lambda args: (*digits, digits[0].classes, []))
    arguments = ["--smoke", "--model", "shallow", "--epochs", "2", "--quiet", "--device", "cuda"]
    assert train_cnn.main([*arguments, "--out", str(tmp_path)]) >= 0.2
    answers = []
    for device in ("cpu", "cuda"):
        assert predict.main([str(tmp_path), str(tmp_path / "curves.png"), "--device", device]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


def test_an_adversarial_pair_trains_there(cuda, tmp_path):
    row = train_gan.main(
        ["--smoke", "--model", "linear", "--epochs", "1", "--quiet", "--device", "cuda", "--out", str(tmp_path)]
    )
    assert 0 < row["d_loss"] < 10
    assert (tmp_path / "samples.gif").stat().st_size


def test_an_autoencoder_trains_there_and_draws_anywhere(cuda, tmp_path):
    arguments = ["--smoke", "--model", "plane", "--epochs", "1", "--quiet", "--device", "cuda"]
    assert train_vae.main([*arguments, "--out", str(tmp_path)])["loss"] < 600
    pictures = []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        assert generate.main([str(tmp_path), "--device", device, "--out", str(out), "--neighbours", "0"]) == 0
        pictures.append((out / "manifold.png").read_bytes())
    assert pictures[0] == pictures[1]


SMOKE = ["--smoke", "--quiet", "--out"]


@pytest.fixture
def few_drawings(monkeypatch):
    """Less than a smoke run's: the reference computes here."""
    monkeypatch.setattr("images.SMOKE", {"train": 128, "test": 64})


def on_both(cuda, work):
    """work(device) on each, of which only the second may have anything to do with the GPU, and must."""
    cuda.transfers.clear()
    on_cpu = work("cpu")
    assert not cuda.transfers
    on_gpu = work("cuda")
    assert cuda.transfers["to host"]
    return on_cpu, on_gpu


def test_noise_is_taken_out_there(cuda, few_drawings, tmp_path):
    options = ["--epochs", "1", "--sigma", "2"]
    on_cpu, on_gpu = on_both(cuda, lambda d: denoise.main([*SMOKE, str(tmp_path / d), *options, "--device", d]))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-4)


def test_holes_are_filled_there(cuda, few_drawings, tmp_path):
    train_vae.main([*SMOKE, str(tmp_path / "vae"), "--epochs", "4", "--batch-size", "16"])
    options = ["--checkpoint", str(tmp_path / "vae"), "--count", "5", "--starts", "2", "--steps", "15"]
    on_cpu, on_gpu = on_both(cuda, lambda d: complete.main([*SMOKE, str(tmp_path / d), *options, "--device", d]))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-4)


def test_drawings_are_controlled_there(cuda, few_drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(control, "SMOKE_WANTED", {})
    monkeypatch.setattr(control, "train_classifier", lambda *a: augment.train_classifier(*a[:3], 3, *a[4:]))
    train_vae.main([*SMOKE, str(tmp_path / "vae"), "--model", "conditional", "--epochs", "1"])
    options = ["--checkpoint", str(tmp_path / "vae"), "--count", "3", "--rows", "2"]
    on_cpu, on_gpu = on_both(cuda, lambda d: control.main([*SMOKE, str(tmp_path / d), *options, "--device", d]))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3, abs=1e-6)


def test_classifiers_are_compared_there(cuda):
    digits = [Digits(size=n, train=n == 64) for n in (64, 20)]
    options = ["--per-class", "2", "--generated", "2", "--epochs", "1", "--steps", "2", "--device"]
    on_cpu, on_gpu = on_both(cuda, lambda d: augment.pair(augment.parse_arguments([*options, d]), 0, *digits, 10))
    assert on_cpu[:2] == on_gpu[:2]
    assert abs(on_cpu[3] - on_gpu[3]).max() < 1e-4


@pytest.mark.parametrize("device, words", [("cuda", "needs CuPy|needs an NVIDIA GPU"), ("tpu", "'cpu' or 'cuda'")])
def test_a_device_that_is_not_there_is_refused_in_words(device, words, capsys):
    if device == "cuda" and is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as stop:
        train_cnn.main(["--device", device])
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)
