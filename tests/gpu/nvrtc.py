"""CUDA's run-time compiler through ctypes: it needs neither a GPU, nor a driver, nor CuPy.

    compile_kernels(source, ["relu<float>"], "sm_90")["relu<float>"].registers

Options are those CuPy gives it, so that the code is what a user's GPU would run.
"""

import ctypes
import functools
import importlib.metadata
import re
from dataclasses import dataclass

PACKAGE = "nvidia-cuda-nvrtc"
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


class CompileError(RuntimeError):
    """What the compiler says of a source it refuses."""


@dataclass(frozen=True)
class Resources:
    """What one kernel takes of a multiprocessor. Bytes are a thread's, those of shared memory a block's."""

    registers: int
    stack: int
    spills: int
    shared: int


@functools.cache
def library():
    """The compiler's library. Raises ImportError where its package is not installed."""
    try:
        files = importlib.metadata.files(PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(f"compiling CUDA sources needs {PACKAGE}: pip install 'scratchnet[dev]'") from None
    named = re.compile(r"libnvrtc(-builtins)?\.so\.[\d.]+$")
    builtins, compiler = sorted(str(f.locate()) for f in files if named.search(f.name))
    ctypes.CDLL(builtins)  # the compiler asks for it by its bare name, which is then found among what is loaded
    loaded = ctypes.CDLL(compiler)
    loaded.nvrtcGetErrorString.restype = ctypes.c_char_p
    return loaded


def version():
    """Such as "13.0": register counts differ between versions."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_kernels(source, names, architecture):
    """{name: Resources} of the template instances `names` of a source, compiled to machine code ("sm_90")."""
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    try:
        for name in names:
            _call("nvrtcAddNameExpression", program, name.encode())
        options = [option.encode() for option in (*OPTIONS, f"-arch={architecture}")]
        given = (ctypes.c_char_p * len(options))(*options)
        failed = library().nvrtcCompileProgram(program, len(options), given)
        log = _log(program)
        if failed:
            raise CompileError(log)
        found = _resources(log)
        return {name: found[_lowered(program, name)] for name in names}
    finally:
        library().nvrtcDestroyProgram(ctypes.byref(program))


def _call(function, *arguments):
    failed = getattr(library(), function)(*arguments)
    if failed:
        raise CompileError(f"{function}: {library().nvrtcGetErrorString(failed).decode()}")


def _log(program):
    size = ctypes.c_size_t()
    _call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    _call("nvrtcGetProgramLog", program, text)
    return text.value.decode()


def _lowered(program, name):
    """The name that the compiler's log gives a template instance."""
    lowered = ctypes.c_char_p()
    _call("nvrtcGetLoweredName", program, name.encode(), ctypes.byref(lowered))
    return lowered.value.decode()


def _resources(log):
    """{lowered name: Resources} of the assembler's report."""
    found = {}
    for report in log.split("Compiling entry function ")[1:]:
        stack, *spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", report).groups()
        shared = re.search(r"(\d+) bytes smem", report)
        registers = re.search(r"Used (\d+) registers", report)
        found[report.split("'")[1]] = Resources(
            int(registers[1]), int(stack), sum(map(int, spills)), int(shared[1]) if shared else 0
        )
    return found
