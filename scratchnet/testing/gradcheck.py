"""The certified gradient check: is this gradient right, and how sure is that?

A check draws a cotangent u and a direction v, both at random: with ones in their place, errors that cancel in the
sum (batch norm's, softmax's) stay unseen. It compares <J^T u, v>, by the library, with <u, J v>, by differences.

Nothing is there to tune. The tolerance is the sum of what is known about the error: how far the extrapolated
difference quotients disagree, the rounding of the function's values, and the rounding of the gradient itself.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from scratchnet.autograd import enable_grad, is_grad_enabled, no_grad
from scratchnet.ops import cat, reshape
from scratchnet.ops.registry import Op
from scratchnet.tensor import Tensor
from scratchnet.testing.problem import PRECISION, Problem, pull_back, signed
from scratchnet.testing.report import GradientError, GradientReport, Verdict
from scratchnet.testing.search import Trial

COTANGENTS = 4  # how many are drawn, at most, for entries that cancel under those before
RANK = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.KINK, Verdict.FAIL]


def check_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence,
    *,
    params: dict | None = None,
    order: int = 1,
    linear: bool | None = None,
    seed: int = 0,
) -> GradientReport:
    """Check the derivatives of ``function`` with respect to every floating input.

    Of order 1 it compares J^T u with the derivative of <u, function(inputs)>. Of order n it checks, at order 1, the
    function that computes the gradients of order n - 1 from the inputs and the cotangents.

    PASS says of float64 inputs that no entry of a gradient is off by 1e-4 of itself, of float32 inputs by 1e-2. An
    entry that is 0 up to rounding, because its terms cancel, is held to 1e-8 (float32: 1e-4) of those terms. The error
    bars themselves are far narrower in float64, 1e-10 as a rule: a gradient rounded to float32 on its way fails.

    float32: the gradient is computed in float32, on the path that training takes, and held against the derivative of
    the same function at the same point in float64. A function that refuses float64, since it holds float32
    parameters, is differenced in float32, with error bars to match, and may be INCONCLUSIVE.

    Args:
        function: takes the inputs as tensors, or as one sequence if it is a variadic ``Op``, and returns one floating
            tensor, the same each time.
        inputs: arrays or tensors; the floating ones, all float64 or all float32, are differentiated.
        params: keyword arguments for ``function``.
        order: 1 for gradients, 2 for their gradients, and so on.
        linear: ``function`` is linear in each floating input by itself, so that the difference quotient at step 1 is
            exact. Default: what the op declares (``degree=1``).
        seed: of directions and cotangents.

    Returns:
        A report, whose ``verdict`` is PASS, FAIL, KINK or INCONCLUSIVE.

    Raises:
        TypeError: the floating inputs are not all float64 or all float32, or there is none, or the result is not
            floating.
        ValueError: ``order`` is less than 1.
    """
    if order < 1:
        raise ValueError(f"check_gradients: order must be at least 1, got {order}")
    arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    dtypes = {a.dtype for a in arrays if a.dtype.kind == "f"}
    if len(dtypes) != 1 or not dtypes <= PRECISION.keys():
        given = ", ".join(str(a.dtype) for a in arrays)
        raise TypeError(f"check_gradients: floating inputs must be all float64 or all float32, got [{given}]")
    params = params or {}
    op = function if isinstance(function, Op) else None
    if linear is None:
        linear = op is not None and op.degree == 1
    generator = np.random.default_rng(seed)
    call, point = bind(function, params), arrays
    for _ in range(1, order):
        call, point = differentiated(call, point, generator)
    with np.errstate(all="ignore"):  # inf and NaN are findings here
        problem = Problem(call, point, linear)
        entries = sum(point[i].size for i in problem.floating)
        blank = GradientReport(Verdict.PASS, _name(function), order, str(problem.dtype), entries)
        report = _examined(problem, generator, blank, _arguments(op, len(arrays)))
    if op is None or order > 1 or report.verdict not in (Verdict.KINK, Verdict.FAIL):
        return report
    return _as_declared(op, arrays, params, report)


def gradcheck(function: Callable[..., Tensor], inputs: Sequence, *, kinks: bool = False, **options) -> bool:
    """``check_gradients`` as an assertion: True, or an exception.

    Args:
        function, inputs, options: as for ``check_gradients``.
        kinks: accept the verdict KINK as well.

    Raises:
        GradientError: the verdict is not PASS; ``error.report`` has the details.
    """
    report = check_gradients(function, inputs, **options)
    if report.verdict is Verdict.PASS or (kinks and report.verdict is Verdict.KINK):
        return True
    raise GradientError(report)


def gradgradcheck(function: Callable[..., Tensor], inputs: Sequence, **options) -> bool:
    """``gradcheck`` of order 2: of the gradients, as functions of the inputs and of the cotangent."""
    return gradcheck(function, inputs, order=2, **options)


def bind(function, params):
    if isinstance(function, Op) and function.variadic:
        return lambda *tensors: function(tensors, **params)
    return functools.partial(function, **params)


def _name(function) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _arguments(op: Op | None, count: int) -> list[str]:
    if op is None or op.variadic:
        return [f"Input {i}" for i in range(count)]
    return [f"Input {i} ({name})" for i, name in enumerate(op.inputs)]


def differentiated(call, arrays, generator):
    """The gradients of ``call``, joined to one vector, as a function of the cotangent and the inputs; and a point."""
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]

    def gradients(cotangent, *xs):
        recording = is_grad_enabled()  # difference quotients need no graph beyond this inner one
        with enable_grad():
            xs = [
                Tensor(x.data, requires_grad=True) if i in floating and not x.requires_grad else x
                for i, x in enumerate(xs)
            ]
            pieces = pull_back(call(*xs), [xs[i] for i in floating], cotangent, create_graph=recording)
            return cat([reshape(piece, (-1,)) for piece in pieces])

    with no_grad():
        out = call(*map(Tensor, arrays)).data
    return gradients, [signed(generator, out.shape).astype(out.dtype), *arrays]


def _examined(problem: Problem, generator, blank, arguments) -> GradientReport:
    """Try cotangents until every entry has stood out of its error bar under one; the worst report decides."""
    oddity = problem.oddity()
    if oddity:
        return replace(blank, verdict=Verdict.INCONCLUSIVE, detail=oddity)
    places = {i: np.arange(problem.arrays[i].size) for i in problem.floating}
    reports = []
    for _ in range(COTANGENTS):
        trial = Trial(problem, generator, blank, arguments)
        doubtful = {i: trial.search(i, p) for i, p in places.items()}
        places = {i: np.array(list(tests)) for i, tests in doubtful.items() if tests}
        reports += [*trial.findings, trial.closest]
        if not places or trial.wrong():
            break
    blunt = 0
    for i, tests in doubtful.items():
        for place, test in tests.items():
            blunt += test.is_blunt()
            if not test.is_blunt():
                verdict, detail = Verdict.INCONCLUSIVE, "The numeric derivative is too uncertain to judge this entry."
                reports.append(replace(trial.report(i, np.array([place]), test), verdict=verdict, detail=detail))
    worst = max(reports, key=lambda r: (RANK.index(r.verdict), r.deviation()))
    return replace(worst, wrong=sum(r.verdict is Verdict.FAIL for r in reports), blunt=blunt)


def _as_declared(op, arrays, params, report) -> GradientReport:
    """At a point that the op declares a kink, what it declares is what counts."""
    kink = next((kink for kink in op.kinks if _is_sample(op, arrays, params, kink.sample)), None)
    if kink is None:
        return report
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    out = bind(op, params)(*tensors)
    found = pull_back(out, [t for t in tensors if t.requires_grad], Tensor(np.ones_like(out.data)))
    for g, declared in zip(found, kink.gradients, strict=True):
        if not np.array_equal(g.data, declared):
            detail = (
                f"Where {kink.where}, the op declares {declared.tolist()} for a cotangent of ones, not {g.tolist()}."
            )
            return replace(report, verdict=Verdict.FAIL, detail=detail)
    detail = f"{report.detail} The gradient is what the op declares for it ({kink.where})."
    return replace(report, verdict=Verdict.KINK, detail=detail.strip(), wrong=0)


def _is_sample(op, arrays, params, sample) -> bool:
    same = [np.array_equal({**op.plain, **params}[n], {**op.plain, **sample.params}[n]) for n in op.plain]
    return all(same) and len(arrays) == len(sample.arrays) and all(map(np.array_equal, arrays, sample.arrays))
