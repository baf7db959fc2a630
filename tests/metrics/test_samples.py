"""Samples for the judge: from weights alone or from a checkpoint, of any size, with or without a class asked for."""

import numpy as np
import pytest

import scratchnet as sn
from judge import as_seen
from samples import draw_samples, load_dcgan
from scratchnet import models
from scratchnet.serialization import save_checkpoint, save_file


def lively(generator):
    """With statistics of codes in its batch norms and weights large enough to draw something, as after training."""
    for parameter in generator.parameters():
        parameter.data *= 10
    generator.train()
    with sn.no_grad():
        generator(sn.randn(8, 100))
    return generator.eval()


@pytest.mark.parametrize("size", [28, 32, 64])
def test_weights_alone_are_enough(size, tmp_path):
    sn.manual_seed(size)
    generator = lively(models.Generator(100, 1, 4, size))
    save_file(generator.state_dict(), tmp_path / "generator.safetensors")
    samples, asked, drawn = draw_samples(tmp_path / "generator.safetensors", 30, seed=5)
    assert asked is None and drawn == size
    codes = np.random.default_rng(5).standard_normal((30, 100)).astype(np.float32)
    with sn.no_grad():
        expected = as_seen((generator(sn.Tensor(codes)).data + 1) / 2)
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1.01 / 255)  # a sum of another order may round otherwise
    assert samples.std() > 0.01 and load_dcgan(tmp_path / "generator.safetensors").latent == 100


def test_a_conditional_generator_is_asked_for_all_classes_in_turn(tmp_path):
    sn.manual_seed(0)
    generator = models.ConditionalGenerator(10, 100, 1, 64, 28)
    config = {"trainer": "gan", "model": "conditional", "channels": 1, "image_size": 28}
    save_checkpoint(tmp_path / "step-00000001.safetensors", step=1, config=config, generator=generator)
    samples, asked, _ = draw_samples(tmp_path, 12, seed=0)
    assert asked.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert samples.shape == (12, 1, 28, 28)
