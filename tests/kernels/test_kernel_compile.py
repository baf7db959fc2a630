"""What compiling does to Python's garbage collector: off meanwhile, and as it was afterwards."""

import gc

import numba
import numpy as np
import pytest
from numba.extending import intrinsic

from kernels.cpu.compile import _Undisturbed, entry


@pytest.fixture(params=[True, False])
def collects(request):
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_the_collector_is_off_while_a_function_is_compiled_and_only_then(collects):
    seen = []

    @intrinsic
    def look(typing_context):
        seen.append(gc.isenabled())
        return numba.types.intp(), lambda context, *_: context.get_constant(numba.types.intp, 3)

    compiled = numba.njit(lambda: look(), pipeline_class=_Undisturbed)  # not cached: each run compiles
    assert compiled() == 3
    assert set(seen) == {False}
    assert gc.isenabled() == collects


def _wrong(x):
    return x.no_such_thing


def test_the_collector_is_as_it_was_where_compiling_failed(collects):
    with pytest.raises(numba.TypingError, match="no_such_thing"):
        entry(_wrong)(np.zeros(3))
    assert gc.isenabled() == collects
