"""A lint for training loops: watch a few steps and say what looks like a mistake.

    lint = Lint({"generator": g, "discriminator": d})
    with lint:
        for images, _ in itertools.islice(loader, 5):
            ...  # the steps, as they are
    print(lint.report())  # or lint.check(), which raises

A VAE tells it, in each step and before ``backward()``, what its loss is made of:

    lint.vae(mu, log_var, z, output=logits, target=images, likelihood="logits", beta=1.0)

Nothing about the training changes: gradients and updates are looked at, not touched. One thread at a time.
"""

import functools
import weakref
from collections import Counter, defaultdict, deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

from scratchnet import autograd, ops
from scratchnet.observe import observe_ops
from scratchnet.optim.optimizer import Optimizer
from scratchnet.recording import uncaptured
from scratchnet.tensor import Node, Tensor
from scratchnet.testing.lint_gan import Verdict, inverted, minus_probability, one_label
from scratchnet.testing.lint_vae import Latent, target_findings, vae_findings

LARGEST_UPDATE = 0.5  # of a weight's norm, in one step
SMALLEST_UPDATE = 1e-7  # what float32 rounds away


@dataclass(frozen=True)
class Finding:
    """What a rule, named by a short word, has to say."""

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


class LintError(AssertionError):
    """Raised by ``check()``; its message is the report."""


@dataclass(eq=False)
class _Backward:
    """A backward pass: whether its loss depends on the discriminator, and which way it pushes its verdicts."""

    through_discriminator: bool = False
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(eq=False)
class _Watched:
    """A parameter and what became of it."""

    model: str
    path: str
    tensor: Tensor
    gradient: Tensor | None = None  # as the last backward pass left it
    stepped: Tensor | None = None  # the gradient that an optimiser used last
    stale: bool = False  # whether a backward pass has added to a gradient that was used already
    sources: list[_Backward] = field(default_factory=list)  # the passes that its gradient comes from
    optimizers: Counter = field(default_factory=Counter)
    gradients: int = 0  # steps that found one
    nonzero: bool = False
    updates: list[float] = field(default_factory=list)  # relative to the norm


class Lint:
    """Watch the training of ``models`` inside a ``with`` block, see the module's text.

    Rules, and what each finds:

    ==============  ================================================================================================
    no-step         no optimiser took a step
    no-gradient     an optimiser's step found no gradient at all: the loss is detached, or there was no backward()
    not-optimised   a parameter that requires a gradient is stepped by no optimiser
    unreached       a parameter of an optimiser that never gets a gradient, or a weight that gets zeros alone
    accumulated     a gradient that was used already is added to: zero_grad() is missing
    restarted       a new optimiser in every step, whose averages begin anew
    update          a weight moves by more than half its norm in a step, or by less than float32 can hold
    broadcast       two tensors of as many elements, such as (N, 1) and (N,), broadcast to N times as many
    one-label       all that the discriminator learns is to say "real" more often, or "fake": it sees one label
    inverted        the discriminator learns to say of generated images what the generator wants: labels exchanged
    independent     the generator's loss does not depend on the discriminator
    no-log          the generator's loss is minus the discriminator's probability, whose logarithm it should be
    shared          one step moves both generator and discriminator on one loss, though they want opposite things
    never-updated   one of generator and discriminator takes no step while the other one does
    target          labels or pixels outside [0, 1], compared by a binary cross entropy
    beta, sampling, deviation, likelihood    of a VAE, see ``vae``
    ==============  ================================================================================================

    Args:
        models: modules by name. The rules on generators and discriminators go by these two names.
    """

    def __init__(self, models: dict):
        self.models = dict(models)
        self.findings: list[Finding] = []
        self._params = {
            id(tensor): _Watched(name, path, tensor)
            for name, model in self.models.items()
            for path, tensor in model.named_parameters()
        }
        self._steps: Counter = Counter()  # by model
        self._verdicts: weakref.WeakSet[Node] = weakref.WeakSet()  # the discriminator's outputs
        self._images: deque = deque(maxlen=4)  # arrays, the generator's last
        self._of_discriminator: list[Verdict] = []  # by the passes that it was stepped on
        self._of_generator: list[Verdict] = []
        self._optimizers: list[Optimizer] = []  # kept, so that no two have the same id
        self._latents: list[Latent] = []
        self._pass: _Backward | None = None

    def __enter__(self) -> "Lint":
        self._open = ExitStack()
        patch = self._open.enter_context
        patch(uncaptured())
        patch(observe_ops(self._after_op))
        patch(mock.patch.object(autograd, "backward", self._around_backward(autograd.backward)))
        patch(mock.patch.object(autograd, "_walk", self._before_walk(autograd._walk)))
        patch(mock.patch.object(Optimizer, "step", self._around_step(Optimizer.step)))
        for op in (ops.binary_cross_entropy, ops.binary_cross_entropy_with_logits):
            patch(mock.patch.object(op, "forward", self._around_cross_entropy(op.forward)))
        if "discriminator" in self.models:
            patch(self.models["discriminator"].register_forward_hook(self._after_verdict))
        if "generator" in self.models:
            patch(self.models["generator"].register_forward_hook(self._after_images))
        return self

    def __exit__(self, kind, *_) -> None:
        self._open.close()
        self._images.clear()
        if kind is None:
            self._conclude()

    def report(self) -> str:
        """One line a finding."""
        return "\n".join(map(str, self.findings)) or "nothing found"

    def check(self) -> None:
        """Raise LintError if there are findings."""
        if self.findings:
            raise LintError(self.report())

    def vae(
        self, mu: Tensor, log_var: Tensor, z: Tensor, *, output: Tensor, target: Tensor, likelihood: str = "logits",
        beta: float = 1.0, variance: float = 1.0,
    ) -> None:  # fmt: skip
        """Tell what the loss of this step is made of; its backward pass is compared with what that means.

        From the gradients that arrive at these tensors follow the weights of the reconstruction and of the KL. The
        rules are: *beta*, their ratio is not the declared one; *sampling*, z is the mean; *deviation*, z - mu has
        another standard deviation than exp(log_var / 2), which is the one that the KL is of; *likelihood*, the
        gradient at ``output`` is not that of the likelihood; *target*, Bernoulli targets outside [0, 1].

        Args:
            mu, log_var, z: (N, latents); z = mu + exp(log_var / 2) noise.
            output, target: the decoder's output and the images, of one shape.
            likelihood: "logits" or "probabilities" (of Bernoulli variables), or "gaussian" with this ``variance``.
            beta: the factor of the KL, where the likelihood is summed over pixels and the KL over latents.
        """
        self._latents.append(Latent(mu, log_var, z, output, target, likelihood, beta, variance))

    def _find(self, rule: str, message: str) -> None:
        finding = Finding(rule, message)
        if finding not in self.findings:
            self.findings.append(finding)

    # While the steps run

    def _after_op(self, name, result, inputs) -> None:
        shapes = [tuple(x.shape) for x in inputs if isinstance(x, Tensor)]
        if name in ("add", "sub", "mul", "div") and len(shapes) == 2 and len(shapes[0]) != len(shapes[1]):
            sizes = {int(np.prod(shape)) for shape in shapes}
            if len(sizes) == 1 and result.data.size > sizes.pop():
                self._find("broadcast", f"{name} of shapes {shapes[0]} and {shapes[1]} gives {result.shape}")

    def _around_cross_entropy(self, forward):
        @functools.wraps(forward)
        def watched(input, target, *args, **options):
            for message in target_findings(target):
                self._find("target", message)
            return forward(input, target, *args, **options)

        return watched

    def _after_images(self, module, args, output) -> None:
        if isinstance(output, Tensor):
            self._images.append(output.data)

    def _after_verdict(self, module, args, output) -> None:
        tensors = isinstance(output, Tensor) and args and isinstance(args[0], Tensor)
        if not tensors or output.node is None or self._is_leaf(args[0]):  # a penalty asks for the slopes there
            return
        fake = any(args[0].data is images for images in self._images)

        def note(gradient: Tensor) -> None:
            if self._pass is not None:
                self._pass.verdicts.append(Verdict.of(output.cpu().data, gradient.cpu().data, fake))

        self._verdicts.add(output.node)
        output.node.hooks.append(note)

    @staticmethod
    def _is_leaf(tensor: Tensor) -> bool:
        return tensor.node is not None and tensor.node.op is None

    def _before_walk(self, walk):
        def watched(roots, goals, plan, *options):
            order, wanted = plan
            if self._pass is not None and goals is None:
                self._pass.through_discriminator = any(node in self._verdicts for node in order)
                leaves = (node.leaf() for node in order if node.op is None and node in wanted)
                for watched in filter(None, (self._params.get(id(leaf)) for leaf in leaves)):
                    self._before_gradient(watched)
            return walk(roots, goals, plan, *options)

        return watched

    def _before_gradient(self, watched: _Watched) -> None:
        gradient = watched.tensor.grad
        if gradient is None or gradient is not watched.gradient:  # it was cleared
            watched.sources, watched.stale = [], False
        elif gradient is watched.stepped:
            watched.stale = True
        watched.sources.append(self._pass)

    def _around_backward(self, backward):
        def watched(*args, **options):
            self._pass = _Backward()
            for latent in self._latents:
                latent.listen()
            try:
                backward(*args, **options)
            finally:
                self._pass = None
            for parameter in self._params.values():
                parameter.gradient = parameter.tensor.grad
            for latent in self._latents:
                for rule, message in vae_findings(latent):
                    self._find(rule, message)
            self._latents.clear()

        return watched

    def _around_step(self, step):
        def watched(optimizer, *args, **options):
            if optimizer not in self._optimizers:
                self._optimizers.append(optimizer)
            params = [self._params[id(p)] for p in optimizer._params() if id(p) in self._params]
            before = [p.tensor.data.copy() for p in params]
            result = step(optimizer, *args, **options)
            for parameter, old in zip(params, before, strict=True):
                self._after_update(parameter, old, self._optimizers.index(optimizer))
            self._after_step(params)
            return result

        return watched

    def _after_update(self, parameter: _Watched, old, optimizer: int) -> None:
        gradient = parameter.tensor.grad
        parameter.optimizers[optimizer] += 1
        parameter.stepped = gradient
        if gradient is None:
            return
        parameter.gradients += 1
        parameter.nonzero |= bool(gradient.data.any())
        new = parameter.tensor.data
        norms = [float(np.linalg.norm(x.ravel())) for x in (new - old, old, new)]
        if parameter.tensor.ndim > 1 and norms[1] > 0 and gradient.data.any():
            parameter.updates.append(norms[0] / max(norms[1:]))  # what began at 0 may well double

    def _after_step(self, params: list[_Watched]) -> None:
        models = {parameter.model for parameter in params}
        self._steps.update(models)
        graded = [parameter for parameter in params if parameter.stepped is not None]
        if params and not graded:
            self._find("no-gradient", f"a step on {_and(models)} found no gradient: the loss is detached, or not used")
        if stale := [parameter for parameter in graded if parameter.stale]:
            self._find(
                "accumulated", f"gradients of the step before are added to, zero_grad() is missing: {_of(stale)}"
            )
        if "discriminator" in self.models:
            self._after_step_of_a_pair(models, graded)

    def _after_step_of_a_pair(self, models: set[str], graded: list[_Watched]) -> None:
        sources = {model: {s for p in graded if p.model == model for s in p.sources} for model in models}
        to_generator, to_discriminator = (sources.get(model, set()) for model in ("generator", "discriminator"))
        if to_generator and not any(source.through_discriminator for source in to_generator):
            self._find("independent", "the generator's loss does not depend on the discriminator")
        if to_generator & to_discriminator:
            self._find("shared", "a step moves the generator and, on the same loss, the discriminator")
        self._of_generator += [verdict for source in to_generator for verdict in source.verdicts]
        self._of_discriminator += [verdict for source in to_discriminator for verdict in source.verdicts]

    # When they are done

    def _conclude(self) -> None:
        if not self._optimizers:
            self._find("no-step", "no optimiser took a step")
            return
        params = [p for p in self._params.values() if p.tensor.requires_grad]
        stepped = [p for p in params if p.optimizers]
        idle = {m for m in self.models if not self._steps[m] and any(p.model == m for p in params)}
        pair = {"generator", "discriminator"}
        for model in sorted(idle & pair if pair <= self.models.keys() else ()):
            (other,) = pair - {model}
            self._find("never-updated", f"the {model} took no step while the {other} took {self._steps[other]}")
        self._list("not-optimised", "no optimiser steps these", [p for p in params if not p.optimizers])
        self._list("unreached", "no gradient ever arrives at these", [p for p in stepped if not p.gradients])
        flat = [p for p in stepped if p.gradients and not p.nonzero and p.tensor.ndim > 1]  # a critic's bias may be
        self._list("unreached", "every gradient is exactly 0", flat)
        restarted = [p for p in stepped if len(p.optimizers) > 1 and max(p.optimizers.values()) == 1]
        self._list("restarted", "a new optimiser in every step, whose averages begin anew", restarted)
        self._updates([p for p in stepped if p.updates])
        self._losses_of_a_pair()

    def _losses_of_a_pair(self) -> None:
        if label := one_label(self._of_discriminator):
            self._find("one-label", f"every gradient makes the discriminator say {label!r} more often: one label only")
        if inverted(self._of_discriminator, self._of_generator):
            self._find(
                "inverted",
                "the discriminator moves verdicts on generated images as the generator does: labels exchanged",
            )
        if minus_probability(self._of_discriminator, self._of_generator):
            self._find("no-log", "the generator's loss is minus the discriminator's probability, not minus its log")

    def _list(self, rule: str, message: str, params: list[_Watched]) -> None:
        if params:
            self._find(rule, f"{message}: {_of(params)}")

    def _updates(self, params: list[_Watched]) -> None:
        median = {p: float(np.median(p.updates)) for p in params}
        for words, off in (
            (f"more than {LARGEST_UPDATE:g} of their norm a step", [p for p in params if median[p] > LARGEST_UPDATE]),
            ("less than float32 can hold", [p for p in params if median[p] < SMALLEST_UPDATE]),
        ):
            if off:
                worst = f"{off[0].model}.{off[0].path} by {median[off[0]]:.1e}"
                self._find("update", f"weights move by {words}, {worst}: {_of(off)}")


def _and(names) -> str:
    return " and ".join(sorted(names))


def _of(params: list[_Watched], most: int = 4) -> str:
    by_model = defaultdict(list)
    for parameter in params:
        by_model[parameter.model].append(parameter.path)
    return "; ".join(
        f"{model}: {', '.join(paths[:most])}" + (f" and {len(paths) - most} more" if len(paths) > most else "")
        for model, paths in by_model.items()
    )
