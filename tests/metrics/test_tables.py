"""The tables of generators and autoencoders: what is judged, and what cannot be."""

import pytest

import scratchnet as sn
from autoencoders import row
from generators import Table
from judge import Judge
from scratchnet import models
from scratchnet.serialization import save_file


def test_a_distance_without_a_twin_counts_as_missed(digits, model, tmp_path):
    sn.manual_seed(0)
    path = tmp_path / "generator.safetensors"
    save_file(models.Generator(100, 1, 4, 28).state_dict(), path)
    images = digits[1][0][:300]
    table = Table(Judge(model, "small-cnn", "6"), images, images, count=200, seed=0, audit=False)
    table.add("alone", path)
    assert "alone: no twin of 28 pixels to compare the distance with" in table.missed
    assert "| **no twin** |" in table.rows[-1]
    table.missed.clear()
    table.add("its like", path, is_twin=True)
    assert not table.missed and "| 1.00 |" in table.rows[-1]
    table.add("beside it", path)
    assert table.missed and not any("twin" in words for words in table.missed) and "| 1.00 |" in table.rows[-1]


def log(model, losses, **config):
    config = {"trainer": "vae", "data": "mnist", "image_size": 28, "smoke": False, "model": model, "seed": 0} | config
    epochs = [
        {"epoch": i, "test_loss": loss, "test_reconstruction": 80.0, "test_kl": loss - 80, "test_active": 20}
        for i, loss in enumerate(losses, 1)
    ]
    return [{"config": config}, *epochs, {"event": "done"}]


def test_an_autoencoder_is_judged_after_its_epochs():
    line, missed = row(log("dense", [*[110.0] * 9, 105.0, 90.0]))
    assert line.startswith("| dense | 0 | 10 | 105.00 |") and not missed
    line, missed = row(log("dense", [*[110.0] * 9, 107.0, 90.0]))
    assert "| **107.00** |" in line and missed == ["test_loss"]
    with pytest.raises(ValueError, match="judged after 10 epochs, this run had 2"):
        row(log("dense", [90.0, 90.0]))


@pytest.mark.parametrize("config", [{"image_size": 14}, {"smoke": True}, {"data": "digits"}, {"trainer": "gan"}])
def test_other_runs_are_no_autoencoders_of_mnist(config):
    with pytest.raises(ValueError, match="not the log of a whole run of train_vae.py on MNIST"):
        row(log("dense", [90.0] * 10, **config))
