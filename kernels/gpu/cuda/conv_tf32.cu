// Convolution and its input's gradient on the tensor cores: operands rounded to TF32, sums in float32; one group.
// A block multiplies a ROWS x COLUMNS tile of the product conv.cuh describes, a warp WARP_ROWS x WARP_COLUMNS of it. STAGES
// slices of the depth are in shared memory at once, one being multiplied and the others on their way. VECTOR channels are
// copied at a time: 4 needs channels divisible by 4 and arrays at multiples of 16 bytes.

constexpr int DEPTH = 32;

// Four floats after each row: then the 32 lanes that read a fragment meet 32 different banks.
template <int ROWS, int COLUMNS, int STAGES>
struct Tf32Tiles { float source[STAGES][ROWS][DEPTH + 4], filters[STAGES][COLUMNS][DEPTH + 4]; };

template <int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int STAGES, int VECTOR>
__global__ __launch_bounds__(32 * (ROWS / WARP_ROWS) * (COLUMNS / WARP_COLUMNS))
void conv_tf32(const float* __restrict__ source, const float* __restrict__ filters, const float* __restrict__ bias,
               float* __restrict__ target, Conv conv, float negative_slope) {
    constexpr int THREADS = 32 * (ROWS / WARP_ROWS) * (COLUMNS / WARP_COLUMNS), APART = THREADS / (DEPTH / VECTOR);
    constexpr int SOURCE_LOADS = ROWS / APART, FILTER_LOADS = COLUMNS / APART;
    static_assert(SOURCE_LOADS * APART == ROWS && FILTER_LOADS * APART == COLUMNS, "uneven loads");
    auto& tiles = shared_memory<Tf32Tiles<ROWS, COLUMNS, STAGES>>();
    const Block block = block_of<ROWS, COLUMNS>(conv);
    if (block.row0 >= block.rows) return;

    // This thread copies VECTOR depths, from `depth` on, of every APART-th row and column.
    const int thread = threadIdx.x, depth = thread % (DEPTH / VECTOR) * VECTOR, lane = thread / (DEPTH / VECTOR);
    const int steps = block.h.taps * block.w.taps * ceil_divide(conv.channels, DEPTH);
    Corner corner[SOURCE_LOADS];
    #pragma unroll
    for (int i = 0; i < SOURCE_LOADS; i++) corner[i] = corner_of(conv, block, block.row0 + lane + i * APART);

    int tap_h = 0, tap_w = 0, channel0 = 0;  // of the slice that is copied next
    auto copy = [&](int stage) {
        int h = tap_h * block.h.advance, w = tap_w * block.w.advance;
        bool there = channel0 + depth < conv.channels;
        long long offset = (static_cast<long long>(h) * conv.w.source + w) * conv.channels + channel0 + depth;
        #pragma unroll
        for (int i = 0; i < SOURCE_LOADS; i++) {
            bool valid = there && inside(conv, corner[i].h + h, corner[i].w + w);
            const float* from = valid ? source + corner[i].at + offset : source;
            async_copy<4 * VECTOR>(&tiles.source[stage][lane + i * APART][depth], from, valid);
        }
        int element = (block.h.tap + tap_h * block.h.tap_step) * conv.w.kernel + block.w.tap + tap_w * block.w.tap_step;
        #pragma unroll
        for (int i = 0; i < FILTER_LOADS; i++) {
            int column = block.column0 + lane + i * APART;
            bool valid = there && column < conv.columns;
            long long at = static_cast<long long>(column) * conv.h.kernel * conv.w.kernel + element;
            const float* from = valid ? filters + at * conv.channels + channel0 + depth : filters;
            async_copy<4 * VECTOR>(&tiles.filters[stage][lane + i * APART][depth], from, valid);
        }
        channel0 += DEPTH;
        if (channel0 < conv.channels) return;
        channel0 = 0;
        if (++tap_w < block.w.taps) return;
        tap_w = 0;
        tap_h++;
    };

    const int warp = thread / 32, group = thread % 32 / 4, of4 = thread % 4;
    const int warp_row = warp / (COLUMNS / WARP_COLUMNS) * WARP_ROWS;
    const int warp_column = warp % (COLUMNS / WARP_COLUMNS) * WARP_COLUMNS;
    float sum[WARP_ROWS / 16][WARP_COLUMNS / 8][4] = {};
    #pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < steps) copy(stage);
        async_commit();
    }
    for (int step = 0; step < steps; step++) {
        async_wait<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps) copy((step + STAGES - 1) % STAGES);
        async_commit();
        auto& source_tile = tiles.source[step % STAGES];
        auto& filter_tile = tiles.filters[step % STAGES];
        #pragma unroll
        for (int d = 0; d < DEPTH; d += 8) {
            float a[WARP_ROWS / 16][4], b[WARP_COLUMNS / 8][2];
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; i++)
                #pragma unroll
                for (int l = 0; l < 4; l++)
                    a[i][l] = round_tf32(source_tile[warp_row + i * 16 + group + l % 2 * 8][d + of4 + l / 2 * 4]);
            #pragma unroll
            for (int j = 0; j < WARP_COLUMNS / 8; j++)
                #pragma unroll
                for (int l = 0; l < 2; l++) b[j][l] = round_tf32(filter_tile[warp_column + j * 8 + group][d + of4 + l * 4]);
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; i++)
                #pragma unroll
                for (int j = 0; j < WARP_COLUMNS / 8; j++) mma_16x8x8(sum[i][j], a[i], b[j]);
        }
    }

    const bool pairs = conv.columns % 2 == 0;
    #pragma unroll
    for (int i = 0; i < WARP_ROWS / 16; i++)
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = block.row0 + warp_row + i * 16 + half * 8 + group;
            if (row >= block.rows) continue;
            float* to = target + target_of(conv, block, row);
            #pragma unroll
            for (int j = 0; j < WARP_COLUMNS / 8; j++) {
                int column = block.column0 + warp_column + j * 8 + of4 * 2;
                bool first = column < conv.columns, second = column + 1 < conv.columns;
                float left = activated(sum[i][j][half * 2] + (bias && first ? bias[column] : 0), negative_slope);
                float right = activated(sum[i][j][half * 2 + 1] + (bias && second ? bias[column + 1] : 0), negative_slope);
                if (pairs && first) {
                    *reinterpret_cast<float2*>(to + column) = make_float2(left, right);
                } else {
                    if (first) to[column] = left;
                    if (second) to[column + 1] = right;
                }
            }
        }
}
