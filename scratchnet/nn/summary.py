"""summary: what a model's layers output, hold and cost."""

import math
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from scratchnet.autograd import no_grad
from scratchnet.nn.conv import Conv2d, ConvTranspose2d
from scratchnet.nn.linear import Linear
from scratchnet.nn.module import Module
from scratchnet.tensor import Tensor, get_default_dtype


@dataclass
class Row:
    """One layer: its path and class, the shape of its (last) output, parameters of its own, multiply-adds."""

    path: str
    kind: str
    output_shape: tuple | None
    parameters: int
    multiply_adds: int


@dataclass
class Summary:
    """The rows of a model in order of registration, and totals; ``str()`` is a table.

    ``parameters``, ``trainable`` and ``buffers`` count elements, shared ones once; ``size_mb`` is what they occupy,
    in 10^6 bytes. ``multiply_adds`` are those of convolutions and linear layers, for the whole batch.
    """

    rows: list[Row]
    parameters: int
    trainable: int
    buffers: int
    size_mb: float
    multiply_adds: int

    def __str__(self) -> str:
        head = ("Layer", "Class", "Output shape", "Parameters", "Multiply-adds")
        lines = [
            (row.path, row.kind, _shape_text(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}")
            for row in self.rows
        ]
        total = ("Total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}")
        widths = [max(map(len, column)) for column in zip(head, *lines, total, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        table = [_line(head, widths), rule, *(_line(line, widths) for line in lines), rule, _line(total, widths)]
        facts = f"Trainable: {self.trainable:,}   Buffers: {self.buffers:,}   Size: {self.size_mb:.2f} MB"
        return "\n".join([*table, facts])


def summary(model: Module, *inputs) -> Summary:
    """Run ``model`` once, in evaluation mode and without gradients; the model is left as it was.

    Args:
        inputs: the model's arguments as tensors; or, where one is a tuple of ints, a shape with its batch axis, for
            which zeros of the parameters' dtype and device are made: ``summary(model, (1, 1, 28, 28))``.

    Raises:
        TypeError: an input is neither.
    """
    rows: dict[Module, Row] = {}
    for path, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own or not any(module.children()):
            rows[module] = Row(path or "(model)", type(module).__name__, None, own, 0)

    def observe(module, args, output):
        rows[module].output_shape = _shapes(output)
        rows[module].multiply_adds += _multiply_adds(module, args, output)

    arguments = [_argument(value, model) for value in inputs]
    training = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        stack.callback(lambda: [setattr(module, "training", mode) for module, mode in training.items()])
        for module in rows:
            stack.enter_context(module.register_forward_hook(observe))
        stack.enter_context(no_grad())
        model.eval()
        model(*arguments)

    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        rows=list(rows.values()),
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        buffers=sum(b.numel() for b in buffers),
        size_mb=sum(t.data.nbytes for t in (*parameters, *buffers)) / 1e6,
        multiply_adds=sum(row.multiply_adds for row in rows.values()),
    )


def _argument(value, model) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, (tuple, list)) or not all(isinstance(n, (int, np.integer)) for n in value):
        raise TypeError(f"summary: expected tensors or shapes (tuples of ints), got {value!r}")
    first = next(model.parameters(), None)
    zeros = Tensor(np.zeros(tuple(value), get_default_dtype() if first is None else first.dtype))
    return zeros if first is None else zeros.to(first.device)


def _multiply_adds(module, args, output) -> int:
    """Products of weights and inputs, those with padding included."""
    if isinstance(module, Linear):
        return output.numel() * module.in_features
    if isinstance(module, (Conv2d, ConvTranspose2d)):
        places = args[0] if isinstance(module, ConvTranspose2d) else output
        return places.numel() * math.prod(module.weight.shape[1:])
    return 0


def _shapes(output) -> tuple | None:
    """The shape of a tensor, or those of several."""
    if isinstance(output, Tensor):
        return output.shape
    return tuple(map(_shapes, output)) if isinstance(output, (tuple, list)) else None


def _shape_text(shape) -> str:
    return "-" if shape is None else str(shape)


def _line(cells, widths) -> str:
    """Text to the left, numbers to the right."""
    texts = [cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=False)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return "  ".join([*texts, *numbers])
