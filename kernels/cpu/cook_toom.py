"""The matrices of Winograd's minimal filtering F(m, r), exact, for any m and r.

m outputs y_i = sum over k < r of g_k d_(i+k) take m r multiplications by definition and m + r - 1 =: n by

    y = A^T ((G g) * (B^T d))        A^T: m x n, G: n x r, B^T: n x n

This is Toom and Cook's product of two polynomials of degrees m - 1 and r - 1, transposed: evaluate both at n - 1
numbers p_j and at infinity (rows of A and of G), multiply, interpolate (B). Two dimensions apply the matrices to rows
and to columns: n^2 multiplications for m^2 outputs of r x r taps.

Sources: S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, "Fast algorithms for
convolutional neural networks", CVPR 2016, section 4; B. Barabasz et al., "Error analysis and improving the accuracy of
Winograd convolution for deep neural networks", ACM TOMS 46(4), 2020, for the points.
"""

import functools
from fractions import Fraction
from math import prod

import numpy as np

# Small numbers with small reciprocals, in pairs of opposite sign: their rows share half of the additions.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2")))
LARGEST = len(POINTS) + 1


@functools.cache
def exact_matrices(outputs, taps):
    """(A^T, G, B^T) of F(outputs, taps) as tuples of rows of Fractions.

    Raises:
        ValueError: more than LARGEST products would be needed.
    """
    n = outputs + taps - 1
    if n > LARGEST:
        raise ValueError(f"F(m, r) takes at most m + r - 1 = {LARGEST} points, given m = {outputs}, r = {taps}")
    points = POINTS[: n - 1]
    others = [[q for q in points if q != p] for p in points]
    a = [powers(p, outputs) for p in points] + [powers(None, outputs)]
    g = [[x / prod(p - q for q in rest) for x in powers(p, taps)] for p, rest in zip(points, others, strict=True)]
    b = [[*polynomial(rest), Fraction(0)] for rest in others] + [polynomial(points)]
    return tuple(zip(*a, strict=True)), (*map(tuple, g), tuple(powers(None, taps))), tuple(map(tuple, b))


def matrices(outputs, taps):
    """(A^T, G, B^T) as float64 arrays."""
    return tuple(np.array(matrix, np.float64) for matrix in exact_matrices(outputs, taps))


def powers(point, count):
    """1, p, p^2, ...: what coefficients are worth at p; None is infinity, where the highest alone counts."""
    if point is None:
        return [Fraction(int(k == count - 1)) for k in range(count)]
    return [point**k for k in range(count)]


def polynomial(roots):
    """Coefficients, lowest first, of the product of (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [x - y for x, y in zip(shifted, scaled, strict=True)]
    return coefficients
