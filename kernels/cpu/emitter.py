"""The processor's vector registers, and LLVM code for them, of which `copies.py`, `simd.py` and others are made."""

from llvmlite import ir
from numba.core import cgutils

from .compile import target

_, _, _features = target
AVX512, _avx = (feature in _features.split(",") for feature in ("+avx512f", "+avx"))
VECTOR_BYTES = 64 if AVX512 else 32 if _avx else 16

index, lane = ir.IntType(64), ir.IntType(32)


def lanes(dtype):
    """How many elements of a NumPy dtype a vector register holds."""
    return VECTOR_BYTES // dtype.itemsize


def whole_vectors(count, dtype):
    """`count` elements rounded up to whole vectors."""
    return -(-count // lanes(dtype)) * lanes(dtype)


def broadcast(builder, number, vector):
    """The number in every lane of a vector of the LLVM type `vector`."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, lane(0))
    return builder.shuffle_vector(one, undefined, ir.VectorType(lane, vector.count)([0] * vector.count))


class Emitter:
    """Writes vector instructions on the elements of array arguments."""

    def __init__(self, context, builder, signature, args, element=None):
        self.context, self.builder, self.types, self.args = context, builder, signature.args, args
        element = element or signature.args[0].dtype
        self.element, self.bytes = context.get_data_type(element), element.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes

    def address(self, position, offset):
        """Pointer to element `offset` of the array argument at `position`."""
        array = self.context.make_array(self.types[position])(self.context, self.builder, self.args[position])
        return self.builder.gep(array.data, [offset])

    def at(self, pointer, offset, *steps):
        """The pointer moved on by `offset` and count * stride for each (count, stride) of `steps`."""
        for count, stride in steps:
            offset = self.builder.add(offset, self.builder.mul(index(count), stride))
        return self.builder.gep(pointer, [offset])

    def _vector(self, pointer, offset, width):
        vector = ir.VectorType(self.element, width)
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), vector.as_pointer())

    def load(self, pointer, offset, width):
        return self.builder.load(self._vector(pointer, offset, width), align=self.bytes)

    def store(self, value, pointer, offset):
        self.builder.store(value, self._vector(pointer, offset, value.type.count), align=self.bytes)

    def constant(self, value):
        return ir.VectorType(self.element, self.lanes)([value] * self.lanes)

    def broadcast(self, pointer):
        return broadcast(self.builder, self.builder.load(pointer), ir.VectorType(self.element, self.lanes))

    def opaque(self, number):
        """The same number, of which LLVM does not know where it comes from.

        It would keep an address for each place that a loop's body reads, and unroll a short body for more of them: for
        that x86 lacks registers. On an EPYC a tile of one AVX2 register took 1.35 times as long, one of two 1.02 to
        1.16.
        """
        return self.builder.asm(ir.FunctionType(index, [index]), "", "=r,0", [number], side_effect=False)

    def multiply_add(self, a, b, c):
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.bytes}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
        return self.builder.call(function, [a, b, c])
