"""Laws of the transforms: identities, bounds, purity, replay, and agreement with Pillow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scratchnet.data.resample import resize, resize_weights, sample_bilinear
from scratchnet.data.streams import SampleStreams
from scratchnet.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    GaussianNoise,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    RandomTransform,
    Resize,
    ToTensor,
)

RANDOM = {
    "flip": RandomHorizontalFlip(),
    "crop": RandomCrop((4, 3), padding=(2, 1)),
    "rotation": RandomRotation(40),
    "affine": RandomAffine((-30, 10), (0.2, 0.1), (0.7, 1.4), 15, fill=0.5),
    "jitter": ColorJitter(0.4, (0.5, 1.5), 0.9),
    "noise": GaussianNoise(0.1, 0.3),
    "composed": Compose([RandomHorizontalFlip(), GaussianNoise(), RandomCrop(4)]),
}
FIXED = {
    "normalize": Normalize([0.5], [0.25]),
    "resize": Resize((5, 3)),
    "resize shorter side": Resize(6),
    "centre crop": CenterCrop((3, 4)),
}
random_transforms = pytest.mark.parametrize("transform", RANDOM.values(), ids=RANDOM)


@st.composite
def batches(draw, channels=(1, 2, 3), smallest=4):
    """A batch (N, C, H, W) of floats in [0, 1], both ends included."""
    shape = (
        draw(st.integers(1, 4)),
        draw(st.sampled_from(channels)),
        draw(st.integers(smallest, 9)),
        draw(st.integers(smallest, 9)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.clip(rng.uniform(-0.2, 1.2, shape), 0, 1).astype(dtype)


class Constant:
    """A generator whose every draw is `u`: random transforms at a chosen place of their range."""

    def __init__(self, u):
        self.u = u

    def random(self, size):
        return np.broadcast_to(np.float64(self.u), size)


@random_transforms
@given(images=batches(), seed=st.integers(0, 1000))
def test_random_transforms_replay_and_leave_their_input_alone(transform, images, seed):
    before = images.copy()
    one, other = (transform(images, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, other, strict=True)
    np.testing.assert_array_equal(images, before)
    assert one.dtype == images.dtype and one.ndim == 4
    assert not np.shares_memory(one, images)
    assert one.min() >= 0 and one.max() <= 1


@pytest.mark.parametrize("transform", FIXED.values(), ids=FIXED)
@given(images=batches())
def test_fixed_transforms_treat_each_image_alike_and_leave_their_input_alone(transform, images):
    before = images.copy()
    out = transform(images)
    np.testing.assert_array_equal(images, before)
    assert out.dtype == images.dtype and not np.shares_memory(out, images)
    for image, row in zip(images, out, strict=True):
        np.testing.assert_allclose(transform(image), row, rtol=1e-6, atol=1e-7)


@random_transforms
@given(images=batches(), seed=st.integers(0, 1000))
def test_a_sample_is_transformed_alike_in_any_company(transform, images, seed):
    indices = np.arange(len(images)) * 7 + 3
    batch = transform(images, SampleStreams(seed, indices))
    for image, index, row in zip(images, indices, batch, strict=True):
        np.testing.assert_array_equal(transform(image, SampleStreams(seed, index)), row, strict=True)


@given(images=batches(), seed=st.integers(0, 100))
def test_flip(images, seed):
    flip = RandomHorizontalFlip(p=1)
    np.testing.assert_array_equal(flip(images), images[..., ::-1])
    np.testing.assert_array_equal(flip(flip(images)), images, strict=True)
    np.testing.assert_array_equal(RandomHorizontalFlip(p=0)(images), images, strict=True)
    for image, out in zip(images, RandomHorizontalFlip()(images, np.random.default_rng(seed)), strict=True):
        assert np.array_equal(out, image) or np.array_equal(out, image[..., ::-1])


def test_flip_comes_as_often_as_asked():
    images = np.broadcast_to(np.array([0.0, 1.0]), (4000, 1, 1, 2))
    flipped = RandomHorizontalFlip(0.3)(images, np.random.default_rng(0))[..., 0].mean()
    assert abs(flipped - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 4000)


@given(images=batches(), seed=st.integers(0, 100))
def test_identities(images, seed):
    nothing = [RandomRotation(0), RandomAffine(0), ColorJitter(0, 0, 0), GaussianNoise(0, 0)]
    nothing += [RandomCrop(images.shape[2:]), CenterCrop(images.shape[2:]), Normalize(0, 1), Compose([])]
    for transform in nothing:
        out = (
            transform(images, np.random.default_rng(seed))
            if isinstance(transform, RandomTransform)
            else transform(images)
        )
        np.testing.assert_array_equal(out, images, strict=True)
    np.testing.assert_allclose(Resize(images.shape[2:])(images), images, rtol=1e-6)


@given(size=st.integers(1, 9), quarter=st.integers(-2, 2), seed=st.integers(0, 100))
def test_quarter_turns_are_counter_clockwise(size, quarter, seed):
    images = np.random.default_rng(seed).random((2, 3, size, size))
    turned = RandomRotation((90 * quarter, 90 * quarter))(images)
    np.testing.assert_allclose(turned, np.rot90(images, quarter, axes=(2, 3)), atol=1e-12)


def test_turning_there_and_back():
    y, x = np.mgrid[:33, :33] - 16
    image = np.exp(-((x - 4) ** 2 + (y + 2) ** 2) / 40)[None]
    back = RandomRotation((-25, -25))(RandomRotation((25, 25))(image))
    # Twice the error of bilinear sampling, (|f_xx| + |f_yy|) / 8, where both are 1/20 at most.
    assert np.abs(back - image).max() < 2 * (1 / 20 + 1 / 20) / 8
    assert np.abs(RandomRotation((25, 25))(image) - image).max() > 0.2


def test_affine_moves_scales_and_slants():
    image = np.zeros((1, 9, 9))
    image[0, 2, 4] = 1  # two pixels above the centre
    shifted = RandomAffine(0, translate=(2 / 9, 1 / 9))(image, Constant(1.0))
    assert shifted[0, 3, 6] == pytest.approx(1) and shifted.sum() == pytest.approx(1)
    doubled = RandomAffine(0, scale=(2, 2))(image)
    assert doubled[0, 0, 4] == pytest.approx(1) and doubled.sum() == pytest.approx(2 * 1.5)
    slanted = RandomAffine(0, shear=(45, 45))(image)
    assert slanted[0, 2, 6] == pytest.approx(1) and slanted.sum() == pytest.approx(1)
    both = RandomAffine((90, 90), shear=(45, 45))(image)
    assert both[0, 2, 2] == pytest.approx(1), "slanted, then turned counter-clockwise"
    outside = RandomAffine(0, translate=(1, 0), fill=0.25)(image, Constant(1.0))
    np.testing.assert_array_equal(outside, np.full((1, 9, 9), 0.25))


def test_a_plain_image_stays_plain():
    image = np.full((3, 9, 9), 0.7, dtype=np.float32)
    np.testing.assert_array_equal(RandomRotation(45, fill=0.7)(image, np.random.default_rng(0)), image, strict=True)


def test_bilinear_sampling_on_a_slope_is_exact():
    y, x = np.mgrid[:5, :7].astype(np.float64)
    slope = (2 * x + 3 * y)[None, None]
    rng = np.random.default_rng(0)
    at_x, at_y = rng.uniform(0, 6, (1, 4, 4)), rng.uniform(0, 4, (1, 4, 4))
    np.testing.assert_allclose(sample_bilinear(slope, at_x, at_y)[:, 0], 2 * at_x + 3 * at_y, atol=1e-12)
    outside = sample_bilinear(slope, np.array([[[-1.0, 7, 99, 3]]]), np.array([[[0.0, 0, 2, -7]]]), fill=-5)
    np.testing.assert_array_equal(outside, np.full((1, 1, 1, 4), -5.0))
    half = sample_bilinear(slope, np.array([[[-0.5]]]), np.array([[[2.0]]]), fill=0)
    assert half.item() == 3.0, "half of the border pixel's 6"


@given(images=batches(), padding=st.integers(0, 2), seed=st.integers(0, 100))
def test_crops_are_windows_of_the_padded_image(images, padding, seed):
    out = RandomCrop((3, 4), padding, fill=0.5)(images, np.random.default_rng(seed))
    padded = np.pad(images, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=0.5)
    rows, columns = padded.shape[2] - 2, padded.shape[3] - 3
    for image, crop in zip(padded, out, strict=True):
        assert any(np.array_equal(image[:, i : i + 3, j : j + 4], crop) for i in range(rows) for j in range(columns))


def test_every_place_is_cropped():
    image = np.arange(12.0).reshape(1, 1, 3, 4)
    corners = RandomCrop(2)(np.repeat(image, 200, axis=0), np.random.default_rng(0))[:, 0, 0, 0]
    assert set(corners) == {0, 1, 2, 4, 5, 6}
    wide = RandomCrop((3, 6), padding=(1, 0))(image, Constant(0.0))
    np.testing.assert_array_equal(wide, np.pad(image, ((0, 0), (0, 0), (0, 0), (1, 1))))


def test_centre_crop():
    image = np.arange(20).reshape(1, 4, 5)
    np.testing.assert_array_equal(CenterCrop(2)(image), image[:, 1:3, 1:3])
    np.testing.assert_array_equal(CenterCrop((1, 4))(image), image[:, 1:2, 0:4])


def test_normalize():
    images = np.random.default_rng(0).random((4, 3, 5, 5), dtype=np.float32)
    mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    out = Normalize(mean, std)(images)
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-6)


def test_to_tensor():
    grey = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    np.testing.assert_array_equal(ToTensor()(grey), np.float32([[[0, 1], [0.2, 0.4]]]), strict=True)
    colour = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    for images, axes in ((colour, (2, 0, 1)), (colour[None], (0, 3, 1, 2))):
        out = ToTensor()(images)
        np.testing.assert_array_equal(out, images.transpose(axes) / np.float32(255), strict=True)
        assert out.flags.c_contiguous
        np.testing.assert_array_equal(ToTensor("CHW")(images), images / np.float32(255), strict=True)


SIDES = st.integers(1, 40)


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 100))
def test_resize_is_pillows_bilinear(height, width, new_height, new_width, seed):
    values = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    size = (new_width, new_height)
    theirs = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    np.testing.assert_allclose(Resize((new_height, new_width))(values[None])[0], theirs, atol=1e-6)

    levels = np.rint(255 * values).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR))
    ours = Resize((new_height, new_width))(levels[None])[0]
    # Pillow rounds between its two passes and works with fixed-point weights.
    assert ours.dtype == np.uint8 and np.abs(ours.astype(int) - theirs).max() <= 1


@given(size_in=SIDES, size_out=SIDES)
def test_resize_keeps_constants_and_bounds(size_in, size_out):
    np.testing.assert_allclose(resize_weights(size_in, size_out).sum(axis=1), 1)
    out = resize(np.full((1, size_in, 2), 0.7, dtype=np.float32), (size_out, 3))
    np.testing.assert_array_equal(out, np.full((1, size_out, 3), 0.7, dtype=np.float32), strict=True)


def test_resize_of_the_shorter_side():
    assert Resize(4)(np.zeros((1, 8, 10))).shape == (1, 4, 5)
    assert Resize(4)(np.zeros((2, 1, 10, 8))).shape == (2, 1, 5, 4)
    assert Resize((4, 4))(np.zeros((0, 3, 10, 8))).shape == (0, 3, 4, 4)


@given(images=batches(channels=(3,)), u=st.floats(0, 1))
def test_jitter_formulas(images, u):
    factor = images.dtype.type(0.5 + u)
    grey = np.tensordot([0.299, 0.587, 0.114], images, (0, 1))[:, None]
    mean = grey.mean(axis=(1, 2, 3), keepdims=True)
    for name, other in (("brightness", 0), ("contrast", mean), ("saturation", grey)):
        expected = np.clip(factor * images + (1 - factor) * other, 0, 1)
        np.testing.assert_allclose(ColorJitter(**{name: 0.5})(images, Constant(u)), expected, atol=1e-6)


def test_saturation_leaves_grey_images_alone():
    image = np.random.default_rng(0).random((2, 1, 4, 4))
    np.testing.assert_array_equal(ColorJitter(saturation=0.9)(image), image)


def test_noise_has_the_deviation_asked_for():
    out = GaussianNoise(0.25, 0.5, clip=False)(np.zeros((4, 1, 100, 100)), np.random.default_rng(0))
    assert abs(out.mean() - 0.25) < 5 * 0.5 / 200
    assert abs(out.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * 40_000)


def test_random_transforms_take_empty_batches():
    for transform in RANDOM.values():
        assert len(transform(np.zeros((0, 3, 6, 6), np.float32), np.random.default_rng(0))) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomHorizontalFlip(1.5), r"p: must be in \[0, 1\]"),
        (lambda: RandomRotation(-10), "degrees: expected .low, high."),
        (lambda: RandomRotation((10, -10)), "degrees: expected .low, high."),
        (lambda: RandomAffine(0, translate=(2, 0)), "translate: expected two fractions"),
        (lambda: RandomAffine(0, scale=(0, 1)), "scale: must be above 0"),
        (lambda: ColorJitter(brightness=-1), "brightness: expected a number"),
        (lambda: ColorJitter(contrast=(-1, 1)), "contrast: expected a number"),
        (lambda: GaussianNoise(sigma=-1), "sigma: must be 0 or more"),
        (lambda: Normalize(0, [1, 0]), "std: must be above 0"),
        (lambda: Normalize([0, 0], [1, 1])(np.zeros((3, 4, 4))), "2 means and 2 deviations for images of 3 channels"),
        (lambda: CenterCrop(5)(np.zeros((3, 4, 6))), r"CenterCrop: cannot cut \(5, 5\) out of an image of \(4, 6\)"),
        (lambda: RandomCrop(9, padding=1)(np.zeros((3, 4, 6))), r"cannot cut \(9, 9\) out of an image of \(6, 8\)"),
        (lambda: RandomCrop(3, padding=-1), "padding: expected an integer of at least 0"),
        (lambda: Resize(0), "size: expected an integer of at least 1"),
        (lambda: Resize((3, 4, 5)), "size: expected an integer of at least 1 or a pair"),
        (lambda: Resize((3, 4))(np.zeros((1, 0, 5))), "sizes must be at least 1"),
        (lambda: ToTensor("WHC"), "layout: expected 'HWC' or 'CHW'"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("transform", "images", "message"),
    [
        (RandomRotation(5), np.zeros((1, 4, 4), np.uint8), "RandomRotation: expected floating images, got uint8"),
        (Normalize(0, 1), np.zeros((4, 4)), r"Normalize: expected an array \(C, H, W\) or \(N, C, H, W\), got shape"),
        (CenterCrop(2), [[0.0]], "CenterCrop: expected an array .* got list"),
        (ToTensor(), np.zeros((4, 4, 3)), "ToTensor: expected uint8"),
    ],
)
def test_bad_images_are_refused(transform, images, message):
    with pytest.raises(TypeError, match=message):
        transform(images)
