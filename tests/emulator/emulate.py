"""CUDA kernels on the CPU, with the face of cupy.RawModule: g++ compiles them against emulate.hpp.

    with thread_order(5):
        RawModule(code=source, name_expressions=("relu<float>",)).get_function("relu<float>")(grid, block, arguments)

What would be undefined behaviour or a failed launch on a GPU is a KernelError. Each array is copied for the launch to
memory of its own, which ends where an unreadable page begins.
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import mmap
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from kernels.gpu import module

HEADER = Path(__file__).parent / "emulate.hpp"
FLAGS = (
    *("-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE"),
    *("-fsanitize=bounds,alignment,signed-integer-overflow", "-fsanitize-undefined-trap-on-error"),
)
LIMITS = {"grid": (2**31 - 1, 65535, 65535), "block": (1024, 1024, 64)}
FREE_SHARED_BYTES = 48 << 10
_UNREADABLE = 0  # PROT_NONE

_order = ContextVar("thread order", default=0)
_one_launch_at_a_time = threading.Lock()


class KernelError(RuntimeError):
    """What would be undefined behaviour or a failed launch on the GPU."""


def why_not():
    """Why kernels cannot be emulated on this machine, or None."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return "the emulator of CUDA kernels runs on x86-64 Linux"
    return None if shutil.which("g++") else "the emulator of CUDA kernels needs g++"


@contextlib.contextmanager
def thread_order(order):
    """Launches inside of the block run their threads in this order; emulate.hpp says what the numbers mean."""
    token = _order.set(order)
    try:
        yield
    finally:
        _order.reset(token)


class RawModule:
    """One kernel, compiled on construction; `code` begins with device.cuh, in whose place emulate.hpp is put."""

    def __init__(self, code, *, options=(), name_expressions=()):
        (self.name,) = name_expressions
        device = (module.FOLDER / "device.cuh").read_text()
        if not code.startswith(device):
            raise ValueError("code: must begin with the text of device.cuh")
        body = code.removeprefix(device)
        self._library = ctypes.CDLL(str(build(f'#include "{HEADER.name}"\n{body}\nEMULATE_EXPORT({self.name})\n')))
        self._library.emulate_error.restype = ctypes.c_char_p

    def get_function(self, name):
        if name != self.name:
            raise KernelError(f"no kernel {name}, there is {self.name}")
        return Function(self._library)


def build(source):
    """The shared library of a C++ source, from the cache or made by g++: once, however many processes ask for it."""
    text = "\0".join([source, HEADER.read_text(), *FLAGS, _compiler()])
    library = _cache() / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.so"
    if library.exists():
        return library
    with open(library.with_suffix(".lock"), "w") as lock, tempfile.TemporaryDirectory(dir=_cache()) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            made = Path(folder, "kernel.so")
            Path(folder, "kernel.cpp").write_text(source)
            command = ["g++", *FLAGS, f"-I{HEADER.parent}", str(Path(folder, "kernel.cpp")), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise KernelError(done.stderr)
            made.replace(library)
    return library


@functools.cache
def _compiler():
    return subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout


@functools.cache
def _cache():
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "scratchnet", "emulator")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", _Dim3),
        ("block", _Dim3),
        ("shared_bytes", ctypes.c_uint),
        ("order", ctypes.c_uint),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("kernel", ctypes.c_void_p),
    ]


class Function:
    """A kernel to launch: function(grid, block, arguments, shared_mem=bytes)."""

    def __init__(self, library):
        self._library = library
        text = ctypes.create_string_buffer(1024)
        library.emulate_signature(text)
        self.parameters = text.value.decode().split()
        self.max_dynamic_shared_size_bytes = FREE_SHARED_BYTES

    def __call__(self, grid, block, arguments, shared_mem=0):
        grid, block = _sizes("grid", grid), _sizes("block", block)
        if np.prod(block) > 1024 or shared_mem > min(self.max_dynamic_shared_size_bytes, 163 << 10):
            raise KernelError(f"too many threads or too much shared memory: block {block}, {shared_mem} bytes")
        if len(arguments) != len(self.parameters):
            raise KernelError(f"{len(self.parameters)} parameters, {len(arguments)} arguments")
        for i, (argument, parameter) in enumerate(zip(arguments, self.parameters, strict=True)):
            _check(i, argument, parameter)
        with _Memory() as memory:
            cells = [memory.cell(a, p) for a, p in zip(arguments, self.parameters, strict=True)]
            pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
            launch = _Launch(_Dim3(*grid), _Dim3(*block), shared_mem, _order.get(), pointers)
            with _one_launch_at_a_time:
                if self._library.emulate_launch(ctypes.byref(launch)):
                    raise KernelError(self._library.emulate_error().decode())
            memory.copy_back()


def _sizes(what, given):
    sizes = (*given, 1, 1)[:3]
    if len(given) > 3 or any(not 0 < size <= limit for size, limit in zip(sizes, LIMITS[what], strict=True)):
        raise KernelError(f"{what} must have sizes from 1 to {LIMITS[what]}, given {given}")
    return sizes


def _is_device_array(argument):
    return isinstance(argument, np.ndarray) and type(argument).__module__.partition(".")[0] == "cupy"


def _check(i, argument, parameter):
    """Raise unless an argument is what the kernel declares: CuPy itself passes whatever bytes it is given."""
    pointer = parameter[0] in "PC"
    if pointer and argument is None:
        return
    if pointer != _is_device_array(argument):
        raise KernelError(f"argument {i} must be {'a device array' if pointer else 'a value'}, given {type(argument)}")
    if pointer and not argument.flags.c_contiguous:
        raise KernelError(f"argument {i} is not contiguous")
    if not isinstance(argument, np.ndarray | np.generic) or (not pointer and argument.size != 1):
        raise KernelError(f"argument {i} must be a NumPy scalar or a struct, given {argument!r}")
    kind = {"V": "s", "b": "u"}.get(argument.dtype.kind, argument.dtype.kind)
    given = f"{kind}{argument.dtype.itemsize}"
    if given != parameter.lstrip("PC"):
        raise KernelError(f"parameter {i} is {parameter}, the argument {given}")


class _Memory:
    """The device memory of one launch: guarded copies of its arrays."""

    def __enter__(self):
        self._copies = {}  # by address and size: an array given twice is one
        return self

    def __exit__(self, *raised):
        for _, guarded, _ in self._copies.values():
            guarded.release()

    def cell(self, argument, parameter):
        """What the kernel gets for an argument: the value itself, or the address of an array's copy."""
        if argument is None:
            return ctypes.c_void_p(None)
        if parameter[0] not in "PC":
            return (ctypes.c_char * argument.dtype.itemsize).from_buffer_copy(np.asarray(argument).tobytes())
        key = argument.ctypes.data, argument.nbytes
        if key not in self._copies:
            self._copies[key] = [argument, _Guarded(argument), False]
        self._copies[key][2] |= parameter[0] == "P"
        return ctypes.c_void_p(self._copies[key][1].address)

    def copy_back(self):
        for argument, guarded, written in self._copies.values():
            guarded.check_edges()
            if written:
                ctypes.memmove(argument.ctypes.data, guarded.address, argument.nbytes)


class _Guarded:
    """A copy of an array between two unreadable pages, with the array's alignment; bytes beside it are 0xff."""

    def __init__(self, array):
        self.bytes = array.nbytes
        pages = -(-self.bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        pages += mmap.PAGESIZE * (pages - self.bytes < 16 and self.bytes > 0)
        self._size = pages + 2 * mmap.PAGESIZE
        self._start = _libc().mmap(None, self._size, _UNREADABLE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        self._low, self._high = self._start + mmap.PAGESIZE, self._start + mmap.PAGESIZE + pages
        if pages:
            _libc().mprotect(self._low, pages, mmap.PROT_READ | mmap.PROT_WRITE)
            ctypes.memset(self._low, 0xFF, pages)
        room = pages - self.bytes
        self.address = self._low + room - (room - array.ctypes.data) % 16 if pages else self._low
        ctypes.memmove(self.address, array.ctypes.data, self.bytes)

    def check_edges(self):
        before = ctypes.string_at(self._low, self.address - self._low)
        after = ctypes.string_at(self.address + self.bytes, self._high - self.address - self.bytes)
        if before.strip(b"\xff") or after.strip(b"\xff"):
            raise KernelError("illegal memory access: written beside an array")

    def release(self):
        _libc().munmap(self._start, self._size)


@functools.cache
def _libc():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
