"""Calling a compiled function on several threads: what `prange` does, in less than half of its compile time.

Numba turns the body of a prange loop into a function, wraps it twice, and optimises it anew each time: the loop over
Winograd's squares took 14 s to compile, and with `fork` it takes 6. `fork` calls Numba's pool of threads itself.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_index, _byte, _flag = ir.IntType(64), ir.IntType(8).as_pointer(), ir.IntType(1)
_loop = ir.FunctionType(ir.VoidType(), [_byte.as_pointer(), _index.as_pointer(), _index.as_pointer(), _byte])


@intrinsic
def fork(typing_context, function, arguments, tasks):
    """function(*arguments, tasks, task) for every task < tasks, each on one thread; returns when all are done.

    The pool takes a loop over elements of arrays, in the form of NumPy's generalised ufuncs: it hands on pointers to
    the first element, moved by whole steps. Our one array begins at address 0 and its step is 1, so that the pointer
    is the number of the task. An exception in a task becomes a RuntimeError here.
    """
    called = function.get_call_type(typing_context, (*arguments.types, types.intp, types.intp), {})
    signature = types.void(function, arguments, types.intp)

    def codegen(context, builder, signature, values):
        _, packed, tasks = values
        task = function.dispatcher.get_compile_result(called)
        context.active_code_library.add_linking_library(task.library)
        failed = cgutils.alloca_once_value(builder, _flag(0))
        data = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [packed, tasks, failed]))
        loop = _emit_loop(context, builder.module, task.fndesc, called, data.type)

        run = ir.FunctionType(ir.VoidType(), [_byte] * 5 + [_index] * 3)
        run = cgutils.get_or_insert_function(builder.module, run, "numba_parallel_for")
        base, size, step = (cgutils.alloca_once_value(builder, v) for v in (_byte(None), tasks, _index(1)))
        pointers = [builder.bitcast(p, _byte) for p in (loop, base, size, step, data)]
        builder.call(run, [*pointers, _index(0), _index(1), _threads(builder)])
        with builder.if_then(builder.load(failed), likely=False):
            context.call_conv.return_user_exc(builder, RuntimeError, (f"{task.fndesc.unique_name} failed",))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def threads(typing_context):
    """How many threads there are for tasks."""
    return types.intp(), lambda context, builder, signature, args: _threads(builder)


def _threads(builder):
    return builder.call(
        cgutils.get_or_insert_function(builder.module, ir.FunctionType(_index, []), "get_num_threads"), []
    )


def _emit_loop(context, module, descriptor, called, data_type):
    """The function that the pool runs on each thread: for task in first .. first + count: call it."""
    function = ir.Function(module, _loop, module.get_unique_name("fork_loop"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    base, size, _, data = function.args
    first = builder.ptrtoint(builder.load(base), _index)
    packed, tasks, failed = cgutils.unpack_tuple(builder, builder.load(builder.bitcast(data, data_type)), 3)
    arguments = cgutils.unpack_tuple(builder, packed, len(called.args) - 2)
    callee = context.declare_function(module, descriptor)
    with cgutils.for_range(builder, builder.load(size), intp=_index) as loop:
        values = [*arguments, tasks, builder.add(first, loop.index)]
        status, _ = context.call_conv.call_function(builder, callee, called.return_type, called.args, values)
        with builder.if_then(status.is_error, likely=False):
            builder.store(_flag(1), failed)
    builder.ret_void()
    return function
