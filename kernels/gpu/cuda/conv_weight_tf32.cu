// The convolution's gradient by its weight on the tensor cores: the product of conv_weight_simt.cu with operands rounded to
// TF32 and sums in float32; one group. VECTOR is 4 where both channel numbers are divisible by 4 and arrays start at
// multiples of 16 bytes, else 1.

constexpr int DEPTH = 32;

// Eight floats after each row: then the 32 lanes that read a fragment meet 32 different banks.
template <int ROWS, int COLUMNS, int STAGES>
struct WeightTf32Tiles { float input[STAGES][DEPTH][ROWS + 8], grad[STAGES][DEPTH][COLUMNS + 8]; };

template <int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int STAGES, int VECTOR>
__global__ __launch_bounds__(32 * (ROWS / WARP_ROWS) * (COLUMNS / WARP_COLUMNS))
void conv_weight_tf32(const float* __restrict__ input, const float* __restrict__ grad, float* __restrict__ part, Conv conv,
                      int pixels_per_slice) {
    constexpr int THREADS = 32 * (ROWS / WARP_ROWS) * (COLUMNS / WARP_COLUMNS);
    constexpr int INPUT_LANES = ROWS / VECTOR, GRAD_LANES = COLUMNS / VECTOR;
    constexpr int INPUT_LOADS = DEPTH * INPUT_LANES / THREADS, GRAD_LOADS = DEPTH * GRAD_LANES / THREADS;
    static_assert(THREADS % INPUT_LANES == 0 && THREADS % GRAD_LANES == 0, "uneven loads");
    auto& tiles = shared_memory<WeightTf32Tiles<ROWS, COLUMNS, STAGES>>();
    const WeightBlock block = weight_block_of<ROWS, COLUMNS>(conv, pixels_per_slice);

    // This thread copies VECTOR rows from input_row and VECTOR columns from grad_column at some of the depths.
    const int thread = threadIdx.x;
    const int input_row = thread % INPUT_LANES * VECTOR, grad_column = thread % GRAD_LANES * VECTOR;
    const Tap tap = tap_of(conv, block.row0 + input_row);
    const Divisor by_width(conv.w.target), by_height(conv.h.target);
    auto copy = [&](int step) {
        #pragma unroll
        for (int i = 0; i < INPUT_LOADS; i++) {
            int depth = thread / INPUT_LANES + i * (THREADS / INPUT_LANES), pixel = block.first + step * DEPTH + depth;
            int line = by_width(pixel), image = by_height(line);
            int h = (line - image * conv.h.target) * conv.h.stride + tap.h;
            int w = (pixel - line * conv.w.target) * conv.w.stride + tap.w;
            bool valid = pixel < block.last && inside(conv, h, w);
            long long at = (static_cast<long long>(image) * conv.h.source + h) * conv.w.source + w;
            const float* from = valid ? input + at * conv.channels + tap.channel : input;
            async_copy<4 * VECTOR>(&tiles.input[step % STAGES][depth][input_row], from, valid);
        }
        #pragma unroll
        for (int i = 0; i < GRAD_LOADS; i++) {
            int depth = thread / GRAD_LANES + i * (THREADS / GRAD_LANES), pixel = block.first + step * DEPTH + depth;
            bool valid = pixel < block.last && block.column0 + grad_column < conv.columns;
            const float* from = valid ? grad + static_cast<long long>(pixel) * conv.columns + block.column0 + grad_column : grad;
            async_copy<4 * VECTOR>(&tiles.grad[step % STAGES][depth][grad_column], from, valid);
        }
    };

    const int warp = thread / 32, group = thread % 32 / 4, of4 = thread % 4;
    const int warp_row = warp / (COLUMNS / WARP_COLUMNS) * WARP_ROWS;
    const int warp_column = warp % (COLUMNS / WARP_COLUMNS) * WARP_COLUMNS;
    const int steps = ceil_divide(block.last - block.first, DEPTH);
    float sum[WARP_ROWS / 16][WARP_COLUMNS / 8][4] = {};
    #pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (stage < steps) copy(stage);
        async_commit();
    }
    for (int step = 0; step < steps; step++) {
        async_wait<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps) copy(step + STAGES - 1);
        async_commit();
        auto& input_tile = tiles.input[step % STAGES];
        auto& grad_tile = tiles.grad[step % STAGES];
        #pragma unroll
        for (int d = 0; d < DEPTH; d += 8) {
            float a[WARP_ROWS / 16][4], b[WARP_COLUMNS / 8][2];
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; i++)
                #pragma unroll
                for (int l = 0; l < 4; l++)
                    a[i][l] = round_tf32(input_tile[d + of4 + l / 2 * 4][warp_row + i * 16 + group + l % 2 * 8]);
            #pragma unroll
            for (int j = 0; j < WARP_COLUMNS / 8; j++)
                #pragma unroll
                for (int l = 0; l < 2; l++) b[j][l] = round_tf32(grad_tile[d + of4 + l * 4][warp_column + j * 8 + group]);
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; i++)
                #pragma unroll
                for (int j = 0; j < WARP_COLUMNS / 8; j++) mma_16x8x8(sum[i][j], a[i], b[j]);
        }
    }

    #pragma unroll
    for (int i = 0; i < WARP_ROWS / 16; i++)
        #pragma unroll
        for (int j = 0; j < WARP_COLUMNS / 8; j++)
            #pragma unroll
            for (int l = 0; l < 4; l++) {
                int row = block.row0 + warp_row + i * 16 + l / 2 * 8 + group;
                int column = block.column0 + warp_column + j * 8 + of4 * 2 + l % 2;
                if (row < block.rows && column < conv.columns)
                    part[block.part + static_cast<long long>(row) * conv.columns + column] = sum[i][j][l];
            }
}
