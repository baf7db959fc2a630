"""Data: datasets, the loader, image transforms, readers of the usual sets, and digits that need no network."""

from scratchnet.data import transforms
from scratchnet.data.cifar import CIFAR10
from scratchnet.data.dataset import Dataset, ImageDataset, Subset, TensorDataset, default_collate, random_split
from scratchnet.data.digits import Digits
from scratchnet.data.files import cache_folder
from scratchnet.data.folder import ImageFolder, read_image
from scratchnet.data.idx import read_idx
from scratchnet.data.loader import DataLoader
from scratchnet.data.mnist import MNIST, FashionMNIST

__all__ = [
    "CIFAR10",
    "MNIST",
    "DataLoader",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ImageDataset",
    "ImageFolder",
    "Subset",
    "TensorDataset",
    "cache_folder",
    "default_collate",
    "random_split",
    "read_idx",
    "read_image",
    "transforms",
]
