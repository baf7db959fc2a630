"""PSNR and SSIM, against values by hand and plain loops."""

import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.metrics import psnr, ssim

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 2, 14, 13))
NOISY = IMAGES + 0.1 * RNG.standard_normal(IMAGES.shape)


def ssim_by_loops(x, y, data_range):
    """Of one channel, as the paper has it: two-dimensional weights, and moments about the mean."""
    row, column = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(row**2 + column**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return np.mean(values)


def test_psnr_by_hand():
    references = np.zeros((3, 2, 2))
    images = np.stack([np.full((2, 2), 0.1), np.array([[1, 0], [0, 0]]), np.zeros((2, 2))])
    np.testing.assert_allclose(psnr(images, references, data_range=1), [20, 10 * math.log10(4), math.inf], rtol=1e-12)
    np.testing.assert_allclose(psnr(images, references, data_range=2)[0], 20 + 20 * math.log10(2), rtol=1e-12)


def test_bytes_do_not_wrap_around():
    assert psnr(np.uint8([[0, 0]]), np.uint8([[255, 255]]), data_range=255).tolist() == [0]
    images = RNG.integers(0, 256, (1, 1, 12, 12), dtype=np.uint8)
    expected = ssim(255.0 - images, images * 1.0, data_range=255)
    assert np.array_equal(ssim(255 - images, images, data_range=255), expected)
    assert expected < 0  # a negative is structured the opposite way


def test_ssim_is_that_of_plain_loops():
    found = ssim(sn.Tensor(NOISY), sn.Tensor(IMAGES), data_range=1)
    pairs = zip(NOISY, IMAGES, strict=True)
    expected = [np.mean([ssim_by_loops(a, b, 1) for a, b in zip(*pair, strict=True)]) for pair in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_ssim_of_flat_images_is_that_of_their_means():
    a, b, c1 = 0.25, 0.75, 1e-4
    found = ssim(np.full((1, 1, 11, 11), a), np.full((1, 1, 11, 11), b), data_range=1)
    np.testing.assert_allclose(found, (2 * a * b + c1) / (a * a + b * b + c1), rtol=1e-10)


def test_ssim_of_itself_is_1_and_it_is_symmetric():
    assert ssim(IMAGES, IMAGES, data_range=1).tolist() == [1, 1, 1]
    assert np.array_equal(ssim(IMAGES, NOISY, data_range=2), ssim(NOISY, IMAGES, data_range=2))


def test_more_noise_is_worse():
    noise = RNG.standard_normal(IMAGES.shape)
    for metric in (psnr, ssim):
        levels = [metric(IMAGES + s * noise, IMAGES, data_range=1) for s in (0.01, 0.05, 0.2)]
        assert (levels[0] > levels[1]).all() and (levels[1] > levels[2]).all()


REFUSALS = {
    "shapes": (lambda: psnr(IMAGES, IMAGES[:2], data_range=1), ValueError, r"references of the same, got \(2, 2, 14"),
    "one axis": (lambda: psnr(IMAGES[0, 0, 0], IMAGES[0, 0, 0], data_range=1), ValueError, r"images must have shape"),
    "three axes": (lambda: ssim(IMAGES[0], IMAGES[0], data_range=1), ValueError, r"\(N, C, H, W\).* got \(2, 14, 13\)"),
    "nothing": (lambda: psnr(IMAGES[:0], IMAGES[:0], data_range=1), ValueError, "none of them 0"),
    "small": (lambda: ssim(IMAGES[:, :, :10], IMAGES[:, :, :10], data_range=1), ValueError, "11x11 pixels, got 10x13"),
    "NaN": (lambda: psnr(IMAGES, IMAGES * np.nan, data_range=1), ValueError, "references contain NaN"),
    "range 0": (lambda: psnr(IMAGES, IMAGES, data_range=0), ValueError, "data_range must be a positive number, got 0"),
    "range text": (lambda: ssim(IMAGES, IMAGES, data_range="1"), ValueError, "data_range must be a positive number"),
    "range of bytes": (lambda: psnr(IMAGES, 255 * IMAGES, data_range=1), ValueError, "references span 254.* 1$"),
    "booleans": (lambda: psnr(IMAGES > 0, IMAGES, data_range=1), TypeError, "images must be real numbers, got bool"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_use_is_refused_in_words(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=words):
        call()
