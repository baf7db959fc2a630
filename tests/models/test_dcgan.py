"""DCGAN: PyTorch's listing runs as it stands but for its imports, and is the library's model; initial weights."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import models, nn

LISTING = """
import torch
from torch import nn

nz, ngf, ndf, nc = 100, 64, 64, 1

class Generator(nn.Module):
    def __init__(self):
        super(Generator, self).__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 8, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 8),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 8, ngf * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh()
        )

    def forward(self, input):
        return self.main(input)

class Discriminator(nn.Module):
    def __init__(self):
        super(Discriminator, self).__init__()
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
            nn.Sigmoid()
        )

    def forward(self, input):
        return self.main(input).view(-1, 1).squeeze(1)

def weights_init(m):
    classname = m.__class__.__name__
    if classname.find('Conv') != -1:
        torch.nn.init.normal_(m.weight, 0.0, 0.02)
    elif classname.find('BatchNorm') != -1:
        torch.nn.init.normal_(m.weight, 1.0, 0.02)
        torch.nn.init.zeros_(m.bias)

device = "cpu"
netG = Generator().to(device)
netG.apply(weights_init)
netD = Discriminator().to(device)
netD.apply(weights_init)

criterion = nn.BCELoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=0.0002, betas=(0.5, 0.999))

def step(images):
    netD.zero_grad()
    real = images.to(device)
    batch_size = real.size(0)
    label = torch.full((batch_size,), 1, dtype=real.dtype, device=device)
    output = netD(real)
    errD_real = criterion(output, label)
    errD_real.backward()
    D_x = output.mean().item()

    noise = torch.randn(batch_size, nz, 1, 1, device=device)
    fake = netG(noise)
    label.fill_(0)
    output = netD(fake.detach())
    errD_fake = criterion(output, label)
    errD_fake.backward()
    D_G_z1 = output.mean().item()
    errD = errD_real + errD_fake
    optimizerD.step()

    netG.zero_grad()
    label.fill_(1)
    output = netD(fake)
    errG = criterion(output, label)
    errG.backward()
    D_G_z2 = output.mean().item()
    optimizerG.step()
    return errD.item(), errG.item(), D_x, D_G_z1, D_G_z2
"""


@pytest.fixture(scope="module")
def listing():
    """The listing's names, after its two import lines are changed."""
    sn.manual_seed(999)
    source = LISTING.replace(
        "import torch\nfrom torch import nn", "import scratchnet as torch\nfrom scratchnet import nn"
    )
    names = {"__name__": "listing"}
    exec(source, names)
    return names


def test_state_dicts_cross_over_and_outputs_agree(listing):
    for ours, theirs, shape in (
        (models.Generator(), listing["netG"], (2, 100, 1, 1)),
        (models.Discriminator(), listing["netD"], (2, 1, 64, 64)),
    ):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        x = sn.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        expected = theirs(x)
        found = ours(x) if ours(x).ndim > 1 else nn.functional.sigmoid(ours(x))
        np.testing.assert_array_equal(found.data, expected.data)


def test_a_step_of_the_listing_trains_both(listing):
    before = [{k: v.data.copy() for k, v in listing[net].state_dict().items()} for net in ("netG", "netD")]
    images = sn.tensor(np.random.default_rng(1).uniform(-1, 1, (4, 1, 64, 64)).astype(np.float32))
    err_d, err_g, d_x, d_g_z1, d_g_z2 = listing["step"](images)
    assert np.isfinite([err_d, err_g]).all() and all(0 < d < 1 for d in (d_x, d_g_z1, d_g_z2))
    assert d_g_z2 < d_g_z1  # the discriminator has learnt from this very batch
    for net, state in zip(("netG", "netD"), before, strict=True):
        assert all((listing[net].state_dict()[key].data != value).any() for key, value in state.items())


@pytest.mark.parametrize("size", [28, 64])
def test_initial_weights(size):
    sn.manual_seed(3)
    for model in (models.Generator(image_size=size), models.Discriminator(image_size=size)):
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                assert_normal(layer.weight.data, 0, 0.02)
                assert layer.bias is None
            elif isinstance(layer, nn.BatchNorm2d):
                assert_normal(layer.weight.data, 1, 0.02)
                assert (layer.bias.data == 0).all() and layer.momentum == 0.1 and layer.eps == 1e-5
            elif isinstance(layer, nn.LeakyReLU):
                assert layer.negative_slope == 0.2


def assert_normal(values, mean, std):
    """Mean and deviation within 5 standard errors, and not a constant's or a uniform's fourth moment."""
    n = values.size
    scaled = (values.astype(np.float64) - mean) / std
    assert abs(scaled.mean()) < 5 / np.sqrt(n)
    assert abs(scaled.std() - 1) < 5 / np.sqrt(2 * n)
    assert abs((scaled**4).mean() - 3) < 5 * np.sqrt(96 / n)


def test_codes_may_be_vectors_or_pixels():
    generator = models.Generator(features=2)
    generator.eval()
    z = sn.randn(3, 100)
    np.testing.assert_array_equal(generator(z).data, generator(z.reshape(3, 100, 1, 1)).data)
    with pytest.raises(ValueError, match=r"expected input \(N, 100, H, W\), got shape \(3, 99, 1, 1\)"):
        generator(sn.randn(3, 99))
