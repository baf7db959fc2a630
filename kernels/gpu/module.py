"""From the CUDA sources in cuda/ to kernels that can be launched, compiled on their first launch.

This is the one place that makes a `cupy.RawModule`. Tests put an emulator in CuPy's place (tests/emulator), and then
the same launchers run the same sources on the CPU.
"""

import functools
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "cuda"
OPTIONS = ("-std=c++17",)
_FREE_SHARED_BYTES = 48 << 10  # what every launch may have; for more the function must have been told


def source(*files):
    """The text that is compiled for these files of `cuda/`: device.cuh, then the files in the order given."""
    parts = [(FOLDER / "device.cuh").read_text()]
    parts += [f'#line 1 "{file}"\n{(FOLDER / file).read_text()}' for file in files]
    return "\n".join(parts)


def launch(files, name, grid, block, arguments, shared_bytes=0):
    """Launch `name`, a kernel of `files` (a file of `cuda/`, or a tuple of them), on the current stream.

    name is a C++ expression such as "conv_simt<float, 64, 64>"; each is compiled alone, on first use. grid counts
    blocks and block threads, tuples of up to three ints. An argument is a C-contiguous CuPy array, None for a null
    pointer, a NumPy scalar of exactly the parameter's type, or a `struct`.
    """
    import cupy

    function = _function(cupy.RawModule, (files,) if isinstance(files, str) else files, name, shared_bytes)
    function(grid, block, arguments, shared_mem=shared_bytes)


@functools.cache
def _function(raw_module, files, name, shared_bytes):
    module = raw_module(code=source(*files), options=OPTIONS, name_expressions=(name,))
    function = module.get_function(name)
    if shared_bytes > _FREE_SHARED_BYTES:
        function.max_dynamic_shared_size_bytes = shared_bytes
    return function


def blocks(count, size):
    """How many blocks of `size` cover `count`."""
    return -(-count // size)


def struct(**fields):
    """A C++ struct of ints as an argument by value: the fields in their order, each an int32."""
    dtype = np.dtype([(name, np.int32) for name in fields])
    return np.array([tuple(fields.values())], dtype)
