"""Vector registers as values in compiled code: `load` one, compare, add, `choose`, `store`.

LLVM vectorises a long loop over a few arrays by itself, and such loops stay plain. It does not where each output
pixel needs a short loop over channels: what it must check before it may reorder loads and stores costs more there
than the loop. Loops over registers leave nothing to check.

    total = load(source, at) + load(source, at + step)     # elements at, at + 1, ... of a 1-D array
    store(output, at, total)

`load_one` gives vectors of a single lane, for what is left over. Code written for one serves both. A vector's lanes are
those of the vector it meets; *places* are integers that are int64 in memory and int32 in registers.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

from .emitter import VECTOR_BYTES, broadcast, lane


class Vector(types.Type):
    """`lanes` numbers (or truth values) of one type."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element} x {lanes})")

    @property
    def key(self):
        return self.element, self.lanes


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _llvm_type(vector))


def _llvm_type(vector):
    element = vector.element
    if element in (types.float32, types.float64):
        return ir.VectorType(ir.FloatType() if element == types.float32 else ir.DoubleType(), vector.lanes)
    return ir.VectorType(ir.IntType(1 if element == types.boolean else element.bitwidth), vector.lanes)


def _pointer(context, builder, array_type, array, at, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _make_load(lanes_of):
    @intrinsic
    def load(typing_context, array, at):
        """Elements at, at + 1, ... of a contiguous 1-D array."""
        vector = Vector(array.dtype, lanes_of(array.dtype))

        def codegen(context, builder, signature, args):
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1], _llvm_type(vector))
            return builder.load(pointer, align=array.dtype.bitwidth // 8)

        return vector(array, types.intp), codegen

    return load


def _register_lanes(element):
    return VECTOR_BYTES * 8 // element.bitwidth


def _make_zeros(lanes_of):
    @intrinsic
    def zeros(typing_context, array):
        """The vector of zeros that `load` could have read from the array."""
        vector = Vector(array.dtype, lanes_of(array.dtype))

        def codegen(context, builder, signature, args):
            return ir.Constant(_llvm_type(vector), None)

        return vector(array), codegen

    return zeros


load, load_one = _make_load(_register_lanes), _make_load(lambda element: 1)
zeros, zeros_one = _make_zeros(_register_lanes), _make_zeros(lambda element: 1)


@intrinsic
def lanes(typing_context, array):
    """How many elements of the array `load` takes."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, _register_lanes(array.dtype))

    return types.intp(array), codegen


@intrinsic
def store(typing_context, array, at, vector):
    """Write a vector to elements at, at + 1, ... of a contiguous 1-D array."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], args[2].type)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def load_places(typing_context, array, at, vector):
    """As many elements of an int64 array as `vector` has lanes, as int32."""
    result = Vector(types.int32, vector.lanes)

    def codegen(context, builder, signature, args):
        wide = _llvm_type(Vector(types.int64, vector.lanes))
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], wide)
        return builder.trunc(builder.load(pointer, align=8), _llvm_type(result))

    return result(array, types.intp, vector), codegen


@intrinsic
def store_places(typing_context, array, at, vector):
    """Write int32 lanes to an int64 array."""

    def codegen(context, builder, signature, args):
        wide = _llvm_type(Vector(types.int64, vector.lanes))
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], wide)
        builder.store(builder.sext(args[2], wide), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def spread(typing_context, value, vector):
    """The number `value` in every lane of a vector like `vector`."""

    def codegen(context, builder, signature, args):
        return broadcast(builder, args[0], _llvm_type(vector))

    return vector(vector.element, vector), codegen


@intrinsic
def spread_place(typing_context, place, vector):
    """An integer, as int32, in as many lanes as `vector` has."""
    result = Vector(types.int32, vector.lanes)

    def codegen(context, builder, signature, args):
        return broadcast(builder, builder.trunc(args[0], lane), _llvm_type(result))

    return result(types.int64, vector), codegen


@intrinsic
def choose(typing_context, mask, a, b):
    """a where the mask is true, else b."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(mask, a, a), codegen


def _exceeds(builder, a, b):
    return builder.and_(builder.fcmp_unordered(">", a, b), builder.fcmp_ordered("ord", b, b))


@intrinsic
def exceeds(typing_context, a, b):
    """Where a > b, or a is NaN and b is not: that a maximum should move on to a."""
    mask = Vector(types.boolean, a.lanes)
    return mask(a, b), lambda context, builder, signature, args: _exceeds(builder, *args)


def _make_reduction(join):
    @intrinsic
    def reduce(typing_context, vector):
        """One number of all lanes: one half joined with the other, again and again."""

        def codegen(context, builder, signature, args):
            (rest,) = args
            while rest.type.count > 1:
                half = rest.type.count // 2
                first, second = (ir.VectorType(lane, half)(list(range(k, k + half))) for k in (0, half))
                rest = join(builder, *(builder.shuffle_vector(rest, rest, part) for part in (first, second)))
            return builder.extract_element(rest, lane(0))

        return vector.element(vector), codegen

    return reduce


total = _make_reduction(lambda builder, a, b: builder.fadd(a, b))
largest = _make_reduction(lambda builder, a, b: builder.select(_exceeds(builder, b, a), b, a))


def _operator(symbol, emit, result=lambda a: a):
    @intrinsic
    def apply(typing_context, a, b):
        return result(a)(a, b), lambda context, builder, signature, args: emit(builder, *args)

    @overload(symbol)
    def on_vectors(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: apply(a, b)


def _mask(vector):
    return Vector(types.boolean, vector.lanes)


_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_operator(operator.eq, lambda builder, a, b: builder.icmp_signed("==", a, b), _mask)


@intrinsic
def use_whole_registers(typing_context):
    """Let LLVM vectorise the loops of the function that calls this, a `serial` one, with whole registers.

    On Intel's processors it takes half of one by itself, since data moved in whole ones may slow their clock. Where
    there is something to compute that is a loss: gelu takes 1.36 times as long.
    """

    def codegen(context, builder, signature, args):
        name = f'"prefer-vector-width"="{8 * VECTOR_BYTES}"'
        set.add(builder.function.attributes, name)  # llvmlite's own `add` refuses what is not in its list
        return context.get_dummy_value()

    return types.void(), codegen
