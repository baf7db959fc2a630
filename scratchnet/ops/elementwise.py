"""Arithmetic, comparison and the elementary functions, all elementwise and broadcasting."""

import math

import numpy as np

import kernels
from kernels.registry import Array, forked
from scratchnet.device import on_host
from scratchnet.ops.registry import Bad, Kink, S, elementwise, op
from scratchnet.recording import noted
from scratchnet.tensor import get_default_dtype

_LARGE = 1 << 17  # elements, from which on a second thread is worth more than the way to it takes


def _pair(r):
    return [
        S(r.normal(3, 4), r.normal(3, 4)),
        S(r.normal(2, 3, 4), r.normal(3, 1)),
        S(r.normal(), r.normal(2, 0)),
    ]


def _unequal(r):
    return [Bad(ValueError, r"\(2, 3\).*\(4,\)", S(r.normal(2, 3), r.normal(4)))]


@op(
    vjp={"a": lambda g: g, "b": lambda g: g},
    broadcasts=True,
    samples=_pair,
    reference=elementwise(lambda a, b: a + b),
    errors=_unequal,
    degree=1,
)
def add(a, b, /):
    """a + b."""
    large = a.size > _LARGE and a.shape == b.shape and a.dtype == b.dtype and a.dtype in Array.dtypes
    return np.add(a, b) if not large or forked() else kernels.add(a, b)


@op(
    vjp={"a": lambda g: g, "b": lambda g: neg(g)},
    broadcasts=True,
    samples=_pair,
    reference=elementwise(lambda a, b: a - b),
    errors=_unequal,
    degree=1,
)
def sub(a, b, /):
    """a - b."""
    return np.subtract(a, b)


@op(
    vjp={"a": lambda g, b: g * b, "b": lambda g, a: g * a},
    broadcasts=True,
    samples=_pair,
    reference=elementwise(lambda a, b: a * b),
    errors=_unequal,
    degree=1,
)
def mul(a, b, /):
    """a b."""
    return np.multiply(a, b)


@op(
    vjp={"a": lambda g, b: g / b, "b": lambda g, b, out: neg(g * out / b)},
    broadcasts=True,
    samples=lambda r: [S(r.normal(3, 4), r.positive(3, 4)), S(r.normal(2, 3), -r.positive(3))],
    reference=elementwise(lambda a, b: a / b),
    errors=_unequal,
)
def div(a, b, /):
    """a / b; integers are divided in the default floating dtype."""
    if a.dtype.kind != "f" and b.dtype.kind != "f":
        a, b = a.astype(get_default_dtype()), b.astype(get_default_dtype())
    return np.true_divide(a, b)


@op(
    vjp={"a": lambda g: neg(g)},
    samples=lambda r: [S(r.normal(3, 4))],
    reference=elementwise(lambda a: -a),
    degree=1,
)
def neg(a, /):
    """-a."""
    return np.negative(a)


@op(
    vjp={
        "a": lambda g, a, b: g * b * pow(where((a == 0) & (b == 0), 1.0, a), b - 1.0),
        "b": lambda g, a, b, out: g * where((a == 0) & (b >= 0), 0.0, out * log(where(a == 0, 1.0, a))),
    },
    broadcasts=True,
    samples=lambda r: [
        S(r.positive(3, 4), r.normal(3, 4)),
        S(r.positive(2, 3), np.array(2.0)),
        S(r.positive(3), np.array([0.0, 1.0, 3.0])),
    ],
    reference=elementwise(lambda a, b: a**b),
    errors=_unequal,
    kinks=[
        Kink("a = 0, b = 0", S(np.zeros(1), np.zeros(1)), (np.zeros(1), np.zeros(1))),
        Kink("a = 0, 0 < b < 1", S(np.zeros(1), np.full(1, 0.5)), (np.full(1, np.inf), np.zeros(1))),
        Kink(
            "a = 0, b > 1",
            S(np.zeros(1), np.full(1, 2.0)),
            (np.zeros(1), np.zeros(1)),
            torch="the same; NaN in second order",
            order=2,
        ),
    ],
)
def pow(a, b, /):
    """a to the power b. The gradient with respect to b is 0 at a = 0, b >= 0, as in PyTorch."""
    if b.ndim == 0 and on_host(b) and b == 2:  # np.power takes 20 times as long
        return np.square(a)
    return np.power(a, b)


@op(
    vjp={"x": lambda g, x: g * x * 2.0},
    samples=lambda r: [S(r.normal(3, 4))],
    reference=elementwise(lambda x: x * x),
)
def square(x, /):
    """x^2."""
    return np.square(x)


@op(vjp={"x": lambda g, out: g * out}, samples=lambda r: [S(r.normal(3, 4))], reference=elementwise(math.exp))
def exp(x, /):
    """e^x."""
    return np.exp(x)


@op(
    vjp={"x": lambda g, out: g * (out + 1.0)},
    samples=lambda r: [S(r.normal(3, 4))],
    reference=elementwise(math.expm1),
)
def expm1(x, /):
    """e^x - 1, accurate near 0."""
    return np.expm1(x)


@op(vjp={"x": lambda g, x: g / x}, samples=lambda r: [S(r.positive(3, 4))], reference=elementwise(math.log))
def log(x, /):
    """Natural logarithm."""
    return np.log(x)


@op(
    vjp={"x": lambda g, x: g / (x + 1.0)},
    samples=lambda r: [S(r.positive(3, 4))],
    reference=elementwise(math.log1p),
)
def log1p(x, /):
    """log(1 + x), accurate near 0."""
    return np.log1p(x)


@op(
    vjp={"x": lambda g, out: g / (out * 2.0)},
    samples=lambda r: [S(r.positive(3, 4))],
    reference=elementwise(math.sqrt),
    kinks=[Kink("x = 0", S(np.zeros(2)), (np.full(2, np.inf),))],
)
def sqrt(x, /):
    """Square root. The gradient at 0 is infinite, as the mathematics has it."""
    return np.sqrt(x)


@op(vjp={"x": lambda g, x: g * cos(x)}, samples=lambda r: [S(r.normal(3, 4))], reference=elementwise(math.sin))
def sin(x, /):
    """Sine of radians."""
    return np.sin(x)


@op(
    vjp={"x": lambda g, x: neg(g * sin(x))},
    samples=lambda r: [S(r.normal(3, 4))],
    reference=elementwise(math.cos),
)
def cos(x, /):
    """Cosine of radians."""
    return np.cos(x)


@op(
    vjp={"x": lambda g, x: g * exp(neg(square(x))) * (2 / math.sqrt(math.pi))},
    samples=lambda r: [S(r.normal(3, 4))],
    reference=elementwise(math.erf),
)
def erf(x, /):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return kernels.erf(x)


@op(
    vjp={"x": lambda g, x: g * sign(x)},
    samples=lambda r: [S(r.away(3, 4))],
    reference=elementwise(lambda x: x if x > 0 else -x),
    kinks=[Kink("x = 0", S(np.zeros(2)), (np.zeros(2),))],
)
def abs(x, /):
    """|x|."""
    return np.abs(x)


@op(
    vjp=None,
    samples=lambda r: [S(r.away(3, 4)), S(np.zeros(2))],
    reference=elementwise(lambda x: 0.0 if x == 0 else math.copysign(1, x)),
)
def sign(x, /):
    """-1, 0 or 1. No gradient: it is 0 wherever it exists."""
    return np.sign(x)


@op(
    vjp={"x": lambda g, x, min, max: g * _inside(x, low=min, high=max)},
    samples=lambda r: [
        S(r.away(3, 4, points=(-0.5, 0.7)), min=-0.5, max=0.7),
        S(r.away(3, 4, points=(0.2,)), min=0.2),
        S(r.away(3, 4, points=(0.2,)), max=0.2),
    ],
    reference=elementwise(
        lambda x, min=None, max=None: min if min is not None and x < min else max if max is not None and x > max else x
    ),
    errors=lambda r: [Bad(ValueError, "min and max", S(r.normal(2)))],
    kinks=[Kink("x = min, x = max", S(np.array([-1.0, 1.0]), min=-1.0, max=1.0), (np.ones(2),))],
)
def clamp(x, /, min=None, max=None):
    """x limited to [min, max]; either may be None. The bounds themselves pass the gradient."""
    if min is None and max is None:
        raise ValueError("clamp: at least one of min and max is needed")
    return np.clip(x, min, max)


@noted
def _inside(x, *, low, high):
    inside = np.ones_like(x)
    if low is not None:
        inside *= x >= low
    if high is not None:
        inside *= x <= high
    return inside


@op(
    vjp={
        "a": lambda g, condition: where(condition, g, 0.0),
        "b": lambda g, condition: where(condition, 0.0, g),
    },
    broadcasts=True,
    samples=lambda r: [
        S(r.mask(3, 4), r.normal(3, 4), r.normal(4)),
        S(r.mask(3, 1), r.normal(1, 4), r.normal()),
    ],
    reference=elementwise(lambda condition, a, b: a if condition else b),
    errors=lambda r: [
        Bad(TypeError, "condition.*bool.*float64", S(r.normal(3), r.normal(3), r.normal(3))),
        Bad(ValueError, r"\(3,\).*\(4,\)", S(r.mask(3), r.normal(3), r.normal(4))),
    ],
    degree=1,
)
def where(condition, a, b, /):
    """a where the boolean condition holds, else b. No gradient reaches the branch not taken, not even NaN."""
    if condition.dtype != np.bool_:
        raise TypeError(f"where: condition must be bool, got {condition.dtype}")
    return np.where(condition, a, b)


@noted
def _larger_share(a, b):
    """1 where a is larger, 1/2 on a tie: the share of the gradient that goes to a."""
    return ((a > b) + 0.5 * (a == b)).astype(a.dtype)


@op(
    vjp={"a": lambda g, a, b: g * _larger_share(a, b), "b": lambda g, a, b: g * _larger_share(b, a)},
    broadcasts=True,
    samples=lambda r: [S(r.distinct(3, 4), r.distinct(4) + 0.05)],
    reference=elementwise(lambda a, b: a if a > b else b),
    errors=_unequal,
    kinks=[Kink("a = b", S(np.ones(2), np.ones(2)), (np.full(2, 0.5), np.full(2, 0.5)))],
)
def maximum(a, b, /):
    """The larger of a and b; a tie shares the gradient equally. NaN where either is NaN."""
    return np.maximum(a, b)


@op(
    vjp={"a": lambda g, a, b: g * _larger_share(b, a), "b": lambda g, a, b: g * _larger_share(a, b)},
    broadcasts=True,
    samples=lambda r: [S(r.distinct(3, 4), r.distinct(4) + 0.05)],
    reference=elementwise(lambda a, b: a if a < b else b),
    errors=_unequal,
    kinks=[Kink("a = b", S(np.ones(2), np.ones(2)), (np.full(2, 0.5), np.full(2, 0.5)))],
)
def minimum(a, b, /):
    """The smaller of a and b; a tie shares the gradient equally. NaN where either is NaN."""
    return np.minimum(a, b)


def _comparison(function, symbol):
    def compare(a, b, /):
        return function(a, b)

    compare.__name__ = function.__name__
    compare.__doc__ = f"a {symbol} b, elementwise, as booleans."
    lifted = {
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }[symbol]
    return op(
        vjp=None,
        broadcasts=True,
        samples=lambda r: [S(r.integers(0, 3, 3, 4), r.integers(0, 3, 4)), S(r.normal(3), r.normal(2, 1))],
        reference=elementwise(lifted),
        errors=_unequal,
    )(compare)


equal = _comparison(np.equal, "==")
not_equal = _comparison(np.not_equal, "!=")
less = _comparison(np.less, "<")
less_equal = _comparison(np.less_equal, "<=")
greater = _comparison(np.greater, ">")
greater_equal = _comparison(np.greater_equal, ">=")


def _boolean(function, symbol, lifted, arity):
    def unary(a, /):
        return function(a)

    def binary(a, b, /):
        return function(a, b)

    combine = unary if arity == 1 else binary
    combine.__name__ = function.__name__
    combine.__doc__ = f"{symbol} of booleans, elementwise."
    return op(
        vjp=None,
        broadcasts=arity == 2,
        samples=lambda r: [S(*(r.mask(3, 4) for _ in range(arity)))],
        reference=elementwise(lifted),
    )(combine)


logical_and = _boolean(np.logical_and, "and", lambda a, b: a and b, 2)
logical_or = _boolean(np.logical_or, "or", lambda a, b: a or b, 2)
logical_not = _boolean(np.logical_not, "not", lambda a: not a, 1)


@op(
    vjp=None,
    samples=lambda r: [S(np.array([1.0, np.nan, np.inf]))],
    reference=elementwise(math.isnan),
)
def isnan(x, /):
    """True where x is not a number."""
    return np.isnan(x)


@op(
    vjp={"x": lambda g, x: astype(g, x.dtype)},
    samples=lambda r: [S(r.normal(3, 4), dtype=np.float64)],
    reference=lambda x, dtype: np.array([dtype(v) for v in x.ravel()]).reshape(x.shape),
    degree=1,
)
def astype(x, /, dtype):
    """x in another dtype; the gradient returns in x's own."""
    return x.astype(dtype)
