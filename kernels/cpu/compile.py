"""How the kernels are compiled, cached and entered by several threads.

`serial` functions are called from compiled code (see `callee.py`), `entry` and `parallel` ones from Python. Three facts
of Numba shape them:

* Its on-disk cache looks only at the file of the cached function: an edit to a callee elsewhere goes unnoticed. So
  our cache folder carries a hash of all sources here, of the versions and of the processor.
* Its `workqueue` threading layer aborts the process when two Python threads are inside at once. Where it is the
  only layer, calls wait for each other.
* By default it lets an error check into every division; `error_model="numpy"` does not, so loops vectorise.
"""

import contextlib
import functools
import gc
import hashlib
import os
import sys
import threading
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target
from numba.np.ufunc import parallel as parallel_layer

from ..sealed import here
from .callee import Callee, Library

target = cpu_target.target_context.codegen().magic_tuple()  # (triple, processor, features): what we compile for


def serial(function):
    """A function called from compiled code only. Its name must be its own: see `Callee`."""
    return Callee(function, error_model="numpy", nogil=True)


def inlined(function):
    """`serial` for a few instructions of an inner loop: a call would pass 7 numbers for each array."""
    return Callee(function, error_model="numpy", nogil=True, forceinline=True)


def _is_small(*args):
    """Whether all arrays are. The largest, results and scratch memory, stand last, and are asked first."""
    for a in reversed(args):  # noqa: SIM110 - a generator takes 0.7 us more
        if isinstance(a, np.ndarray) and a.size > _SMALL:
            return False
    return True


def _are_small(function, first, second):
    """The same of the arrays of these two names. A loop would take 4 us more where a kernel has emptied the caches."""
    first, second = map(function.__code__.co_varnames.index, (first, second))
    return lambda *args: args[first].size <= _SMALL and args[second].size <= _SMALL


class _Undisturbed(Compiler):
    """Numba's own with our `Library`, while Python looks for no garbage: to find little took 2 s of a cold start."""

    def define_pipelines(self):
        state = self.state
        state.library = Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()

    def compile_extra(self, function):
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if collects:
                gc.enable()


def parallel(function):
    """An entry point: it may use prange and is cached on disk. No fast-math flags: NaN and order of sums count."""
    return entry(function, parallel=True)


def entry(function, data=None, is_small=_is_small, parallel=False):
    """An entry point that is cached on disk. It goes parallel by `fork`, if at all.

    `is_small` tells from the arguments whether a call is not worth a second thread; `data` names two arrays that do,
    where there is scratch memory too, which is never small. Tuples hold no arrays but constant ones: `binding.py` looks
    for a kernel's memory among the arguments alone.
    """
    if data is not None:
        is_small = _are_small(function, *data)
    with _cache_folder() as cache:
        compiled = numba.njit(
            function, parallel=parallel, error_model="numpy", nogil=True, cache=cache, no_cfunc_wrapper=True,
            pipeline_class=_Undisturbed,
        )  # fmt: skip

    def in_turn(*args):
        if _together or _may_meet():
            return compiled(*args)
        with _turn:
            return compiled(*args)

    def alone(*args):
        threads = get_num_threads()
        set_num_threads(1)  # results do not depend on it
        try:
            return in_turn(*args)
        finally:
            set_num_threads(threads)

    @functools.wraps(function)
    def enter(*args):
        if not _started:
            _start_pool()
        call = alone if is_small(*args) and get_num_threads() > 1 else in_turn
        return call(*args) if here.binding is None else here.binding.do(call, *args)

    enter.compiled = compiled
    return enter


def get_num_threads():
    """Numba's number without Numba's two locks: 0.2 us for 2.3, thirty times in a small CNN's step."""
    if not _started:
        _start_pool()
    return parallel_layer._get_num_threads()


def set_num_threads(threads):
    """Numba's without its checks, for numbers that it has given: 0.4 us for 1.5."""
    parallel_layer._set_num_threads(threads)


def _start_pool():
    """Numba starts its threads where it is first asked for their number, which `fork` does not do."""
    global _started
    numba.get_num_threads()
    _started = True


def _forget_pool():
    global _started
    _started = False


_started = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)

_SMALL = 1 << 12  # elements; where the cores are busy, a second thread makes so little work wait for milliseconds

_turn = threading.RLock()
_together = False


def _may_meet():
    """Whether the threading layer is known to bear several threads inside."""
    global _together
    _together = _together or _layer() not in (None, "workqueue")
    return _together


def _layer():
    try:
        return numba.threading_layer()
    except ValueError:  # nothing parallel has run yet
        return None


@contextlib.contextmanager
def _cache_folder():
    """Make Numba put what is decorated inside into our folder; yields whether there is one to write to."""
    users = numba.config.CACHE_DIR
    folder = Path(users) if users else _user_cache()
    folder = folder / "scratchnet" / f"numba-{_key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    numba.config.CACHE_DIR = str(folder)
    try:
        yield writable
    finally:
        numba.config.CACHE_DIR = users


def _user_cache():
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def fingerprint(folder):
    """A hash of the Python sources in `folder`, of the compilers' versions and of the processor."""
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    versions = repr((numba.__version__, llvmlite.__version__, sys.version_info[:2], target))
    return hashlib.sha256(sources + versions.encode()).hexdigest()[:16]


_key = fingerprint(Path(__file__).parent)


def tasks_for(items):
    """How many tasks to cut `items` independent pieces of work into."""
    return min(get_num_threads(), items)


@serial
def portion(items, tasks, task):
    """(begin, end) of a task's pieces of work."""
    task = np.int64(task)  # the index of a prange is unsigned, and would turn mixed arithmetic into floats
    return task * items // tasks, (task + 1) * items // tasks
