// Convolution and its input's gradient in the arrays' own precision: any stride, dilation, groups, channels, float and double.
// A block multiplies a ROWS x COLUMNS tile of the product conv.cuh describes, a thread TILE_ROWS x TILE_COLUMNS of it in
// registers. While it multiplies one slice of the depth from shared memory, the next one is on its way to registers.

template <class T, int ROWS, int COLUMNS, int DEPTH>
struct SimtTiles { T source[2][DEPTH][ROWS + 4], filters[2][DEPTH][COLUMNS + 4]; };

template <class T, int ROWS, int COLUMNS, int DEPTH, int TILE_ROWS, int TILE_COLUMNS>
__global__ __launch_bounds__(ROWS / TILE_ROWS * (COLUMNS / TILE_COLUMNS))
void conv_simt(const T* __restrict__ source, const T* __restrict__ filters, const T* __restrict__ bias,
               T* __restrict__ target, Conv conv, T negative_slope) {
    constexpr int THREADS = ROWS / TILE_ROWS * (COLUMNS / TILE_COLUMNS), APART = THREADS / DEPTH;
    constexpr int SOURCE_LOADS = ROWS / APART, FILTER_LOADS = (COLUMNS + APART - 1) / APART;
    static_assert(THREADS % DEPTH == 0 && ROWS % APART == 0, "uneven loads");
    auto& tiles = shared_memory<SimtTiles<T, ROWS, COLUMNS, DEPTH>>();
    const Block block = block_of<ROWS, COLUMNS>(conv);
    if (block.row0 >= block.rows) return;

    // This thread loads one depth of every APART-th row and column.
    const int thread = threadIdx.x, depth = thread % DEPTH, lane = thread / DEPTH;
    const int depths = block.h.taps * block.w.taps * conv.channels, steps = ceil_divide(depths, DEPTH);
    const Divisor by_channels(max(conv.channels, 1)), by_taps_w(max(block.w.taps, 1));
    Corner corner[SOURCE_LOADS];
    #pragma unroll
    for (int i = 0; i < SOURCE_LOADS; i++) corner[i] = corner_of(conv, block, block.row0 + lane + i * APART);

    T next_source[SOURCE_LOADS], next_filter[FILTER_LOADS];
    auto load = [&](int step) {
        int at = step * DEPTH + depth, tap = by_channels(at), channel = at - tap * conv.channels;
        int tap_h = by_taps_w(tap), tap_w = tap - tap_h * block.w.taps;
        int h = tap_h * block.h.advance, w = tap_w * block.w.advance;
        long long offset = (static_cast<long long>(h) * conv.w.source + w) * conv.groups * conv.channels + channel;
        #pragma unroll
        for (int i = 0; i < SOURCE_LOADS; i++) {
            bool there = at < depths && inside(conv, corner[i].h + h, corner[i].w + w);
            next_source[i] = there ? source[corner[i].at + offset] : T(0);
        }
        int element = (block.h.tap + tap_h * block.h.tap_step) * conv.w.kernel + block.w.tap + tap_w * block.w.tap_step;
        #pragma unroll
        for (int i = 0; i < FILTER_LOADS; i++) {
            int column = block.column0 + lane + i * APART;
            long long filter = static_cast<long long>(block.group) * conv.columns + column;
            long long from = (filter * conv.h.kernel * conv.w.kernel + element) * conv.channels + channel;
            next_filter[i] = at < depths && column < conv.columns ? filters[from] : T(0);
        }
    };
    auto store = [&](int buffer) {
        #pragma unroll
        for (int i = 0; i < SOURCE_LOADS; i++) tiles.source[buffer][depth][lane + i * APART] = next_source[i];
        #pragma unroll
        for (int i = 0; i < FILTER_LOADS; i++)
            if (lane + i * APART < COLUMNS) tiles.filters[buffer][depth][lane + i * APART] = next_filter[i];
    };

    const int row = thread / (COLUMNS / TILE_COLUMNS) * TILE_ROWS, column = thread % (COLUMNS / TILE_COLUMNS) * TILE_COLUMNS;
    T sum[TILE_ROWS][TILE_COLUMNS] = {};
    if (steps > 0) load(0);
    for (int step = 0; step < steps; step++) {
        store(step % 2);
        __syncthreads();
        if (step + 1 < steps) load(step + 1);
        #pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            auto a = vector_at<TILE_ROWS>(tiles.source[step % 2][d][row]);
            auto b = vector_at<TILE_COLUMNS>(tiles.filters[step % 2][d][column]);
            #pragma unroll
            for (int i = 0; i < TILE_ROWS; i++)
                #pragma unroll
                for (int j = 0; j < TILE_COLUMNS; j++) sum[i][j] += a.of[i] * b.of[j];
        }
    }

    #pragma unroll
    for (int i = 0; i < TILE_ROWS; i++) {
        if (block.row0 + row + i >= block.rows) continue;
        long long to = target_of(conv, block, block.row0 + row + i);
        #pragma unroll
        for (int j = 0; j < TILE_COLUMNS; j++) {
            int at = block.column0 + column + j;
            if (at < conv.columns)
                target[to + at] = activated(sum[i][j] + (bias ? bias[block.group * conv.columns + at] : T(0)), negative_slope);
        }
    }
}
