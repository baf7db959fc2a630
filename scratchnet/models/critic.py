"""The critic of a Wasserstein GAN with gradient penalty (Gulrajani et al., NeurIPS 2017)."""

from scratchnet import nn
from scratchnet.models.dcgan import kernel, scales


class Critic(nn.Module):
    """Images (N, channels, image_size, image_size) to scores (N,), any real numbers: no sigmoid, here or in the loss.

    DCGAN's discriminator with biases and without batch norm, which would make the score of one image, and so its
    gradient, depend on the others in its batch (section 4 of the paper). 431,553 parameters at 28 x 28 x 1.

    Args:
        channels: channels of the images.
        features: channels after the first layer.
        image_size: height and width, at least 5.
    """

    def __init__(self, channels: int = 1, features: int = 64, image_size: int = 28):
        super().__init__()
        *sizes, smallest = scales("Critic", image_size)
        layers = []
        for i, size in enumerate(sizes):
            layers += [nn.Conv2d(channels, features * 2**i, kernel(size), 2, 1), nn.LeakyReLU(0.2)]
            channels = features * 2**i
        self.main = nn.Sequential(*layers, nn.Conv2d(channels, 1, smallest))

    def forward(self, images):
        return self.main(images).flatten()
