"""The checks that layers and functions share. Each message says who complains, what was wanted and what was given."""

import math
import numbers
import operator

from kernels import geometry
from scratchnet.device import one_device
from scratchnet.tensor import Tensor


def tensors(owner: str, **values) -> None:
    """Every value must be a Tensor or None; raises TypeError."""
    for name, value in values.items():
        if value is not None and not isinstance(value, Tensor):
            present(owner, **{name: value})


def present(owner: str, **values) -> None:
    """Every value must be a Tensor; raises TypeError."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            hint = "; scratchnet.tensor() or from_numpy() makes one" if hasattr(value, "__array__") else ""
            raise TypeError(f"{owner}: expected {name} to be a Tensor, got {type(value).__name__}{hint}")


def floating(owner: str, **values) -> None:
    """Every value must be None or a Tensor, all of one floating dtype and on one device; raises TypeError."""
    given = [value for value in values.values() if value is not None]
    kinds = {(type(value.data), value.data.dtype) if isinstance(value, Tensor) else None for value in given}
    if len(kinds) == 1 and None not in kinds and given[0].dtype.kind == "f":
        return  # the usual case
    tensors(owner, **values)
    if len({type(value.data) for value in values.values() if value is not None}) > 1:
        one_device(owner, {name: value.device for name, value in values.items() if value is not None})
    dtypes = {name: value.dtype for name, value in values.items() if value is not None}
    if len(set(dtypes.values())) > 1 or any(d.kind != "f" for d in dtypes.values()):
        given = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        wanted = "a floating dtype" if len(dtypes) == 1 else "one floating dtype"
        raise TypeError(f"{owner}: expected {wanted}, got {given}; convert with .float() or .double()")


def shape(owner: str, value: Tensor, *wanted, name: str = "input") -> None:
    """The shape must fit ``wanted``: ints are sizes, strings stand for any size. Raises ValueError."""
    if not isinstance(value, Tensor):
        present(owner, **{name: value})
    if value.ndim == len(wanted) and all(
        w == n or isinstance(w, str) for w, n in zip(wanted, value.shape, strict=True)
    ):
        return
    sizes = ", ".join(map(str, wanted)) + "," * (len(wanted) == 1)
    hint = "; a single sample needs a batch axis: x.unsqueeze(0)" if value.ndim == len(wanted) - 1 == 3 else ""
    raise ValueError(f"{owner}: expected {name} ({sizes}), got shape {value.shape}{hint}")


def size(owner: str, minimum: int = 1, **values) -> None:
    """Every value must be an int of at least ``minimum``; raises TypeError or ValueError."""
    for name, value in values.items():
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{owner}: {name} must be an int, got {value!r}") from None
        if number < minimum:
            raise ValueError(f"{owner}: {name} must be at least {minimum}, got {value}")


def pair(owner: str, name: str, value, minimum: int = 1) -> tuple[int, int]:
    """An int or a pair as a pair of ints of at least ``minimum``; raises TypeError or ValueError."""
    return geometry.pair(f"{owner}: {name}", value, minimum)


def number(owner: str, minimum: float = -math.inf, **values) -> None:
    """Every value must be a finite number of at least ``minimum``; raises TypeError or ValueError."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
        if not (math.isfinite(value) and value >= minimum):
            least = f" of at least {minimum:g}" if math.isfinite(minimum) else ""
            raise ValueError(f"{owner}: {name} must be a finite number{least}, got {value}")


def probability(owner: str, **values) -> None:
    """Every value must lie between 0 and 1; raises ValueError."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{owner}: {name} must lie between 0 and 1, got {value}")
