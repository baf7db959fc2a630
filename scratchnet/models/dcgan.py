"""DCGAN: a convolutional generator and discriminator (Radford, Metz and Chintala, ICLR 2016, section 3).

At 64 x 64 x 1 these are the networks of PyTorch's DCGAN listing, weight for weight and name for name, so a state dict
of one loads into the other. The discriminator returns logits: its sigmoid belongs to the loss, see
``nn.functional.gan_discriminator_loss`` and ``non_saturating_generator_loss``.
"""

from scratchnet import nn
from scratchnet.nn import checks


class Generator(nn.Module):
    """Codes to images in [-1, 1]: (N, latent) or (N, latent, 1, 1) to (N, channels, image_size, image_size).

    A projection to the smallest size, then transposed 4 x 4 convolutions of stride 2, each of which doubles height and
    width and halves the channels; batch norm and ReLU between, tanh at the end. At 64 x 64: 512 x 4 x 4, 256 x 8 x 8,
    128 x 16 x 16, 64 x 32 x 32, and 3,574,656 parameters for one channel. At 28 x 28: 256 x 4 x 4, 128 x 7 x 7,
    64 x 14 x 14; to a size that is odd leads a 3 x 3 kernel.

    Args:
        latent: size of a code, drawn from N(0, I).
        channels: channels of the images.
        features: channels before the last layer.
        image_size: height and width, at least 5.
    """

    def __init__(self, latent: int = 100, channels: int = 1, features: int = 64, image_size: int = 64):
        super().__init__()
        self.latent = latent
        sizes = scales("Generator", image_size)
        width = features * 2 ** (len(sizes) - 2)
        layers = [nn.ConvTranspose2d(latent, width, sizes[-1], 1, 0, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for size in sizes[-2:0:-1]:
            width //= 2
            layers += [nn.ConvTranspose2d(2 * width, width, kernel(size), 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        last = nn.ConvTranspose2d(features, channels, kernel(image_size), 2, 1, bias=False)
        self.main = nn.Sequential(*layers, last, nn.Tanh())
        self.apply(weights_init)

    def forward(self, z):
        return self.main(z[:, :, None, None] if z.ndim == 2 else z)


class Discriminator(nn.Module):
    """Images to logits of being real: (N, channels, image_size, image_size) to (N,).

    The generator backwards: 4 x 4 convolutions of stride 2, batch norm on all but the first, LeakyReLU of slope 0.2,
    and one convolution over what is left. 2,763,520 parameters at 64 x 64 x 1.

    Args:
        channels: channels of the images.
        features: channels after the first layer.
        image_size: height and width, at least 5.
    """

    def __init__(self, channels: int = 1, features: int = 64, image_size: int = 64):
        super().__init__()
        sizes = scales("Discriminator", image_size)
        layers = [nn.Conv2d(channels, features, kernel(image_size), 2, 1, bias=False), nn.LeakyReLU(0.2)]
        width = features
        for size in sizes[1:-1]:
            layers += [nn.Conv2d(width, 2 * width, kernel(size), 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
            width *= 2
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 1, sizes[-1], 1, 0, bias=False))
        self.apply(weights_init)

    def forward(self, images):
        return self.main(images).flatten()


def scales(owner: str, image_size: int) -> list[int]:
    """The sizes of the feature maps, from ``image_size`` to 3 or 4, each half of the last or, where that is odd, more.

    Raises:
        ValueError: the image size is below 5.
    """
    checks.size(owner, image_size=image_size)
    if image_size < 5:
        raise ValueError(f"{owner}: image_size must be at least 5, got {image_size}")
    sizes = [image_size]
    while sizes[-1] > 4:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes


def kernel(size: int) -> int:
    """The kernel that, with stride 2 and padding 1, leads from ``size`` to the next smaller one, and back."""
    return 3 if size % 2 else 4


def weights_init(module) -> None:
    """DCGAN's initial values, for ``model.apply``: convolutions N(0, 0.02), batch norm's weights N(1, 0.02), biases 0.

    (Radford et al. 2016, section 4; batch norm's as in the PyTorch listing.)
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
