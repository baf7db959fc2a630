"""Module: a tree of parameters, buffers and submodules, with a forward function."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from scratchnet.autograd import no_grad
from scratchnet.device import device as place
from scratchnet.device import to_device
from scratchnet.nn.errors import locate
from scratchnet.nn.hooks import RemovableHandle
from scratchnet.recording import repeated
from scratchnet.tensor import Tensor

IncompatibleKeys = namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])


class Parameter(Tensor):
    """A tensor that becomes trainable state of the Module it is assigned to.

    Args:
        data: a tensor or array, whose memory is shared, or numbers.
        requires_grad: whether to record what is computed from it; for floating dtypes only.
    """

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        version = data.version if isinstance(data, Tensor) else None
        super().__init__(data.data if isinstance(data, Tensor) else data, requires_grad, version=version)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo) -> Parameter:
        """A parameter of its own: same values and gradient, no shared memory, no graph."""
        memo[id(self)] = result = Parameter(self.data.copy(order="K"), self.requires_grad)
        result.grad = None if self.grad is None else Tensor(self.grad.data.copy(order="K"))
        return result


class Module:
    """Base class of all layers and models.

    Parameters, Modules and registered buffers that are assigned as attributes are found by ``parameters()``,
    ``state_dict()``, ``to()`` and their like. Subclasses call ``super().__init__()`` first and define ``forward``.
    """

    training: bool = True

    def __init__(self):
        self._parameters: dict[str, Parameter | None] = {}
        self._buffers: dict[str, Tensor | None] = {}
        self._modules: dict[str, Module | None] = {}
        self._non_persistent: set[str] = set()
        self._forward_hooks: dict[int, Callable] = {}
        self._forward_pre_hooks: dict[int, Callable] = {}

    def forward(self, *args, **kwargs):
        """What the module computes. Call the module itself, which also runs its hooks."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args, **kwargs):
        try:
            for hook in list(self._forward_pre_hooks.values()):
                replaced = hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
            output = self.forward(*args, **kwargs)
            for hook in list(self._forward_hooks.values()):
                replaced = hook(self, args, output)
                output = output if replaced is None else replaced
        except Exception as error:
            locate(error, self)
            raise
        return output

    def register_forward_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; what it returns, unless None, replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after forward; what it returns, unless None, replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    def __setattr__(self, name: str, value) -> None:
        if isinstance(value, Parameter):
            self._register("_parameters", name, value)
        elif isinstance(value, Module):
            self._register("_modules", name, value)
        elif (kind := self._kind(name)) is not None:
            wanted = {"_parameters": Parameter, "_buffers": Tensor, "_modules": Module}[kind]
            if value is not None and not isinstance(value, wanted):
                raise TypeError(
                    f"{type(self).__name__}.{name} holds a {wanted.__name__} and takes another one or None, "
                    f"got {type(value).__name__}"
                )
            self.__dict__[kind][name] = value
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str):
        kind = self._kind(name)
        if kind is not None:
            return self.__dict__[kind][name]
        hint = "" if "_modules" in self.__dict__ else ": super().__init__() has not been called"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        kind = self._kind(name)
        if kind is None:
            super().__delattr__(name)
        else:
            del self.__dict__[kind][name]
            self._non_persistent.discard(name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def _kind(self, name: str) -> str | None:
        """Which of the three dictionaries, if any, holds the name."""
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(kind, ()):
                return kind
        return None

    def _register(self, kind: str, name: str, value) -> None:
        if kind not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: {name!r} cannot name a parameter, buffer or submodule")
        if (before := self._kind(name)) not in (None, kind):
            del self.__dict__[before][name]
        self.__dict__.pop(name, None)
        self._non_persistent.discard(name)
        self.__dict__[kind][name] = value

    def _register_new(self, kind: str, name: str, value, wanted: type) -> None:
        if value is not None and not isinstance(value, wanted):
            raise TypeError(
                f"{type(self).__name__}: {name!r} must be a {wanted.__name__} or None, got {type(value).__name__}"
            )
        if kind in self.__dict__ and self._kind(name) != kind and hasattr(self, name):
            raise KeyError(f"{type(self).__name__} already has an attribute {name!r}")
        self._register(kind, name, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make ``param`` the parameter ``name``. None reserves the name and stays out of the state dict."""
        self._register_new("_parameters", name, param, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make ``tensor`` state that is not trained; only persistent buffers are part of the state dict."""
        self._register_new("_buffers", name, tensor, Tensor)
        if not persistent:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Make ``module`` the submodule ``name``."""
        self._register_new("_modules", name, module, Module)

    register_module = add_module

    def named_modules(self, memo=None, prefix: str = "", remove_duplicate: bool = True):
        """(path, module) of this module ("") and all below it, parents first; a shared one once, at its first path."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        return (child for _, child in self.named_children())

    def _named_tensors(self, kind, prefix, recurse, remove_duplicate):
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        seen = set()
        for path, module in modules:
            for name, value in module.__dict__[kind].items():
                if value is not None and value not in seen:
                    if remove_duplicate:
                        seen.add(value)
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """(path, parameter) of this module and, unless ``recurse`` is False, of all below it."""
        return self._named_tensors("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        """(path, buffer), as ``named_parameters``."""
        return self._named_tensors("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; "" is this one. Raises AttributeError, naming what there is instead."""
        module = self
        for name in target.split(".") if target else ():
            if module._modules.get(name) is None:
                there = ", ".join(module._modules) or "none"
                raise AttributeError(
                    f"get_submodule: {target!r} fails at {name!r}: submodules of {type(module).__name__} are {there}"
                )
            module = module._modules[name]
        return module

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Call ``fn`` on every module, children first. Returns the module itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Set ``training`` of this module and all below it. Returns the module itself."""
        if not isinstance(mode, bool):
            raise TypeError(f"train: mode must be a bool, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze (False) or unfreeze all parameters. Returns the module itself."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    @repeated
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or replace them by zeros."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad = None if set_to_none else Tensor(np.zeros_like(parameter.grad.data))

    def to(self, *args, device: str | None = None, dtype=None) -> Module:
        """Move parameters, gradients and buffers to a device and/or to a floating dtype, integers keeping theirs.

        ``to("cuda")``, ``to(np.float64)``, ``to("cpu", np.float32)``, ``to(tensor)``: the module itself changes and
        is returned; Parameter objects stay the same, so optimisers keep working.

        Raises:
            TypeError: the dtype is not floating.
            ValueError, RuntimeError: there is no such device.
        """
        for value in args:
            if isinstance(value, Tensor):
                device, dtype = value.device, value.dtype
            elif isinstance(value, str) and value not in np.sctypeDict:
                device = value
            elif value is not None:
                dtype = value
        device = None if device is None else place(device)
        if dtype is not None and np.dtype(dtype).kind != "f":
            raise TypeError(f"{type(self).__name__}.to: expected a floating dtype, got {np.dtype(dtype)}")
        for tensor in (*self.parameters(), *self.buffers()):
            for t in (tensor, tensor.grad):
                if t is not None:
                    _move(t, device, dtype)
        return self

    def float(self) -> Module:
        return self.to(np.float32)

    def double(self) -> Module:
        return self.to(np.float64)

    def cpu(self) -> Module:
        return self.to("cpu")

    def cuda(self) -> Module:
        return self.to("cuda")

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(remove_duplicate=False):
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None and name not in module._non_persistent:
                    yield (f"{path}.{name}" if path else name), value

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """All parameters and persistent buffers by path, detached (unless ``keep_vars``) but sharing memory."""
        return {prefix + key: value if keep_vars else value.detach() for key, value in self._named_state()}

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> IncompatibleKeys:
        """Copy tensors (or arrays) into the parameters and buffers of the same names.

        Args:
            state_dict: values by path, as ``state_dict()`` returns them; dtypes are converted.
            strict: refuse missing and unexpected keys. Other shapes are refused always.

        Returns:
            (missing_keys, unexpected_keys).

        Raises:
            ValueError: names all keys that are missing, unexpected or of another shape; nothing was loaded then.
            TypeError: it is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a mapping of names to tensors, got {type(state_dict).__name__}")
        own = dict(self._named_state())
        missing = [key for key in own if key not in state_dict]
        unexpected = [key for key in state_dict if key not in own]
        problems = [f"missing: {', '.join(missing)}"] if strict and missing else []
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        common = [key for key in own if key in state_dict]
        problems += filter(None, (_misfit(key, own[key], state_dict[key]) for key in common))
        if problems:
            raise ValueError(
                "\n    ".join([f"load_state_dict: nothing was loaded into {type(self).__name__}", *problems])
            )
        with no_grad():
            for key in common:
                value = state_dict[key]
                array = value.data if isinstance(value, Tensor) else value
                own[key].copy_(to_device(array, own[key].device))
        return IncompatibleKeys(missing, unexpected)

    def extra_repr(self) -> str:
        """The arguments shown in the module's repr."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}(", *filter(None, [extra]), *children]) + "\n)"


def _move(tensor: Tensor, device, dtype) -> None:
    """Give the tensor another array; graphs that saved the old one keep it."""
    array = tensor.data
    if dtype is not None and array.dtype.kind == "f":
        array = array.astype(dtype, copy=False)
    if device is not None:
        array = to_device(array, device)
    if array is not tensor.data:
        tensor.data, tensor.version = array, [0]


def _misfit(key, own, value) -> str | None:
    """Why the value cannot be copied into the tensor of that key."""
    array = value.data if isinstance(value, Tensor) else value
    if getattr(getattr(array, "dtype", None), "kind", "") not in tuple("fiub"):
        return f"{key}: expected a tensor or array of numbers, got {type(value).__name__}"
    return None if array.shape == own.shape else f"{key}: has shape {array.shape}, the module needs {own.shape}"
