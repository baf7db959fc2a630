"""Grids of generated images, and an animation of the grids of all epochs."""

from pathlib import Path

import numpy as np
from PIL import Image


def save_grid(path: Path, images: np.ndarray, columns: int) -> None:
    """Write images (N, C, H, W) in [0, 1], one or three channels, row by row as one PNG; small ones are enlarged."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    pixels = np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)
    gap = 2
    sheet = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), np.uint8)
    for i, image in enumerate(pixels):
        top, left = (
            (place * (side + gap) + gap) for place, side in zip(divmod(i, columns), image.shape[1:], strict=True)
        )
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    scale = max(1, 56 // height)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1).squeeze()).save(path)


def frame(folder: Path, epoch: int) -> Path:
    """The file of an epoch's grid."""
    return folder / "samples" / f"epoch-{epoch:04d}.png"


def save_animation(folder: Path, epochs: int, milliseconds: int = 400) -> None:
    """Write samples.gif from the grids of epochs 1 to ``epochs``; the last stays five times as long."""
    first, *others = (Image.open(frame(folder, epoch)) for epoch in range(1, epochs + 1))
    durations = [milliseconds] * len(others) + [5 * milliseconds]
    first.save(folder / "samples.gif", save_all=True, append_images=others, duration=durations, loop=0)
