"""The example trainers on the pretended GPU, in this process, since a process of its own would find no GPU."""

import re

import pytest

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


@pytest.mark.parametrize("device, words", [("cuda", "needs CuPy|needs an NVIDIA GPU"), ("tpu", "'cpu' or 'cuda'")])
def test_a_device_that_is_not_there_is_refused_in_words(device, words, capsys):
    if device == "cuda" and is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as stop:
        train_cnn.main(["--device", device])
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)
