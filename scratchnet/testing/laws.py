"""Laws that hold exactly for real numbers, checked up to what rounding alone can explain.

A law needs no step size and no second implementation, and costs a pass or two: it runs at a layer's full size, in
float32. Functions take a tensor and return one, arrays are the caller's:

    layer = lambda x: conv2d(x, w, stride=2)
    laws.adjoint(layer, x, g, terms=9 * 64, absolute=lambda x: conv2d(x, abs(w), stride=2))

Bounds follow from ``terms``, how many products one number of a result sums up: such a sum has, in any order, a relative
error of at most gamma_n = n u / (1 - n u) of the sum of magnitudes (N. J. Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., SIAM 2002, section 3.1). With whole numbers (``strategies.integral``) nothing is rounded: pass
``terms=0``, and a law must hold exactly. Every law raises LawError where it does not, with the worst index.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from scratchnet.autograd import grad
from scratchnet.ops import pad
from scratchnet.tensor import Tensor

Function = Callable[[Tensor], Tensor]
_SUM_HEIGHT = 64  # additions on the longest way through NumPy's pairwise sum, for any array that fits in memory


class LawError(AssertionError):
    """A function breaks a law by more than rounding can explain."""


def gamma(terms: int, dtype) -> float:
    """n u / (1 - n u), u being half of the dtype's eps. Raises ValueError where n u reaches 1: no bound exists."""
    product = terms * float(np.finfo(dtype).eps) / 2
    if product >= 1:
        raise ValueError(f"gamma: {terms} terms in {np.dtype(dtype)} have no error bound")
    return product / (1 - product)


def agree(law: str, left, right, bound=0.0) -> None:
    """Raise LawError unless shapes are equal and |left - right| <= bound everywhere; NaN and infinity never agree."""
    left, right = _array(left), _array(right)
    if left.shape != right.shape:
        raise LawError(f"{law}: shapes {left.shape} and {right.shape} differ")
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.subtract(left, right, dtype=np.float64))
        wrong = ~(gap <= bound)
    if wrong.any():
        index = tuple(int(i) for i in np.unravel_index(np.argmax(np.where(wrong, gap, -np.inf)), gap.shape))
        limit = np.broadcast_to(bound, gap.shape)[index]
        raise LawError(f"{law}: {left[index]!r} and {right[index]!r} at index {index} differ by more than {limit:.3g}")


def value(function: Function, x) -> np.ndarray:
    """function(x) as an array."""
    return _array(function(Tensor(_array(x))))


def vjp(function: Function, x, g) -> np.ndarray:
    """The gradient of <function(x), g> with respect to x."""
    x = Tensor(_array(x), requires_grad=True)
    return grad(function(x), x, Tensor(_array(g)))[0].data


def adjoint(
    function: Function, x, g, *, terms: int | None = None, absolute: Function | None = None, transpose=None
) -> None:
    """<f(x), g> = <x, f*(g)> for a linear f.

    Args:
        x, g: an input and a cotangent of the output's shape.
        terms: of the longer sum, f's or its adjoint's; 0 for whole numbers. Default: the larger array's size.
        absolute: f with the absolute values of its coefficients, which bounds f's terms. Default: f itself, right
            where no coefficient is negative.
        transpose: f*. Default: the gradient of f.

    Raises:
        LawError: the products differ by more than 2 gamma_n <absolute(|x|), |g|>.
        ValueError: that bound reaches a quarter of the product's own size where signs are random, which is
            sqrt(sum (absolute(|x|) g)^2 / terms), as it does for large layers in float32: the check would be blind.
            Pass whole numbers, or a g of which few elements are not 0.
    """
    _balance("adjoint", function, x, g, 1, terms, absolute, transpose)


def homogeneous(
    function: Function, x, g, degree: float = 1, *, terms: int | None = None, absolute: Function | None = None
) -> None:
    """<x, gradient of <f(x), g>> = degree <f(x), g>: Euler's theorem, where f(t x) = t^degree f(x) for t > 0.

    Degree 1: ReLU, max pooling, absolute values, every linear function; degree 2: squares. Arguments and errors are
    those of ``adjoint``.
    """
    _balance("homogeneous", function, x, g, degree, terms, absolute, None)


def _balance(law, function, x, g, degree, terms, absolute, transpose):
    x, g = _array(x), _array(g)
    terms = max(x.size, g.size) if terms is None else terms
    left = degree * _inner(value(function, x), g)
    right = _inner(x, vjp(function, x, g) if transpose is None else value(transpose, g))
    sizes = np.abs(_magnitude(function, absolute, x) * g.astype(np.float64))
    bound = 2 * abs(degree) * (gamma(terms, x.dtype) + gamma(_SUM_HEIGHT, np.float64)) * sizes.sum()
    if bound > abs(degree) * math.sqrt(np.square(sizes).sum() / max(terms, 1)) / 4:
        raise ValueError(
            f"{law}: {terms} terms in {x.dtype} leave a bound of {bound:.3g}: use whole numbers, or a sparser g"
        )
    agree(law, left, right, bound)


def _inner(a, b):
    return (a.astype(np.float64) * b).sum()


def linear(function: Function, x, y, *, terms: int | None = None, absolute: Function | None = None) -> None:
    """f(2 x - 3 y) = 2 f(x) - 3 f(y). Arguments as for ``adjoint``."""
    x, y = _array(x), _array(y)
    terms = x.size if terms is None else terms
    mixed, separate = value(function, 2 * x - 3 * y), 2 * value(function, x) - 3 * value(function, y)
    sizes = 2 * _magnitude(function, absolute, x) + 3 * _magnitude(function, absolute, y)
    agree("linear", mixed, separate, 2 * gamma(terms and terms + 3, x.dtype) * sizes)


def commutes(
    function: Function,
    before: Callable,
    after: Callable,
    x,
    *,
    other: Function | None = None,
    terms: int = 0,
    absolute: Function | None = None,
) -> None:
    """f(before(x)) = after(other(x)), where ``before`` and ``after`` are functions of arrays that round nothing.

    Equivariance under flips, shifts, transposition or a permutation of the batch; with an ``after`` that does nothing,
    invariance. ``other`` is f where none is given. ``terms`` and ``absolute`` as for ``adjoint``, by default exact.
    """
    x, other = _array(x), other or function
    bound = 2 * gamma(terms, x.dtype) * after(_magnitude(other, absolute, x)) if terms else 0.0
    agree("commutes", value(function, before(x)), after(value(other, x)), bound)


def shift_equivariant(
    function: Function, x, axis: int, step: int = 1, *, terms: int = 0, absolute: Function | None = None
) -> None:
    """f(x without its first ``step`` places) = f(x) without its first: for windows of that stride, without padding."""

    def drop(count):
        return lambda array: array[(slice(None),) * axis + (slice(count, None),)]

    commutes(function, drop(step), drop(1), x, terms=terms, absolute=absolute)


def samplewise(function: Function, x, *, terms: int = 0, absolute: Function | None = None) -> None:
    """f treats the samples of a batch alike and apart: f(x)[i:i+1] = f(x[i:i+1]) for each i."""
    for i in range(len(x)):
        commutes(function, lambda a, i=i: a[i : i + 1], lambda a, i=i: a[i : i + 1], x, terms=terms, absolute=absolute)


def preserves_constants(
    function: Function, shape: Sequence[int], *, constant: float = 3.0, terms: int = 0, dtype=np.float64
) -> None:
    """f of a constant array is that constant: weights add up to 1, and rounding stays below gamma_n |constant|."""
    out = value(function, np.full(shape, constant, dtype))
    agree("preserves_constants", out, np.full(out.shape, constant, dtype), gamma(terms, dtype) * abs(constant))


def gradient_orthogonal(function: Function, x, g, direction, *, terms: int, size: float) -> None:
    """<gradient of <f(x), g>, direction> = 0, as it must be where f(x + t direction) is the same for every t.

    So for softmax and every norm along a constant. ``size`` is the sum of magnitudes of what cancels in the gradient.
    """
    bound = (gamma(terms, _array(x).dtype) + gamma(_SUM_HEIGHT, np.float64)) * size
    agree("gradient_orthogonal", _inner(vjp(function, x, g), direction), 0.0, bound)


def softmax_shift(function: Function, x, shift: float, dim: int = -1) -> None:
    """softmax(x + c) = softmax(x), and along ``dim`` it sums to 1.

    x + c is rounded by at most u |x + c|, a maximum is subtracted with another u |x - max|, and exp turns absolute
    errors of its argument into relative ones; the sum of n adds gamma_n, function and division a few u.
    """
    x = _array(x)
    plain, shifted = value(function, x), value(function, x + x.dtype.type(shift))
    n, span = x.shape[dim], np.abs(x).max(initial=0) + abs(shift)
    error = 2 * gamma(n + 8, x.dtype) + 8 * gamma(1, x.dtype) * float(span)
    agree("softmax_shift", shifted, plain, error * plain)
    total = plain.sum(axis=dim, dtype=np.float64)
    agree("softmax_shift", total, np.ones_like(total), gamma(n + 8, x.dtype))


def affine_invariant(
    norm: Callable[[Tensor, float], Tensor], x, scale: float, shift: float, eps: float, *, terms: int | None = None
) -> None:
    """norm(a x + b, a^2 eps) = norm(x, eps) for a > 0: invariance, without a limit to take.

    (a x - a m) / sqrt(a^2 v + a^2 eps) = (x - m) / sqrt(v + eps). ``norm`` takes eps as well, without weight and bias.
    The bound is a two-pass computation's: gamma_n (1 + kappa) (1 + |out|)^2 with kappa = max |a x + b| / (a sqrt(eps))
    and n = ``terms`` + 8, by default x.size + 8; fewer where sums are taken in float64.
    """
    x = _array(x)
    moved = x.dtype.type(scale) * x + x.dtype.type(shift)
    plain = value(lambda t: norm(t, eps), x)
    kappa = max(float(np.abs(moved).max(initial=0)) / scale, float(np.abs(x).max(initial=0))) / math.sqrt(eps)
    count = (x.size if terms is None else terms) + 8
    bound = gamma(count, x.dtype) * (1 + kappa) * np.square(1 + np.abs(plain, dtype=np.float64))
    agree("affine_invariant", value(lambda t: norm(t, scale * scale * eps), moved), plain, bound)


def standardised(norm: Callable[[Tensor, float], Tensor], x, axes, eps: float, *, terms: int | None = None) -> None:
    """Over ``axes``, norm(x, eps) has mean 0 and variance v / (v + eps), v being x's biased variance.

    ``terms`` as for ``affine_invariant``.
    """
    x = _array(x)
    out = value(lambda t: norm(t, eps), x).astype(np.float64)
    variance = x.var(axis=axes, dtype=np.float64)
    kappa = 1 + np.abs(x).max(initial=0) / np.sqrt(variance + eps)
    count = (x.size if terms is None else terms) + 8
    bound = gamma(count, x.dtype) * kappa
    agree("standardised: mean", out.mean(axis=axes), np.zeros_like(variance), bound)
    agree("standardised: variance", out.var(axis=axes), variance / (variance + eps), 2 * bound * kappa)


def zero_stuffed(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """(..., H, W) with factors - 1 zeros between neighbours: (..., (H - 1) fh + 1, (W - 1) fw + 1)."""
    (fh, fw), (height, width) = factors, array.shape[-2:]
    out = np.zeros((*array.shape[:-2], (height - 1) * fh + 1, (width - 1) * fw + 1), array.dtype)
    out[..., ::fh, ::fw] = array
    return out


def dilated_conv(conv: Callable, x, w, dilation, *, terms: int = 0, **options) -> None:
    """conv(x, w, dilation=d) = conv(x, w with d - 1 zeros between its taps). ``conv`` has conv2d's arguments."""
    left = _conv(conv, x, w, dilation=dilation, **options)
    stuffed = zero_stuffed(_array(w), dilation)
    _same_conv("dilated_conv", left, conv, x, stuffed, terms, options)


def strided_conv(conv: Callable, x, w, stride, *, terms: int = 0, **options) -> None:
    """conv(x, w, stride=s) = conv(x, w)[..., ::s, ::s]."""
    whole, sizes = _with_sizes(conv, x, w, terms, options)
    pick = (..., slice(None, None, stride[0]), slice(None, None, stride[1]))
    bound = 2 * gamma(terms, _array(x).dtype) * sizes[pick]
    agree("strided_conv", _conv(conv, x, w, stride=stride, **options), whole[pick], bound)


def padded_conv(conv: Callable, x, w, padding, *, terms: int = 0, **options) -> None:
    """conv(x, w, padding=((top, bottom), (left, right))) = conv(x with zeros around it, w)."""
    left = _conv(conv, x, w, padding=padding, **options)
    (top, bottom), (start, end) = padding
    wide = pad(Tensor(_array(x)), (start, end, top, bottom)).data
    _same_conv("padded_conv", left, conv, wide, w, terms, options)


def grouped_conv(conv: Callable, x, w, groups: int, *, terms: int = 0, **options) -> None:
    """conv(x, w, groups=n) is n convolutions, of each n-th of the channels, put together."""
    x, w = _array(x), _array(w)
    parts = zip(np.split(x, groups, axis=1), np.split(w, groups, axis=0), strict=True)
    pieces = [_with_sizes(conv, a, b, terms, options) for a, b in parts]
    right, sizes = (np.concatenate(arrays, axis=1) for arrays in zip(*pieces, strict=True))
    agree("grouped_conv", _conv(conv, x, w, groups=groups, **options), right, 2 * gamma(terms, x.dtype) * sizes)


def transposed_axes(conv: Callable, x, w, *, terms: int = 0, **options) -> None:
    """Exchanging height and width in input, kernel and options exchanges them in the result."""
    left = _conv(conv, x, w, **options)
    turned = {name: pair[::-1] if isinstance(pair, tuple) else pair for name, pair in options.items()}
    right, sizes = _with_sizes(conv, _array(x).swapaxes(2, 3), _array(w).swapaxes(2, 3), terms, turned)
    bound = 2 * gamma(terms, left.dtype) * sizes.swapaxes(2, 3)
    agree("transposed_axes", left, right.swapaxes(2, 3), bound)


def composed_conv(conv: Callable, x, first, second, *, terms: int = 0) -> None:
    """conv(conv(x, v), w) = conv(x, v * w): two convolutions are one, whose kernel is their convolution."""
    kh, kw = (n - 1 for n in second.shape[2:])
    around = ((kh, kh), (kw, kw))
    kernel = _conv(conv, _array(first).swapaxes(0, 1), _array(second)[:, :, ::-1, ::-1], padding=around).swapaxes(0, 1)
    sizes = _conv(conv, np.abs(_conv(conv, np.abs(x), np.abs(first))), np.abs(second))
    bound = 2 * gamma(terms, _array(x).dtype) * sizes
    agree("composed_conv", _conv(conv, _conv(conv, x, first), second), _conv(conv, x, kernel), bound)


def _same_conv(law, left, conv, x, w, terms, options):
    right, sizes = _with_sizes(conv, x, w, terms, options)
    agree(law, left, right, 2 * gamma(terms, right.dtype) * sizes)


def _with_sizes(conv, x, w, terms, options):
    """conv(x, w), and conv(|x|, |w|), the sums of magnitudes behind its error bound; zeros where nothing is rounded."""
    out = _conv(conv, x, w, **options)
    return out, _conv(conv, np.abs(_array(x)), np.abs(_array(w)), **options) if terms else np.zeros_like(out)


def _conv(conv, x, w, **options):
    return _array(conv(Tensor(_array(x)), Tensor(_array(w)), **options))


def _magnitude(function, absolute, x):
    """absolute(|x|), in float64."""
    return np.abs(value(absolute or function, np.abs(x)).astype(np.float64))


def _array(x):
    return x.data if isinstance(x, Tensor) else np.asarray(x)
