"""The lint has nothing to say about convolutional trainings that are right."""

import itertools

import certified
import pytest

from scratchnet.testing.lint import Lint


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        (certified.Classifier, {"model": "model"}),
        (certified.GAN, {"generator": "g", "discriminator": "d"}),
        (certified.VAE, {"model": "model"}),
    ],
)
def test_nothing_is_found(kind, models):
    training = kind()
    lint = Lint({role: training.parts[name] for role, name in models.items()})
    with lint:
        for images, labels in itertools.islice(training.parts["loader"], 3):
            training.step(images, labels)
    lint.check()
