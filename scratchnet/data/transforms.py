"""Image transforms on NumPy arrays, under torchvision's names.

Every transform takes one image (C, H, W) or a batch (N, C, H, W) and returns a new array of the same dtype; labels are
never seen. Images are floating, with values in [0, 1] before `Normalize`. The random ones are called as
`transform(images, generator=None)`, and treat each image of a batch on its own. Without a generator they draw from the
streams of the samples that a DataLoader is fetching, or else from the library's default generator.
"""

from collections.abc import Callable, Sequence

import numpy as np

from scratchnet.data.resample import affine_coordinates, resize, sample_bilinear
from scratchnet.data.streams import current_generator
from scratchnet.errors import explain


class Compose:
    """Apply transforms one after the other. Those that are random share the generator."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = list(transforms)
        for i, transform in enumerate(self.transforms):
            if not callable(transform):
                raise TypeError(f"Compose: transform {i} is no function: {transform!r:.80}")

    def __call__(self, images: np.ndarray, generator=None) -> np.ndarray:
        for transform in self.transforms:
            takes_generator = isinstance(transform, RandomTransform | Compose)
            images = transform(images, generator) if takes_generator else transform(images)
        return images


class ToTensor:
    """uint8 images with channels last, (H, W), (H, W, C) or (N, H, W, C), as float32 in [0, 1] with channels first.

    With layout="CHW" the axes already have the library's order and only the scale changes. The result is still a
    NumPy array: the loader wraps whole batches.
    """

    def __init__(self, layout: str = "HWC") -> None:
        if layout not in ("HWC", "CHW"):
            raise ValueError(f"layout: expected 'HWC' or 'CHW', got {layout!r}")
        self.layout = layout

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim not in (2, 3, 4):
            raise TypeError(f"ToTensor: expected uint8 with 2 to 4 axes, got {images.dtype} of shape {images.shape}")
        if images.ndim == 2:
            images = images[None]
        elif self.layout == "HWC":
            images = np.moveaxis(images, -1, -3)
        return np.divide(images, np.float32(255), dtype=np.float32, order="C")


class Normalize:
    """(x - mean) / std, channel by channel."""

    def __init__(self, mean, std) -> None:
        self.mean, self.std = np.atleast_1d(mean).astype(np.float64), np.atleast_1d(std).astype(np.float64)
        if not np.all(self.std > 0):
            raise ValueError(f"std: must be above 0, got {std}")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = _floating(images, "Normalize")
        channels = images.shape[-3]
        if not {len(self.mean), len(self.std)} <= {1, channels}:
            raise ValueError(
                f"Normalize: {len(self.mean)} means and {len(self.std)} deviations for images of {channels} channels"
            )
        mean, std = (v.astype(images.dtype)[:, None, None] for v in (self.mean, self.std))
        return (images - mean) / std


class Resize:
    """Antialiased bilinear resizing to (height, width), or of the shorter side to an integer.

    The filter is Pillow's: a triangle that is widened to the size of an output pixel where the image shrinks.
    Integer images are rounded.
    """

    def __init__(self, size) -> None:
        self.size = _pair(size, "size")
        self.keep_aspect = np.ndim(size) == 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        _check_axes(images, "Resize")
        if not self.keep_aspect:
            return resize(images, self.size)
        short = max(1, min(images.shape[-2:]))
        return resize(images, tuple(side * self.size[0] // short for side in images.shape[-2:]))


class CenterCrop:
    """The middle (height, width) of the image; an odd remainder is cut from the bottom and the right."""

    def __init__(self, size) -> None:
        self.size = _pair(size, "size")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        _check_axes(images, "CenterCrop")
        top, left = (room // 2 for room in _room(images.shape[-2:], self.size, "CenterCrop"))
        return images[..., top : top + self.size[0], left : left + self.size[1]].copy()


class RandomTransform:
    """Base of the random transforms: adds the batch axis, and finds the generator.

    A subclass defines `apply(images, generator)` for floating (N, C, H, W). It draws with `generator.random(size)` and
    `generator.standard_normal(size)` alone, where size begins with N, so that a `SampleStreams` can stand in.
    """

    def __call__(self, images: np.ndarray, generator=None) -> np.ndarray:
        images = _floating(images, type(self).__name__)
        batch = images if images.ndim == 4 else images[None]
        out = self.apply(batch, generator or current_generator())
        return out if images.ndim == 4 else out[0]

    def apply(self, images: np.ndarray, generator) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} does not define apply")


class RandomHorizontalFlip(RandomTransform):
    """Mirror left and right with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p: must be in [0, 1], got {p}")
        self.p = p

    def apply(self, images, generator):
        flip = generator.random((len(images),)) < self.p
        return np.where(flip[:, None, None, None], images[..., ::-1], images)


class RandomCrop(RandomTransform):
    """A window (height, width) at a random place, after a border of `padding` pixels of value `fill` was added.

    padding: an int for all sides, or (left and right, top and bottom), as in torchvision.
    """

    def __init__(self, size, padding=0, fill: float = 0.0) -> None:
        self.size = _pair(size, "size")
        self.padding = _pair(padding, "padding", least=0)
        self.fill = fill

    def apply(self, images, generator):
        x, y = self.padding
        images = np.pad(images, ((0, 0), (0, 0), (y, y), (x, x)), constant_values=self.fill)
        room = _room(images.shape[-2:], self.size, "RandomCrop")
        places = np.floor(generator.random((len(images), 2)) * (np.array(room) + 1)).astype(np.intp)
        windows = np.lib.stride_tricks.sliding_window_view(images, self.size, axis=(-2, -1))
        return np.ascontiguousarray(windows[np.arange(len(images)), :, places[:, 0], places[:, 1]])


class RandomAffine(RandomTransform):
    """Turn, move, scale and slant about the image's centre, sampled bilinearly; `fill` comes in from outside.

    Args:
        degrees: (low, high) of the angle, counter-clockwise; a number d means (-d, d).
        translate: the largest shifts (across, down), as fractions of the width and the height.
        scale: (low, high) of the magnification.
        shear: (low, high) of the slant in degrees, positive to the right; a number d means (-d, d).
        fill: the value outside the image.
    """

    def __init__(self, degrees, translate=(0, 0), scale=(1, 1), shear=0, fill: float = 0.0) -> None:
        self.degrees, self.shear = _range(degrees, "degrees"), _range(shear, "shear")
        self.translate, self.scale = tuple(translate), _range(scale, "scale")
        self.fill = fill
        if len(self.translate) != 2 or not all(0 <= t <= 1 for t in self.translate):
            raise ValueError(f"translate: expected two fractions in [0, 1], got {translate}")
        if self.scale[0] <= 0:
            raise ValueError(f"scale: must be above 0, got {scale}")

    def apply(self, images, generator):
        n, _, height, width = images.shape
        u = generator.random((n, 5)).T
        angle, shear = (np.deg2rad(_between(r, v)) for r, v in ((self.degrees, u[0]), (self.shear, u[1])))
        shift = (2 * u[3:].T - 1) * self.translate * (width, height)
        # From an output pixel back to its source: undo the turn, the slant and the scale.
        cos, sin, slant = np.cos(angle), np.sin(angle), np.tan(shear)
        matrix = np.array([[cos + slant * sin, slant * cos - sin], [sin, cos]]) / _between(self.scale, u[2])
        x, y = affine_coordinates((height, width), matrix.transpose(2, 0, 1), shift)
        return sample_bilinear(images, x + (width - 1) / 2, y + (height - 1) / 2, self.fill)


class RandomRotation(RandomAffine):
    """Turn by a random angle about the centre: `RandomAffine` with nothing else."""

    def __init__(self, degrees, fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)


class ColorJitter(RandomTransform):
    """Random brightness, contrast and saturation, in this order; the result is clipped to [0, 1].

    Each argument is a number v, for factors in [max(0, 1 - v), 1 + v], or a pair (low, high). A factor f blends the
    image with black, with its mean grey level, or with its grey image: f x + (1 - f) blend. Grey is the luma of
    ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B; images without three channels have no saturation to change.
    """

    def __init__(self, brightness=0, contrast=0, saturation=0) -> None:
        self.brightness, self.contrast, self.saturation = (
            _factors(value, name)
            for value, name in (
                (brightness, "brightness"),
                (contrast, "contrast"),
                (saturation, "saturation"),
            )
        )

    def apply(self, images, generator):
        u = generator.random((len(images), 3)).astype(images.dtype).T[..., None, None, None]
        images = _blend(images, 0, _between(self.brightness, u[0]))
        mean = _grey(images).mean(axis=(1, 2, 3), keepdims=True)
        images = _blend(images, mean, _between(self.contrast, u[1]))
        if images.shape[1] == 3:
            images = _blend(images, _grey(images), _between(self.saturation, u[2]))
        return images


class GaussianNoise(RandomTransform):
    """x + mean + sigma * n with n standard normal, clipped to [0, 1] unless clip=False."""

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        if sigma < 0:
            raise ValueError(f"sigma: must be 0 or more, got {sigma}")
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def apply(self, images, generator):
        noise = generator.standard_normal(images.shape).astype(images.dtype)
        out = images + (self.mean + self.sigma * noise)
        return np.clip(out, 0, 1) if self.clip else out


def _grey(images: np.ndarray) -> np.ndarray:
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    luma = np.array([0.299, 0.587, 0.114], dtype=images.dtype)
    return np.einsum("nchw,c->nhw", images, luma)[:, None]


def _blend(images, other, factor):
    return np.clip(factor * images + (1 - factor) * other, 0, 1)


def _between(bounds: tuple[float, float], u: np.ndarray) -> np.ndarray:
    return bounds[0] + (bounds[1] - bounds[0]) * u


def _check_axes(images: np.ndarray, name: str) -> None:
    if not isinstance(images, np.ndarray) or images.ndim not in (3, 4):
        what = f"shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"{name}: expected an array (C, H, W) or (N, C, H, W), got {what}")


def _floating(images: np.ndarray, name: str) -> np.ndarray:
    _check_axes(images, name)
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"{name}: expected floating images, got {images.dtype}; ToTensor converts uint8")
    return images


def _pair(value, name: str, least: int = 1) -> tuple[int, int]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int | np.integer) and v >= least for v in pair):
        raise ValueError(f"{name}: expected an integer of at least {least} or a pair of them, got {value!r}")
    return pair


def _range(value, name: str) -> tuple[float, float]:
    low, high = (-value, value) if np.ndim(value) == 0 else value
    if not low <= high:
        raise ValueError(f"{name}: expected (low, high) or a number of at least 0, got {value!r}")
    return low, high


def _factors(value, name: str) -> tuple[float, float]:
    low, high = (max(0, 1 - value), 1 + value) if np.ndim(value) == 0 else value
    if not 0 <= low <= high:
        raise ValueError(f"{name}: expected a number of at least 0 or factors 0 <= low <= high, got {value!r}")
    return low, high


def _room(have: Sequence[int], want: tuple[int, int], name: str) -> tuple[int, int]:
    room = have[0] - want[0], have[1] - want[1]
    if min(room) < 0:
        raise ValueError(f"{name}: cannot cut {want} out of an image of {tuple(have)}")
    return room


explain(globals())
