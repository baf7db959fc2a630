"""Formulas for one element, applied to all: one pass over memory, on all threads, vectorised by LLVM."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import entry, inlined, portion, serial
from .fork import fork, threads
from .vector import use_whole_registers

_RUN = 64  # elements: tasks begin at whole vectors, as the arrays do


def pointwise(formula):
    """Decorator: the entry point f(*inputs, *scalars, output) that does output[i] = formula(*inputs[i], *scalars).

    Arrays are 1-D, contiguous, and of one size; the output may be one of the inputs. Scalars come in the arrays' dtype.

    Raises:
        ValueError: there is a formula of this name already, here or in another module.
    """
    name = formula.__qualname__
    formula = _named(f"{name}.formula", formula, inlined)

    def task(arguments, tasks, number):
        use_whole_registers()
        output = arguments[-1]
        begin, end = portion((output.size + _RUN - 1) // _RUN, tasks, number)
        for i in range(begin * _RUN, min(end * _RUN, output.size)):
            _put(output, i, formula(*_elements(arguments[:-1], i)))

    task = _named(f"{name}.task", task, serial)

    def run(*arguments):
        fork(task, (arguments,), threads())

    return _named(name, run, entry)


def _named(name, function, compile_):
    function.__qualname__ = name
    return compile_(function)


@intrinsic
def _elements(typing_context, arguments, i):
    """Element i of each array, and each number as it is."""

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[0])
        found = [_element(context, builder, *pair, args[1]) for pair in zip(arguments, values, strict=True)]
        return context.make_tuple(builder, signature.return_type, found)

    kinds = [kind.dtype if isinstance(kind, types.Array) else kind for kind in arguments]
    return types.Tuple(kinds)(arguments, types.intp), codegen


def _element(context, builder, kind, value, i):
    if not isinstance(kind, types.Array):
        return value
    loaded = builder.load(_place(context, builder, kind, value, i))
    loaded.set_metadata("alias.scope", _inputs(builder.module))
    return loaded


def _place(context, builder, kind, array, i):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [i])


def _inputs(module):
    """The mark of what is read: nothing that is written lies there, as far as LLVM shall care.

    An output that is an input does. But each element is read before it is written, and by nobody else, in one loop: so
    their order may change. Without the mark LLVM takes one element after the other there, 3 to 12 times as long.
    """
    domain = module.add_metadata(["pointwise"])
    return module.add_metadata([module.add_metadata(["inputs", domain])])


@intrinsic
def _put(typing_context, output, i, value):
    """output[i] = value, for an i that is known to lie inside."""

    def codegen(context, builder, signature, args):
        array, i, value = args
        value = context.cast(builder, value, signature.args[2], output.dtype)
        stored = builder.store(value, _place(context, builder, output, array, i))
        stored.set_metadata("noalias", _inputs(builder.module))
        return context.get_dummy_value()

    return types.void(output, types.intp, value), codegen
