"""Captured functions: the same bits as the function itself, on data that the recording did not see."""

import threading
import weakref
from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import metrics, nn, optim
from scratchnet.autograd import grad
from scratchnet.models import ConvVAE
from scratchnet.nn import functional as F
from scratchnet.observe import AnomalyError, borrowing, observe_ops, refuse_nonfinite
from scratchnet.ops import OPS
from scratchnet.ops.registry import Draw
from scratchnet.tensor import Tensor
from scratchnet.testing.op_checks import call

SEEDS = (1, 2, 3, 4, 5)  # the first two runs are recorded, the third is bound to memory


def bits(result):
    """All arrays of a nested result, as bytes."""
    if isinstance(result, Tensor):
        return [(result.dtype, result.shape, result.data.tobytes())]
    return [] if result is None else [each for part in result for each in bits(part)]


def samples_of(op):
    return [pytest.param(op, i, id=f"{op.name}-{i}") for i in range(len(op.samples(Draw(np.random.default_rng(0)))))]


@pytest.mark.parametrize(("op", "number"), [each for op in OPS.values() for each in samples_of(op)])
def test_every_op_and_its_derivatives_of_both_orders(op, number):
    drawn = [op.samples(Draw(np.random.default_rng(seed)))[number] for seed in SEEDS]
    params = drawn[0].params

    def derivatives(*arrays):
        inputs = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays[1:]]
        out = op(inputs, **params) if op.variadic else op(*inputs, **params)
        leaves = [x for x in inputs if x.requires_grad]
        if not out.requires_grad:
            return out
        first = [g for g in grad(out, leaves, Tensor(arrays[0]), create_graph=True, allow_unused=True) if g is not None]
        energy = sum(sn.square(g).sum() for g in first)
        second = grad(energy, leaves, allow_unused=True) if energy.requires_grad else ()
        return out, first, second

    captured = sn.capture(derivatives)
    for seed, sample in zip(SEEDS, drawn, strict=True):
        arrays = [np.asarray(a) for a in sample.arrays]
        out = call(op, drawn[0], arrays)
        cotangent = np.random.default_rng(seed + 100).standard_normal(out.shape).astype(out.dtype)
        assert bits(captured(cotangent, *arrays)) == bits(derivatives(cotangent, *arrays)), seed


def batches(count, size=6):
    generator = np.random.default_rng(5)
    for i in range(count):
        n = size if i % 3 else size - 2  # a smaller batch now and then: a program of its own
        images = generator.standard_normal((n, 1, 12, 12)).astype(np.float32)
        yield Tensor(images), Tensor(generator.integers(0, 3, n))


def classifier():
    """Every layer that training treats in a way of its own: statistics, random masks, embeddings."""
    features = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.2)),
        *(nn.Conv2d(4, 4, 3, bias=False), nn.GroupNorm(2, 4), nn.LeakyReLU(0.1), nn.ConvTranspose2d(4, 2, 2, 2)),
        *(nn.InstanceNorm2d(2, affine=True, track_running_stats=True), nn.GELU(), nn.AdaptiveMaxPool2d(2)),
        *(nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 5), nn.Tanh(), nn.Dropout(0.3)),
    )
    return nn.ModuleDict({"features": features, "labels": nn.Embedding(3, 5, padding_idx=0), "head": nn.Linear(10, 3)})


def train_classifier(capture, steps=9):
    sn.manual_seed(0)
    model = classifier()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    average = optim.ExponentialMovingAverage(model, 0.9)

    def step(images, labels):
        hidden = sn.cat([model["features"](images), model["labels"](labels)], 1)
        loss = F.cross_entropy(model["head"](hidden), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
        scheduler.step()
        average.update()
        return {"loss": loss, "seen": (norm, hidden)}

    step = sn.capture(step) if capture else step
    seen = []
    for images, labels in batches(steps):
        found = step(images, labels)
        seen += bits([found["loss"], found["seen"]])
    state = [value.tobytes() for value in (t.data for t in model.state_dict().values())]
    grads = [p.grad.data.tobytes() for p in model.parameters()]
    return seen, state, grads, [a.tobytes() for a in average.averages], optimizer.param_groups[0]["lr"]


def test_training_of_a_classifier():
    assert train_classifier(capture=True) == train_classifier(capture=False)


def train_pair(capture, penalty):
    """Two optimisers, noise drawn inside, a penalty on gradients (second order), a step that leaves weights out."""
    sn.manual_seed(1)
    generator = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 36), nn.Unflatten(1, (1, 6, 6))
    )
    critic = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(36, 1), nn.Flatten(0))
    optimizers = [optim.RMSprop(m.parameters(), lr=0.01) for m in (generator, critic)]

    def step(real):
        fake = generator(sn.randn(len(real), 4))
        optimizers[1].zero_grad()
        loss = F.wasserstein_critic_loss(critic(real), critic(fake.detach()))
        loss = loss + penalty(critic, real, fake.detach())
        loss.backward()
        optimizers[1].step()
        critic.requires_grad_(False)
        optimizers[0].zero_grad()
        F.wasserstein_generator_loss(critic(fake)).backward()
        critic.requires_grad_(True)
        optimizers[0].step()
        for p in critic.parameters():
            with sn.no_grad():
                p.clamp_(-0.5, 0.5)
        return loss, fake

    step = sn.capture(step) if capture else step
    seen = [bits(step(images[:, :, :6, :6])) for images, _ in batches(8)]
    return seen, [p.data.tobytes() for m in (generator, critic) for p in m.state_dict().values()]


@pytest.mark.parametrize(
    "penalty",
    [F.gradient_penalty, lambda critic, real, fake: F.r1_penalty(critic, real)],
    ids=["gradient_penalty", "r1"],
)
def test_training_of_an_adversarial_pair(penalty):
    assert train_pair(True, penalty) == train_pair(False, penalty)


def train_vae(capture):
    sn.manual_seed(2)
    model = ConvVAE(3, (2, 4), image_size=12)
    optimizer = optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def step(images, beta):
        output, mu, log_var = model(images)
        loss = F.bernoulli_nll(output, images) + beta * F.gaussian_kl(mu, log_var)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = sn.capture(step) if capture else step
    return [
        bits(step(Tensor(np.abs(np.tanh(images.data))), 0.5 if i < 8 else 1.0))
        for i, (images, _) in enumerate(batches(12))
    ]


def test_training_of_a_vae_with_a_plain_argument():
    assert train_vae(True) == train_vae(False)


def scaled(factor=2.0):
    weight = Tensor(np.array([factor]), requires_grad=True)

    def step(x):
        (weight * x).sum().backward()

    return weight, sn.capture(step)


def test_gradients_add_up_over_calls_and_those_that_somebody_holds_stay():
    weight, step = scaled()
    held = []
    for x in (1.0, 2.0, 3.0, 4.0):
        step(Tensor(np.array([x])))
        held.append(weight.grad)
    assert [g.item() for g in held] == [1.0, 3.0, 6.0, 10.0]
    weight.grad = None
    step(Tensor(np.array([5.0])))
    assert weight.grad.item() == 5.0


def test_a_parameter_whose_array_was_replaced():
    weight = Tensor(np.array([2.0]), requires_grad=True)
    double = sn.capture(lambda x: x * weight)
    for x in (1.0, 2.0):
        double(Tensor(np.array([x])))
    weight.data = np.array([10.0])
    assert double(Tensor(np.array([3.0]))).item() == 30.0


def test_what_python_does_is_done_twice_and_results_are_outside_the_graph():
    weight, calls = Tensor(np.ones(2), requires_grad=True), []

    @sn.capture
    def product(x):
        """The docstring stays."""
        calls.append(x)
        return x * weight

    results = [product(Tensor(np.full(2, float(i)))) for i in range(5)]
    assert len(calls) == 2
    assert [r.data.tolist() for r in results] == [[float(i)] * 2 for i in range(5)]
    assert not any(r.requires_grad for r in results)
    assert product.__doc__ == "The docstring stays."


def test_arguments_that_are_one_array_have_a_program_of_their_own():
    add = sn.capture(lambda x, y: x + y)
    x, y = Tensor(np.array([1.0])), Tensor(np.array([5.0]))
    assert [add(x, x).item() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert [add(x, y).item() for _ in range(3)] == [6.0, 6.0, 6.0]
    assert add(x, y=y).item() == 6.0


def test_arrays_in_lists_and_dicts_are_arguments_too():
    total = sn.capture(lambda parts, scale: {"total": [(parts[0] + parts[1]["x"]) * scale["by"]]})
    for i in range(5):
        x, y = np.array([float(i)]), Tensor(np.array([10.0 * i]))
        assert total([Tensor(x), {"x": y}], scale={"by": 2.0})["total"][0].item() == 22.0 * i
    assert len(total._known) == 1
    with pytest.raises(TypeError, match=r"capture: <lambda>: arguments must be tensors, arrays or hashable.*set"):
        total([Tensor(x), {"x": y}], scale={1, 2})


def test_a_method_has_a_program_for_each_instance():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @sn.capture
        def __call__(self, x):
            return x * self.factor

    double, triple = Scale(2.0), Scale(3.0)
    for i in range(4):
        x = Tensor(np.array([float(i)]))
        assert (double(x).item(), triple(x).item()) == (2.0 * i, 3.0 * i)


def test_the_number_of_programs_is_bounded():
    power = sn.capture(lambda x, n: x * float(n))
    for n in range(200):
        assert power(Tensor(np.ones(1)), n).item() == n
    assert len(power._known) == 64


def test_gradients_are_recorded_or_not_as_the_caller_has_it():
    weight = Tensor(np.ones(1), requires_grad=True)
    seen = []

    @sn.capture
    def product(x):
        out = x * weight
        seen.append(out.requires_grad)
        return out

    with sn.no_grad():
        product(Tensor(np.ones(1)))
        product(Tensor(np.ones(1)))
    product(Tensor(np.ones(1)))
    assert seen == [False, False, True]


def test_anomaly_mode_and_an_outer_capture_run_the_function_itself():
    inner = sn.capture(lambda x: sn.log(x))
    outer = sn.capture(lambda x: inner(x) * 2.0)
    for x in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(outer(Tensor(np.array([x]))).data, np.log([x]) * 2)
        inner(Tensor(np.array([x])))
    with sn.detect_anomaly(), pytest.raises(FloatingPointError, match="log"):
        inner(Tensor(np.array([-1.0])))


def test_errors_of_kernels_and_ops_come_also_from_later_calls():
    loss = sn.capture(lambda x, labels: F.cross_entropy(x, labels))
    soft = sn.capture(lambda x, t: F.bernoulli_nll(x, t))
    rows = sn.capture(lambda weight, index: F.embedding(index, weight))
    generator = np.random.default_rng(0)
    for _ in range(3):
        x, labels = Tensor(generator.standard_normal((4, 3))), Tensor(generator.integers(0, 3, 4))
        loss(x, labels), soft(x, Tensor(generator.random((4, 3)))), rows(x, labels)
    with pytest.raises(IndexError, match="cross_entropy: label 7 is out of range for 3 classes"):
        loss(x, Tensor(np.array([0, 1, 7, 2])))
    with pytest.raises(ValueError, match=r"bernoulli_nll: target must lie between 0 and 1"):
        soft(x, Tensor(np.full((4, 3), 2.0)))
    with pytest.raises(IndexError, match="embedding: index -1 is out of range for 4 rows"):
        rows(x, Tensor(np.array([0, 1, -1, 2])))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x * x.item(), RuntimeError, r"item\(\) in a captured function"),
        (lambda x: x if x.sum() > 0 else -x, RuntimeError, r"item\(\) in a captured function"),
        (lambda x: sn.tensor(x.numpy() * 2), RuntimeError, r"numpy\(\) in a captured function"),
        (lambda x: sn.tensor(x.tolist()), RuntimeError, r"tolist\(\) in a captured function"),
        (lambda x: 1.0, TypeError, "returns tensors, got float"),
    ],
)
def test_values_that_would_freeze_are_refused(function, error, message):
    with pytest.raises(error, match=message):
        sn.capture(function)(Tensor(np.ones(())))
    assert (Tensor(np.ones(())) * 2).item() == 2.0  # nothing is recorded any more


def run_twice(function):
    """Two calls of function(x, number of the run), captured, on different data."""
    runs = iter((1, 2))
    captured = sn.capture(lambda x: function(x, next(runs)))
    captured(Tensor(np.array([1.0, 2.0])))
    return captured(Tensor(np.array([3.0, -4.0])))


def chain(x, count):
    for _ in range(count):
        x = sn.exp(x)
    return x


def test_two_runs_that_differ_are_refused():
    with pytest.raises(
        RuntimeError, match=r"<lambda>: call 0, mul: argument 1, shape \(2,\), was made anew.*not by an op"
    ):
        run_twice(lambda x, run: x * Tensor((x.data > 0) * 1.0))
    with pytest.raises(RuntimeError, match="call 0 was exp in the first run and log in the second"):
        run_twice(lambda x, run: sn.exp(x) if run == 1 else sn.log(x))
    with pytest.raises(RuntimeError, match="call 0, clamp: min was another in the second run"):
        run_twice(lambda x, run: x.clamp(min=float(run)))
    with pytest.raises(RuntimeError, match="the first run made 1 calls, the second 2"):
        run_twice(chain)
    with pytest.raises(RuntimeError, match="call 1, mul, got other arrays"):
        run_twice(lambda x, run: (x, sn.exp(x))[run - 1] * 2.0 if run == 2 else (sn.exp(x), x * 2.0)[1])
    with pytest.raises(RuntimeError, match="returned different results"):
        run_twice(lambda x, run: (x, sn.exp(x))[run - 1])


def test_recording_keeps_no_array_that_the_function_lets_go_of():
    alive = []

    def step(x):
        y = sn.exp(x)
        alive.append(weakref.ref(y.data))
        z = y * 2.0
        del y
        alive.append(alive[-1]())
        return z.sum()

    captured = sn.capture(step)
    for _ in range(3):
        captured(Tensor(np.ones(3)))
    assert alive[1] is None and alive[3] is None


def test_threads_record_for_themselves():
    functions = [sn.capture(lambda x, k=k: sn.exp(x * float(k))) for k in range(4)]
    results = {}

    def work(k):
        results[k] = [functions[k](Tensor(np.full(3, i / 10))).data for i in range(200)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(4):
        np.testing.assert_array_equal(results[k], [np.exp(np.full(3, i / 10) * float(k)) for i in range(200)])


@pytest.mark.parametrize("mark", [borrowing, lambda callback: callback])
def test_watchers_see_the_same_ops_with_the_same_results(mark):
    weight = Tensor(np.full((3, 3), 0.5), requires_grad=True)
    step = sn.capture(lambda x: sn.tanh(x @ weight).sum().backward())

    def seen(x):
        found = []
        weight.grad = Tensor(np.ones((3, 3)))  # so that handing over a gradient is an op, too
        with observe_ops(mark(lambda name, result, inputs: found.append((name, bits(result), bits(inputs))))):
            step(Tensor(x))
        return found

    x, y = np.random.default_rng(0).standard_normal((2, 3, 3))
    recorded = seen(x), seen(y)
    for _ in range(2):
        assert (seen(x), seen(y)) == recorded
    names = [name for name, _, _ in recorded[0]]
    assert names[:3] == ["matmul", "tanh", "sum"] and "tanh_backward in the backward pass of tanh" in names
    assert names[-1] == "add" and len(names) == 8, names


def test_a_nan_of_a_later_call_is_caught_where_it_is_made():
    root = sn.capture(lambda x: sn.sqrt(x - 1.0) * 2.0)
    with observe_ops(refuse_nonfinite):
        for x in (2.0, 3.0, 4.0, 5.0):
            root(Tensor(np.array([x])))
        with pytest.raises(AnomalyError, match=r"sqrt: made NaN \(1 of 1"):
            root(Tensor(np.array([0.5])))


def test_a_watcher_may_keep_what_it_sees():
    kept = []
    double = sn.capture(lambda x: sn.exp(x) * 2.0)
    with observe_ops(lambda name, result, inputs: kept.append((result, inputs))):
        for i in range(6):
            double(Tensor(np.full(3, float(i))))
    exponents = [np.exp(float(i)) for i in range(6)]
    assert [result.data[0] for result, _ in kept[::2]] == exponents
    assert [inputs[0].data[0] for _, inputs in kept[1::2]] == exponents


def agree(make, *batches):
    """The same results from a captured and a plain function, made by ``make()`` each, of tensors of these arrays."""
    plain, captured = make(), sn.capture(make())
    for arrays in batches:
        assert bits(captured(*map(Tensor, map(np.copy, arrays)))) == bits(plain(*map(Tensor, map(np.copy, arrays))))


def vectors(count, *shape, seed=0):
    generator = np.random.default_rng(seed)
    return [(generator.standard_normal(shape or (3,)).astype(np.float32),) for _ in range(count)]


def one_weight(body):
    """A function of x with a weight, its optimiser, and ``body(w, optimizer, x)``; it returns the weight as well."""

    def make():
        w = Tensor(np.ones(3, np.float32), requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)
        return lambda x: (body(w, optimizer, x), w)

    return make


def forget(w, optimizer, x):
    w.grad = None
    (w * x).sum().backward()
    optimizer.step()


def scale_gradient(w, optimizer, x):
    optimizer.zero_grad()
    (w * x).sum().backward()
    w.grad = w.grad * 0.5
    optimizer.step()


def assign_gradient(w, optimizer, x):
    (w.grad,) = grad(sn.square(w * x).sum(), [w])
    optimizer.step()


def read_clipped_gradient(w, optimizer, x):
    optimizer.zero_grad()
    sn.square(w * x).mean().backward()
    nn.utils.clip_grad_norm_([w], 0.01)
    optimizer.step()
    return w.grad, w.grad * 2.0


def accumulate(w, optimizer, x):
    ((w + w) * x).sum().backward()
    optimizer.step()
    return w.grad * 1.0


def zeros_in_place(w, optimizer, x):
    optimizer.zero_grad(set_to_none=False)
    (w * x).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "body",
    [forget, scale_gradient, assign_gradient, read_clipped_gradient, accumulate, zeros_in_place],
    ids=lambda body: body.__name__,
)
def test_gradients_that_are_assigned_and_read(body):
    agree(one_weight(body), *vectors(6))


def test_gradients_of_leaves_made_inside():
    def saliency(x):
        z = x.detach().requires_grad_()
        sn.tanh(z * 2.0).sum().backward()
        return z.grad

    def steps_uphill(x):
        d = sn.zeros(3, requires_grad=True)
        for _ in range(2):
            sn.square(x + d).sum().backward()
            with sn.no_grad():
                d.add_(sn.sign(d.grad) * 0.1)
            d.grad = None
        return d

    agree(lambda: saliency, *vectors(5))
    agree(lambda: steps_uphill, *vectors(5))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, m: (x * m).sum() / m.sum(),
        lambda x, m: x * m.long(),
        lambda x, m: (m.long() > 0.5) * x,
        lambda x, m: F.one_hot(m.long(), 4) * x[:, None],
        lambda x, m: x[sn.arange(3)] + sn.linspace(0.0, 1.0, 3) * sn.ones_like(x) + sn.full((3,), 2.0),
        lambda x, m: x[[2, 0]] + sn.tensor([1.0, 2.0]) + sn.tensor(x)[:2],
        lambda x, m: x / sn.eye(3).sum(),
    ],
)
def test_kinds_are_mixed_and_constants_are_made_inside(function):
    masks = [np.array(m) for m in ([1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 1, 1])]
    agree(lambda: function, *[(x, mask > 0) for (x,), mask in zip(vectors(4), masks, strict=True)])


def test_what_is_made_inside_may_be_written_in_place():
    def marks(labels):
        seen = sn.zeros(3)
        seen[labels] = 1.0
        return seen

    def sums(labels):
        total = sn.zeros(4).add_(labels)
        total.clamp_(max=1.5)
        total.mul_(2.0)
        return total, sn.zeros(2)

    labels = [(np.array(each),) for each in ([0, 1, 2, 0], [2, 1, 0, 1], [0, 0, 1, 1], [2, 2, 2, 2])]
    agree(lambda: marks, *labels)
    agree(lambda: sums, *labels)
    captured = sn.capture(sums)
    for each in labels:
        captured(Tensor(each[0]))[1].add_(1.0)
    assert captured(Tensor(each[0]))[1].tolist() == [0.0, 0.0]


def test_class_weights_that_change():
    def make():
        weight = Tensor(np.array([1.0, 2.0, 3.0]))

        def loss(x, labels):
            with sn.no_grad():
                weight.mul_(1.1)
            smooth = F.cross_entropy(x, labels, weight=weight, label_smoothing=0.1)
            return smooth, F.cross_entropy(x, labels, weight=weight)

        return loss

    labels = np.array([0, 2, 1, 1])
    agree(make, *[(x, np.roll(labels, i)) for i, (x,) in enumerate(vectors(5, 4, 3))])


def test_seeds_numbers_and_layouts():
    def seeded(x):
        sn.manual_seed(3)
        return x + sn.randn(3)

    agree(lambda: seeded, *vectors(4))
    scale = sn.capture(lambda x, k: x * k)
    whole = Tensor(np.array([1, 2]))
    for k in (2, 2, 2, 2.0, 2.0, 2.0, True, -0.0, 0.0, float("nan")):
        assert bits(scale(whole, k)) == bits(whole * k)
    doubled = sn.capture(lambda x: x.contiguous() + x.contiguous().sum())
    for x in (np.ones((3, 4)), np.ones((3, 4)), np.ones((3, 4)), np.arange(12.0).reshape(4, 3).T):
        assert bits(doubled(Tensor(x))) == bits(Tensor(x).contiguous() + Tensor(x).contiguous().sum())


def test_an_argument_may_also_be_known_to_the_function():
    anchor = Tensor(np.array([1.0, 2.0]))
    distance = sn.capture(lambda x: sn.square(x - anchor).sum())
    assert [distance(x).item() for x in (anchor, anchor, Tensor(np.array([0.0, 0.0])))] == [0.0, 0.0, 5.0]


def test_arrays_that_are_replaced_and_models_that_are_converted():
    w = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    table = nn.Embedding(3, 2)
    apply = sn.capture(lambda x, i: (x * w.detach(), table(i) * 0.1, w))
    for k in range(6):
        if k == 3:
            w.data = np.array([5.0, 6.0])
        if k == 4:
            table.double()
        x, i = Tensor(np.full(2, k + 1.0)), Tensor(np.array([k % 3]))
        assert bits(apply(x, i)) == bits((x * w, table(i) * 0.1, w))


def test_an_optimiser_of_ones_own():
    class Descent(optim.Optimizer):
        def step(self):
            for param in self.param_groups[0]["params"]:
                param.data -= 0.1 * param.grad.data

    def make():
        w = Tensor(np.ones(3, np.float32), requires_grad=True)
        optimizer = Descent([w], {})

        def step(x):
            optimizer.zero_grad()
            sn.square(w * x).sum().backward()
            optimizer.step()
            return w

        return step

    agree(make, *vectors(5))


def test_named_tuples_and_modules():
    Pair = namedtuple("Pair", "first second")
    pair = sn.capture(lambda x: Pair(x + 1.0, [x]))
    for x in (1.0, 2.0, 3.0):
        found = pair(Tensor(np.array([x])))
        assert (found.first.item(), found.second[0].item()) == (x + 1, x)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    agree(lambda: model, *vectors(4, 5, 3))


W = Tensor(np.ones(3), requires_grad=True)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.add_(1.0), "add_: an argument of a captured function cannot be written"),
        (lambda x: x[:2].mul_(2.0), "mul_: an argument of a captured function cannot be written"),
        (lambda x: (x.requires_grad_() * 2.0).sum().backward(), "the grad of an argument cannot be filled"),
        (
            lambda x: (lambda d: (d * x).sum().backward())(W.detach().requires_grad_()),
            "shares the memory of one from outside",
        ),
        (lambda x: x * metrics.accuracy(x[None], x[:1].long()), "a metric in a captured function"),
        (
            lambda x: optim.SGD([W], lr=0.1).step(lambda: (W * x).sum()),
            r"step\(\) with a function in a captured function",
        ),
        (
            lambda x: optim.SGD([W], lr=0.1).step(closure=lambda: (W * x).sum()),
            r"step\(\) with a function in a captured function",
        ),
        (lambda x: sn.detect_anomaly().__enter__(), r"detect_anomaly\(\) in a captured function"),
        (
            lambda x: optim.ExponentialMovingAverage([W]).average_parameters().__enter__(),
            r"average_parameters\(\) in a captured function",
        ),
    ],
)
def test_what_cannot_be_done_again_is_refused_at_once(function, message):
    x = Tensor(np.ones(3))
    with pytest.raises(RuntimeError, match=message):
        sn.capture(function)(x)
    assert x.data.tolist() == [1.0, 1.0, 1.0] and x.grad is None


def test_shapes_that_depend_on_values_are_refused():
    positive = sn.capture(lambda x: x[x > 0.0].sum())
    for x in ([1.0, -1.0], [-2.0, 3.0], [-2.0, 5.0]):
        assert positive(Tensor(np.array(x))).item() == max(x)
    with pytest.raises(RuntimeError, match=r"getitem made an array of shape \(2,\), \(1,\) in the recording"):
        positive(Tensor(np.array([1.0, 2.0])))
    positive = sn.capture(lambda x: x[x > 0.0].sum())
    positive(Tensor(np.array([1.0, 2.0])))
    with pytest.raises(RuntimeError, match="made other shapes in the second run"):
        positive(Tensor(np.array([1.0, -2.0])))


def test_results_that_no_op_made_are_refused():
    with pytest.raises(RuntimeError, match="a tensor that it returned was made anew in each run, and not by an op"):
        run_twice(lambda x, run: (x * 2.0, Tensor(np.sort(x.data))))


def test_after_a_refusal_the_next_two_calls_are_recorded_anew():
    numbers = iter((1.0, 2.0, 3.0, 3.0, 3.0, 3.0))
    times = sn.capture(lambda x: x * next(numbers))
    x = Tensor(np.array([1.0]))
    times(x)
    with pytest.raises(RuntimeError, match=r"mul: argument 1, a number, was another in the second run"):
        times(x)
    assert [times(x).item() for _ in range(4)] == [3.0] * 4


def test_shared_gradients_have_memory_of_their_own_in_every_call():
    a, b = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    step = sn.capture(lambda x: ((a + b) * x).sum().backward())
    for x, preset in zip(vectors(5), (True, True, False, True, False), strict=True):
        for leaf in (a, b):
            leaf.grad = Tensor(np.zeros(3)) if preset else None
        step(Tensor(x[0].astype(np.float64)))
        assert not np.shares_memory(a.grad.data, b.grad.data)
        np.testing.assert_array_equal(a.grad.data, x[0])


def test_tensors_that_require_gradients_are_no_arguments():
    with pytest.raises(RuntimeError, match=r"an argument of shape \(3,\) requires a gradient: pass its detach"):
        sn.capture(lambda x: x * 2.0)(W)


def test_numbers_in_tensors_without_dimensions():
    def make():
        count, mean = Tensor(np.zeros((), np.int64)), Tensor(np.zeros(3, np.float32))
        rate = Tensor(np.array(0.1, np.float32))

        def step(p, t):
            right = (p == t).sum()
            count.add_(right)
            mean.mul_(1.0 - rate)
            mean[0] = right
            mean.add_(rate)
            rate.mul_(0.5)
            return count, mean.clone()

        return step

    p = np.array([1, 1])
    agree(make, *[(p, np.array(t)) for t in ([0, 0], [0, 0], [1, 0], [1, 1], [0, 1])])


def test_numpys_numbers_are_plain_arguments():
    first = sn.capture(lambda x, n, scale: (x * scale)[:n].sum())
    x = Tensor(np.ones(4, np.float32))
    for n in (2, 2, 4, 3):
        for kind in (np.int64, int):
            assert first(x, kind(n), np.float64(0.5)).item() == n / 2
    either = sn.capture(lambda x, flag: x * 2.0 if flag else x)
    assert [either(x, np.bool_(flag))[0].item() for flag in (1, 1, 0, 0, 1)] == [2.0, 2.0, 1.0, 1.0, 2.0]


def test_what_hooks_write_into_root_gradients_is_not_kept():
    def make():
        w = Tensor(np.ones(2), requires_grad=True)

        def step(x):
            w.grad = None
            loss = (w * x).sum()
            loss.register_hook(lambda g: g.mul_(2.0))
            loss.backward()
            return w.grad

        return step

    agree(make, *[(x.astype(np.float64),) for (x,) in vectors(5, 2)])


def test_schedulers_averages_and_indices_of_ones_own():
    class Halving(optim.lr_scheduler.LambdaLR):
        def step(self):
            super().step()
            self.optimizer.param_groups[0]["lr"] *= 0.5

    class Twice(optim.ExponentialMovingAverage):
        def update(self):
            super().update()
            super().update()

    def train(capture):
        w, index = Tensor(np.ones(3, np.float32), requires_grad=True), Tensor(np.array([0, 1, 2]))
        optimizer = optim.SGD([w], lr=1.0)
        scheduler, average = Halving(optimizer, lambda t: 0.9**t), Twice([w], 0.5)

        @capture
        def step(x):
            optimizer.zero_grad()
            sn.square((w * x)[index]).sum().backward()
            optimizer.step()
            scheduler.step()
            average.update()
            return w, w[index]

        seen = []
        for i, (x,) in enumerate(vectors(6)):
            if i == 4:
                index.data = np.array([2, 2, 0])
            seen.append((bits(step(Tensor(x))), average.averages[0].tolist(), optimizer.param_groups[0]["lr"]))
        return seen

    assert train(sn.capture) == train(lambda step: step)


def test_objects_that_are_equal_have_programs_of_their_own():
    @dataclass(frozen=True)
    class Scale:
        name: str
        factor: float = field(compare=False)

    scaled = sn.capture(lambda x, scale: x * scale.factor)
    two, three = Scale("s", 2.0), Scale("s", 3.0)
    x = Tensor(np.ones(()))
    assert [scaled(x, scale).item() for scale in (two, three) * 3] == [2.0, 3.0] * 3


def test_the_default_dtype_is_part_of_the_key():
    half = sn.capture(lambda x: x * 0.5)
    seen = []
    try:
        for dtype in (np.float32, np.float32, np.float32, np.float64):
            sn.set_default_dtype(dtype)
            seen.append(half(Tensor(np.array([1]))).dtype)
    finally:
        sn.set_default_dtype(np.float32)
    assert seen == [np.float32] * 3 + [np.float64]
