"""The checkers are judged by what must turn them red, and by what must not."""

import functools
import math

import numpy as np
import pytest

import scratchnet as sn
from scratchnet.ops import OPS
from scratchnet.ops.registry import Kink, S, op
from scratchnet.tensor import Tensor
from scratchnet.testing import GradientError, Verdict, check_gradients, gradcheck, gradgradcheck

X = np.random.default_rng(3).standard_normal((3, 4))
PASS, FAIL, KINK, INCONCLUSIVE = Verdict


@pytest.fixture
def declare():
    """Declare ops that leave the registry again after the test."""
    before = set(OPS)
    yield lambda vjp, **record: op(vjp=vjp, samples=lambda r: [S(X)], reference=np.sin, **record)
    for name in set(OPS) - before:
        del OPS[name]


def broken_sin(declare, vjp):
    @declare({"x": vjp})
    def broken(x, /):
        """sin with a gradient of the test's choice."""
        return np.sin(x)

    return broken


def off_by(error, *index):
    """A vjp of sin with a relative error in one entry, or in all."""

    def vjp(g, x):
        factor = np.ones_like(x.data)
        factor[index] += error
        return g * sn.cos(x) * Tensor(factor)

    return vjp


class TestVerdicts:
    def test_right_gradients_pass(self, declare):
        good = broken_sin(declare, lambda g, x: g * sn.cos(x))
        assert gradcheck(good, [X])
        assert gradgradcheck(good, [X])
        assert check_gradients(good, [X], order=3).verdict is PASS

    @pytest.mark.parametrize(
        "vjp",
        [
            off_by(1e-3),
            lambda g, x: -(g * sn.cos(x)),
            off_by(1e-3, 1, 2),
            off_by(1e-5, 1, 2),
            lambda g, x: g * sn.cos(x).float().double(),
            lambda g, x: g * 0.0,
            lambda g, x: g * math.nan,
            lambda g, x: g * math.inf,
        ],
        ids=["all 0.1 % off", "sign", "one 0.1 % off", "one 1e-5 off", "rounded to float32", "zero", "NaN", "inf"],
    )
    def test_wrong_first_order_is_found(self, declare, vjp):
        with pytest.raises(GradientError, match=r"FAIL: broken, order 1, float64\. Input 0 \(x\)"):
            gradcheck(broken_sin(declare, vjp), [X])

    @pytest.mark.parametrize(
        "vjp",
        [
            lambda g, x: g * sn.cos(x.detach()),
            lambda g, x: g * sn.cos(x.detach()) * 0.999 + g * sn.cos(x) * 0.001,
            lambda g, x: g.detach() * sn.cos(x),
        ],
        ids=["saved array used raw", "0.1 % of it differentiable", "cotangent used raw"],
    )
    def test_wrong_second_order_is_found(self, declare, vjp):
        broken = broken_sin(declare, vjp)
        assert gradcheck(broken, [X])
        with pytest.raises(GradientError, match="FAIL: broken, order 2"):
            gradgradcheck(broken, [X])

    def test_wrong_third_order_is_found(self, declare):
        """cos(x) as 1 - x^2/2 + sin(x)^2 c(x): right in value and slope, wrong in curvature."""
        broken = broken_sin(declare, lambda g, x: g * (sn.cos(x) + (x - x.detach()) ** 3))
        assert gradgradcheck(broken, [X])
        assert check_gradients(broken, [X], order=3).verdict is PASS
        with pytest.raises(GradientError, match="order 4"):
            gradcheck(broken, [X], order=4)

    def test_composite_that_differs_from_its_kernel_is_found_in_second_order(self, declare):
        @declare(lambda g, x: (Tensor(g.data * np.cos(x.data)),), composite=lambda x: sn.sin(x) * 1.001)
        def fused(x, /):
            """sin, whose composite is another function."""
            return np.sin(x)

        assert gradcheck(fused, [X])
        with pytest.raises(GradientError, match="order 2"):
            gradgradcheck(fused, [X])

    def test_error_that_a_cotangent_of_ones_would_hide_is_found(self, declare):
        """The deviation sums to zero over the cotangent's mean, as a wrong batch-norm gradient's does."""
        broken = broken_sin(declare, lambda g, x: g * sn.cos(x) + (g - g.mean()) * 0.1)
        assert check_gradients(broken, [X]).verdict is FAIL

    def test_a_gradient_that_never_arrives_is_found(self):
        report = check_gradients(lambda x, y: x * y.detach(), [X, X + 1.0])
        assert (report.verdict, report.input, report.analytic) == (FAIL, 1, 0.0)

    def test_a_gradient_from_nowhere_is_found(self, declare):
        @declare({"x": lambda g: g})
        def flat(x, /):
            """1, with the gradient of x."""
            return np.ones_like(x)

        assert check_gradients(flat, [X]).verdict is FAIL


class TestReport:
    def test_names_op_argument_entry_and_numbers(self, declare):
        report = check_gradients(broken_sin(declare, off_by(0.05, 1, 2)), [X])
        assert (report.verdict, report.name, report.order, report.dtype) == (FAIL, "broken", 1, "float64")
        assert (report.input, report.index, report.wrong, report.entries) == (0, (1, 2), 1, 12)
        assert report.analytic == pytest.approx(1.05 * report.numeric, rel=1e-9)
        assert 0 < report.error < 1e-9
        assert str(report).startswith("FAIL: broken, order 1, float64. Input 0 (x) at [1, 2]: gradient ")
        assert str(report).endswith("Wrong entries: 1 of 12.")

    def test_pass_reports_its_closest_call(self):
        report = check_gradients(sn.matmul, [X, X.T])
        assert report.verdict is PASS
        assert abs(report.analytic - report.numeric) <= report.error < 1e-9 * abs(report.numeric)

    def test_worst_of_several_is_the_largest_difference(self, declare):
        x = np.array([0.1, 1.4])
        report = check_gradients(broken_sin(declare, lambda g, x: g * sn.cos(x) * Tensor(np.array([1.01, 2.0]))), [x])
        assert (report.index, report.wrong) == ((1,), 2)

    @pytest.mark.parametrize(
        ("function", "name"),
        [
            (sn.sin, "sin"),
            (functools.partial(sn.sin), "sin"),
            (lambda x: sn.sin(x), "<lambda>"),
            (sn.nn.Tanh(), "Tanh"),
        ],
    )
    def test_names_the_function(self, function, name):
        assert check_gradients(function, [X]).name == name

    def test_cotangents_of_higher_orders_are_named(self, declare):
        broken = broken_sin(declare, lambda g, x: g.detach() * sn.cos(x))
        report = check_gradients(broken, [X], order=2)
        assert (report.argument, report.input) == ("Cotangent 1", None)

    def test_the_error_holds_the_report(self):
        with pytest.raises(GradientError) as caught:
            gradcheck(lambda x: x * x.detach(), [X])
        assert caught.value.report.verdict is FAIL
        assert str(caught.value) == str(caught.value.report)

    def test_same_seed_same_report(self):
        assert check_gradients(sn.sin, [X], seed=5) == check_gradients(sn.sin, [X], seed=5)
        assert check_gradients(sn.sin, [X], seed=5) != check_gradients(sn.sin, [X], seed=6)


def faulty(error, index):
    """x -> f(x) with a gradient that is wrong at one index."""

    def plant(function, x):
        x = sn.ops.alias(x)
        if x.requires_grad:
            factor = np.ones(x.shape, x.dtype)
            factor[index] += error
            x.register_hook(lambda g: g * Tensor(factor))
        return function(x)

    return plant


class TestResolution:
    """A wrong entry must not hide, be it one of many, or small beside its neighbours."""

    @pytest.mark.parametrize("seed", range(20))
    def test_one_entry_of_400(self, seed):
        x = np.random.default_rng(seed).standard_normal((20, 20))
        plant = faulty(1e-4, (7, seed))
        report = check_gradients(lambda x: plant(sn.tanh, x), [x], seed=seed)
        assert (report.verdict, report.index, report.wrong) == (FAIL, (7, seed), 1)

    @pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9])
    def test_small_entry_among_large_ones(self, scale):
        scales = np.ones(12)
        scales[5] = scale
        plant = faulty(1e-4, 5)
        assert check_gradients(lambda x: sn.sin(x) * Tensor(scales), [X.ravel()]).verdict is PASS
        report = check_gradients(lambda x: plant(lambda x: sn.sin(x) * Tensor(scales), x), [X.ravel()])
        assert (report.verdict, report.index) == (FAIL, (5,))

    @pytest.mark.parametrize("scale", [1e-3, 1e-6])
    def test_small_entry_of_a_sum_over_large_ones(self, scale):
        """Here the large terms' rounding is in the one value there is."""
        scales = np.ones(12)
        scales[5] = scale
        plant = faulty(1e-4, 5)
        report = check_gradients(lambda x: plant(lambda x: (sn.sin(x) * Tensor(scales)).sum(), x), [X.ravel()])
        assert (report.verdict, report.index) == (FAIL, (5,))

    def test_entry_that_is_lost_in_rounding_is_counted(self):
        scales = np.ones(12)
        scales[5] = 1e-13
        plant = faulty(1e-4, 5)
        report = check_gradients(lambda x: plant(lambda x: (sn.sin(x) * Tensor(scales)).sum(), x), [X.ravel()])
        assert (report.verdict, report.blunt) == (PASS, 1)
        assert "0 up to rounding: 1 of 12" in str(report)

    def test_dropped_entry_is_found_whatever_its_size(self):
        scales = np.ones(12)
        scales[5] = 1e-9
        plant = faulty(-1.0, 5)
        report = check_gradients(lambda x: plant(lambda x: sn.sin(x) * Tensor(scales), x), [X.ravel()])
        assert (report.verdict, report.index, report.analytic) == (FAIL, (5,), 0.0)

    @pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
    @pytest.mark.parametrize("size", [1e-6, 1e6])
    def test_units_do_not_matter(self, scale, size):
        def function(x):
            return sn.sin(x * (1 / size)) * scale

        assert check_gradients(function, [X * size]).verdict is PASS
        plant = faulty(1e-3, (0, 1))
        assert check_gradients(lambda x: plant(function, x), [X * size]).verdict in (FAIL, INCONCLUSIVE)

    def test_large_inputs_take_few_evaluations(self):
        calls = []

        def function(x):
            calls.append(1)
            return sn.tanh(x)

        assert gradcheck(function, [np.random.default_rng(0).standard_normal((100, 100))])
        assert len(calls) < 100


class TestFloat32:
    X = X.astype(np.float32)

    @pytest.mark.parametrize("function", [sn.sin, sn.gelu, lambda x: sn.softmax(x, 1), lambda x: (x @ x.T).sum()])
    def test_right_gradients_pass(self, function):
        report = check_gradients(function, [self.X])
        assert (report.verdict, report.dtype) == (PASS, "float32")
        assert check_gradients(function, [self.X], order=2).verdict is PASS

    def test_one_entry_1_percent_off_is_found(self):
        for index in np.ndindex(3, 4):
            plant = faulty(0.01, index)
            for function in (sn.sin, lambda x: sn.softmax(x, 1)):
                report = check_gradients(lambda x: plant(function, x), [self.X])  # noqa: B023
                assert (report.verdict, report.index) == (FAIL, index)

    def test_fault_of_the_float32_path_alone_is_found(self, declare):
        @declare({"x": lambda g, x: g * sn.cos(x) * (1.0 if x.dtype == np.float64 else 1.01)})
        def half_broken(x, /):
            """sin, whose gradient is right in float64 only."""
            return np.sin(x)

        assert gradcheck(half_broken, [X])
        assert check_gradients(half_broken, [self.X]).verdict is FAIL

    def test_function_that_refuses_float64_is_differenced_in_float32(self):
        weight = Tensor(np.full(4, 1.5, np.float32))
        assert check_gradients(lambda x: sn.sin(x) * weight, [self.X]).verdict is PASS
        plant = faulty(0.05, (1, 2))
        report = check_gradients(lambda x: plant(lambda x: sn.sin(x) * weight, x), [self.X])
        assert (report.verdict, report.index) == (FAIL, (1, 2))
        assert report.error > 1e-6

    def test_rounding_that_float32_makes_on_the_way_is_no_fault(self):
        """1 - tanh(x)^2 and 1 + erf(x) lose most of their digits here."""
        far = np.array([-4.5, -3.0, 4.0, 5.5], np.float32)
        for function in (sn.tanh, sn.gelu, sn.sigmoid):
            for order in (1, 2):
                assert check_gradients(function, [far], order=order).verdict is not FAIL


class TestKinks:
    @pytest.mark.parametrize(
        ("function", "x", "slopes"),
        [
            (sn.abs, 0.0, (-1, 1)),
            (sn.relu, 0.0, (0, 1)),
            (lambda x: sn.leaky_relu(x, 0.2), 0.0, (0.2, 1)),
            (lambda x: sn.clamp(x, -1.0, 1.0), 1.0, (0, 1)),
            (lambda x: sn.maximum(x, x * 3.0 - 2.0), 1.0, (1, 3)),
        ],
    )
    def test_kink_is_named_with_its_slopes(self, function, x, slopes):
        report = check_gradients(function, [np.array([[0.3, x, -2.0]])])
        assert (report.verdict, report.index) == (KINK, (0, 1))
        ends = sorted(abs(report.numeric + s * report.error) for s in (-1, 1))
        weight = max(ends) / max(map(abs, slopes))  # the random cotangent's
        assert 0.49 < weight < 1.51
        assert "kink" in report.detail
        with pytest.raises(GradientError, match="KINK"):
            gradcheck(function, [np.array([x])])
        assert gradcheck(function, [np.array([x])], kinks=True)

    def test_tie_between_entries(self):
        report = check_gradients(sn.amax, [np.array([1.0, 3.0, 3.0])])
        assert report.verdict is KINK
        assert report.index in ((1,), (2,))

    def test_gradient_outside_the_slopes_fails(self, declare):
        @declare({"x": lambda g, x: g * sn.Tensor(np.where(x.data == 0, 1.5, np.sign(x.data)))})
        def wild(x, /):
            """|x| with 3/2 as its gradient at 0."""
            return np.abs(x)

        report = check_gradients(wild, [np.array([1.0, 0.0])])
        assert (report.verdict, report.index) == (FAIL, (1,))

    def test_wrong_entry_elsewhere_outranks_a_kink(self):
        plant = faulty(1e-3, 0)
        report = check_gradients(lambda x: plant(sn.relu, x), [np.array([1.0, 0.0])])
        assert (report.verdict, report.index) == (FAIL, (0,))

    @pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-9])
    @pytest.mark.parametrize("side", [-1, 1])
    def test_kink_beside_the_point_does_no_harm(self, distance, side):
        x = np.array([side * distance, 1.0, -2.0])
        assert check_gradients(sn.leaky_relu, [x]).verdict in ((PASS,) if distance > 1e-8 else (PASS, KINK))
        plant = faulty(1e-4, 0)
        report = check_gradients(lambda x: plant(sn.leaky_relu, x), [x])
        assert report.verdict is FAIL if distance > 1e-8 else report.verdict is not PASS

    @pytest.mark.parametrize("function", [sn.relu, sn.abs, lambda x: sn.clamp(x, -1.0, 0.0)])
    def test_second_derivative_jumps_at_a_kink(self, function):
        assert check_gradients(function, [np.array([1.5, 0.0])], order=2).verdict is KINK

    def test_kink_of_the_gradient_alone_shows_in_second_order(self):
        at_beta = [np.array([1.0]), np.array([0.0])]
        assert check_gradients(sn.ops.smooth_l1_loss, at_beta).verdict is PASS
        assert check_gradients(sn.ops.smooth_l1_loss, at_beta, order=2).verdict is KINK

    def test_jump(self, declare):
        @declare({"x": lambda g: g * 0.0})
        def step(x, /):
            """1 where x >= 0, else 0."""
            return (x >= 0).astype(x.dtype)

        report = check_gradients(step, [np.array([0.5, 0.0])])
        assert (report.verdict, report.index) == (KINK, (1,))
        assert "jumps" in report.detail

    def test_end_of_the_domain(self):
        report = check_gradients(lambda x: sn.sqrt(x) * x, [np.array([0.0, 2.0])])
        assert report.verdict is FAIL, "0 * inf is NaN"
        report = check_gradients(sn.sqrt, [np.array([0.0, 2.0])])
        assert (report.verdict, report.index) == (KINK, (0,))
        assert "one side" in report.detail

    @pytest.mark.parametrize("distance", [1e-2, 1e-6, 1e-9])
    def test_point_near_the_end_of_the_domain(self, distance):
        x = np.array([distance, 1.0, 3.0])
        for function in (sn.log, sn.sqrt):
            assert check_gradients(function, [x]).verdict is PASS
            plant = faulty(1e-4, 0)
            assert check_gradients(lambda x: plant(function, x), [x]).verdict is FAIL  # noqa: B023

    def test_float32_number_that_rounding_puts_beyond_a_bound(self):
        """0.2 in float32 is above 0.2 in float64: the two precisions see different branches."""
        x = np.array([0.2, 1.0], np.float32)
        for order in (1, 2):
            assert check_gradients(lambda x: sn.clamp(x, max=0.2), [x], order=order).verdict is KINK

    def test_declared_gradient_counts_at_a_declared_point(self, declare):
        def floor(declared):
            @declare(
                {"x": lambda g: g},
                kinks=[Kink("x < 1", S(np.array([0.5])), (np.array([declared]),))],
            )
            def straight_through(x, /):
                """max(x, 1), whose gradient is 1 everywhere."""
                return np.maximum(x, 1.0)

            del OPS["straight_through"]
            return straight_through

        report = check_gradients(floor(1.0), [np.array([0.5])])
        assert report.verdict is KINK
        assert "what the op declares for it (x < 1)" in report.detail
        assert check_gradients(floor(0.0), [np.array([0.5])]).verdict is FAIL
        assert check_gradients(floor(1.0), [np.array([0.6])]).verdict is FAIL, "declared for 0.5 only"


class TestInconclusive:
    def test_infinite_value(self):
        report = check_gradients(sn.log, [np.array([0.0, 1.0])])
        assert report.verdict is INCONCLUSIVE
        assert "not finite" in report.detail
        with pytest.raises(GradientError, match="INCONCLUSIVE"):
            gradcheck(sn.log, [np.array([0.0, 1.0])], kinks=True)

    def test_random_function(self):
        generator = np.random.default_rng(0)
        report = check_gradients(lambda x: x * Tensor(generator.standard_normal(4)), [X])
        assert report.verdict is INCONCLUSIVE
        assert "different values" in report.detail

    def test_noisy_function(self, declare):
        @declare({"x": lambda g, x: g * sn.cos(x)})
        def coarse(x, /):
            """sin(x), rounded to 5 decimals."""
            return np.round(np.sin(x), 5)

        assert check_gradients(coarse, [X]).verdict is INCONCLUSIVE

    def test_point_without_surroundings(self):
        """(-2)^3 is defined, (-2)^3.01 is not."""
        assert check_gradients(sn.pow, [np.array([-2.0]), np.array([3.0])]).verdict is INCONCLUSIVE


class TestLinear:
    @pytest.mark.parametrize("function", [sn.add, sn.mul, sn.matmul, sn.sub])
    def test_declared_functions_take_steps_of_1(self, function):
        counted, few = [], []

        def count(into):
            return lambda *xs: into.append(1) or function(*xs)

        inputs = [X[:, :3], X[:, 1:]]
        assert gradcheck(count(counted), inputs)
        assert gradcheck(count(few), inputs, linear=True)
        assert len(few) < len(counted)

    def test_false_claim_is_noticed(self):
        assert gradcheck(sn.exp, [X], linear=True)

    def test_faults_of_linear_functions_are_found(self):
        plant = faulty(1e-7, (1, 1))
        report = check_gradients(lambda x: plant(lambda x: x @ Tensor(X.T), x), [X], linear=True)
        assert (report.verdict, report.index) == (FAIL, (1, 1))


class TestInputs:
    @pytest.mark.parametrize(
        "inputs",
        [[X.astype(np.float16)], [X, X.astype(np.float32)], [np.arange(3)], []],
        ids=["float16", "mixed", "integers", "none"],
    )
    def test_other_dtypes_are_refused(self, inputs):
        with pytest.raises(TypeError, match="all float64 or all float32, got"):
            gradcheck(lambda *xs: sn.sin(xs[0]), inputs)

    def test_functions_without_gradient_are_refused(self):
        with pytest.raises(TypeError, match="returns int64"):
            gradcheck(sn.argmax, [X])

    def test_order_0_is_refused(self):
        with pytest.raises(ValueError, match="order must be at least 1, got 0"):
            check_gradients(sn.sin, [X], order=0)

    def test_integer_inputs_are_left_alone(self):
        index = np.array([2, 0])
        assert gradcheck(lambda x, i: sn.getitem(x, index=i.data), [X, index])
        assert gradgradcheck(lambda x, i: sn.getitem(x * x, index=i.data), [X, index])

    def test_parameters_and_variadic_ops(self):
        assert gradcheck(sn.cat, [X, X], params={"dim": 1})
        assert gradgradcheck(sn.softmax, [X], params={"dim": -1})

    def test_input_used_twice(self):
        assert gradcheck(lambda x: x * x + Tensor(X), [X])

    def test_scalars_and_nothing_at_all(self):
        assert gradcheck(sn.sin, [np.array(0.3)])
        assert gradcheck(sn.sin, [np.zeros((0, 3))])
        assert gradcheck(lambda x, y: x * 2.0, [X, np.zeros(0)])

    def test_output_that_depends_on_no_input(self):
        assert gradcheck(lambda x: Tensor(np.ones(3)), [X])
        assert gradgradcheck(lambda x: x * 2.0, [X])

    def test_inputs_are_not_written_into(self):
        x = X.copy()
        x.flags.writeable = False
        assert gradcheck(sn.sin, [x])
        np.testing.assert_array_equal(x, X)
