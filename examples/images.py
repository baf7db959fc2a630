"""The images that the generative examples learn from."""

from pathlib import Path

from scratchnet import data

DATA = {"digits": data.Digits, "mnist": data.MNIST, "fashion-mnist": data.FashionMNIST, "cifar10": data.CIFAR10}


def add_data_arguments(parser, names) -> None:
    """--data, --data-root and --smoke."""
    parser.add_argument("--data", choices=names, default="digits")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data set (default: the cache folder)")
    parser.add_argument("--smoke", action="store_true", help="a short run on few images, for tests")


def load_images(args, transform=None):
    """Training and test data, images and labels; few of them for a smoke run."""
    options = {"transform": transform}
    if args.data != "digits":
        options["root"] = args.data_root
    elif args.smoke:
        options["size"] = 512
    train, test = (DATA[args.data](train=part, **options) for part in (True, False))
    if args.smoke:
        return data.Subset(train, range(512)), data.Subset(test, range(256))
    return train, test
