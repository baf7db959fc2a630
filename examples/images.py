"""The images that the generative examples learn from: a named data set, or a folder of your own."""

from pathlib import Path

import numpy as np

from scratchnet import data
from scratchnet.data.transforms import CenterCrop, Compose, Resize

DATA = {"digits": data.Digits, "mnist": data.MNIST, "fashion-mnist": data.FashionMNIST, "cifar10": data.CIFAR10}
SMOKE = {"train": 512, "test": 256}  # images of a smoke run


def add_data_arguments(parser, names, channels: bool = True) -> None:
    """--data, --data-root and --smoke; where a folder is among the names, what to make of its files."""
    parser.add_argument("--data", choices=names, default="digits", help="the images")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data set (default: the cache folder)")
    if "folder" in names:
        if channels:
            parser.add_argument("--channels", type=int, choices=[1, 3], default=3, help="of a folder: 1 grey, 3 RGB")
        parser.add_argument(
            "--corrupt", choices=["refuse", "skip"], default="refuse", help="of a folder: files that are unfit"
        )
    parser.add_argument("--smoke", action="store_true", help="a short run on few images, for tests")


class FolderImages(data.ImageDataset):
    """The images below root/CLASS/, read once and kept: the middle square of each, made size x size.

    Every pixel format becomes grey (channels 1) or RGB (3): 16 bits become 8, palettes colours, and transparency is
    dropped. A file is unfit if it cannot be read, if its pixels have no fixed range, or if it is smaller than size x
    size: enlarged, it would teach blur.

    Attributes:
        skipped: the unfit files, (path, reason) each, which are left out.

    Raises:
        FileNotFoundError: no such folder, no subfolder in it, or one without an image file.
        ValueError: no file is fit.
    """

    def __init__(self, root: Path, channels: int, size: int, transform=None):
        files = data.ImageFolder(root)
        square = Compose([Resize(size), CenterCrop(size)])
        images, labels, self.skipped = [], [], []
        for path, label in files.samples:
            try:
                images.append(square(_read(path, channels, size)))
                labels.append(label)
            except ValueError as error:
                self.skipped.append((path, str(error).removeprefix(f"{path}: ")))
        if not images:
            path, reason = self.skipped[0]
            raise ValueError(f"{root}: none of its {len(files)} image files is fit; {path}: {reason}")
        super().__init__(np.stack(images), labels, files.classes, transform)


def _read(path: Path, channels: int, size: int) -> np.ndarray:
    image = data.read_image(path, "L" if channels == 1 else "RGB")
    height, width = image.shape[1:]
    if min(height, width) < size:
        raise ValueError(f"{path}: {width} x {height} pixels, but {size} x {size} are to be learnt")
    return image


def load_images(args, transform=None):
    """Training and test data, images and labels; few of them for a smoke run.

    Raises:
        OSError, ValueError: the data are not there, or damaged; in words for whoever started the script.
    """
    if args.data == "folder":
        train, test = _load_folder(args, transform)
    else:
        options = {"transform": transform} | ({} if args.data == "digits" else {"root": args.data_root})
        parts = []
        for part, count in SMOKE.items():
            drawn = {"size": count} if args.smoke and args.data == "digits" else {}
            parts.append(DATA[args.data](train=part == "train", **options, **drawn))
        train, test = parts
    if args.smoke:
        for dataset, count in ((train, SMOKE["train"]), (test, SMOKE["test"])):
            some = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)  # folders are sorted by class
            dataset.images, dataset.labels = dataset.images[some], dataset.labels[some]
    return train, test


def _load_folder(args, transform):
    if args.data_root is None:
        raise ValueError("--data folder needs --data-root DIR, for DIR/train/CLASS/*.png and DIR/test/CLASS/*.png")
    parts = (args.data_root / part for part in ("train", "test"))
    train, test = (FolderImages(part, args.channels, args.image_size, transform) for part in parts)
    if train.classes != test.classes:
        raise ValueError(f"{args.data_root}: train has the classes {train.classes}, test {test.classes}")
    unfit = left_out(train, test)
    if unfit and args.corrupt == "refuse":
        path, reason = unfit[0]
        raise ValueError(f"{path}: {reason} ({len(unfit)} such files; --corrupt skip leaves them out)")
    return train, test


def left_out(*datasets) -> list[tuple[Path, str]]:
    """The files that are no part of the data, with the reasons: those of folders, where that was allowed."""
    return [file for dataset in datasets for file in getattr(dataset, "skipped", [])]


def agreement(images: np.ndarray, labels: np.ndarray, real: np.ndarray, real_labels: np.ndarray) -> float:
    """The share of images that the nearest mean image of a real class takes for what they are labelled.

    A poor classifier, right about 73 % of the drawn digits, but it costs nothing, and tells whether labels are heeded.
    """
    classes = np.unique(real_labels)
    means = np.stack([real[real_labels == label].mean(0).ravel() for label in classes])
    nearer = 2 * images.reshape(len(images), -1) @ means.T - (means**2).sum(1)  # |x|² - |x - mean|²
    return float(np.mean(classes[nearer.argmax(1)] == labels))
