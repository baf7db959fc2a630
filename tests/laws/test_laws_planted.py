"""Faults planted in the kernels turn this folder's own tests red; broken functions turn every law red."""

import exact
import numpy as np
import pytest
import test_exact
import test_laws_conv
import test_laws_matmul
import test_laws_norm
import test_laws_pool

import kernels
from kernels.registry import Implementation
from scratchnet import ops
from scratchnet.nn import functional as F
from scratchnet.tensor import Tensor
from scratchnet.testing import laws
from scratchnet.testing.strategies import integral, normal


def dropped_tap(right, input, weight, **options):
    weight = weight.copy()
    weight[:, :, -1, -1] = 0
    return right(input, weight, **options)


def turned_weight(right, input, weight, **options):
    return right(input, weight[:, :, ::-1, ::-1], **options)


def transposed_weight(right, input, weight, **options):
    square = weight.shape[2] == weight.shape[3]
    return right(input, weight.swapaxes(2, 3) if square else weight, **options)


def output_one_row_off(right, *args, **options):
    return np.roll(right(*args, **options), 1, axis=2)


def unturned_weight(right, input_size, weight, grad_output, **options):
    return right(input_size, weight[:, :, ::-1, ::-1], grad_output, **options)


def crop_from_the_end(right, input_size, weight, grad_output, *, stride, padding, dilation, groups):
    axes = zip(input_size[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    remainders = [(n + sum(p) - d * (k - 1) - 1) % s for n, k, s, p, d in axes]
    out = right(input_size, weight, grad_output, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return np.roll(out, remainders, axis=(2, 3))


def wrong_stride(right, input_size, weight, grad_output, *, stride, **options):
    """Gradients land as if the stride were 1, where they find room."""
    (top, _), (left, _) = options.pop("padding")
    size = [
        n + d * (k - 1) for n, d, k in zip(grad_output.shape[2:], options["dilation"], weight.shape[2:], strict=True)
    ]
    dense = right((*input_size[:2], *size), weight, grad_output, stride=1, padding=0, **options)[:, :, top:, left:]
    out = np.zeros(input_size, weight.dtype)
    height, width = (min(a, b) for a, b in zip(dense.shape[2:], input_size[2:], strict=True))
    out[:, :, :height, :width] = dense[:, :, :height, :width]
    return out


def last_row_forgotten(right, input, weight_size, grad_output, **options):
    grad_output = grad_output.copy()
    grad_output[:, :, -1] = 0
    return right(input, weight_size, grad_output, **options)


def one_entry_5_percent_off(right, *args, **options):
    out = right(*args, **options).copy(order="K")
    if out.size:
        out[tuple(n // 2 for n in out.shape)] *= 1.05
    return out


def groups_mixed(right, input, weight_size, grad_output, *, groups, **options):
    out = right(input, weight_size, grad_output, groups=groups, **options)
    return out.reshape(groups, -1)[::-1].reshape(weight_size)


def last_of_ties(right, input, **options):
    ramp = np.arange(input[0, 0].size).reshape(input.shape[2:]) / (2 * input[0, 0].size) if input.size else 0
    _, indices = right((input + ramp).astype(input.dtype), **options)
    return right(input, **options)[0], indices


def index_one_off(right, input, **options):
    output, indices = right(input, **options)
    return output, np.maximum(indices - 1, 0)


def padding_always_counted(right, input, **options):
    return right(input, **options | {"count_include_pad": True})


def not_divided(right, input_size, grad_output, **options):
    return right(input_size, grad_output, **options | {"divisor_override": 1})


def assigned_not_added(right, input_size, indices, grad_output, **options):
    out = np.zeros(input_size, grad_output.dtype)
    n, c = input_size[:2]
    image, channel = np.ogrid[:n, :c]
    flat = out.reshape(n, c, input_size[2] * input_size[3])
    flat[image[..., None, None], channel[..., None, None], indices] = grad_output
    return out


def last_term_forgotten(right, a, b):
    return right(a[:, :-1], b[:-1])


def mean_held_fixed(right, grad_output, input, weight, mean, invstd):
    _, grad_weight, grad_bias = right(grad_output, input, weight, mean, invstd)
    along = (1, -1) + (1,) * (input.ndim - 2)
    return grad_output * (invstd * weight).reshape(along), grad_weight, grad_bias


def unbiased_variance(right, input, weight, bias, *, eps):
    count = input.size // input.shape[1]
    return right(input, weight * np.sqrt((count - 1) / count).astype(weight.dtype), bias, eps=eps)


def bits(name):
    """The exact test of a kernel."""
    return test_exact.check_drawn, {"name": name}


EXACT = test_laws_conv.test_gradients_are_adjoints, {"draw": integral}
ROUNDED = test_laws_conv.test_gradients_are_adjoints, {"draw": normal}
OPTIONS = test_laws_conv.test_options_are_what_they_say, {"draw": integral}
TAPS = test_laws_conv.test_a_kernel_with_one_tap_picks_a_crop, {"draw": integral}
MAXIMA = test_laws_pool.test_the_gradient_of_maxima_adds_up_to_the_cotangent, {}
AVERAGES = test_laws_pool.test_the_gradient_of_an_average_is_its_adjoint, {}
TRANSPOSE = test_laws_matmul.test_one_matrix_at_a_time_is_all_at_once, {}
STILL = test_laws_norm.test_the_gradient_moves_neither_mean_nor_scale, {"name": "batch"}
MOMENTS = test_laws_norm.test_the_result_has_mean_0_and_the_declared_variance, {"name": "layer"}

# kernel, fault, tests that must turn red
PLANTED = [
    ("conv2d", dropped_tap, [bits("conv2d"), EXACT, ROUNDED]),
    ("conv2d", turned_weight, [bits("conv2d"), EXACT, ROUNDED, TAPS]),
    ("conv2d", transposed_weight, [bits("conv2d"), EXACT, ROUNDED, TAPS]),
    ("conv2d", output_one_row_off, [bits("conv2d"), EXACT, ROUNDED, OPTIONS]),
    ("conv2d_input", unturned_weight, [bits("conv2d_input"), bits("conv2d"), EXACT, ROUNDED]),
    ("conv2d_input", crop_from_the_end, [bits("conv2d_input"), EXACT, ROUNDED]),
    ("conv2d_input", wrong_stride, [bits("conv2d_input"), EXACT, ROUNDED]),
    ("conv2d_input", one_entry_5_percent_off, [bits("conv2d_input"), EXACT, ROUNDED]),
    ("conv2d_weight", last_row_forgotten, [bits("conv2d_weight"), EXACT, ROUNDED]),
    ("conv2d_weight", groups_mixed, [bits("conv2d_weight"), EXACT, ROUNDED]),
    ("conv2d_weight", one_entry_5_percent_off, [bits("conv2d_weight"), EXACT, ROUNDED]),
    ("max_pool2d", last_of_ties, [bits("max_pool2d")]),
    ("max_pool2d", index_one_off, [bits("max_pool2d"), MAXIMA]),
    ("avg_pool2d", padding_always_counted, [bits("avg_pool2d"), AVERAGES]),
    ("avg_pool2d_input", not_divided, [bits("avg_pool2d_input"), AVERAGES]),
    ("gather2d_input", assigned_not_added, [bits("gather2d_input")]),
    ("max_pool2d_input", assigned_not_added, [MAXIMA]),
    ("matmul", last_term_forgotten, [bits("matmul"), TRANSPOSE]),
    ("batch_norm_backward", mean_held_fixed, [STILL]),
    ("batch_norm", unbiased_variance, [MOMENTS]),
]


def plant(monkeypatch, kernel, fault):
    """Put a faulty function in the place of every compiled implementation of a kernel."""
    kernel = getattr(kernels, kernel)
    kernel.implementations("cpu")  # loads them
    faulty = [
        Implementation(i.name, i.device, lambda *a, right=i.function, **o: fault(right, *a, **o), i.supports, i.pays)
        for i in kernel._implementations
    ]
    monkeypatch.setattr(kernel, "_implementations", faulty)
    monkeypatch.setattr(kernel, "_choices", {})


class Red(BaseException):
    """A failure that Hypothesis passes on at once: it shrinks and replays only what derives from Exception."""


def at_once(check):
    def checked(*args, **options):
        try:
            check(*args, **options)
        except AssertionError as error:
            raise Red from error

    return checked


@pytest.mark.parametrize(("kernel", "fault", "tests"), PLANTED, ids=[f"{p[0]}-{p[1].__name__}" for p in PLANTED])
def test_a_planted_fault_turns_tests_red(monkeypatch, kernel, fault, tests):
    monkeypatch.setattr(laws, "agree", at_once(laws.agree))
    monkeypatch.setattr(exact, "check", at_once(exact.check))
    plant(monkeypatch, kernel, fault)
    for test, arguments in tests:
        with pytest.raises(Red):
            test(**arguments)


X, Y, G = normal(0, (3, 4, 7, 6), (3, 4, 7, 6), (3, 2, 5, 4))
W, V = integral(1, (2, 4, 3, 3), (2, 2, 2, 3))


def conv(t, w=W, **options):
    return F.conv2d(t, Tensor(w), **options)


def norm_with_eps_beside_the_root(t, eps):
    centred = t - t.mean((1, 2, 3), True)
    return centred / ((centred * centred).mean((1, 2, 3), True).sqrt() + eps)


def norm_by_unbiased_variance(t, eps):
    return (t - t.mean()) / (t.var() + eps).sqrt()


def with_option(change, option):
    """conv2d that misreads an option."""
    return lambda x, w, **options: F.conv2d(
        x, w, **options | ({option: change(options[option])} if option in options else {})
    )


def swapped(pair):
    return pair[::-1]


def in_another_order(x, w, groups=1, **options):
    return F.conv2d(x[:, ::-1], w, groups=groups, **options) if groups > 1 else F.conv2d(x, w, **options)


BROKEN = {
    "adjoint: a tap dropped": lambda: laws.adjoint(
        conv, X, G, terms=36, transpose=lambda t: F.conv_transpose2d(t, Tensor(W * (np.arange(3) < 2)))
    ),
    "adjoint: not linear": lambda: laws.adjoint(F.softplus, X, Y),
    "homogeneous: another degree": lambda: laws.homogeneous(ops.square, X, Y, 1),
    "linear: a constant added": lambda: laws.linear(lambda t: t + 1e-3, X, Y, terms=1),
    "commutes: a kernel not turned": lambda: laws.commutes(conv, np.flip, np.flip, X, terms=36),
    "shift_equivariant: by half a stride": lambda: laws.shift_equivariant(lambda t: conv(t, stride=2), X, 2, 1),
    "samplewise: the batch looks at itself": lambda: laws.samplewise(lambda t: t - t.mean(0), X, terms=99),
    "preserves_constants: padding counts": lambda: laws.preserves_constants(
        lambda t: F.avg_pool2d(t, 2, 1, 1), X.shape
    ),
    "gradient_orthogonal: not along a shift": lambda: laws.gradient_orthogonal(ops.exp, X, Y, X, terms=9, size=1e3),
    "softmax_shift: a class is missing": lambda: laws.softmax_shift(
        lambda t: ops.exp(t) / (1 + ops.exp(t).sum(-1, True)), X, 2.0
    ),
    "softmax_shift: along another axis": lambda: laws.softmax_shift(lambda t: ops.softmax(t, 0), X, 2.0),
    "affine_invariant: eps beside the root": lambda: laws.affine_invariant(
        norm_with_eps_beside_the_root, X, 4, 1, 1e-3
    ),
    "standardised: the unbiased variance": lambda: laws.standardised(norm_by_unbiased_variance, X, (0, 1, 2, 3), 1e-3),
    "dilated_conv": lambda: laws.dilated_conv(with_option(swapped, "dilation"), X, W, (2, 1)),
    "strided_conv": lambda: laws.strided_conv(with_option(swapped, "stride"), X, W, (2, 3)),
    "padded_conv": lambda: laws.padded_conv(with_option(swapped, "padding"), X, W, ((1, 0), (0, 1))),
    "grouped_conv": lambda: laws.grouped_conv(in_another_order, X, W[:, :2], 2),
    "transposed_axes": lambda: laws.transposed_axes(
        lambda x, w, stride: F.conv2d(x, w, stride=min(stride), padding=(1, 0)), X, W, stride=(2, 1)
    ),
    "composed_conv": lambda: laws.composed_conv(lambda x, w, **o: F.conv2d(x, w, **o) + 1, X, W, V),
    "agree: another shape": lambda: laws.agree("shape", X, X[0]),
    "agree: NaN": lambda: laws.agree("nan", X * np.nan, X * np.nan, 1.0),
    "agree: infinity": lambda: laws.agree("inf", X * np.inf, X, 1e300),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_function_breaks_the_law(broken):
    with pytest.raises(laws.LawError):
        broken()


def test_an_error_names_the_law_the_place_and_the_bound():
    right, wrong = X, X.copy()
    wrong[2, 1, 0, 3] += 0.5
    with pytest.raises(laws.LawError, match=r"my law: .* at index \(2, 1, 0, 3\) differ by more than 0.25"):
        laws.agree("my law", wrong, right, 0.25)
    laws.agree("my law", wrong, right, 0.75)


def test_a_check_that_could_see_nothing_is_refused():
    ones = np.ones((1 << 20), np.float32)
    with pytest.raises(ValueError, match="1048576 terms in float32 leave a bound .* use whole numbers"):
        laws.adjoint(lambda t: t * 3, ones, ones)
    with pytest.raises(ValueError, match="have no error bound"):
        laws.gamma(1 << 25, np.float32)
