"""Exponentials in float32 for loops that LLVM turns into vector code: no branches, no tables, no calls.

    e^x = 2^n e^r,  n = round(x / ln 2),  |r| <= ln 2 / 2,  e^r - 1 = r + r^2 P(r)

with P a polynomial. The tail of the normal distribution is Phi(-t) = e^(-t^2 / 2) Q(t), where Q is smooth and falls
like 1 / t, so that Q(t) / w is nearly a polynomial in w = 1 / (t + 4). Polynomials interpolate at Chebyshev points and
are computed here, from the functions themselves. Multiply-adds are fused by name, and never at LLVM's choice: so a
value does not depend on where in an array it stands. float64 takes Python's math instead.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.polynomial import chebyshev

from .compile import inlined


def polynomial(function, degree, scale=1.0):
    """float32 coefficients in x, lowest first, of the interpolant at the Chebyshev points u = scale x of [-1, 1]."""
    coefficients = chebyshev.cheb2poly(chebyshev.chebinterpolate(function, degree))
    return tuple((coefficients * scale ** np.arange(degree + 1)).astype(np.float32))


def _rest_of_exp(u):
    """(e^r - 1 - r) / r^2 at r = u ln 2 / 2: by its series, since the closed form cancels."""
    r = u * math.log(2) / 2
    return sum(r**k / math.factorial(k + 2) for k in range(12))


def _scaled_tail(u):
    """Phi(-t) e^(t^2 / 2) / w, where u runs from -1 to 1 as w = 1 / (t + 4) does from its least to its largest."""
    w = (u - _U_AT_0) / _U_PER_W
    t = 1 / w - _POLE
    return np.array([math.erfc(x / math.sqrt(2)) * math.exp(x * x / 2) / 2 for x in t]) / w


one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
_LOG2E = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693145751953125)  # 16 bits of ln 2: n times it is exact
_LN2_LOW = np.float32(math.log(2) - 0.693145751953125)
_ROUNDER = np.float32(1.5 * 2**23)  # adding it to n leaves no place for a fraction, and n in the lowest bits
_P = polynomial(_rest_of_exp, 4, 2 / math.log(2))
_LOWEST = np.float32(-104)  # e^-104 rounds to 0
_LIFT, _DROP = 127 + 64, np.float32(2.0**-64)  # 2^n = 2^(n + 64) 2^-64, also where 2^n is subnormal
_A = tuple(np.float32(1 / k) for k in range(3, 17, 2))  # artanh(s) = s + s^3 / 3 + s^5 / 5 + ...
_TANH_END = np.float32(10)  # from there on tanh rounds to 1

_POLE, _FARTHEST = 4.0, 14.5  # Phi(-14.5) rounds to 0
_U_PER_W = 2 / (1 / _POLE - 1 / (_POLE + _FARTHEST))
_U_AT_0 = 1 - _U_PER_W / _POLE
_Q = polynomial(_scaled_tail, 9)
_pole, _farthest, _u_per_w, _u_at_0 = map(np.float32, (_POLE, _FARTHEST, _U_PER_W, _U_AT_0))
_HIGH_BITS, _SIGN = -(1 << 12), -(1 << 31)
_DENSITY = np.float32(1 / math.sqrt(2 * math.pi))


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, rounded once where the processor can do that."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f32"), args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def _bits(typing_context, value):
    """The bits of a float32 as an int32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _float(typing_context, bits):
    """The float32 of the lower 32 bits. Numba's integers are int64 after any arithmetic."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


@inlined
def _reduce(a):
    """(bits with n at their end, r) for e^a = 2^n e^r."""
    shifted = fma(a, _LOG2E, _ROUNDER)
    n = shifted - _ROUNDER
    return _bits(shifted), fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, a))


@inlined
def _expm1(r):
    """e^r - 1. The terms of polynomials are added in pairs here (Estrin), so that fewer steps wait for others: GELU
    takes 0.98 of the time of Horner's scheme, its gradient 0.96.
    """
    q = r * r
    return fma(q, fma(q, fma(q, _P[4], fma(r, _P[3], _P[2])), fma(r, _P[1], _P[0])), r)


@inlined
def _power(bits, rest):
    """2^n (1 + rest), subnormal results included."""
    scale = _float((bits + _LIFT) << 23)
    return fma(scale, rest, scale) * _DROP


def _by_width(single, double):
    """A function for compiled code that is `single` for float32 and `double`, made of Python's math, for float64."""

    def function(x):
        raise NotImplementedError

    @overload(function, jit_options={"error_model": "numpy", "forceinline": True})
    def choose(x):
        return single if x == types.float32 else double

    return function


@inlined
def _exp(x):
    """e^x for x <= 0."""
    bits, r = _reduce(_LOWEST if x < _LOWEST else x)
    return _power(bits, _expm1(r))


def _sigmoid32(x):
    small = _exp(-abs(x))
    return (one if x >= 0 else small) / (one + small)


def _sigmoid64(x):
    small = math.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


def _tanh32(x):
    """t / (t + 2) with t = e^(2 |x|) - 1, which keeps full relative accuracy at 0."""
    y = abs(x)
    y = _TANH_END if y > _TANH_END else y
    bits, r = _reduce(two * y)
    scale = _float((bits + 127) << 23)
    t = fma(scale, _expm1(r), scale - one)
    return _float(_bits(t / (t + two)) | _bits(x) & _SIGN)


def _softplus32(x):
    """max(x, 0) + log(1 + u), u = e^-|x|; log(1 + u) = 2 artanh(s), s = u / (2 + u) <= 1/3, by its series."""
    u = _exp(-abs(x))
    s = u / (two + u)
    q = s * s
    q2 = q * q
    series = fma(q2, fma(q2, fma(q2, _A[6], fma(q, _A[5], _A[4])), fma(q, _A[3], _A[2])), fma(q, _A[1], _A[0]))
    return (x if x > 0 else np.float32(0)) + two * fma(s * q, series, s)


def _softplus64(x):
    return (x if x > 0 else 0.0) + math.log1p(math.exp(-abs(x)))


def _normal32(x):
    t = abs(x)
    t = _farthest if t > _farthest else t
    high = _float(_bits(t) & _HIGH_BITS)  # its square is exact; the square of t is not, and e^ would amplify that
    bits, r = _reduce(-half * high * high)  # at least -105.1: `_power` would bear -130
    bell = _power(bits, _expm1(r - half * (t - high) * (t + high)))
    w = one / (t + _pole)
    u = fma(w, _u_per_w, _u_at_0)
    u2 = u * u
    first = fma(u2, fma(u, _Q[3], _Q[2]), fma(u, _Q[1], _Q[0]))
    second = fma(u2, fma(u, _Q[7], _Q[6]), fma(u, _Q[5], _Q[4]))
    q = fma(u2 * u2, fma(u2 * u2, fma(u, _Q[9], _Q[8]), second), first)
    tail, slope = bell * (q * w), t * bell * _DENSITY
    return (tail, -slope) if x < 0 else (one - tail, slope)


def _normal64(x):
    t = min(abs(x), 40.0)  # beyond, both are 0 or 1; infinity times 0 would not be
    tail, slope = math.erfc(t * math.sqrt(0.5)) / 2, t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return (tail, -slope) if x < 0 else (1 - tail, slope)


exp = _by_width(lambda x: _exp(x), lambda x: math.exp(x))  # for x <= 0
sigmoid = _by_width(_sigmoid32, _sigmoid64)
softplus = _by_width(_softplus32, _softplus64)
tanh = _by_width(_tanh32, lambda x: math.tanh(x))
normal = _by_width(_normal32, _normal64)  # (Phi(x), x phi(x)): distribution function, and x times the density
