"""Functions of one element each. They run over memory in its own order, so results keep their input's strides."""

import numpy as np

from .. import reference
from .layout import contiguous, memory_order
from .module import blocks, launch

THREADS = 256


@reference.relu.implementation("cuda", device="gpu")
def relu(input):
    return _map("relu", input)


def _map(name, *inputs, **scalars):
    """Launch name<dtype>(*inputs, *scalars, output, size), all in the memory order of inputs[0]; returns the output."""
    import cupy

    order, back = memory_order(inputs[0])
    dense = [contiguous(array.transpose(order)) for array in inputs]
    output = cupy.empty(dense[0].shape, dense[0].dtype)
    arguments = (*dense, *map(output.dtype.type, scalars.values()), output, np.int64(output.size))
    if output.size:
        instance = f"{name}<{'float' if output.dtype == np.float32 else 'double'}>"
        launch("elementwise.cu", instance, (blocks(output.size, THREADS),), (THREADS,), arguments)
    return output.transpose(back)
