"""Variational autoencoders, dense and convolutional (Kingma and Welling, ICLR 2014).

A VAE is trained on the negative evidence lower bound, an upper bound of -log p(x) in nats:

    output, mu, log_var = model(images)
    loss = F.bernoulli_nll(output, images) + F.gaussian_kl(mu, log_var)

Both terms are summed over pixels and over latents, then averaged over the batch. Averaging one of them over its pixels
would weigh the other several hundredfold: see ``nn.functional.effective_beta``.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from scratchnet import nn
from scratchnet.nn import functional as F


class VAE(nn.Module):
    """An encoder with two linear heads, the mean and the log-variance of q(z | x), and a decoder for p(x | z).

    Both heads must be linear: a mean inside a tanh cannot leave [-1, 1], and log-variances are any real numbers.
    The decoder ends without an activation: its output is the logits of Bernoulli pixels, or the mean of Gaussian ones.

    Args:
        encoder: images (N, C, H, W) to (N, width).
        width: what the encoder returns.
        latent: size of a code.
        decoder: codes (N, latent) to (N, C, H, W).

    Attributes:
        likelihood: of the pixels, as ``F.negative_elbo`` wants it.
    """

    likelihood = "bernoulli"

    def __init__(self, encoder: nn.Module, width: int, latent: int, decoder: nn.Module):
        super().__init__()
        self.latent = latent
        self.encoder = encoder
        self.mu = nn.Linear(width, latent)
        self.log_var = nn.Linear(width, latent)
        self.decoder = decoder

    def encode(self, images):
        """Mean and log-variance of q(z | x), each (N, latent)."""
        hidden = self.encoder(images)
        return self.mu(hidden), self.log_var(hidden)

    def decode(self, z):
        """Logits (or means) of the pixels, (N, C, H, W)."""
        return self.decoder(z)

    def forward(self, images, noise=None, generator=None):
        """(decode(z), mu, log_var) at z = mu + exp(log_var / 2) noise; ``noise`` (N, latent) is drawn unless given."""
        mu, log_var = self.encode(images)
        return self.decode(F.reparameterize(mu, log_var, noise=noise, generator=generator)), mu, log_var


class DenseVAE(VAE):
    """A VAE of linear layers and ReLU: 652,824 parameters as 784-400-20-400-784, the best known one on MNIST.

    Args:
        latent: size of a code.
        encoder_widths, decoder_widths: of the hidden layers.
        image_shape: (C, H, W) of the images.
    """

    def __init__(
        self,
        latent: int = 20,
        encoder_widths: Sequence[int] = (400,),
        decoder_widths: Sequence[int] = (400,),
        image_shape: Sequence[int] = (1, 28, 28),
    ):
        pixels = prod(image_shape)
        encoder = nn.Sequential(nn.Flatten(), *_hidden_layers(pixels, *encoder_widths))
        decoder = nn.Sequential(
            *_hidden_layers(latent, *decoder_widths),
            nn.Linear((latent, *decoder_widths)[-1], pixels),
            nn.Unflatten(1, image_shape),
        )
        super().__init__(encoder, (pixels, *encoder_widths)[-1], latent, decoder)


class PlaneVAE(DenseVAE):
    """784-128-2-128-128-784, 219,028 parameters: its codes are points of a plane, which can be drawn as a map."""

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28)):
        super().__init__(2, (128,), (128, 128), image_shape)


class ConvVAE(VAE):
    """A VAE of 4 x 4 convolutions of stride 2: 258,025 parameters at 28 x 28 x 1.

    Encoder at 28 x 28: 32 x 14 x 14, 64 x 7 x 7, flat 3,136. The decoder is its mirror image, from a linear layer.

    Args:
        latent: size of a code.
        widths: channels after each convolution.
        channels: channels of the images.
        image_size: height and width, a multiple of 2 to the number of convolutions.
        activation: class of the activations between layers.
    """

    def __init__(
        self,
        latent: int = 20,
        widths: Sequence[int] = (32, 64),
        channels: int = 1,
        image_size: int = 28,
        activation: type[nn.Module] = nn.ReLU,
    ):
        smallest, rest = divmod(image_size, 2 ** len(widths))
        if rest or not smallest:
            raise ValueError(
                f"{type(self).__name__}: image_size must be a multiple of {2 ** len(widths)} for {len(widths)} "
                f"convolutions of stride 2, got {image_size}"
            )
        sizes = (channels, *widths)
        down, up = [], []
        for outer, inner in zip(sizes, widths, strict=False):
            down += [nn.Conv2d(outer, inner, 4, 2, 1), activation()]
            up = [activation(), nn.ConvTranspose2d(inner, outer, 4, 2, 1), *up]
        flat = widths[-1] * smallest * smallest
        encoder = nn.Sequential(*down, nn.Flatten())
        decoder = nn.Sequential(nn.Linear(latent, flat), nn.Unflatten(1, (widths[-1], smallest, smallest)), *up)
        super().__init__(encoder, flat, latent, decoder)


class SmallConvVAE(ConvVAE):
    """A ConvVAE of 8 channels, tanh and 100 latents, for Gaussian pixels: its output is their mean.

    120,521 parameters at 28 x 28 x 1. Its loss is ``F.gaussian_nll(output, images, std=...)`` plus the same KL.
    """

    likelihood = "gaussian"

    def __init__(self, channels: int = 1, image_size: int = 28):
        super().__init__(100, (8, 8), channels, image_size, nn.Tanh)


def _hidden_layers(*widths: int) -> list[nn.Module]:
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
