"""A GAN and a VAE that are told which class to draw.

In the GAN generator and discriminator both see the label (Mirza and Osindero 2014), in the VAE encoder and decoder
(Sohn, Lee and Yan, NeurIPS 2015), so that the code need only say what the label leaves open.
"""

from collections.abc import Sequence
from math import prod

from scratchnet import nn, ops
from scratchnet.models.dcgan import Discriminator, Generator
from scratchnet.models.vae import VAE
from scratchnet.nn import functional as F


class ConditionalGenerator(nn.Module):
    """Codes (N, latent) and labels (N,) to images in [-1, 1]: a DCGAN generator of the code and a one-hot label.

    878,464 parameters for ten classes at 28 x 28 x 1.

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
    """Images and labels (N,) to logits (N,) of being a real image of that class; 442,112 parameters as above.

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


class ConditionalVAE(VAE):
    """A dense VAE of q(z | x, label) and p(x | z, label): 660,824 parameters for ten classes at 28 x 28 x 1.

    Both networks get the label as a one-hot vector beside their input: (784 + 10)-400-20, (20 + 10)-400-784.

    Args:
        num_classes: labels are 0 to num_classes - 1.
        latent: size of a code.
        width: of the hidden layers.
        image_shape: (C, H, W) of the images.
    """

    def __init__(
        self, num_classes: int = 10, latent: int = 20, width: int = 400, image_shape: Sequence[int] = (1, 28, 28)
    ):
        pixels = prod(image_shape)
        encoder = nn.Sequential(nn.Linear(pixels + num_classes, width), nn.ReLU())
        decoder = nn.Sequential(
            nn.Linear(latent + num_classes, width),
            nn.ReLU(),
            nn.Linear(width, pixels),
            nn.Unflatten(1, image_shape),
        )
        super().__init__(encoder, width, latent, decoder)
        self.num_classes = num_classes

    def encode(self, images, labels):
        """Mean and log-variance of q(z | x, label), each (N, latent)."""
        return super().encode(self._with_label(images.flatten(1), labels))

    def decode(self, z, labels):
        """Logits of the pixels, (N, C, H, W)."""
        return super().decode(self._with_label(z, labels))

    def forward(self, images, labels, noise=None, generator=None):
        """As ``VAE.forward``; labels are integers (N,)."""
        mu, log_var = self.encode(images, labels)
        return self.decode(F.reparameterize(mu, log_var, noise=noise, generator=generator), labels), mu, log_var

    def _with_label(self, x, labels):
        return ops.cat([x, F.one_hot(labels, self.num_classes).to(x.dtype)], dim=1)
