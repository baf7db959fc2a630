"""Where in a model was it? Errors on their way out of a model learn which layer raised them."""


def locate(error: Exception, module) -> None:
    """Add what ``module`` knows to an error that passes through its call; the innermost module comes first.

    A layer of this library puts itself before the message ("Linear(in_features=4, ...): expected ..."). Every
    enclosing module replaces the error's note by one with a longer path ("raised in Net.features.3 (Conv2d)").
    """
    origin = getattr(error, "raised_in", None)
    if origin is None:
        origin = error.raised_in = module
        _name_layer(error, module)
        return
    path = next((name for name, m in module.named_modules() if m is origin), None)
    if path is None:  # the origin is no part of this module's tree
        return
    notes = getattr(error, "__notes__", [])
    if notes and notes[-1] == getattr(error, "place", None):
        notes.pop()
    error.place = f"raised in {type(module).__name__}.{path} ({type(origin).__name__})"
    error.add_note(error.place)


def _name_layer(error, module) -> None:
    """Begin the message with the layer's repr, in place of the name of its op where that says the same."""
    ours = type(module).__module__.startswith(__package__ + ".")
    if not ours or not isinstance(error, (ValueError, TypeError, IndexError)) or len(error.args) != 1:
        return
    message = str(error.args[0])
    op, _, rest = message.partition(": ")
    op, layer = op.replace("_", ""), type(module).__name__.lower()
    if rest and (op in layer or layer in op):  # "conv2d_bias" is a Conv2d's
        message = rest
    error.args = (f"{module!r}: {message}",)
