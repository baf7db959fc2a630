"""MNIST and Fashion-MNIST."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from scratchnet.data.dataset import ImageDataset
from scratchnet.data.download import by_hand, download
from scratchnet.data.files import cache_folder, find_file
from scratchnet.data.idx import read_idx


class MNIST(ImageDataset):
    """70,000 grey 28x28 images of handwritten digits (LeCun, Cortes and Burges), 60,000 of them for training.

    The files may lie in `root`, or below it in mnist/ or MNIST/, or there in raw/ as torchvision keeps them, gzipped or
    not. What is missing is downloaded to `root`/mnist.

    Args:
        root: a data folder; by default the cache folder, see `cache_folder`.
        train: the training or the test images.
        transform: applied to the float32 images, see `ImageDataset`.
        download: fetch what is missing from the mirrors.

    Raises:
        FileNotFoundError: a file is missing and download is False. The message says what to put where.
        ConnectionError: a file is missing and no mirror has it.
        ValueError: a file has a wrong checksum or does not hold labelled images.
    """

    folders = ("mnist", "MNIST")
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    # MD5 of each file as it is published, and after gunzip.
    md5: ClassVar[Mapping[str, tuple[str, str]]] = {
        "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    }
    class_names = tuple("0123456789")

    def __init__(
        self,
        root: str | os.PathLike | None = None,
        train: bool = True,
        transform: Callable | None = None,
        download: bool = True,
    ) -> None:
        root, part = cache_folder(root), "train" if train else "t10k"
        images_file = self._file(f"{part}-images-idx3-ubyte", root, download)
        labels_file = self._file(f"{part}-labels-idx1-ubyte", root, download)
        images, labels = read_idx(images_file), read_idx(labels_file)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(f"{images_file}: expected uint8 images (N, H, W), got {images.dtype} {images.shape}")
        if labels.shape != images.shape[:1] or labels.dtype != np.uint8:
            raise ValueError(f"{labels_file}: expected {len(images)} uint8 labels, got {labels.dtype} {labels.shape}")
        super().__init__(images[:, None], labels, self.class_names, transform)

    @classmethod
    def _file(cls, name: str, root: Path, fetch: bool) -> Path:
        packed, plain = cls.md5[name]
        sums = {f"{name}.gz": f"md5:{packed}", name: f"md5:{plain}"}
        below = [root / folder / raw for folder in cls.folders for raw in ("", "raw")]
        target = root / cls.folders[0] / f"{name}.gz"
        found = find_file([root, *below], sums)
        if found is not None:
            return found
        if not fetch:
            raise FileNotFoundError(f"{cls.__name__}: {by_hand(target, sums[target.name])}, or allow the download")
        return download([mirror + target.name for mirror in cls.mirrors], target, sums[target.name])


class FashionMNIST(MNIST):
    """70,000 grey 28x28 images of garments (Xiao, Rasul and Vollgraf, 2017): a drop-in replacement for MNIST.

    Below `root` the files lie in fashion-mnist/ or FashionMNIST/. Arguments and errors are those of `MNIST`.
    """

    folders = ("fashion-mnist", "FashionMNIST")
    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    )
    md5: ClassVar[Mapping[str, tuple[str, str]]] = {
        "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    }
    class_names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
