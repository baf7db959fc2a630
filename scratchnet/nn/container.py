"""Modules made of modules: Sequential, ModuleList, ModuleDict."""

import operator
from collections import deque
from collections.abc import Iterable, Mapping

from scratchnet.autograd import is_anomaly_enabled
from scratchnet.nn.activation import LeakyReLU, ReLU
from scratchnet.nn.conv import Conv2d
from scratchnet.nn.module import Module
from scratchnet.nn.pooling import MaxPool2d
from scratchnet.observe import is_watched


class _Numbered(Module):
    """What a Sequential and a ModuleList share: submodules with an order."""

    def __init__(self, modules: Iterable[Module]):
        super().__init__()
        self.extend(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def _key(self, index: int) -> str:
        count = len(self)
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(f"{type(self).__name__}: an index must be an int or a slice, got {index!r}") from None
        if not -count <= place < count:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {count} modules")
        return list(self._modules)[place]

    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            part = type(self)()
            for key, module in list(self._modules.items())[index]:
                part.add_module(key, module)
            return part
        return self._modules[self._key(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._key(index), _checked(self, module))

    def __delitem__(self, index: int | slice) -> None:
        keys = list(self._modules)
        for key in keys[index] if isinstance(index, slice) else [self._key(index)]:
            del self._modules[key]
        if all(key.isdigit() for key in keys):
            self._renumber(list(self))

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        self._modules.update((str(i), module) for i, module in enumerate(modules))

    def append(self, module: Module):
        """Add a module at the end. Returns the container itself."""
        self.add_module(str(len(self)), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]):
        """Add modules at the end. Returns the container itself."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module):
        """Put a module before place ``index``; numbers behind it grow by one. Returns the container itself."""
        modules = list(self)
        modules.insert(index, _checked(self, module))
        self._renumber(modules)
        return self


def _checked(container, module) -> Module:
    if not isinstance(module, Module):
        given = f"the class {module.__name__} (call it)" if isinstance(module, type) else type(module).__name__
        raise TypeError(f"{type(container).__name__}: expected Modules, got {given}")
    return module


class Sequential(_Numbered):
    """Modules called one after the other: ``Sequential(a, b)`` or ``Sequential(OrderedDict(first=a, second=b))``.

    A MaxPool2d runs before the ReLU that stands before it, which then has a quarter of the work (the largest of
    what is left of negative numbers is what is left of the largest). It does a ReLU right behind it in its own pass
    over the output, and so does a Conv2d, also a LeakyReLU: with the same bits, unless somebody watches one of them.
    """

    def __init__(self, *args):
        named = len(args) == 1 and isinstance(args[0], Mapping)
        super().__init__(() if named else args)
        if named:
            for name, module in args[0].items():
                self.add_module(name, _checked(self, module))

    def forward(self, input):
        modules = deque(_pooled_first(list(self)))
        while modules:
            module = modules.popleft()
            joined = _joined(module, modules[0]) if modules else {}
            if joined:
                modules.popleft()
            input = module(input, **joined)
        return input


def _pooled_first(modules: list[Module]) -> list[Module]:
    for i in range(len(modules) - 1):
        first, second = modules[i : i + 2]
        if type(first) is ReLU and type(second) is MaxPool2d and not second.return_indices and _unseen(first, second):
            modules[i : i + 2] = second, first
    return modules


def _unseen(*modules: Module) -> bool:
    """Whether nobody could tell if the modules did their work in another way."""
    if is_watched() or is_anomaly_enabled():
        return False
    return not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in modules)


def _joined(module, behind) -> dict:
    """The options with which a module does the activation behind it too; none where it cannot, or it would show."""
    if type(module) not in (Conv2d, MaxPool2d) or type(behind) not in (ReLU, LeakyReLU) or not _unseen(module, behind):
        return {}
    if type(module) is MaxPool2d:
        return {"relu": True} if type(behind) is ReLU and not module.return_indices else {}
    if type(behind) is ReLU:
        return {"negative_slope": 0.0}
    slope = behind.negative_slope
    return {"negative_slope": slope} if slope > 0 else {}  # for 0, LeakyReLU gives -0 where ReLU gives 0


class ModuleList(_Numbered):
    """A list of modules; what they compute together is up to the module that holds it."""

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__(modules)


class ModuleDict(Module):
    """A dictionary of modules by name."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()):
        super().__init__()
        self.update(modules)

    def __getitem__(self, key: str) -> Module:
        if key not in self._modules:
            raise KeyError(f"ModuleDict has no module {key!r}, only {', '.join(self._modules) or 'none'}")
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, _checked(self, module))

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, key) -> bool:
        return key in self._modules

    def keys(self):
        return self._modules.keys()

    def values(self):
        return self._modules.values()

    def items(self):
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for key, module in dict(modules).items():
            self[key] = module

    def pop(self, key: str) -> Module:
        """Remove a module and return it."""
        module = self[key]
        del self._modules[key]
        return module
