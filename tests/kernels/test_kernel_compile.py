"""What compiling leaves behind: Python's garbage collector as it was."""

import contextlib
import gc

import numba
import numpy as np
import pytest

from kernels.cpu.compile import entry


def _sound(x):
    return x.size


def _wrong(x):
    return x.no_such_thing


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("function", [_sound, _wrong])
def test_the_collector_is_as_it_was_also_where_nothing_was_compiled(function, collects):
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(numba.TypingError) if function is _wrong else contextlib.nullcontext():
            entry(function)(np.zeros(3))
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()
