// Runs CUDA kernels on the CPU. A CUDA thread is a fiber: it runs until it reaches a barrier or an instruction of its whole
// warp, then another does. A kernel whose result depends on who runs first shows it under some order of the threads.
//
// Orders: 0 runs the threads upwards, 1 downwards, any other number shuffles them anew each round, seeded with it. Even
// orders finish asynchronous copies as late as the hardware may, odd ones at once: a missing wait shows in the former, a
// buffer used again too early in the latter. Blocks run one after another; shared memory starts as NaN in each.
#pragma once
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>
#include <math.h>  // as in CUDA, exp(float) is a float without std::
#include <sys/mman.h>
#include <unistd.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

namespace emulate {

constexpr int WARP = 32, MAX_THREADS = 1024, STACK = 64 << 10, SHARED = 163 << 10;  // what sm_80 offers

enum class Waits { nothing, block, warp, ended };
struct Copy { void* to; const void* from; int bytes; bool valid; };
struct Fiber {
    void* stack_pointer;
    uint3 thread;
    Waits waits;
    const void* site;                       // the line where it waits, to tell two barriers apart
    std::vector<std::vector<Copy>> copies;  // groups under way, the last one still open
    unsigned char operands[64], result[64];
};
struct Warp { int arrived; unsigned first, lanes; };
struct Launch {
    dim3 grid, block;
    unsigned shared_bytes, order;
    void** arguments;
    void (*kernel)(void**);
};

inline Fiber fibers[MAX_THREADS];
inline Warp warps[MAX_THREADS / WARP];
inline Fiber* current;
inline void* scheduler_stack;
inline const Launch* launch;
inline uint3 block;
inline unsigned char* stacks;
alignas(128) inline unsigned char shared_bytes[SHARED];
inline char error[512];
inline sigjmp_buf failed;

[[noreturn]] inline void fail(const char* what) {
    uint3 thread = current ? current->thread : uint3{};
    std::snprintf(error, sizeof error, "%s (block %u,%u,%u thread %u,%u,%u)", what, block.x, block.y, block.z, thread.x,
                  thread.y, thread.z);
    siglongjmp(failed, 1);
}

#if defined(__x86_64__)
extern "C" void emulate_switch(void** save, void* to);  // callee-saved registers to this stack, then on with the other
asm(".text\n.globl emulate_switch\n.type emulate_switch,@function\nemulate_switch:\n"
    "pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
    "movq %rsp,(%rdi); movq %rsi,%rsp\n"
    "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret\n");
#else
#error "emulate.hpp: write emulate_switch for this processor"
#endif

inline void yield(Waits waits, const void* site) {
    current->waits = waits;
    current->site = site;
    emulate_switch(&current->stack_pointer, scheduler_stack);
}

inline void run_thread() {
    launch->kernel(launch->arguments);
    yield(Waits::ended, nullptr);
}

inline void prepare(Fiber& fiber, unsigned index) {
    const dim3& size = launch->block;
    fiber.thread = {index % size.x, index / size.x % size.y, index / (size.x * size.y)};
    fiber.waits = Waits::nothing;
    fiber.copies.clear();
    fiber.copies.emplace_back();
    void** top = reinterpret_cast<void**>(stacks + size_t(index + 1) * STACK);
    *--top = nullptr;  // keeps the stack 16-byte aligned at run_thread
    *--top = reinterpret_cast<void*>(&run_thread);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.stack_pointer = top;
}

// Opens the barrier that every thread has reached. Anything else is a fault of the kernel.
inline void open_barrier(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) {
        current = &fibers[i];
        if (current->waits == Waits::warp) fail("a warp-wide instruction was not reached by its whole warp");
        if (current->waits != Waits::block || current->site != fibers[0].site)
            fail("a barrier was not reached by the whole block");
    }
    for (unsigned i = 0; i < threads; i++) fibers[i].waits = Waits::nothing;
}

inline void run_block() {
    const unsigned threads = launch->block.x * launch->block.y * launch->block.z;
    for (unsigned i = 0; i < threads; i++) prepare(fibers[i], i);
    for (unsigned i = 0; i < threads; i += WARP) warps[i / WARP] = {0, i, std::min<unsigned>(WARP, threads - i)};
    std::memset(shared_bytes, 0xff, launch->shared_bytes);  // NaN: nobody may read what nobody wrote
    std::vector<unsigned> order(threads);
    for (unsigned i = 0; i < threads; i++) order[i] = launch->order == 1 ? threads - 1 - i : i;
    uint32_t random = launch->order * 2654435761u + 1;
    for (;;) {
        if (launch->order > 1)
            for (unsigned i = threads - 1; i > 0; i--) {
                random = random * 1664525u + 1013904223u;
                std::swap(order[i], order[uint64_t(random) * (i + 1) >> 32]);
            }
        bool ran = false;
        for (unsigned i : order) {
            if (fibers[i].waits != Waits::nothing) continue;
            ran = true;
            current = &fibers[i];
            emulate_switch(&scheduler_stack, current->stack_pointer);
        }
        if (ran) continue;
        unsigned ended = 0;
        for (unsigned i = 0; i < threads; i++) ended += fibers[i].waits == Waits::ended;
        if (ended == threads) return;
        open_barrier(threads);
    }
}

// An instruction of the whole warp: work(operands, results, lanes). The last lane to arrive does it for all.
template <class In, class Out, class Work> inline Out warp_wide(const In& operands, const Work& work, const void* site) {
    static_assert(sizeof(In) <= sizeof current->operands && sizeof(Out) <= sizeof current->result);
    Fiber* self = current;
    Warp& warp = warps[(self - fibers) / WARP];
    std::memcpy(self->operands, &operands, sizeof(In));
    self->site = site;
    if (++warp.arrived < int(warp.lanes)) {
        yield(Waits::warp, site);
    } else {
        warp.arrived = 0;
        In in[WARP];
        Out out[WARP];
        for (unsigned i = 0; i < warp.lanes; i++) {
            Fiber& lane = fibers[warp.first + i];
            if (lane.site != site) fail("a warp's lanes are at different warp-wide instructions");
            std::memcpy(&in[i], lane.operands, sizeof(In));
        }
        work(in, out, int(warp.lanes));
        for (unsigned i = 0; i < warp.lanes; i++) {
            std::memcpy(fibers[warp.first + i].result, &out[i], sizeof(Out));
            fibers[warp.first + i].waits = Waits::nothing;
        }
    }
    Out result;
    std::memcpy(&result, self->result, sizeof(Out));
    return result;
}

inline void do_copy(const Copy& copy) {
    if (copy.valid) std::memcpy(copy.to, copy.from, copy.bytes);
    else std::memset(copy.to, 0, copy.bytes);
}

inline void on_fault(int number, siginfo_t*, void*) {
    fail(number == SIGILL   ? "an index outside of its array, or an integer overflow"
         : number == SIGFPE ? "a division by zero"
                            : "illegal memory access");
}

// Catches the signals of bad memory accesses and of the sanitizers' traps for the time of a launch.
struct CatchFaults {
    static constexpr int NUMBERS[4] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction before[4];
    stack_t stack_before;
    unsigned char stack[64 << 10];
    CatchFaults() {
        stack_t own{stack, 0, sizeof stack};
        sigaltstack(&own, &stack_before);
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 4; i++) sigaction(NUMBERS[i], &action, &before[i]);
    }
    ~CatchFaults() {
        for (int i = 0; i < 4; i++) sigaction(NUMBERS[i], &before[i], nullptr);
        sigaltstack(&stack_before, nullptr);
    }
};

inline int run(const Launch& asked) {
    if (!stacks)
        stacks = static_cast<unsigned char*>(mmap(nullptr, size_t(MAX_THREADS) * STACK, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    static CatchFaults* faults;
    faults = new CatchFaults;
    launch = &asked;
    current = nullptr;
    int result = sigsetjmp(failed, 1);
    if (!result)
        for (block.z = 0; block.z < asked.grid.z; block.z++)
            for (block.y = 0; block.y < asked.grid.y; block.y++)
                for (block.x = 0; block.x < asked.grid.x; block.x++) run_block();
    delete faults;
    return result;
}

// The kernel's parameters in words, for the launcher's checks: f4 is a float, i4 an int, s24 a struct of 24 bytes; P before
// it makes a pointer, C a pointer to what the kernel only reads.
template <class T> char* describe(char* to) {
    if constexpr (std::is_pointer_v<T>) {
        using Pointee = std::remove_pointer_t<T>;
        *to++ = std::is_const_v<Pointee> ? 'C' : 'P';
        return describe<std::remove_cv_t<Pointee>>(to);
    } else {
        char kind = std::is_floating_point_v<T> ? 'f' : std::is_unsigned_v<T> ? 'u' : std::is_integral_v<T> ? 'i' : 's';
        return to + std::sprintf(to, "%c%d ", kind, int(sizeof(T)));
    }
}
template <auto Kernel> struct Entry;
template <class... A, void (*Kernel)(A...)> struct Entry<Kernel> {
    template <size_t... I> static void call(void** a, std::index_sequence<I...>) {
        Kernel(*static_cast<std::remove_cv_t<A>*>(a[I])...);
    }
    static void kernel(void** arguments) { call(arguments, std::index_sequence_for<A...>{}); }
    static void signature(char* to) {
        ((to = describe<std::remove_cv_t<A>>(to)), ...);
        *to = 0;
    }
};

}  // namespace emulate

#define threadIdx (emulate::current->thread)
#define blockIdx (emulate::block)
#define blockDim (emulate::launch->block)
#define gridDim (emulate::launch->grid)
#define EMULATE_HERE() ([] { static char site; return static_cast<const void*>(&site); }())
#define __syncthreads() emulate::yield(emulate::Waits::block, EMULATE_HERE())

using std::max;
using std::min;

// The names of device.cuh.

template <class T> inline T& shared_memory() {
    if (sizeof(T) > emulate::launch->shared_bytes) emulate::fail("the launch asks for too little shared memory");
    return *reinterpret_cast<T*>(emulate::shared_bytes);
}

template <int BYTES> inline void async_copy(void* to, const void* from, bool valid) {
    static_assert(BYTES == 16 || BYTES == 4, "a copy has 16 or 4 bytes");
    auto* target = static_cast<unsigned char*>(to);
    if (target < emulate::shared_bytes || target + BYTES > emulate::shared_bytes + emulate::launch->shared_bytes)
        emulate::fail("an asynchronous copy to what is not shared memory");
    if (reinterpret_cast<uintptr_t>(to) % BYTES || (valid && reinterpret_cast<uintptr_t>(from) % BYTES))
        emulate::fail("misaligned address");
    emulate::Copy copy{to, from, BYTES, valid};
    if (emulate::launch->order % 2) emulate::do_copy(copy);
    else emulate::current->copies.back().push_back(copy);
}

inline void async_commit() { emulate::current->copies.emplace_back(); }

template <int PENDING> inline void async_wait() {
    auto& groups = emulate::current->copies;
    while (groups.size() > PENDING + 1) {
        for (const auto& copy : groups.front()) emulate::do_copy(copy);
        groups.erase(groups.begin());
    }
}

namespace emulate {

inline float mask_mantissa(float x, uint32_t add) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    bits = (bits + add) & 0xffffe000u;
    std::memcpy(&x, &bits, 4);
    return x;
}

struct MmaOperands { float d[4], a[4], b[2]; };
struct MmaResult { float d[4]; };

inline void mma(const MmaOperands* in, MmaResult* out, int lanes) {
    if (lanes != WARP) fail("mma needs a whole warp");
    float a[16][8], b[8][8], d[16][8];
    for (int l = 0; l < WARP; l++) {
        int group = l / 4, of4 = l % 4;
        for (int i = 0; i < 4; i++) a[group + 8 * (i % 2)][of4 + 4 * (i / 2)] = mask_mantissa(in[l].a[i], 0);
        for (int i = 0; i < 2; i++) b[of4 + 4 * i][group] = mask_mantissa(in[l].b[i], 0);
        for (int i = 0; i < 4; i++) d[group + 8 * (i / 2)][of4 * 2 + i % 2] = in[l].d[i];
    }
    for (int row = 0; row < 16; row++)
        for (int depth = 0; depth < 8; depth++)
            for (int column = 0; column < 8; column++) d[row][column] += a[row][depth] * b[depth][column];
    for (int l = 0; l < WARP; l++)
        for (int i = 0; i < 4; i++) out[l].d[i] = d[l / 4 + 8 * (i / 2)][l % 4 * 2 + i % 2];
}

inline void mma_at(float (&d)[4], const float (&a)[4], const float (&b)[2], const void* site) {
    MmaOperands in{{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    MmaResult out = warp_wide<MmaOperands, MmaResult>(in, mma, site);
    for (int i = 0; i < 4; i++) d[i] = out.d[i];
}

template <class T> struct Shuffled { T value; int from; };

template <class T> inline T shuffle(T value, int from, const void* site) {
    auto exchange = [](const Shuffled<T>* in, T* out, int lanes) {
        if (lanes != WARP) fail("a shuffle needs a whole warp");
        for (int i = 0; i < WARP; i++) out[i] = in[in[i].from].value;
    };
    return warp_wide<Shuffled<T>, T>({value, from}, exchange, site);
}

inline int lane() { return int((current - fibers) % WARP); }

}  // namespace emulate

inline float round_tf32(float x) { return std::isfinite(x) ? emulate::mask_mantissa(x, 0x1000) : x; }
#define mma_16x8x8(...) emulate::mma_at(__VA_ARGS__, EMULATE_HERE())
#define shuffle_xor(VALUE, LANES) emulate::shuffle(VALUE, emulate::lane() ^ (LANES), EMULATE_HERE())

// What emulate.py calls.

extern "C" const char* emulate_error() { return emulate::error; }

#define EMULATE_EXPORT(...) \
    extern "C" int emulate_launch(emulate::Launch* asked) { \
        asked->kernel = emulate::Entry<&__VA_ARGS__>::kernel; \
        return emulate::run(*asked); \
    } \
    extern "C" void emulate_signature(char* to) { emulate::Entry<&__VA_ARGS__>::signature(to); }
