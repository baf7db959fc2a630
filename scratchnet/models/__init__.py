"""Models, small enough to read, each with its parameter count in its docstring and in a test."""

from scratchnet.models.cnn import CNN, ShallowCNN
from scratchnet.models.dcgan import Discriminator, Generator, weights_init
from scratchnet.models.vae import VAE, ConvVAE, DenseVAE, PlaneVAE, SmallConvVAE

__all__ = [
    "CNN",
    "VAE",
    "Discriminator",
    "Generator",
    "ConvVAE",
    "DenseVAE",
    "PlaneVAE",
    "ShallowCNN",
    "SmallConvVAE",
    "weights_init",
]
