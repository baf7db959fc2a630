"""The memory pool: no two live arrays share memory, blocks come back with the last view, and the pool stays bounded."""

import copy
import gc
import io
import itertools
import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu import memory
from kernels.cpu.memory import ALIGNMENT, SMALLEST, Pool, size_class

SIZE = 3 * SMALLEST  # bytes of a pooled array in these tests


@pytest.fixture
def pool():
    return Pool(limit=20 * SIZE)


def address(array):
    return array.ctypes.data


def numbers(pool, fill=0.0):
    array = pool.empty((SIZE // 8,), np.float64)
    array.fill(fill)
    return array


@given(st.integers(1, 2**40))
def test_a_size_class_wastes_at_most_an_eighth(count):
    assert count <= size_class(count) <= count * 9 / 8
    assert size_class(size_class(count)) == size_class(count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(SIZE,), (3, SMALLEST), (7, 5, SMALLEST // 8 + 1)])
def test_arrays_are_like_numpys(pool, shape, dtype):
    array = pool.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    assert address(array) % ALIGNMENT == 0


@pytest.mark.parametrize("shape", [(), (0,), (SIZE, 0), (3, 4), (SMALLEST // 8 - 1,)])
def test_small_arrays_are_numpys_own(pool, shape):
    assert pool.empty(shape, np.float64).base is None


def test_a_block_is_used_again(pool):
    first = numbers(pool)
    where = address(first)
    del first
    assert pool.unused == size_class(SIZE)
    assert address(numbers(pool)) == where
    assert address(pool.empty((SIZE - 8,), np.uint8)) == where, "of the same size class"


@pytest.mark.parametrize("view", [
    lambda a: a[5:9], lambda a: a[::-2], lambda a: a.reshape(8, -1).T[2:], lambda a: a.view(np.int32)[3:5],
    lambda a: np.lib.stride_tricks.as_strided(a, (3,), (16,)), lambda a: memoryview(a)[2:4], lambda a: a[None, :4][0],
    lambda a: np.frombuffer(memoryview(a), np.uint8)[7:],
])  # fmt: skip
def test_any_view_keeps_the_block(pool, view):
    array = numbers(pool, 1.0)
    where, seen = address(array), view(array)
    before = np.array(seen)
    del array
    assert pool.unused == 0
    others = [numbers(pool, 2.0) for _ in range(3)]
    assert where not in map(address, others)
    np.testing.assert_array_equal(np.array(seen), before)
    del seen
    assert pool.unused == size_class(SIZE)


def test_all_arrays_of_a_block_share_one_base(pool):
    """The engine tells by `base` whether two gradients lie in the same memory."""
    array = numbers(pool)
    assert array.base is not None
    assert array[1:].base is array.reshape(2, -1).T.base is array.base


def test_no_two_live_arrays_share_memory(pool):
    rng = np.random.default_rng(0)
    live = {}
    for step in range(2000):
        if live and rng.random() < 0.5:
            key = list(live)[rng.integers(len(live))]
            assert (live.pop(key) == key).all()
        else:
            live[step] = pool.empty((int(rng.integers(SMALLEST, 3 * SMALLEST)) // 8,), np.float64)
            live[step].fill(step)
    ranges = sorted((address(a), address(a) + a.nbytes) for a in live.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))


def test_unused_memory_is_bounded_and_the_least_used_size_goes_first(pool):
    arrays = [numbers(pool) for _ in range(30)]
    del arrays
    larger = [pool.empty((2 * SIZE,), np.uint8) for _ in range(5)]
    assert pool.limit - size_class(SIZE) < pool.unused <= pool.limit
    del larger
    kept = {size: len(blocks) for size, blocks in pool._blocks.items()}
    pool.empty((3 * SIZE,), np.uint8)
    assert pool._blocks.keys() - kept.keys() == {size_class(3 * SIZE)}
    assert len(pool._blocks[size_class(2 * SIZE)]) == 5
    assert len(pool._blocks[size_class(SIZE)]) < kept[size_class(SIZE)]
    assert pool.unused - size_class(3 * SIZE) <= pool.limit


def test_a_block_larger_than_the_limit_goes_when_another_is_made(pool):
    assert pool.empty((2 * pool.limit,), np.uint8).size == 2 * pool.limit
    array = numbers(pool)
    assert pool.unused == 0
    del array


def test_trim_leaves_nothing_and_live_arrays_alone(pool):
    kept, other = numbers(pool, 3.0), numbers(pool)
    del other
    pool.trim()
    assert pool.unused == 0
    assert (kept == 3.0).all()


def test_arrays_in_reference_cycles_come_back(pool):
    cycle = [numbers(pool)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pool.unused == size_class(SIZE)


def test_a_finalizer_inside_the_pool_neither_waits_nor_gets_the_same_block(pool, monkeypatch):
    """As if the garbage collector ran while an array is made of a block."""
    inside, view = [], np.ndarray

    def interrupted(*args):
        if not inside:
            inside.append(None)
            inside[0] = numbers(pool, 1.0)
        return view(*args)

    numbers(pool)
    with monkeypatch.context() as patch:
        patch.setattr(memory.np, "ndarray", interrupted)
        outside = numbers(pool, 2.0)
    assert (inside[0] == 1.0).all() and (outside == 2.0).all()


def test_a_block_of_which_an_array_was_made_meanwhile_is_not_taken():
    class Interrupted(list):
        array = None

        def pop(self, i):
            entry = super().pop(i)
            self.array = np.ndarray((8,), np.uint8, *entry)
            return entry

    blocks = Interrupted([(np.zeros(64, np.uint8), 0)])
    assert memory.take(blocks) is None
    assert len(blocks) == 1 and blocks.array.base is blocks[0][0]
    assert memory.take(list(blocks)) is None
    blocks.array = None
    assert memory.take(list(blocks)) is blocks[0]


def test_blocks_that_others_took_are_not_missed():
    class Emptied(list):
        def __getitem__(self, i):
            self.clear()
            return super().__getitem__(i)

    assert memory.take(Emptied([(np.zeros(64, np.uint8), 0)])) is None


def test_threads_do_not_get_each_others_arrays(pool):
    wrong = []

    def work(mark):
        for i in range(300):
            mine = [numbers(pool, mark + i) for _ in range(1 + i % 3)]
            wrong.extend(a for a in mine if not (a == mark + i).all())

    def give_back():
        for _ in range(300):
            pool.trim()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(4)]
    threads.append(threading.Thread(target=give_back))
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert pool.unused == sum(size * len(blocks) for size, blocks in pool._blocks.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own():
    array = memory.empty((SIZE,), np.uint8)
    array.fill(1)
    child = os.fork()
    if child == 0:
        other = memory.empty((SIZE,), np.uint8)
        other.fill(2)
        os._exit(0 if (array == 1).all() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (array == 1).all()


def test_copies_and_files_hold_values_not_blocks(pool):
    array = numbers(pool, 4.0)
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    copies = [array.copy(), copy.deepcopy(array), np.load(file)]
    array.fill(0)
    del array
    assert pool.unused == size_class(SIZE)
    assert all((c == 4.0).all() for c in copies)
