"""A denoising autoencoder: shown noisy images, taught the clean ones (Vincent et al., ICML 2008)."""

from scratchnet import nn


class DenoisingAutoencoder(nn.Sequential):
    """Noisy images (N, channels, H, W) to clean ones of the same shape; 103,617 parameters for one channel.

    H and W must be multiples of 4. Shapes at 28 x 28: 32 x 14 x 14, 64 x 7 x 7, 64 x 7 x 7, and back by transposed
    convolutions. Noise differs from pixel to pixel and strokes do not: features of 4 x 4 pixels tell them apart. The
    output has no activation, so that the squared error's gradient reaches every pixel, also where it is 0 or 1.
    """

    def __init__(self, channels: int = 1):
        super().__init__(
            nn.Conv2d(channels, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, channels, 4, 2, 1),
        )
