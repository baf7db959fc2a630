"""A folder of image files, read through Pillow."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from scratchnet.data.dataset import Dataset, check_index
from scratchnet.data.resample import resize

# What Pillow may take a file for, whatever its name. Some of its other formats start programs or have many layers.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


class ImageFolder(Dataset):
    """Images sorted into one subfolder a class: root/cat/1.png, root/cat/old/2.png, root/dog/1.jpg, ...

    Classes and files are in alphabetical order; hidden files and folders and other suffixes are passed over. Files are
    read when a sample is asked for.

    Args:
        root: the folder.
        transform: applied to the float32 images, one (C, H, W) or, where an array of indices was given, a batch.
        mode: "RGB" or "L" (grey), what every image is converted to.
        size: (height, width) that every image is resized to; without it a batch needs images of one size.
        on_error: what to do about files that are no readable image. "raise" refuses one when it is asked for. "skip"
            reads every file once, when the dataset is made, and leaves the bad ones out.

    Attributes:
        classes: the names of the subfolders.
        samples: the files, as (path, label).
        skipped: with on_error="skip", the files left out, as (path, reason).

    A sample is (image, label): float32 (C, H, W) in [0, 1] after `transform`, and int64.

    Raises:
        FileNotFoundError: no such folder, or no image in a subfolder.
        ValueError: a file that is no readable image, named; images of several sizes in a batch.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        transform: Callable | None = None,
        *,
        mode: str = "RGB",
        size: tuple[int, int] | None = None,
        on_error: str = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error: expected 'raise' or 'skip', got {on_error!r}")
        if not isinstance(root, str | os.PathLike):
            raise TypeError(f"root: expected a folder's path, got {root!r:.80}")
        _check_options(mode, size)
        self.transform, self.mode, self.size = transform, mode, size
        self.classes, self.samples = find_images(Path(root))
        self.skipped = []
        if on_error == "skip":
            self._skip_unreadable()

    def _skip_unreadable(self) -> None:
        readable = []
        for path, label in self.samples:
            try:
                self._read(path)
                readable.append((path, label))
            except ValueError as error:
                self.skipped.append((path, str(error)))
        self.samples = readable

    def _read(self, path: Path) -> np.ndarray:
        return read_image(path, self.mode, self.size)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index) -> tuple[np.ndarray, np.ndarray]:
        index = check_index(index, len(self))
        if isinstance(index, int):
            path, label = self.samples[index]
            image, label = self._read(path), np.int64(label)
        else:
            image = self._batch([self.samples[i][0] for i in index])
            label = np.array([self.samples[i][1] for i in index], dtype=np.int64)
        image = np.divide(image, np.float32(255), dtype=np.float32)
        return (image if self.transform is None else self.transform(image)), label

    def _batch(self, paths: list[Path]) -> np.ndarray:
        images = [self._read(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"{path} has shape {image.shape} and {paths[0]} {images[0].shape}: "
                    "give size=(height, width) to form batches"
                )
        return np.stack(images) if images else np.zeros((0, len(self.mode), *(self.size or (0, 0))), np.uint8)

    def __repr__(self) -> str:
        return f"ImageFolder({len(self)} images, {len(self.classes)} classes, {len(self.skipped)} files skipped)"


def find_images(root: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    """The class names and the (path, label) of every image file below `root`, both sorted.

    Raises:
        FileNotFoundError: no such folder, no subfolders, or no image in one of them.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"{root}: expected one subfolder a class, there is none")
    samples = []
    for label, name in enumerate(classes):
        files = [path for path in sorted((root / name).rglob("*")) if _is_image(path.relative_to(root))]
        if not files:
            raise FileNotFoundError(f"{root / name}: no image file ({', '.join(sorted(SUFFIXES))})")
        samples += [(path, label) for path in files]
    return classes, samples


def read_image(
    path: str | os.PathLike, mode: str = "RGB", size: tuple[int, int] | None = None, max_pixels: int = 1 << 26
) -> np.ndarray:
    """Read an image file as uint8 (C, H, W), upright as its EXIF orientation says.

    Args:
        mode: "RGB" or "L" (grey). Images of 16 bits a pixel are scaled to 8.
        size: (height, width) to resize to, as `Resize` does.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, damaged, truncated, too large, or of a pixel format without a fixed range.
    """
    from PIL import Image, ImageOps

    _check_options(mode, size)
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: not a readable image: no regular file")
    with open(path, "rb") as file:
        try:
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width} x {image.height} pixels; at most {max_pixels} are read")
            image = ImageOps.exif_transpose(image)
            pixels = np.asarray(_eight_bit(image).convert(mode))
        # Pillow's decoders raise what they like on damaged files: OSError, SyntaxError, struct.error, IndexError ...
        except Exception as error:
            raise ValueError(f"{path}: not a readable image: {error}") from error
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return pixels if size is None else resize(pixels, size)


def _eight_bit(image):
    """Pillow would clip 16-bit images at 255; scale them. Integers and floats of 32 bits have no range to scale."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixel format {image.mode!r} has no fixed range")
    return image


def _check_options(mode: str, size) -> None:
    if mode not in ("RGB", "L"):
        raise ValueError(f"mode: expected 'RGB' or 'L', got {mode!r}")
    if size is not None and (np.shape(size) != (2,) or min(size) < 1):
        raise ValueError(f"size: expected (height, width), got {size!r}")


def _is_image(path: Path) -> bool:
    """Whether a path below the root has an image's suffix and nothing hidden in it. Folders are no images."""
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
