// What all convolution kernels share: the geometry, and which source pixels a target pixel sums.
//
// Images lie in memory as (batch, height, width, groups * channels). Forward, the source is the input and the target the
// output; in the input's gradient the source is the output's gradient and the target the input's. Either is a product of
// matrices that are never written down: a row for each target pixel, a column for each target channel, and a depth of all
// (tap, source channel). The filters lie as (groups * columns, kernel height, kernel width, channels).

struct Axis { int source, target, kernel, stride, padding, dilation; };

struct Conv {
    int batch, channels, columns, groups, transposed;  // channels of the source and columns are those of one group
    Axis h, w;
};

// Division of 0 <= n < 2^31 by a number known only at run time: a multiplication and a shift. (Granlund and Montgomery 1994,
// Division by Invariant Integers using Multiplication.)
struct Divisor {
    unsigned multiplier;
    int shift;
    __device__ explicit Divisor(int divisor) : shift(31) {
        while (1ll << (shift - 31) < divisor) shift++;
        multiplier = static_cast<unsigned>((1ull << shift) / divisor + 1);
    }
    __device__ int operator()(int n) const {
        return static_cast<int>(static_cast<unsigned long long>(n) * multiplier >> shift);
    }
};

__device__ inline int ceil_divide(int a, int b) { return a / b + (a % b > 0); }

// Along one axis: target pixel first + step * i, for i < count, sums for each tap t < taps the source pixel
// i * scale + origin + t * advance times kernel element tap + tap_step * t.
struct Line { int count, first, step, scale, origin, advance, taps, tap, tap_step; };

__device__ inline Line forward_line(const Axis& a) {
    return {a.target, 0, 1, a.stride, -a.padding, a.dilation, a.kernel, 0, 1};
}

// Input pixel x meets kernel element r at output pixel (x + padding - r * dilation) / stride, where that is whole. Pixels of
// one phase, x = phase modulo stride, have these r in common; so each phase is a convolution of stride 1 with some of the
// taps, and nothing is multiplied by inserted zeros.
__device__ inline Line gradient_line(const Axis& a, int phase) {
    Line line{ceil_divide(a.target - phase, a.stride), phase, a.stride, 1, 0, 0, 0, 0, 0};
    for (int r = 0; r < a.kernel; r++) {
        int distance = phase + a.padding - r * a.dilation;
        if (distance % a.stride) continue;
        if (line.taps == 0) {
            line.tap = r;
            line.origin = distance / a.stride;
        } else if (line.taps == 1) {
            line.tap_step = r - line.tap;
            line.advance = distance / a.stride - line.origin;
        }
        line.taps++;
    }
    return line;
}

// The part of the product that a block computes: ROWS x COLUMNS from (row0, column0), of one group and phase.
struct Block { int row0, column0, group, rows; Line h, w; };

// Blocks are numbered by columns first, then phases, groups and rows: those that run together read the same source.
template <int ROWS, int COLUMNS> __device__ Block block_of(const Conv& conv) {
    int phases_h = conv.transposed ? conv.h.stride : 1, phases_w = conv.transposed ? conv.w.stride : 1;
    int tiles = ceil_divide(conv.columns, COLUMNS), index = blockIdx.x;
    Block block;
    block.column0 = index % tiles * COLUMNS;
    index /= tiles;
    int phase_h = index % phases_h, phase_w = index / phases_h % phases_w;
    index /= phases_h * phases_w;
    block.group = index % conv.groups;
    block.row0 = index / conv.groups * ROWS;
    block.h = conv.transposed ? gradient_line(conv.h, phase_h) : forward_line(conv.h);
    block.w = conv.transposed ? gradient_line(conv.w, phase_w) : forward_line(conv.w);
    block.rows = conv.batch * block.h.count * block.w.count;
    return block;
}

constexpr int FAR_OUTSIDE = -(1 << 29);  // no tap leads from here into the image

// For a row of the product: the source pixel that tap (0, 0) reads, which may lie outside, and where its channels begin.
struct Corner { int h, w; long long at; };

__device__ inline Corner corner_of(const Conv& conv, const Block& block, int row) {
    if (row >= block.rows) return {FAR_OUTSIDE, FAR_OUTSIDE, 0};
    int i = row / block.w.count, image = i / block.h.count;
    int h = i % block.h.count * block.h.scale + block.h.origin, w = row % block.w.count * block.w.scale + block.w.origin;
    long long pixel = (static_cast<long long>(image) * conv.h.source + h) * conv.w.source + w;
    return {h, w, (pixel * conv.groups + block.group) * conv.channels};
}

// Where the channels of a row's target pixel begin.
__device__ inline long long target_of(const Conv& conv, const Block& block, int row) {
    int i = row / block.w.count, image = i / block.h.count;
    int h = i % block.h.count * block.h.step + block.h.first, w = row % block.w.count * block.w.step + block.w.first;
    long long pixel = (static_cast<long long>(image) * conv.h.target + h) * conv.w.target + w;
    return (pixel * conv.groups + block.group) * conv.columns;
}

__device__ inline bool inside(const Conv& conv, int h, int w) {
    return h >= 0 && h < conv.h.source && w >= 0 && w < conv.w.source;
}

// The activation: leaky_relu of a sum, relu for a slope of 0, itself for 1. NaN stays NaN.
template <class T> __device__ inline T activated(T x, T slope) {
    return x <= 0 ? (slope == 0 ? T(0) : x * slope) : x;
}

// N numbers side by side, loaded and stored by the widest instructions there are.
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Vector { T of[N]; };

template <int N, class T> __device__ inline const Vector<T, N>& vector_at(const T& first) {
    return reinterpret_cast<const Vector<T, N>&>(first);
}
