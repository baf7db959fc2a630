"""The shapes of the digits, as distance fields: Pillow's built-in font, and pen strokes through hand-made points.

A distance field says for every place how far it is from the outline, negative inside the ink. It can be turned, bent
and sampled at any size without jagged edges, and made bolder or thinner by moving the threshold.
"""

from functools import cache

import numpy as np

FIELD = 64  # pixels a side
EXTENT = 1.6  # what a field covers, in heights of a digit
PEN_RADIUS = 0.055  # half the width of an ordinary stroke, in heights of a digit

# Skeletons of written digits, several ways of writing each. Strokes are separated by "/"; points are "x,y" in percent
# of the digit's height, y downwards, and a smooth curve goes through the points of a stroke.
PEN_STROKES = (
    ("50,0 27,14 20,50 27,86 50,100 73,86 80,50 73,14 50,0",),
    ("50,0 50,100", "30,26 55,0 / 55,0 55,100", "30,26 55,0 / 55,0 55,100 / 30,100 80,100"),
    (
        "22,25 30,7 50,0 72,10 75,30 60,55 20,100 / 20,100 80,100",
        "22,22 38,3 62,3 75,25 62,58 35,94 20,93 25,80 45,85 80,100",
    ),
    (
        "22,12 45,0 72,10 72,35 42,46 / 42,46 75,55 80,80 55,100 30,97 20,85",
        "22,0 75,0 / 75,0 45,40 / 45,40 75,50 80,78 52,100 20,88",
    ),
    ("65,0 15,68 / 15,68 85,68 / 65,0 65,100", "30,0 20,58 / 20,58 85,55 / 68,20 62,100"),
    (
        "75,0 30,0 / 30,0 25,42 / 25,42 50,35 75,50 75,82 50,100 20,90",
        "75,2 38,5 27,27 50,45 76,65 68,93 40,100 20,90",
    ),
    (
        "70,2 40,20 22,55 27,88 50,100 74,85 72,62 50,52 25,68",
        "55,0 28,42 22,78 45,100 75,85 70,60 45,55 24,75",
    ),
    (
        "20,0 80,0 / 80,0 40,100",
        "20,0 80,0 / 80,0 40,100 / 36,50 76,50",
        "20,4 80,0 / 80,0 53,45 44,100",
    ),
    (
        "50,47 26,28 32,6 50,0 68,6 74,28 50,47 22,70 30,94 50,100 70,94 78,70 50,47",
        "70,12 48,0 27,18 50,45 76,74 52,100 25,82 42,56 68,34 70,12",
    ),
    (
        "75,30 55,50 30,42 26,16 50,0 73,10 75,30 / 75,30 70,65 50,100",
        "74,22 55,46 30,40 27,14 50,0 74,12 74,22 / 74,22 74,100",
    ),
)


@cache
def distance_fields() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every glyph as a distance field.

    Returns:
        fields, float64 (K, FIELD, FIELD), in heights of a digit: ten printed digits, then the written ones.
        first and count, int64 (10,): the written glyphs of digit d are fields[first[d] : first[d] + count[d]].
    """
    fields = [printed_field(str(digit)) for digit in range(10)]
    fields += [pen_field(strokes) for variants in PEN_STROKES for strokes in variants]
    count = np.array([len(variants) for variants in PEN_STROKES])
    return np.stack(fields), 10 + np.cumsum(count) - count, count


def printed_field(text: str) -> np.ndarray:
    """The distance field (FIELD, FIELD) of a character in the scalable font that is part of Pillow."""
    from PIL import Image, ImageDraw, ImageFont, features

    if not features.check("freetype2"):
        raise RuntimeError("this Pillow was built without FreeType, which draws the printed digits")
    font = ImageFont.load_default(size=120)
    left, top, right, bottom = font.getbbox(text)
    height = bottom - top
    # A rim of one empty pixel closes the outline.
    image = Image.new("L", (right - left + 2, height + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, fill=255, font=font)
    ink = np.asarray(image) >= 128

    across = np.argwhere(ink[:, 1:] != ink[:, :-1]) + np.array([0, 0.5])
    down = np.argwhere(ink[1:] != ink[:-1]) + np.array([0.5, 0])
    centre = (np.array(ink.shape) - 1) / 2
    outline = (np.concatenate([across, down]) - centre)[:, ::-1] / height

    grid = _grid()
    dx, dy = (grid[:, None, axis] - outline[:, axis] for axis in (0, 1))
    distance = np.sqrt(np.min(dx**2 + dy**2, axis=1))
    nearest = np.rint(grid[:, ::-1] * height + centre).astype(int)
    inside = ink[tuple(np.clip(nearest, 0, np.array(ink.shape) - 1).T)]
    return np.where(inside, -distance, distance).reshape(FIELD, FIELD)


def pen_field(strokes: str) -> np.ndarray:
    """The distance field (FIELD, FIELD) of a round pen drawn along `strokes`, written as in PEN_STROKES."""
    curves = [smooth_curve(_points(stroke)) for stroke in strokes.split("/")]
    start = np.concatenate([curve[:-1] for curve in curves])
    step = np.concatenate([np.diff(curve, axis=0) for curve in curves])
    dx, dy = (_grid()[:, None, axis] - start[:, axis] for axis in (0, 1))
    along = np.clip((dx * step[:, 0] + dy * step[:, 1]) / (step**2).sum(axis=1), 0, 1)
    distance = np.hypot(dx - along * step[:, 0], dy - along * step[:, 1]).min(axis=1)
    return distance.reshape(FIELD, FIELD) - PEN_RADIUS


def smooth_curve(points: np.ndarray, steps: int = 8) -> np.ndarray:
    """A Catmull-Rom spline through points (M, 2), as a polyline of steps * (M - 1) + 1 points.

    Where the last point repeats the first, the curve closes smoothly.
    """
    closed = np.array_equal(points[0], points[-1])
    before, after = (points[-2], points[1]) if closed else (points[0], points[-1])
    p = np.concatenate([[before], points, [after]])
    p0, p1, p2, p3 = (p[i : len(p) - 3 + i, None] for i in range(4))
    t = np.arange(steps)[:, None] / steps
    slope, bend, twist = (p2 - p0) / 2, p0 - 2.5 * p1 + 2 * p2 - p3 / 2, 1.5 * (p1 - p2) + (p3 - p0) / 2
    spline = p1 + t * (slope + t * (bend + t * twist))
    return np.concatenate([spline.reshape(-1, 2), points[-1:]])


def _points(stroke: str) -> np.ndarray:
    """Offsets (x, y) from the digit's centre, in its heights."""
    return np.array([[float(v) for v in point.split(",")] for point in stroke.split()]) / 100 - 0.5


def _grid() -> np.ndarray:
    """The (x, y) of every pixel of a field, as offsets from the centre in heights of a digit: (FIELD * FIELD, 2)."""
    axis = (np.arange(FIELD) - (FIELD - 1) / 2) * (EXTENT / FIELD)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
