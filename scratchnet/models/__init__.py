"""Models, small enough to read, each with its parameter count in its docstring and in a test."""

from scratchnet.models.cnn import CNN, ShallowCNN
from scratchnet.models.conditional import ConditionalDiscriminator, ConditionalGenerator, ConditionalVAE
from scratchnet.models.critic import Critic
from scratchnet.models.dcgan import Discriminator, Generator, weights_init
from scratchnet.models.denoiser import DenoisingAutoencoder
from scratchnet.models.gan import (
    LinearDiscriminator,
    SmallDiscriminator,
    SmallGenerator,
    TinyGenerator,
    WideDiscriminator,
    WideGenerator,
)
from scratchnet.models.vae import VAE, ConvVAE, DenseVAE, PlaneVAE, SmallConvVAE

__all__ = [
    "CNN",
    "VAE",
    "ConditionalDiscriminator",
    "ConditionalGenerator",
    "ConditionalVAE",
    "ConvVAE",
    "Critic",
    "DenoisingAutoencoder",
    "DenseVAE",
    "Discriminator",
    "Generator",
    "LinearDiscriminator",
    "PlaneVAE",
    "ShallowCNN",
    "SmallConvVAE",
    "SmallDiscriminator",
    "SmallGenerator",
    "TinyGenerator",
    "WideDiscriminator",
    "WideGenerator",
    "weights_init",
]
