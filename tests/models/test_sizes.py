"""Every model's parameters are counted, and its shapes traced, as its docstring and its listing have them."""

import re

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import models, nn

PARAMETERS = {
    "ShallowCNN": 54_410,
    "CNN": 93_322,
    "SmallGenerator": 765_761,
    "SmallDiscriminator": 22_081,
    "TinyGenerator": 51_739,
    "LinearDiscriminator": 193,
    "Generator": 3_574_656,
    "Discriminator": 2_763_520,
    "WideGenerator": 4_078_659,
    "WideDiscriminator": 37_789_505,
    "ConditionalGenerator": 878_464,
    "ConditionalDiscriminator": 442_112,
    "ConditionalVAE": 660_824,
    "Critic": 431_553,
    "DenseVAE": 652_824,
    "PlaneVAE": 219_028,
    "ConvVAE": 258_025,
    "SmallConvVAE": 120_521,
    "DenoisingAutoencoder": 103_617,
}
CODE, GREY, LABELS = (2, 100), (2, 1, 28, 28), (2,)
# Inputs, and what each layer with a weight, and the model as a whole, makes of one sample.
TRACES = {
    "SmallGenerator": ([CODE], [(6272,), (64, 14, 14), (64, 14, 14), (1, 28, 28)]),
    "SmallDiscriminator": ([GREY], [(32, 14, 14), (64, 7, 7), (64, 7, 7), (1,)]),
    "TinyGenerator": ([CODE], [(512,), (3, 8, 8)]),
    "LinearDiscriminator": ([(2, 3, 8, 8)], [(1,)]),
    "Generator": (
        [CODE],
        [s for n in (512, 256, 128, 64) for s in [(n, 2048 // n, 2048 // n)] * 2] + [(1, 64, 64)],
    ),
    "Discriminator": (
        [(2, 1, 64, 64)],
        [(64, 32, 32), *(s for n in (128, 256, 512) for s in [(n, 2048 // n, 2048 // n)] * 2), (1, 1, 1)],
    ),
    "WideGenerator": ([CODE], [(40_000,), (64, 50, 50), (3, 100, 100)]),
    "ConditionalGenerator": (
        [CODE, LABELS],
        [*[(256, 4, 4)] * 2, *[(128, 7, 7)] * 2, *[(64, 14, 14)] * 2, (1, 28, 28)],
    ),
    "ConditionalDiscriminator": ([GREY, LABELS], [(64, 14, 14), *[(128, 7, 7)] * 2, *[(256, 4, 4)] * 2, (1, 1, 1)]),
    "ConditionalVAE": ([GREY, LABELS], [(400,), (20,), (20,), (400,), (784,)]),
    "Critic": ([GREY], [(64, 14, 14), (128, 7, 7), (256, 4, 4), (1, 1, 1)]),
    "DenseVAE": ([GREY], [(400,), (20,), (20,), (400,), (784,)]),
    "PlaneVAE": ([GREY], [(128,), (2,), (2,), (128,), (128,), (784,)]),
    "ConvVAE": ([GREY], [(32, 14, 14), (64, 7, 7), (20,), (20,), (3136,), (32, 14, 14), (1, 28, 28)]),
    "SmallConvVAE": ([GREY], [(8, 14, 14), (8, 7, 7), (100,), (100,), (392,), (8, 14, 14), (1, 28, 28)]),
    "DenoisingAutoencoder": ([GREY], [(32, 14, 14), *[(64, 7, 7)] * 2, (32, 14, 14), (1, 28, 28)]),
}


def arguments(shapes):
    return [sn.tensor([3, 7]) if shape == LABELS else sn.zeros(*shape) for shape in shapes]


def test_every_model_is_counted():
    classes = {name for name in models.__all__ if isinstance(getattr(models, name), type)}
    assert classes - {"VAE"} == PARAMETERS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = getattr(models, name)
    assert f"{PARAMETERS[name]:,} parameters" in model.__doc__
    if PARAMETERS[name] < 10_000_000:
        assert nn.utils.count_parameters(model()) == PARAMETERS[name]


@pytest.mark.parametrize("name", TRACES)
def test_shapes(name):
    shapes, wanted = TRACES[name]
    summary = nn.summary(getattr(models, name)(), *arguments(shapes))
    weighted = re.compile("Conv|Linear|BatchNorm").match
    assert [row.output_shape[1:] for row in summary.rows if weighted(row.kind)] == wanted


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 8, 20, 28, 37, 64, 100])
def test_dcgan_of_other_sizes(size, channels):
    options = dict(channels=channels, features=4, image_size=size)
    fake = models.Generator(latent=7, **options)(sn.zeros(2, 7))
    assert fake.shape == (2, channels, size, size)
    assert models.Discriminator(**options)(fake).shape == models.Critic(**options)(fake).shape == (2,)


def test_colour_images():
    codes = sn.zeros(2, 100)
    for image in (models.SmallGenerator(channels=3)(codes), models.WideGenerator(channels=1, features=2)(codes)):
        assert image.shape[1] in (1, 3) and np.abs(image.data).max() <= 1
    assert models.SmallDiscriminator(3)(sn.zeros(2, 3, 28, 28)).shape == (2,)
    assert models.ConvVAE(channels=3, image_size=32)(sn.zeros(2, 3, 32, 32))[0].shape == (2, 3, 32, 32)
    assert models.DenseVAE(image_shape=(3, 5, 6))(sn.zeros(2, 3, 5, 6))[0].shape == (2, 3, 5, 6)
    conditional = models.ConditionalVAE(num_classes=4, image_shape=(3, 5, 6))
    assert conditional(sn.zeros(2, 3, 5, 6), sn.tensor([3, 0]))[0].shape == (2, 3, 5, 6)


@pytest.mark.parametrize(
    ("match", "make"),
    [
        ("Generator: image_size must be at least 5, got 4", lambda: models.Generator(image_size=4)),
        ("Discriminator: image_size must be at least 5, got 1", lambda: models.Discriminator(image_size=1)),
        ("Critic: image_size must be at least 5, got 2", lambda: models.Critic(image_size=2)),
        ("WideGenerator: image_size must be a multiple of 4, got 50", lambda: models.WideGenerator(image_size=50)),
        (
            "ConvVAE: image_size must be a multiple of 4.*got 30",
            lambda: models.ConvVAE(image_size=30),
        ),
    ],
)
def test_wrong_sizes(match, make):
    with pytest.raises(ValueError, match=match):
        make()
