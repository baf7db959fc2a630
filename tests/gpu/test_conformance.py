"""Each function of device.cuh does what its comment says: on the emulator everywhere, and on a GPU where there is one.

So what the emulator shows of a kernel holds on the GPU as well, as far as the instructions are concerned.
"""

import numpy as np
import pytest

from kernels.gpu import module
from scratchnet.device import find_cupy
from tests.emulator import device, emulate
from tests.emulator.test_emulator import tf32

LANES = np.arange(32)
AWKWARD = np.array([1, 1 + 2**-11, 1 + 2**-10, -1 - 2**-11, 3.4e38, 1e-45, 0, -0.0, np.inf, -np.inf], np.float32)


@pytest.fixture(params=["emulator", "gpu"])
def cupy(request):
    if request.param == "emulator":
        if emulate.why_not():
            pytest.skip(emulate.why_not())
        return device.cupy
    if find_cupy() is None:
        pytest.skip("there is no GPU")
    return find_cupy()


def run(cupy, body, *arrays, shared_bytes=0, threads=32):
    """The last array after a kernel of this body, whose parameters are float* a, b, ...; one block of one warp."""
    there = [cupy.asarray(array) for array in arrays]
    parameters = ", ".join(f"float* {name}" for name in "abcd"[: len(there)])
    code = module.source() + f"\n__global__ void kernel({parameters}) {{ {body} }}\n"
    kernel = cupy.RawModule(code=code, options=module.OPTIONS, name_expressions=("kernel",)).get_function("kernel")
    kernel((1,), (threads,), tuple(there), shared_mem=shared_bytes)
    return cupy.asnumpy(there[-1])


def numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_shared_memory_is_shared(cupy):
    body = """auto& kept = shared_memory<float[32]>();
    kept[threadIdx.x] = a[threadIdx.x];
    __syncthreads();
    a[threadIdx.x] = kept[31 - threadIdx.x];"""
    x = numbers(32)
    assert np.array_equal(run(cupy, body, x, shared_bytes=128), x[::-1])


@pytest.mark.parametrize("floats", [1, 4])
def test_async_copies_arrive_and_those_not_valid_are_zeros(cupy, floats):
    body = f"""auto& kept = shared_memory<float[2][32 * {floats}]>();
    for (int i = 0; i < 2; i++) {{
        int at = threadIdx.x * {floats};
        async_copy<4 * {floats}>(&kept[i][at], a + i * 32 * {floats} + at, (threadIdx.x + i) % 3 != 0);
        async_commit();
    }}
    async_wait<1>();
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * {floats}; i += 32) b[i] = kept[0][i];
    async_wait<0>();
    __syncthreads();
    for (int i = threadIdx.x; i < 32 * {floats}; i += 32) b[32 * {floats} + i] = kept[1][i];"""
    x = numbers(2, 32, floats)
    wanted = np.where((LANES + np.arange(2)[:, None])[..., None] % 3, x, np.float32(0))
    assert np.array_equal(run(cupy, body, x, np.empty_like(x), shared_bytes=256 * floats), wanted)


def test_round_tf32_is_to_nearest_ties_away_from_zero(cupy):
    x = np.concatenate([AWKWARD, numbers(32 - len(AWKWARD))])
    result = run(cupy, "b[threadIdx.x] = round_tf32(a[threadIdx.x]);", x, np.empty_like(x))
    assert np.array_equal(result.view(np.uint32) & 0xFFFFE000, tf32(x).view(np.uint32) & 0xFFFFE000)


MMA = """int g = threadIdx.x / 4, t = threadIdx.x % 4;
    float x[4], y[2], sum[4];
    for (int i = 0; i < 4; i++) x[i] = a[(g + 8 * (i % 2)) * 8 + t + 4 * (i / 2)];
    for (int i = 0; i < 2; i++) y[i] = b[(t + 4 * i) * 8 + g];
    for (int i = 0; i < 4; i++) sum[i] = c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];
    mma_16x8x8(sum, x, y);
    for (int i = 0; i < 4; i++) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sum[i];"""


def test_mma_multiplies_as_its_layout_says(cupy):
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    assert np.array_equal(run(cupy, MMA, a, b, c), c + a @ b)


def test_mma_ignores_the_bits_beyond_tf32(cupy):
    a, b, c = numbers(16, 8), numbers(8, 8), np.zeros((16, 8), np.float32)
    cut_a, cut_b = ((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for x in (a, b))
    assert np.abs(run(cupy, MMA, a, b, c) - cut_a.astype(float) @ cut_b).max() < 1e-5  # its sums round as they like


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 31])
def test_shuffle_xor_exchanges_lanes(cupy, lanes):
    x = numbers(32)
    assert np.array_equal(run(cupy, f"a[threadIdx.x] = shuffle_xor(a[threadIdx.x], {lanes});", x), x[LANES ^ lanes])
