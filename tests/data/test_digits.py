"""The drawn digits: the same for the same seed, all ten of them, and neither trivial nor hopeless to tell apart."""

import numpy as np
import pytest

from scratchnet.data import Digits
from scratchnet.data.digits import draw_digits
from scratchnet.data.glyphs import FIELD, PEN_RADIUS, distance_fields, pen_field, smooth_curve


@pytest.fixture(scope="module")
def train() -> Digits:
    return Digits(size=1500)


def test_shapes(train):
    assert train.images.shape == (1500, 1, 28, 28) and train.images.dtype == np.uint8
    assert train.classes == list("0123456789")
    assert np.bincount(train.labels).tolist() == [150] * 10
    image, label = train[7]
    assert image.shape == (1, 28, 28) and image.dtype == np.float32 and label == 7
    assert len(Digits(size=0)) == 0
    with pytest.raises(ValueError, match="size: expected an integer of at least 0, got -1"):
        Digits(size=-1)


def test_a_sample_depends_on_seed_and_index_alone(train):
    np.testing.assert_array_equal(Digits(size=130).images, train.images[:130])
    order = np.random.default_rng(0).permutation(1500)[:60]
    np.testing.assert_array_equal(draw_digits(order % 10, 0, order), train.images[order])


def test_seeds_and_parts_differ(train):
    for other in (Digits(size=200, seed=1), Digits(train=False, size=200)):
        same = (other.images == train.images[:200]).all(axis=(1, 2, 3))
        assert not same.any()
        np.testing.assert_array_equal(other.labels, train.labels[:200])


def test_default_sizes():
    assert len(Digits(train=False)) == 2000


def test_the_ink_is_on_the_paper(train):
    ink = train.images / 255.0
    border = np.concatenate([ink[..., [0, -1], :].ravel(), ink[..., [0, -1]].ravel()])
    assert border.mean() < 0.02, "digits keep away from the border"
    strokes = (ink > 0.5).mean(axis=(1, 2, 3))
    assert strokes.min() > 0.005 and strokes.max() < 0.5


def test_a_linear_classifier_learns_something_but_not_all(train):
    """Least squares on the pixels: far above chance, and far below what a CNN reaches."""

    def features(data):
        pixels = data.images.reshape(len(data), -1) / 255.0
        return np.concatenate([pixels, np.ones((len(data), 1))], axis=1)

    test = Digits(train=False, size=500)
    x, y = features(train), np.eye(10)[train.labels]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
    accuracy = ((features(test) @ weights).argmax(axis=1) == test.labels).mean()
    assert 0.6 < accuracy < 0.92


def test_glyphs_fit_into_their_fields():
    fields, first, count = distance_fields()
    assert fields.shape == (10 + count.sum(), FIELD, FIELD)
    assert first.tolist() == (10 + np.cumsum(count) - count).tolist()
    inside = fields < 0
    assert inside.any(axis=(1, 2)).all()
    assert not inside[:, [0, -1]].any() and not inside[:, :, [0, -1]].any()
    # From pixel to pixel a distance changes by their spacing at most; the printed outlines are known to 1/80.
    assert np.abs(np.diff(fields, axis=1)).max() < 1.6 / FIELD + 1 / 80


def test_a_curve_goes_through_its_points():
    points = np.array([[0, 0], [1, 2], [3, 1], [4, 4.0]])
    curve = smooth_curve(points, steps=8)
    assert curve.shape == (25, 2)
    np.testing.assert_allclose(curve[::8], points)
    straight = smooth_curve(np.array([[0, 0], [2, 4.0]]))
    np.testing.assert_allclose(straight[:, 1], 2 * straight[:, 0])
    closed = smooth_curve(np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0.0]]))
    np.testing.assert_allclose(closed[1] * [1, -1], closed[-2], atol=1e-12)


def test_the_field_of_a_straight_stroke():
    field = pen_field("50,20 50,80")
    axis = (np.arange(FIELD) - (FIELD - 1) / 2) * (1.6 / FIELD)
    beyond = np.maximum(np.abs(axis) - 0.3, 0)
    np.testing.assert_allclose(field, np.hypot(axis, beyond[:, None]) - PEN_RADIUS, atol=1e-12)
