"""A GAN that is told which class to draw: generator and discriminator both see the label (Mirza and Osindero 2014)."""

from scratchnet import nn, ops
from scratchnet.models.dcgan import Discriminator, Generator
from scratchnet.nn import functional as F


class ConditionalGenerator(nn.Module):
    """Codes (N, latent) and labels (N,) to images in [-1, 1]: a DCGAN generator of the code and a one-hot label.

    822,400 parameters for ten classes at 28 x 28 x 1.

    Args:
        num_classes: labels are 0 to num_classes - 1.
        latent, channels, features, image_size: see ``dcgan.Generator``.
    """

    def __init__(
        self, num_classes: int = 10, latent: int = 100, channels: int = 1, features: int = 64, image_size: int = 28
    ):
        super().__init__()
        self.num_classes, self.latent = num_classes, latent
        self.generator = Generator(latent + num_classes, channels, features, image_size)

    def forward(self, z, labels):
        label = F.one_hot(labels, self.num_classes).to(z.dtype)
        return self.generator(ops.cat([z, label], dim=1))


class ConditionalDiscriminator(nn.Module):
    """Images and labels (N,) to logits (N,) of being a real image of that class; 148,864 parameters as above.

    A DCGAN discriminator with one more channel for each class, all 1 for the class of the label and 0 for the others.

    Args:
        num_classes: labels are 0 to num_classes - 1.
        channels, features, image_size: see ``dcgan.Discriminator``.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, features: int = 64, image_size: int = 28):
        super().__init__()
        self.num_classes = num_classes
        self.discriminator = Discriminator(channels + num_classes, features, image_size)

    def forward(self, images, labels):
        label = F.one_hot(labels, self.num_classes).to(images.dtype)
        planes = label[:, :, None, None].expand((*label.shape, *images.shape[2:]))
        return self.discriminator(ops.cat([images, planes], dim=1))
