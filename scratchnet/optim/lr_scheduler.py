"""Learning-rate schedules.

Each rate is a closed formula of ``last_epoch`` (t below), the number of ``step()`` calls since the start, where
PyTorch multiplies its way from one step to the next. The values are PyTorch's up to rounding and do not drift. It
follows that two schedulers on one optimiser do not multiply: the last one to step wins. Use ``SequentialLR`` for one
after the other, or ``LambdaLR`` with the product.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from scratchnet.errors import explain
from scratchnet.optim.optimizer import Optimizer, check_range
from scratchnet.recording import repeat_overrides, repeated


class LRScheduler:
    """Base class: a subclass defines ``get_lr()`` in terms of ``self.base_lrs`` and ``self.last_epoch``.

    The first rate is set at once, by the constructor; call ``step()`` after ``optimizer.step()``, once an epoch or
    once a batch, as the schedule counts. ``base_lrs`` are the groups' rates before any schedule, kept in
    ``group["initial_lr"]``.

    Args:
        last_epoch: go on from here; -1 starts anew. Restoring a ``state_dict`` is the surer way.
    """

    _not_saved = ("optimizer",)

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        repeat_overrides(cls, "step")

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        groups = _groups(type(self).__name__, optimizer)
        for i, group in enumerate(groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(f"{type(self).__name__}: to go on from last_epoch, group {i} needs 'initial_lr'")
        self.optimizer = optimizer
        self.base_lrs = [group["initial_lr"] for group in groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self.step()

    @repeated
    def step(self) -> None:
        """Move on by one and write the rates of ``get_lr()`` into the optimiser's groups."""
        self._move_to(self.last_epoch + 1)

    def _move_to(self, epoch: int) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__} was made for {len(self.base_lrs)} parameter groups, "
                f"the optimiser has {len(groups)} by now: add groups first"
            )
        self.last_epoch = epoch
        self._last_lr = [float(lr) for lr in self.get_lr()]
        for group, lr in zip(groups, self._last_lr, strict=True):
            group["lr"] = lr

    def get_lr(self) -> list[float]:
        """The rate of each group at ``last_epoch``."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, one a group."""
        return list(self._last_lr)

    def state_dict(self) -> dict:
        """All that describes the schedule and its position, in numbers; without the optimiser."""
        return {name: _copied(value) for name, value in vars(self).items() if name not in self._not_saved}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on where ``state_dict`` was taken. The optimiser's rates come with its own state.

        Raises ValueError where it belongs to another kind of schedule or another number of groups.
        """
        expected = self.state_dict().keys()
        if not isinstance(state_dict, dict):
            raise TypeError(f"{type(self).__name__}: a state_dict must be a dict, got {type(state_dict).__name__}")
        if state_dict.keys() != expected:
            raise ValueError(
                f"{type(self).__name__}: the state_dict has {sorted(state_dict)}, expected {sorted(expected)}"
            )
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: the state_dict is for {len(state_dict['base_lrs'])} parameter groups, "
                f"the optimiser has {len(self.base_lrs)}"
            )
        vars(self).update({name: _copied(value) for name, value in state_dict.items() if name not in self._not_saved})


class LambdaLR(LRScheduler):
    """base_lr * lr_lambda(t). The function, or one function a group, is not part of the ``state_dict``."""

    _not_saved = ("lr_lambdas", "optimizer")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        for function in [lr_lambda] if not isinstance(lr_lambda, list | tuple) else lr_lambda:
            if not callable(function):
                raise TypeError(f"LambdaLR: lr_lambda must be a function of the step, got {function!r}")
        self.lr_lambdas = _one_a_group("LambdaLR", "lr_lambda", lr_lambda, _groups("LambdaLR", optimizer))
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """base_lr * gamma ** (t // step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        _check_count("StepLR", "step_size", step_size)
        check_range("StepLR", "gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """base_lr * gamma ** (how many milestones t has reached)."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        check_range("MultiStepLR", "gamma", gamma)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * self.gamma ** bisect_right(self.milestones, self.last_epoch) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """A linear warm-up: base_lr times a factor that goes from start_factor (t = 0) to end_factor (t >= total_iters)."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        _check_count("LinearLR", "total_iters", total_iters)
        for name, factor in (("start_factor", start_factor), ("end_factor", end_factor)):
            check_range("LinearLR", name, factor)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        way = min(self.last_epoch, self.total_iters) / self.total_iters
        return [base * (self.start_factor + (self.end_factor - self.start_factor) * way) for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2, which rises again after T_max.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017), equation 5,
    without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        _check_count("CosineAnnealingLR", "T_max", T_max)
        check_range("CosineAnnealingLR", "eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [_cosine(base, self.eta_min, self.last_epoch / self.T_max) for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """One rise and one fall over a training run, counted in batches; momentum falls and rises against it.

    The rate goes from max_lr / div_factor to max_lr at t = pct_start * total_steps - 1, then down to
    max_lr / (div_factor * final_div_factor) at t = total_steps - 1, along half cosines or lines. Meanwhile the
    momentum (Adam's beta1) goes from ``max_momentum`` to ``base_momentum`` and back.

    Source: Smith and Topin, "Super-convergence" (arXiv 1708.07120), in the two-phase form of fast.ai and PyTorch.

    Args:
        max_lr: the peak, or one a group.
        total_steps: number of batches; otherwise ``epochs * steps_per_epoch``.

    Raises:
        ValueError: the length is missing, a number is out of range, momentum is to be cycled but the optimiser has
            none, or ``step()`` goes beyond ``total_steps``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        last_epoch: int = -1,
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        groups = _groups("OneCycleLR", optimizer)
        self.max_lrs = _one_a_group("OneCycleLR", "max_lr", max_lr, groups)
        for peak in self.max_lrs:
            check_range("OneCycleLR", "max_lr", peak)
        _check_count("OneCycleLR", "total_steps", total_steps)
        check_range("OneCycleLR", "pct_start", pct_start, below=1.0)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if div_factor <= 0 or final_div_factor <= 0:
            raise ValueError(
                f"OneCycleLR: div_factor {div_factor} and final_div_factor {final_div_factor} must exceed 0"
            )
        if cycle_momentum and not optimizer.defaults.keys() & {"momentum", "betas"}:
            raise ValueError("OneCycleLR: cycle_momentum=True needs an optimiser with momentum or betas")
        self.total_steps, self.pct_start, self.anneal_strategy = total_steps, pct_start, anneal_strategy
        self.cycle_momentum, self.base_momentum, self.max_momentum = cycle_momentum, base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        if last_epoch == -1:
            for group, peak in zip(groups, self.max_lrs, strict=True):
                group["initial_lr"] = peak / div_factor
        super().__init__(optimizer, last_epoch)

    def _move_to(self, epoch):
        if epoch > self.total_steps:
            raise ValueError(f"OneCycleLR: step {epoch} of a schedule of total_steps={self.total_steps}")
        super()._move_to(epoch)
        if self.cycle_momentum:
            momentum = self._along(self.max_momentum, self.base_momentum, self.max_momentum)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum

    def get_lr(self):
        return [
            self._along(base, peak, base / self.final_div_factor)
            for base, peak in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def _along(self, start: float, peak: float, end: float) -> float:
        """The value at ``last_epoch`` of what goes from start over peak to end."""
        anneal = _cosine if self.anneal_strategy == "cos" else _line
        turn, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if self.last_epoch < turn:
            return anneal(start, peak, self.last_epoch / turn)
        return anneal(peak, end, (self.last_epoch - turn) / (last - turn))


class SequentialLR(LRScheduler):
    """One scheduler after the other: the next takes over, from its own t = 0, when t reaches a milestone."""

    _not_saved = ("_schedulers", "optimizer")

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ):
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: {len(schedulers)} schedulers need one milestone less, got {milestones}")
        if list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: milestones must rise, got {milestones}")
        for i, scheduler in enumerate(schedulers):
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedulers[{i}] belongs to another optimiser")
        self._schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer, last_epoch)

    def _move_to(self, epoch):
        i = bisect_right(self.milestones, epoch)
        scheduler = self._schedulers[i]
        scheduler._move_to(epoch - (self.milestones[i - 1] if i else 0))
        self.last_epoch, self._last_lr = epoch, scheduler.get_last_lr()

    def state_dict(self):
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict):
        children = state_dict.get("_schedulers", ())
        if len(children) != len(self._schedulers):
            raise ValueError(
                f"SequentialLR: the state_dict has {len(children)} schedulers, not {len(self._schedulers)}"
            )
        super().load_state_dict(state_dict)
        for scheduler, child in zip(self._schedulers, children, strict=True):
            scheduler.load_state_dict(child)


def _cosine(start: float, end: float, way: float) -> float:
    """From start (way = 0) to end (way = 1) along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * way)) / 2


def _line(start: float, end: float, way: float) -> float:
    return start + (end - start) * way


def _copied(value):
    return list(value) if isinstance(value, list) else value


def _groups(owner: str, optimizer: Optimizer) -> list[dict]:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{owner}: expected an Optimizer, got {type(optimizer).__name__}")
    return optimizer.param_groups


def _one_a_group(owner: str, name: str, value, groups: list[dict]) -> list:
    """A list of one value a group as it is, a single value repeated."""
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValueError(f"{owner}: {len(values)} values of {name} for {len(groups)} parameter groups")
    return values


def _check_count(owner: str, name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{owner}: {name} must be an integer above 0, got {value!r}")


explain(globals())
