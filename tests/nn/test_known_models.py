"""Published models, written as their listings have them: parameter counts and shapes."""

import numpy as np
import pytest

import scratchnet as torch
from scratchnet import nn

nz, ngf, ndf, nc = 100, 64, 64, 1


class Generator(nn.Module):
    def __init__(self, ngpu):
        super(Generator, self).__init__()  # noqa: UP008 - the listing as it stands
        self.ngpu = ngpu
        self.main = nn.Sequential(
            # input is Z, going into a convolution
            nn.ConvTranspose2d(nz, ngf * 8, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 8),
            nn.ReLU(True),
            # state size. ``(ngf*8) x 4 x 4``
            nn.ConvTranspose2d(ngf * 8, ngf * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            # state size. ``(ngf*4) x 8 x 8``
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            # state size. ``(ngf*2) x 16 x 16``
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            # state size. ``(ngf) x 32 x 32``
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self, ngpu):
        super(Discriminator, self).__init__()  # noqa: UP008
        self.ngpu = ngpu
        self.main = nn.Sequential(
            nn.Conv2d(nc, ndf, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ndf * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, ndf * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ndf * 4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 4, ndf * 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ndf * 8),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 8, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, input):
        return self.main(input)


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


def shallow_cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5408, 10))


def cnn(channels=1, flat=576):
    return nn.Sequential(
        *(nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def keras_discriminator():
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, stride=2, padding="same"), nn.LeakyReLU(0.2), nn.Dropout(0.25)),
        *(nn.Conv2d(32, 64, 3, stride=2, padding="same"), nn.BatchNorm2d(64, momentum=0.2), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(3136, 1), nn.Sigmoid()),
    )


def shapes(model, *size):
    rows = nn.summary(model, (1, *size)).rows
    return [row.output_shape[1:] for row in rows if row.kind in ("Conv2d", "ConvTranspose2d", "MaxPool2d", "Linear")]


def test_shallow_cnn():
    assert nn.utils.count_parameters(shallow_cnn()) == 54_410
    assert shapes(shallow_cnn(), 1, 28, 28) == [(32, 26, 26), (32, 13, 13), (10,)]


def test_cnn():
    assert nn.utils.count_parameters(cnn()) == 93_322
    assert nn.utils.count_parameters(cnn(3, 1024)) == 122_570
    assert shapes(cnn(), 1, 28, 28) == [
        *((32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 5, 5), (64, 3, 3), (64,), (10,)),
    ]


def test_discriminator_with_tensorflows_same_padding():
    model = keras_discriminator()
    assert nn.utils.count_parameters(model) == 22_081
    assert nn.summary(model, (1, 1, 28, 28)).buffers == 128 + 1  # and the number of batches
    assert shapes(model, 1, 28, 28) == [(32, 14, 14), (64, 7, 7), (1,)]


@pytest.fixture(scope="module")
def dcgan():
    torch.manual_seed(999)
    pair = Generator(1).to("cpu"), Discriminator(1).to("cpu")
    for net in pair:
        net.apply(weights_init)
    return pair


def test_dcgan_counts_and_initial_weights(dcgan):
    generator, discriminator = dcgan
    assert nn.utils.count_parameters(generator) == 3_574_656
    assert nn.utils.count_parameters(discriminator) == 2_763_520
    for net in dcgan:
        weights = np.concatenate([p.data.ravel() for n, p in net.named_parameters() if p.ndim == 4])
        # 2.7 million draws: mean and deviation lie within 5 standard errors but once in 900,000 seeds
        error = 0.02 / np.sqrt(weights.size)
        assert abs(weights.mean()) < 5 * error and abs(weights.std() - 0.02) < 5 * error / np.sqrt(2)
    gammas = np.concatenate([m.weight.data for m in generator.modules() if isinstance(m, nn.BatchNorm2d)])
    assert abs(gammas.mean() - 1) < 5 * 0.02 / np.sqrt(gammas.size) and 0.015 < gammas.std() < 0.025


def test_dcgan_shapes(dcgan):
    generator, discriminator = dcgan
    assert shapes(generator, nz, 1, 1) == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (64, 32, 32), (1, 64, 64)]
    assert shapes(discriminator, 1, 64, 64) == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (1, 1, 1)]


def test_a_gradient_reaches_all_of_dcgan(monkeypatch):
    monkeypatch.setitem(globals(), "ngf", 4)
    monkeypatch.setitem(globals(), "ndf", 4)
    generator, discriminator = Generator(1).apply(weights_init), Discriminator(1).apply(weights_init)
    fake = generator(torch.randn(2, nz, 1, 1))
    output = discriminator(fake).view(-1)
    nn.BCELoss()(output, torch.full((2,), 1.0)).backward()
    for p in (*generator.parameters(), *discriminator.parameters()):
        assert np.isfinite(p.grad.data).all() and np.abs(p.grad.data).max() > 0
