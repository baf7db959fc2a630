"""Words for what NumPy and Python raise inside a public function: who complains, what it was given, what it takes.

Checks answer the usual mistakes before they are made. This is for all others: ``operands could not be broadcast
together`` tells nobody which function was given what.
"""

import functools
import inspect
import re
from collections.abc import Callable
from types import FunctionType

_FOREIGN = (ValueError, TypeError, LookupError, AttributeError, OverflowError, ZeroDivisionError)
_SAYS_WHO = re.compile(r"[A-Za-z_][\w.]*(\[\w+\])?(\(.*\))?: ", re.DOTALL)


def lacks_words(error: Exception) -> bool:
    """Whether an error of Python, NumPy or Numba does not begin with who complains: "conv2d: ..."."""
    foreign = isinstance(error, _FOREIGN) or type(error).__module__.startswith("numba.")
    return foreign and _SAYS_WHO.match(str(error)) is None


def in_words(error: Exception, name: str, function: Callable, args: tuple, keywords: dict) -> Exception:
    """The error to raise in place of one that does not say who complains: IndexError, ValueError or TypeError."""
    kind = next((k for k in (IndexError, ValueError, TypeError) if isinstance(error, k)), None)
    if kind is None:
        kind = ValueError if isinstance(error, ArithmeticError) else TypeError
    signature = inspect.signature(function)
    given = [*zip(signature.parameters, args, strict=False), *keywords.items()]
    shown = ", ".join(f"{key}: {_shown(value)}" for key, value in given)
    what = (str(error).splitlines() or [type(error).__name__])[0]
    return kind(f"{name}: {what} (given {shown or 'nothing'}; expected {name}{signature})")


def explained(function: Callable) -> Callable:
    """The function, with every error that does not say who complains put in words."""

    @functools.wraps(function)
    def call(*args, **keywords):
        try:
            return function(*args, **keywords)
        except Exception as error:
            if not lacks_words(error):
                raise
            if function.__name__ == "__init__":
                made = functools.partial(function, args[0])
                raise in_words(error, type(args[0]).__name__, made, args[1:], keywords) from error
            raise in_words(error, function.__name__, function, args, keywords) from error

    return call


def explain(namespace: dict, but: tuple[str, ...] = ()) -> None:
    """Let the public functions of a module, and its classes where one is made, put their errors in words.

    Not for those that call functions of the user's, whose errors are the user's: name them in ``but``.
    """
    for name, value in list(namespace.items()):
        ours = getattr(value, "__module__", "").startswith(namespace["__name__"])
        if name.startswith("_") or name in but or not ours:
            continue
        if isinstance(value, FunctionType):
            namespace[name] = explained(value)
        elif isinstance(value, type):
            for kind in value.__mro__:
                ours = kind.__module__.startswith(namespace["__name__"])
                if ours and "__init__" in vars(kind) and not hasattr(kind.__init__, "__wrapped__"):
                    kind.__init__ = explained(kind.__init__)


def _shown(value) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"{shape} {dtype}"
    if isinstance(value, (tuple, list)) and any(hasattr(item, "shape") for item in value):
        return f"[{', '.join(map(_shown, value))}]"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
