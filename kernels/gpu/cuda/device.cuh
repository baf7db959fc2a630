// What the kernels use beyond plain C++: one thin function for each instruction of the GPU. Every kernel file is compiled
// with this text before it. tests/emulator/emulate.hpp defines the same names for g++, and takes this file's place there.
// No #include here or in any kernel, so that NVRTC compiles them without CUDA's headers.

// The block's shared memory, seen as a T. The launch says how many bytes there are: at least sizeof(T).
template <class T> __device__ __forceinline__ T& shared_memory() {
    extern __shared__ __align__(128) unsigned char shared_bytes[];
    return *reinterpret_cast<T*>(shared_bytes);
}

// Starts a copy of 16 (or 4) bytes from global to shared memory that passes no register; zeros where `valid` is false.
// Both addresses are multiples of BYTES. A thread sees its own copies after async_wait, those of others after a barrier too.
// PTX: cp.async, since sm_80.
template <int BYTES> __device__ __forceinline__ void async_copy(void* to, const void* from, bool valid) {
    static_assert(BYTES == 16 || BYTES == 4, "a copy has 16 or 4 bytes");
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    int bytes = valid ? BYTES : 0;
    if constexpr (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

// Closes the group of copies this thread started since the last commit; a group may be empty. PTX: cp.async.commit_group.
__device__ __forceinline__ void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's youngest groups are under way. PTX: cp.async.wait_group.
template <int PENDING> __device__ __forceinline__ void async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// x with the 10 bits of mantissa that tensor cores read in TF32: to nearest, ties away from zero. PTX: cvt.rna.tf32.f32.
__device__ __forceinline__ float round_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}

// d += a b, a 16 x 8 and b 8 x 8 in TF32 (further bits are ignored), d 16 x 8 in float32; all 32 lanes of a warp together.
// Lane l, with g = l / 4 and t = l % 4, holds a[i] = A[g + 8 (i % 2)][t + 4 (i / 2)], b[i] = B[t + 4 i][g] and
// d[i] = D[g + 8 (i / 2)][2 t + i % 2]. PTX: mma.sync.m16n8k8, since sm_80.
__device__ __forceinline__ void mma_16x8x8(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}

// The value of the lane whose number differs from this one's in the bits of `lanes`; all 32 lanes of a warp together.
// PTX: shfl.sync.bfly.
template <class T> __device__ __forceinline__ T shuffle_xor(T value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}
