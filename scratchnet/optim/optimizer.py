"""What all optimisers share: parameter groups, per-parameter state, and the loop over both."""

import math
import numbers
from collections.abc import Callable, Iterable

from scratchnet.autograd import enable_grad
from scratchnet.device import array_module, to_device
from scratchnet.recording import repeat_overrides, repeated
from scratchnet.tensor import Tensor


class Optimizer:
    """Base class. A subclass passes its options as ``defaults`` and defines ``_update``.

    ``param_groups`` is a list of dicts: ``"params"`` and the options that hold for them. ``state`` maps a parameter
    to its dict of arrays and counts.

    Args:
        params: leaf tensors that require gradients, or dicts (parameter groups) with ``"params"`` and options.
        defaults: options of the groups that do not set them.

    Raises:
        TypeError: something is no tensor, no group or no number.
        ValueError: there are no parameters, one occurs twice, is no leaf or requires no gradient; an option is
            unknown or out of range.
    """

    required_state: tuple[str, ...] = ()  # what a parameter that was stepped has in its state
    optional_state: tuple[str, ...] = ()  # what it may have besides, according to the options

    def __init_subclass__(cls, **options):
        """A step of one's own is taken again by captured functions, too."""
        super().__init_subclass__(**options)
        repeat_overrides(cls, "step", "zero_grad")

    def __init__(self, params: Iterable, defaults: dict):
        if isinstance(params, Tensor | str | set | frozenset) or not isinstance(params, Iterable):
            raise TypeError(
                f"{self._name}: params must be an ordered iterable of tensors or dicts, got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict] = {}
        self.param_groups: list[dict] = []
        groups = list(params)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            raise ValueError(f"{self._name}: got no parameters")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: dict) -> None:
        """Optimise further parameters: a dict with ``"params"`` and the options that differ from the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{self._name}: a parameter group must be a dict with 'params', got {group!r:.80}")
        unknown = group.keys() - self.defaults.keys() - {"params", "name", "initial_lr"}
        if unknown:
            raise ValueError(
                f"{self._name}: unknown options {sorted(unknown)} in a parameter group; there are {list(self.defaults)}"
            )
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        self._check_params(params)
        group = {**self.defaults, **group, "params": params}
        self._check_options(group)
        self.param_groups.append(group)

    def _check_params(self, params: list) -> None:
        seen = {id(param) for group in self.param_groups for param in group["params"]}
        for i, param in enumerate(params):
            where = f"{self._name}: parameter {i} of group {len(self.param_groups)}"
            if not isinstance(param, Tensor):
                raise TypeError(f"{where} is no tensor but {type(param).__name__}")
            if not param.is_leaf:
                raise ValueError(
                    f"{where} is the result of {param.node.name}, not a leaf: optimise what it was computed from"
                )
            if not param.requires_grad:
                raise ValueError(
                    f"{where} (shape {param.shape}) requires no gradient: leave it out or call requires_grad_()"
                )
            if id(param) in seen:
                raise ValueError(f"{where} (shape {param.shape}) is given twice")
            seen.add(id(param))

    @repeated
    def step(self, closure: Callable[[], Tensor] | None = None):
        """Change every parameter that has a gradient, in place, and leave the gradients as they are.

        Args:
            closure: called first, with recording on: it computes the loss and its gradients.

        Returns:
            What the closure returned, or None.

        Raises:
            TypeError, ValueError: a gradient does not fit its parameter. No parameter is changed then.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        changes = [self._changes(group, number) for number, group in enumerate(self.param_groups)]
        for group, kinds in zip(self.param_groups, changes, strict=True):
            for params, grads in kinds:
                if group.get("maximize"):  # NumPy's negative of a 0-d array is no array
                    grads = [array_module(grad).asarray(-grad) for grad in grads]
                self._update([param.data for param in params], grads, list(map(self._state_of, params)), group)
                for param in params:
                    param.version[0] += 1  # graphs that saved the old values must notice
        return loss

    def _changes(self, group: dict, number: int) -> list[tuple[list, list]]:
        """(parameters, their gradients' arrays) of each dtype and device, where there is a gradient."""
        kinds: dict[tuple, tuple[list, list]] = {}
        for i, param in enumerate(group["params"]):
            grad, ours = param.grad, param.data
            if grad is not None:
                params, grads = kinds.setdefault((type(ours), ours.dtype), ([], []))
                params.append(param)
                grads.append(grad.data if _fits(grad, ours) else self._checked(param, f"{i} of group {number}"))
        return list(kinds.values())

    def _checked(self, param: Tensor, where: str):
        """The gradient's array; raises in words where it has not the parameter's shape, dtype and device."""
        grad = param.grad
        if not isinstance(grad, Tensor):
            raise TypeError(f"{self._name}: grad of parameter {where} must be a tensor, got {type(grad).__name__}")
        for what, error in (("shape", ValueError), ("dtype", TypeError), ("device", TypeError)):
            ours, theirs = getattr(param, what), getattr(grad, what)
            if ours != theirs:
                raise error(f"{self._name}: grad of parameter {where} has {what} {theirs}, the parameter {ours}")
        return grad.data

    def _state_of(self, param: Tensor) -> dict:
        """The parameter's state, which follows it to another device."""
        state, kind = self.state.setdefault(param, {}), type(param.data)
        for name, value in state.items():
            if type(value) is not kind and hasattr(value, "dtype"):
                state[name] = to_device(value, param.device)
        return state

    def _check_options(self, group: dict) -> None:
        """Raise where an option of a parameter group has no meaning."""

    def _update(self, params: list, grads: list, states: list[dict], group: dict) -> None:
        """Take one step on arrays of one dtype and device, and on their states, in place.

        It is one call of a kernel: ten calls cost more than the work of a small network.
        """
        raise NotImplementedError

    @repeated
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; with ``set_to_none=False`` put new zeros in their place."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    zeros = None if set_to_none else Tensor(array_module(param.data).zeros_like(param.grad.data))
                    param.grad = zeros

    def state_dict(self) -> dict:
        """A snapshot in PyTorch's layout, ``{"state": {index: {...}}, "param_groups": [...]}``.

        Parameters are numbered through all groups. Values are numbers and copies of arrays: unlike PyTorch's, the
        snapshot does not change with later steps.
        """
        index = {param: i for i, param in enumerate(self._params())}
        return {
            "state": {index[param]: _copied(entry) for param, entry in self.state.items()},
            "param_groups": [
                {**group, "params": [index[param] for param in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over a snapshot of ``state_dict``, options included; arrays are copied. PyTorch's fit as well.

        Raises:
            ValueError: it has other groups, shapes or names than this optimiser. Nothing is changed then.
            TypeError: an array has another dtype than its parameter.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"{self._name}: a state_dict has the keys 'state' and 'param_groups'")
        groups, entries = state_dict["param_groups"], state_dict["state"]
        sound = isinstance(groups, list | tuple) and isinstance(entries, dict)
        sound = sound and all(isinstance(each, dict) for each in (*groups, *entries.values()))
        if not sound or not all(isinstance(group.get("params"), list | tuple) for group in groups):
            raise ValueError(
                f"{self._name}: a state_dict's 'param_groups' are a list of dicts with 'params', its 'state' is a dict "
                "of dicts"
            )
        ours = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in groups]
        if ours != theirs:
            raise ValueError(
                f"{self._name}: the state_dict has groups of {theirs} parameters, the optimiser has groups of {ours}"
            )
        groups = [
            {**own, **_with_tuples(saved), "params": own["params"]}
            for own, saved in zip(self.param_groups, groups, strict=True)
        ]
        for group in groups:
            self._check_options(group)
        saved_indices = (i for group in state_dict["param_groups"] for i in group["params"])
        params = dict(zip(saved_indices, self._params(), strict=True))
        state = {}
        for i, entry in entries.items():
            if i not in params:
                raise ValueError(f"{self._name}: the state_dict has state {i!r}, but no parameter of this number")
            state[params[i]] = self._fitted(entry, params[i], f"{self._name}: state of parameter {i}")
        self.state = state
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update(group)

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _fitted(self, entry: dict, param: Tensor, where: str) -> dict:
        """A loaded state entry, its arrays copied into the parameter's layout on its device."""
        entry = {name: value for name, value in entry.items() if value is not None}
        names = {*self.required_state, *self.optional_state}
        if not set(self.required_state) <= entry.keys() <= names:
            raise ValueError(f"{where} has {sorted(entry)}, expected {sorted(names)}")
        fitted = {}
        for name, value in entry.items():
            value = value.data if isinstance(value, Tensor) else value
            if name == "step":
                fitted[name] = int(value)
                continue
            if value.shape != param.shape:
                raise ValueError(f"{where}: {name} has shape {value.shape}, the parameter {param.shape}")
            if value.dtype != param.dtype:
                raise TypeError(f"{where}: {name} is {value.dtype}, the parameter {param.dtype}")
            fitted[name] = array_module(param.data).empty_like(param.data)
            fitted[name][...] = to_device(value, param.device)
        return fitted


def _fits(grad, ours) -> bool:
    """Whether a gradient has its parameter's kind of array, shape and dtype: all is well, and found out fast."""
    if not isinstance(grad, Tensor):
        return False
    theirs = grad.data
    return type(ours) is type(theirs) and ours.shape == theirs.shape and ours.dtype == theirs.dtype


def zeros_once(states: list[dict], name: str, params: list) -> list:
    """The arrays ``state[name]``, made of zeros in their parameter's shape and layout where they are not there yet."""
    for state, param in zip(states, params, strict=True):
        if name not in state:
            state[name] = array_module(param).zeros_like(param)
    return [state[name] for state in states]


def count_step(states: list[dict]) -> list[int]:
    """Add 1 to each ``state["step"]``, from 0, and return them."""
    for state in states:
        state["step"] = state.get("step", 0) + 1
    return [state["step"] for state in states]


def check_range(owner: str, name: str, value, least: float = 0.0, below: float = math.inf) -> None:
    """Raise unless ``value`` is a number in [least, below)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
    if not least <= value < below:
        raise ValueError(f"{owner}: {name} must lie in [{least:g}, {below:g}), got {value}")


def _copied(entry: dict) -> dict:
    return {name: value.copy(order="K") if hasattr(value, "copy") else value for name, value in entry.items()}


def _with_tuples(group: dict) -> dict:
    """JSON has no tuples: its lists become tuples again."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in group.items()}
