"""Convolutional classifiers. Both return logits; softmax belongs to the loss (``nn.CrossEntropyLoss``)."""

from scratchnet import nn


class ShallowCNN(nn.Sequential):
    """One convolution, one pooling, one linear layer: 54,410 parameters at 28 x 28 x 1.

    Shapes at 28 x 28: 32 x 26 x 26, pooled 32 x 13 x 13, flat 5,408.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 4.
        num_classes: number of logits.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10):
        pooled = (image_size - 2) // 2
        super().__init__(
            nn.Conv2d(in_channels, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * pooled * pooled, num_classes),
        )


class CNN(nn.Sequential):
    """Three convolutions, two poolings, two linear layers: 93,322 parameters at 28 x 28 x 1, 122,570 at 32 x 32 x 3.

    Shapes at 28 x 28: 32 x 26 x 26, pooled to 13 x 13, 64 x 11 x 11, pooled to 5 x 5, 64 x 3 x 3, flat 576, 64.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, at least 18.
        num_classes: number of logits.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10):
        last = ((image_size - 2) // 2 - 2) // 2 - 2
        super().__init__(
            nn.Conv2d(in_channels, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * last * last, 64),
            nn.ReLU(),
            nn.Linear(64, num_classes),
        )
