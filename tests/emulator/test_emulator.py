"""The emulator itself: every kind of fault it promises to show, and none in a kernel that is right."""

import numpy as np
import pytest

from kernels.gpu import module
from tests.emulator import emulate
from tests.emulator.device import to_device

ORDERS = range(4)


def run(body, *arguments, threads=64, shared_mem=0, parameters="float* y", grid=(1,), prelude=""):
    """Launch a kernel of this body; each text is compiled once for all tests."""
    code = module.source() + f"\n{prelude}\n__global__ void kernel({parameters}) {{ {body} }}\n"
    function = emulate.RawModule(code, name_expressions=("kernel",)).get_function("kernel")
    function.max_dynamic_shared_size_bytes = max(shared_mem, emulate.FREE_SHARED_BYTES)
    function(grid, (threads,), arguments, shared_mem=shared_mem)


def numbers(count, dtype="float32"):
    return to_device(np.arange(count, dtype=dtype))


REVERSE = """
    auto& kept = shared_memory<float[64]>();
    kept[threadIdx.x] = y[threadIdx.x];
    BARRIER
    y[threadIdx.x] = kept[63 - threadIdx.x];
"""


@pytest.mark.parametrize("order", ORDERS)
def test_a_right_kernel_is_right_in_any_order(order):
    y = numbers(64)
    with emulate.thread_order(order):
        run(REVERSE.replace("BARRIER", "__syncthreads();"), y, shared_mem=256)
    assert np.array_equal(y.get(), np.arange(64)[::-1])


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_gives_a_wrong_answer(order):
    y = numbers(64)
    with emulate.thread_order(order):
        run(REVERSE.replace("BARRIER", ""), y, shared_mem=256)
    assert not np.array_equal(y.get(), np.arange(64)[::-1])


COPY = """
    auto& kept = shared_memory<float[2][64]>();
    for (int i = 0; i < 2; i++) {
        async_copy<4>(&kept[i][threadIdx.x], y + 64 * i + threadIdx.x, true);
        async_commit();
    }
    async_wait<PENDING>();
    __syncthreads();
    y[threadIdx.x] = kept[1][63 - threadIdx.x];
"""


def test_a_missing_wait_shows_where_copies_are_late():
    wanted = np.arange(64, 128)[::-1]
    for order in ORDERS:
        for pending, right in ((0, True), (1, order % 2 == 1)):
            y = numbers(128)
            with emulate.thread_order(order):
                run(COPY.replace("PENDING", str(pending)), y, shared_mem=512)
            assert np.array_equal(y.get()[:64], wanted) == right


def test_a_copy_that_is_not_valid_writes_zeros_and_reads_nothing():
    y = numbers(64)
    run(
        "auto& kept = shared_memory<float4[64]>();"
        "async_copy<16>(&kept[threadIdx.x], nullptr, false); async_commit(); async_wait<0>();"
        "y[threadIdx.x] = kept[threadIdx.x].x + kept[threadIdx.x].w;",
        y,
        shared_mem=1024,
    )
    assert not y.get().any()


def test_shared_memory_begins_as_nan():
    y = numbers(64)
    run("y[threadIdx.x] = shared_memory<float[64]>()[threadIdx.x];", y, shared_mem=256)
    assert np.isnan(y.get()).all()


FAULTS = {
    "y[threadIdx.x + 1] = 0;": "illegal memory access",
    "y[-1] = 0;": "written beside an array",
    "y[0] = y[threadIdx.x + 1];": "illegal memory access",
    "float kept[4]; kept[threadIdx.x] = 0; y[0] = kept[1];": "an index outside of its array",
    "int big = 1 << 30; y[0] = big * int(threadIdx.x);": "integer overflow",
    "y[0] = 64 / int(threadIdx.x);": "a division by zero",
    "if (threadIdx.x < 40) __syncthreads();": "a barrier was not reached by the whole block",
    "if (threadIdx.x < 32) __syncthreads(); else __syncthreads();": "a barrier was not reached by the whole block",
    "if (threadIdx.x != 3) y[threadIdx.x] = shuffle_xor(1.f, 1);": "not reached by its whole warp",
    "*reinterpret_cast<float4*>(y + 1) = make_float4(0, 0, 0, 0);": "an index outside of its array|illegal memory",
    "async_copy<16>(&shared_memory<float[64]>()[1], y, true);": "misaligned address",
    "async_copy<16>(&shared_memory<float[64]>()[0], y + 1, true);": "misaligned address",
    "async_copy<4>(y, y, true);": "not shared memory",
    "y[0] = shared_memory<float[65]>()[0];": "too little shared memory",
}
ANY_FAULT = "switch (fault) {" + "".join(f"case {i}: {{ {body} break; }}\n" for i, body in enumerate(FAULTS)) + "}"


@pytest.mark.parametrize(("number", "message"), list(enumerate(FAULTS.values())), ids=FAULTS)
def test_a_fault_is_an_error(number, message):
    with pytest.raises(emulate.KernelError, match=message):
        run(ANY_FAULT, numbers(64), np.int32(number), parameters="float* y, int fault", shared_mem=256)


def test_lanes_exchange_values():
    y = numbers(64)
    run("y[threadIdx.x] = shuffle_xor(y[threadIdx.x], 5);", y)
    assert np.array_equal(y.get(), np.arange(64) ^ 5)


def test_tensor_cores_multiply_in_tf32():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((16, 8), np.float32), rng.standard_normal((8, 8), np.float32)
    d = to_device(np.ones((16, 8), np.float32))
    run(
        "int g = threadIdx.x / 4, t = threadIdx.x % 4; float kept_a[4], kept_b[2], kept_d[4];"
        "for (int i = 0; i < 4; i++) kept_a[i] = round_tf32(a[(g + 8 * (i % 2)) * 8 + t + 4 * (i / 2)]);"
        "for (int i = 0; i < 2; i++) kept_b[i] = round_tf32(b[(t + 4 * i) * 8 + g]);"
        "for (int i = 0; i < 4; i++) kept_d[i] = d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];"
        "mma_16x8x8(kept_d, kept_a, kept_b);"
        "for (int i = 0; i < 4; i++) d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = kept_d[i];",
        *(to_device(a), to_device(b), d),
        threads=32,
        parameters="const float* a, const float* b, float* d",
    )
    exact = 1 + tf32(a).astype(np.float64) @ tf32(b).astype(np.float64)
    assert np.abs(d.get() - exact).max() < 2e-6
    assert 1e-5 < np.abs(d.get() - (1 + a.astype(np.float64) @ b)).max() < 1e-2


def tf32(array):
    """Rounded to 10 bits of mantissa, ties away from zero."""
    return ((array.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "2 parameters, 0 arguments"),
        ([numbers(4, "float64"), np.int32(1)], "parameter 0 is Pf4, the argument f8"),
        ([numbers(4), np.int64(1)], "parameter 1 is i4, the argument i8"),
        ([numbers(4), 1], "argument 1 must be a NumPy scalar"),
        ([np.arange(4, dtype=np.float32), np.int32(1)], "argument 0 must be a device array"),
        ([numbers(8)[::2], np.int32(1)], "argument 0 is not contiguous"),
        ([numbers(4), numbers(4)], "argument 1 must be a value"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(emulate.KernelError, match=message):
        run("y[0] = n;", *arguments, parameters="float* y, int n")


@pytest.mark.parametrize(("grid", "threads"), [((0,), 32), ((1, 65536), 32), ((1,), 1025)])
def test_launches_are_checked(grid, threads):
    with pytest.raises(emulate.KernelError, match="grid must|block must|too many threads"):
        run("y[0] = n;", numbers(4), np.int32(1), parameters="float* y, int n", grid=grid, threads=threads)


def test_a_struct_goes_by_value_and_null_is_a_pointer():
    fields = np.dtype([("n", np.int32), ("scale", np.float64)], align=True)
    y = numbers(2)
    run(
        "y[0] = fields.n * fields.scale; y[1] = absent == nullptr;",
        *(y, None, np.array([(3, 0.5)], fields)),
        threads=1,
        parameters="float* y, const float* absent, Fields fields",
        prelude="struct Fields { int n; double scale; };",
    )
    assert y.get().tolist() == [1.5, 1]


def test_what_a_kernel_only_reads_stays_and_an_array_given_twice_is_one():
    y = numbers(64)
    run("y[threadIdx.x] = y[threadIdx.x] + same[threadIdx.x];", y, y, parameters="float* y, const float* same")
    assert np.array_equal(y.get(), 2 * np.arange(64))


def test_the_faults_of_the_compiler_are_told():
    with pytest.raises(emulate.KernelError, match="nonsense"):
        run("nonsense;", numbers(1))
