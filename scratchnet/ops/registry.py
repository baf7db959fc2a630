"""An op is declared once, here; gradients, checks of input, gradient tests and tables all follow from the record.

    @op(
        vjp={"a": lambda g, b: g * b, "b": lambda g, a: g * a},
        broadcasts=True,
        reference=elementwise(lambda a, b: a * b),
        samples=lambda r: [S(r.normal(3, 4), r.normal(4))],
    )
    def mul(a, b, /):
        return np.multiply(a, b)

Arguments before the ``/`` are tensors, those after it are plain values. A vector-Jacobian product takes the
cotangent ``g`` and then, by name, what it needs: an input, ``<input>_shape``, ``out``, an auxiliary result, a
plain argument, ``shapes`` (of all inputs) or ``needs`` (which inputs want a gradient). Nothing else is kept for the
backward pass, but for a ``composite``, which takes all inputs. Vector-Jacobian products are written in ops themselves,
so they can be differentiated again.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet import autograd, recording
from scratchnet.device import device_of, on_host, one_device, to_device
from scratchnet.errors import in_words, lacks_words
from scratchnet.ops.silence import silence, speak
from scratchnet.tensor import Node, Saved, Tensor, get_default_dtype

OPS: dict[str, "Op"] = {}


@dataclass(frozen=True, init=False)
class S:
    """A sample call: arrays for the tensor arguments, keywords for the plain ones."""

    arrays: tuple
    params: dict[str, Any]

    def __init__(self, *arrays, **params):
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "params", params)


@dataclass(frozen=True)
class Bad:
    """A wrong call: the sample, the exception it must raise, and a pattern its message must match."""

    error: type[Exception]
    match: str
    sample: S


@dataclass(frozen=True)
class Kink:
    """A point where an op is not smooth, and the gradients it declares there for a cotangent of ones.

    ``torch`` says what PyTorch gives there. ``order`` is 2 where the gradient is continuous and its derivative is not.
    """

    where: str
    sample: S
    gradients: tuple
    torch: str = "the same"
    order: int = 1


class Draw:
    """Random sample arrays, float64, from ranges that keep an op away from its kinks and poles."""

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    def normal(self, *shape):
        return self.generator.standard_normal(shape)

    def uniform(self, low, high, *shape):
        return self.generator.uniform(low, high, shape)

    def positive(self, *shape):
        return self.generator.uniform(0.5, 2.0, shape)

    def away(self, *shape, points=(0.0,), gap=0.1):
        """Normal values that keep a distance of ``gap`` from every point."""
        x = self.generator.standard_normal(shape)
        for point in points:
            near = np.abs(x - point) < gap
            x = np.where(near, point + np.where(x < point, -gap, gap) * (1 + np.abs(x - point)), x)
        return x

    def distinct(self, *shape):
        """Values at least 0.1 apart from each other: no ties for max, sort and their like."""
        size = int(np.prod(shape))
        return (self.generator.permutation(size).reshape(shape) - size / 2) * 0.2 + 0.03

    def integers(self, low, high, *shape):
        return self.generator.integers(low, high, shape)

    def mask(self, *shape):
        return self.generator.random(shape) < 0.5


def elementwise(function: Callable) -> Callable:
    """Lift a function of Python numbers to arrays, one element at a time: an independent reference."""

    def reference(*arrays, **params):
        arrays = np.broadcast_arrays(*arrays)
        values = [function(*(a[i].item() for a in arrays), **params) for i in np.ndindex(arrays[0].shape)]
        return np.array(values).reshape(arrays[0].shape)

    return reference


class Op:
    """A differentiable function of tensors and its whole record. Calling it applies and records it.

    Args:
        forward: the function; of arrays for a primitive op, of tensors for a derived one (``vjp="derived"``).
        vjp: a dict of one vector-Jacobian product an input; one function that returns them all as a tuple;
            None where the result is not differentiable; or ``"derived"`` for a function made of other ops.
        broadcasts: inputs broadcast against each other (gradients are summed back in ``backward``).
        aux: names of further results of ``forward``, kept for the vjp and not returned.
        composite: the same function in primitive ops. Where the backward pass is itself recorded, it is what is
            differentiated, so that a fused vjp need not be.
        view: the result may share memory with the first input.
        samples, reference, errors, kinks, degree: for the tests. ``degree`` 1 marks a function that is
            (affine) linear in each tensor argument, so that difference quotients are exact at step 1.
    """

    def __init__(self, forward, *, vjp, broadcasts, aux, composite, view, samples, reference, errors, kinks, degree):
        self.forward = forward
        self.name = forward.__name__.strip("_")
        self.__doc__ = forward.__doc__
        self.__name__ = self.__qualname__ = self.name
        self.__module__ = forward.__module__
        self.broadcasts, self.aux, self.composite, self.view = broadcasts, aux, composite, view
        self.samples, self.reference, self.errors, self.kinks = samples, reference, errors, kinks
        self.degree = degree
        parameters = inspect.signature(forward).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL))
        self.plain = {p.name: p.default for p in parameters if p.name not in self.inputs}
        self.required = [name for name, default in self.plain.items() if default is inspect.Parameter.empty]
        self._shapes = tuple(f"{x}_shape" for x in self.inputs)
        self.derived = vjp == "derived"
        self.vjp = None if self.derived else vjp
        self.wants = _wants(self)
        self._kept = {}  # by needs: see _to_keep

    @property
    def differentiable(self) -> bool:
        return self.derived or self.vjp is not None

    def __repr__(self):
        return f"<op {self.name}>"

    def __call__(self, *args, **params):
        try:
            tensors, values = self._bind(args, params)
            if self.derived:
                tensors = (Tensor(t) if isinstance(t, np.ndarray) else t for t in self._on_one_device(tensors))
                return self.forward(*tensors, **values)
            return self._apply(tensors, values)[0]
        except Exception as error:
            if not lacks_words(error):
                raise
            raise in_words(error, self.name, self.forward, args, params) from error

    def with_aux(self, *args, **params) -> tuple[Tensor, tuple]:
        """The result and the auxiliary arrays, for callers that have a use for those."""
        return self._apply(*self._bind(args, params))

    def _apply(self, values, params) -> tuple[Tensor, tuple]:
        tensors = self._coerce(values)
        arrays = [t.data for t in tensors]
        warnings = silence()
        try:
            result = self.forward(*arrays, **params)
        except ValueError:
            if self.broadcasts:
                self._refuse_shapes(arrays)
            raise
        finally:
            speak(warnings)
        data, aux = (result[0], result[1:]) if self.aux else (result, ())
        if isinstance(data, np.generic):
            data = np.asarray(data)
        shares = self.view and np.may_share_memory(data, arrays[0])
        out = Tensor(data, version=tensors[0].version if shares else None)
        if autograd.is_anomaly_enabled():
            _refuse_new_nan(self.name, out, tensors)
        if self.vjp is not None and any(t.node for t in tensors) and autograd.is_grad_enabled():
            out.node = self._record(tensors, out, aux, params)
        if recording.here.tape is not None or recording.here.watchers:
            recording.report(self, tensors, params, (out, *aux))
        return out, aux

    def _refuse_shapes(self, arrays) -> None:
        try:
            np.broadcast_shapes(*(a.shape for a in arrays))
        except ValueError:
            given = " and ".join(f"{name} {a.shape}" for name, a in zip(self.inputs, arrays, strict=True))
            raise ValueError(f"{self.name}: shapes do not broadcast: {given}") from None

    def _bind(self, args, params):
        """Split the arguments into tensors and a full set of plain values."""
        count = 1 if self.variadic else len(self.inputs)
        given = args[count:]
        if len(args) < count or len(given) > len(self.plain):
            raise TypeError(f"{self.name}: expected {self.signature()}, got {len(args)} positional arguments")
        tensors = tuple(args[0]) if self.variadic else args[:count]
        if not (given or params or self.required):
            return tensors, self.plain
        values = {**self.plain, **dict(zip(self.plain, given, strict=False)), **params}
        if len(values) != len(self.plain):
            unknown = sorted(set(values) - set(self.plain))
            raise TypeError(f"{self.name}: unknown arguments {unknown}; expected {self.signature()}")
        missing = [name for name in self.required if values[name] is inspect.Parameter.empty]
        if missing:
            raise TypeError(f"{self.name}: missing arguments {missing}; expected {self.signature()}")
        return tensors, values

    def signature(self) -> str:
        return f"{self.name}{inspect.signature(self.forward)}"

    def _coerce(self, values) -> list[Tensor]:
        """Make tensors of Python numbers and arrays, and bring integers to the one floating dtype there is.

        Numbers, also NumPy's, take the tensors' dtype, so float32 stays float32. float32 and float64 together are
        refused: whichever were chosen, somebody's precision would change unseen. So are devices: an array on the CPU
        goes nowhere by itself, unless it has no dimensions and no gradient, which makes it a number.
        """
        kinds = {(type(v.data), v.data.dtype) if isinstance(v, Tensor) else None for v in values}
        if len(kinds) == 1 and None not in kinds:
            return values  # the usual case: tensors of one kind
        values = [v.item() if isinstance(v, np.generic) else v for v in values]
        floats = {v.dtype for v in values if hasattr(v, "dtype") and v.dtype.kind == "f"}
        if len(floats) > 1:
            given = ", ".join(
                f"{name} is {v.dtype}"
                for name, v in zip(self._names(values), values, strict=True)
                if hasattr(v, "dtype")
            )
            raise TypeError(f"{self.name}: mixed floating dtypes ({given}); convert one with .float() or .double()")
        floating = floats.pop() if floats else None
        if floating is None and any(isinstance(v, float) for v in values):
            floating = get_default_dtype()
        warnings = silence()  # 1e39 is inf in float32
        try:
            return [self._tensor(v, floating, values) for v in self._on_one_device(values)]
        finally:
            speak(warnings)

    def _on_one_device(self, values) -> list:
        if len({type(v.data if isinstance(v, Tensor) else v) for v in values if hasattr(v, "dtype")}) < 2:
            return values
        places = {
            name: device_of(v.data if isinstance(v, Tensor) else v)
            for name, v in zip(self._names(values), values, strict=True)
            if hasattr(v, "dtype") and not _is_number(v)
        }
        one_device(self.name, places)
        (place,) = set(places.values())
        return [Tensor(to_device(v.data, place)) if _is_number(v) else v for v in values]

    def _tensor(self, value, floating, values) -> Tensor:
        if isinstance(value, (bool, int, float)):
            like = next((v.data for v in values if isinstance(v, Tensor)), None)
            integral = like.dtype if like is not None and like.dtype.kind in "iu" else None
            dtype = np.bool_ if isinstance(value, bool) else floating or integral
            value = Tensor(recording.constant(np.asarray(value, dtype=dtype, like=like)))
        elif not isinstance(value, Tensor):
            if not hasattr(value, "dtype"):
                raise TypeError(f"{self.name}: expected tensors, arrays or numbers, got {type(value).__name__}")
            if value.dtype.kind not in "fiub":
                raise TypeError(f"{self.name}: expected numbers, got {value.dtype} data")
            value = Tensor(value)
        if self.broadcasts and floating is not None and value.dtype.kind in "iu":
            value = Tensor(recording.call(_converted, [value], dtype=floating))
        return value

    def _names(self, values) -> tuple[str, ...]:
        return tuple(f"{self.inputs[0]}[{i}]" for i in range(len(values))) if self.variadic else self.inputs

    def _record(self, tensors, out, aux, params) -> Node:
        """A node that keeps what the vector-Jacobian products of the inputs that need one ask for."""
        parents = tuple([t.node for t in tensors])
        node = Node(self, parents, tuple([t.data.shape for t in tensors]), params=params)
        needs = tuple([p is not None for p in parents])
        kept = self._kept.get(needs)
        if kept is None:
            kept = self._to_keep(needs)
            if not self.variadic:  # there is no end of lists
                self._kept[needs] = kept
        if not kept:
            return node
        values, exact = (out, *tensors, *aux), autograd.is_anomaly_enabled()
        for name, place in kept:
            value = values[place]
            tensor = value if isinstance(value, Tensor) else Tensor(value)
            # the node of "out" is this one: no cycle
            node.saved[name] = Saved(tensor, None if tensor is out else tensor.node, exact)
        return node

    def _to_keep(self, needs) -> list[tuple[str, int]]:
        """What the products of the inputs that need one ask for, and its place among (out, *inputs, *aux).

        In this order: messages do not depend on a set's.
        """
        wanted, names = self._wanted(needs), self._names(needs)
        if self.variadic and self.inputs[0] in wanted:
            wanted = wanted | set(names)
        return [(name, place) for place, name in enumerate(("out", *names, *self.aux)) if name in wanted]

    def _wanted(self, needs) -> set[str]:
        if self.composite is not None:
            return self.wants[None] | set(self.inputs)
        if not isinstance(self.vjp, dict):
            return self.wants[None]
        return set().union(*[self.wants[x] for x, need in zip(self.inputs, needs, strict=True) if need])

    def backward(self, node: Node, g: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
        """The gradients of the inputs that need one, for the cotangent ``g`` of the result."""
        outer, recording.here.backward_of = recording.here.backward_of, self.name
        warnings = silence()
        try:
            return self._gradients(node, g, needs)
        finally:
            speak(warnings)
            recording.here.backward_of = outer

    def _gradients(self, node: Node, g: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
        create_graph = autograd.is_grad_enabled()
        known = {name: self._restore(node, name, saved, create_graph) for name, saved in node.saved.items()}
        if self.variadic:
            known[self.inputs[0]] = [known[name] for name in self._names(needs) if name in known]
        try:
            if create_graph and self.composite is not None:
                pieces = self._through_composite(node, g, needs, known)
            else:
                pieces = self._products(g, needs, known | self._facts(node, needs))
        except FloatingPointError as error:  # from detect_anomaly, inside the vjp's own ops
            raise FloatingPointError(f"{self.name}: NaN in its gradient ({error})") from None
        return [
            self._fit(piece, shape, name) if need and piece is not None else None
            for piece, shape, name, need in zip(pieces, node.shapes, self._names(needs), needs, strict=True)
        ]

    def _products(self, g, needs, known) -> list[Tensor | None]:
        """Call the vector-Jacobian products with what each asks for."""
        if not isinstance(self.vjp, dict):
            return self.vjp(g, **{name: known[name] for name in self.wants[None]})
        return [
            self.vjp[x](g, **{name: known[name] for name in self.wants[x]}) if need and x in self.vjp else None
            for x, need in zip(self.inputs, needs, strict=True)
        ]

    def _facts(self, node, needs) -> dict[str, Any]:
        shapes = {} if self.variadic else dict(zip(self._shapes, node.shapes, strict=True))
        return {**node.params, **shapes, "shapes": node.shapes, "needs": needs}

    def _restore(self, node, name, saved: Saved, create_graph: bool) -> Tensor:
        if not saved.unchanged():
            raise RuntimeError(
                f"{self.name}: its saved {name!r} (shape {saved.array.shape}) was modified in place after the op ran; "
                "write into a copy, or run backward() first"
            )
        source = (node if name == "out" else saved.node) if create_graph else None
        return Tensor(saved.array, node=source, version=saved.version)

    def _through_composite(self, node, g, needs, known) -> list[Tensor | None]:
        """Differentiate the composite. Aliases cut the inputs' own history off from this op's piece."""
        inputs = [OPS["alias"](known[x]) for x in self.inputs]
        out = self.composite(*inputs, **node.params)
        asked = [x for x, need in zip(inputs, needs, strict=True) if need]
        pieces = iter(autograd.grad(out, asked, g, create_graph=True))
        return [next(pieces) if need else None for need in needs]

    def _fit(self, piece: Tensor, shape, name) -> Tensor:
        """Sum over what was broadcast, for ops that declare it; the one place where this happens."""
        if piece.shape != shape:
            if not self.broadcasts:
                raise AssertionError(f"{self.name}: gradient of {name} has shape {piece.shape}, {name} has {shape}")
            piece = OPS["sum_to"](piece, shape)
        if autograd.is_anomaly_enabled() and np.isnan(piece.data).any():
            raise FloatingPointError(f"{self.name}: NaN in its gradient with respect to {name}")
        return piece


def op(
    *,
    vjp,
    samples,
    reference,
    broadcasts=False,
    aux=(),
    composite=None,
    view=False,
    errors=lambda r: [],
    kinks=(),
    degree=None,
):
    """Declare the decorated function an op; see ``Op`` for the arguments.

    Raises:
        ValueError: the name is taken, or a vector-Jacobian product asks for something that does not exist.
    """

    def declare(forward) -> Op:
        declared = Op(
            forward,
            vjp=vjp,
            broadcasts=broadcasts,
            aux=aux,
            composite=composite,
            view=view,
            samples=samples,
            reference=reference,
            errors=errors,
            kinks=kinks,
            degree=degree,
        )
        if declared.name in OPS:
            raise ValueError(f"op {declared.name!r} is declared twice")
        OPS[declared.name] = declared
        return declared

    return declare


def _converted(array, dtype):
    return array.astype(dtype)


def _is_number(value) -> bool:
    """A tensor on the CPU with no dimensions, outside any graph."""
    return isinstance(value, Tensor) and value.ndim == 0 and on_host(value.data) and value.node is None


def _wants(declared: Op) -> dict[str | None, set[str]]:
    """What each vector-Jacobian product asks for by name; under None, what a joint one does."""
    if declared.vjp is None:
        return {}
    functions = declared.vjp if isinstance(declared.vjp, dict) else {None: declared.vjp}
    offered = {*declared.inputs, *declared.aux, *declared.plain, "out", "shapes", "needs"}
    offered |= {f"{x}_shape" for x in declared.inputs}
    wants = {}
    for x, function in functions.items():
        wants[x] = set(list(inspect.signature(function).parameters)[1:])
        if x is not None and x not in declared.inputs:
            raise ValueError(f"op {declared.name!r}: vjp for {x!r}, which is no input")
        if wants[x] - offered:
            raise ValueError(f"op {declared.name!r}: its vjp asks for {sorted(wants[x] - offered)}")
    if None in wants:
        return wants
    return {x: set() for x in declared.inputs} | wants


def _refuse_new_nan(name: str, out: Tensor, tensors) -> None:
    def has_nan(t):
        return t.dtype.kind == "f" and bool(np.isnan(t.data).any())

    if has_nan(out) and not any(map(has_nan, tensors)):
        raise FloatingPointError(f"{name}: made a NaN from inputs of shapes {[t.shape for t in tensors]}")
