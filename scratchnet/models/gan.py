"""Three small adversarial pairs, each with something to learn from (Goodfellow et al., NeurIPS 2014).

Generators turn codes (N, latent), drawn from N(0, I), into images in [-1, 1]; discriminators return logits (N,), whose
sigmoid belongs to the loss. "Same" padding with a stride of 2 is TensorFlow's: a size of n becomes ceil(n / 2), and
where the padding is odd the larger part comes last.
"""

from scratchnet import nn


class SmallGenerator(nn.Sequential):
    """Codes to (N, channels, 28, 28): 128 x 7 x 7, 64 x 14 x 14, then the image; 765,761 parameters for one channel.

    No batch norm before the tanh: there it would fix the mean and spread of every batch of images.
    """

    def __init__(self, latent: int = 100, channels: int = 1):
        super().__init__(
            nn.Linear(latent, 128 * 7 * 7),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding="same"),
            nn.BatchNorm2d(64, momentum=0.2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(64, channels, 4, stride=2, padding="same"),
            nn.Tanh(),
        )


class SmallDiscriminator(nn.Sequential):
    """Images (N, channels, 28, 28) to logits (N,): 32 x 14 x 14, 64 x 7 x 7, flat 3,136; 22,081 parameters.

    A 3 x 3 kernel of stride 2 over 28 pixels needs one row of padding in all, and it comes at the end.
    """

    def __init__(self, channels: int = 1):
        super().__init__(
            nn.Conv2d(channels, 32, 3, stride=2, padding="same"),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            nn.Conv2d(32, 64, 3, stride=2, padding="same"),
            nn.BatchNorm2d(64, momentum=0.2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 1),
            nn.Flatten(0),
        )


class TinyGenerator(nn.Sequential):
    """Codes to (N, channels, 8, 8): one hidden layer of 8 features a pixel; 51,739 parameters for three channels."""

    def __init__(self, latent: int = 100, channels: int = 3):
        super().__init__(
            nn.Linear(latent, 8 * 8 * 8),
            nn.ReLU(),
            nn.Unflatten(1, (8, 8, 8)),
            nn.Conv2d(8, channels, 1),
            nn.Tanh(),
        )


class LinearDiscriminator(nn.Sequential):
    """Images (N, channels, 8, 8) to logits (N,): linear, so 193 parameters for three channels.

    All it can tell apart is means: a generator that it cannot beat has the right mean image, and nothing else.
    """

    def __init__(self, channels: int = 3):
        super().__init__(nn.Flatten(), nn.Linear(channels * 8 * 8, 1), nn.Flatten(0))


class WideGenerator(nn.Sequential):
    """Codes to (N, channels, image_size, image_size): 64 x 25 x 25, 64 x 50 x 50, 3 x 100 x 100; 4,078,659 parameters.

    Args:
        latent: size of a code.
        channels: channels of the images.
        features: channels of both hidden layers.
        image_size: height and width, a multiple of 4.
    """

    def __init__(self, latent: int = 100, channels: int = 3, features: int = 64, image_size: int = 100):
        if image_size % 4:
            raise ValueError(f"WideGenerator: image_size must be a multiple of 4, got {image_size}")
        quarter = image_size // 4
        super().__init__(
            nn.Linear(latent, features * quarter * quarter),
            nn.ReLU(),
            nn.Unflatten(1, (features, quarter, quarter)),
            nn.ConvTranspose2d(features, features, 3, stride=2, padding="same"),
            nn.ReLU(),
            nn.ConvTranspose2d(features, channels, 3, stride=2, padding="same"),
            nn.Tanh(),
        )


class WideDiscriminator(nn.Sequential):
    """Images to logits (N,): 64 x 49 x 49, 64 x 24 x 24, flat 36,864, 1,024; 37,789,505 parameters at 100 x 100 x 3.

    99.9 % of them are in one linear layer, which with its gradient and Adam's moments takes 0.6 GB in float32. DCGAN
    has no such layer: it goes on convolving until 4 x 4 pixels are left.

    Args:
        channels, image_size: of the images.
        features: channels of both convolutions.
        hidden: width of the linear layer.
    """

    def __init__(self, channels: int = 3, features: int = 64, image_size: int = 100, hidden: int = 1024):
        last = ((image_size - 1) // 2 - 1) // 2
        super().__init__(
            nn.Conv2d(channels, features, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(features * last * last, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Flatten(0),
        )
