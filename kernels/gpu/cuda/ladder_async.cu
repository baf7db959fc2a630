// Step 4: asynchronous copies. As in step 3 a thread computes 4 x 4 numbers in registers, but what it loads goes to shared
// memory without passing registers, and two slices of the depth are on their way while a third is multiplied.

struct AsyncTiles { float source[3][64][17], filters[3][64][17]; };  // 17: lanes that read a column meet different banks

__global__ __launch_bounds__(256) void conv_async(const float* __restrict__ source, const float* __restrict__ filters,
                                                  const float* __restrict__ bias, float* __restrict__ target, Conv conv,
                                                  float negative_slope) {
    auto& tiles = shared_memory<AsyncTiles>();
    const Block block = block_of<64, 64>(conv);
    if (block.row0 >= block.rows) return;

    const int y = threadIdx.x / 16, x = threadIdx.x % 16;  // computes rows y + 16 i, columns x + 16 j; copies depth x
    const int depths = block.h.taps * block.w.taps * conv.channels, steps = ceil_divide(depths, 16);
    Corner corner[4];
    #pragma unroll
    for (int i = 0; i < 4; i++) corner[i] = corner_of(conv, block, block.row0 + y + 16 * i);

    auto copy = [&](int step) {
        int depth = step * 16 + x, tap = depth / conv.channels, channel = depth % conv.channels;
        int tap_h = tap / block.w.taps, tap_w = tap % block.w.taps;
        int h = tap_h * block.h.advance, w = tap_w * block.w.advance;
        long long offset = (static_cast<long long>(h) * conv.w.source + w) * conv.groups * conv.channels + channel;
        int element = (block.h.tap + tap_h * block.h.tap_step) * conv.w.kernel + block.w.tap + tap_w * block.w.tap_step;
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            bool there = depth < depths && inside(conv, corner[i].h + h, corner[i].w + w);
            async_copy<4>(&tiles.source[step % 3][y + 16 * i][x], there ? source + corner[i].at + offset : source, there);
            int column = block.column0 + y + 16 * i;
            bool known = depth < depths && column < conv.columns;
            long long filter = static_cast<long long>(block.group) * conv.columns + column;
            long long from = (filter * conv.h.kernel * conv.w.kernel + element) * conv.channels + channel;
            async_copy<4>(&tiles.filters[step % 3][y + 16 * i][x], known ? filters + from : filters, known);
        }
    };

    float sum[4][4] = {};
    for (int step = 0; step < 2; step++) {
        if (step < steps) copy(step);
        async_commit();
    }
    for (int step = 0; step < steps; step++) {
        async_wait<1>();  // the next slice may still be under way, this one is there
        __syncthreads();
        if (step + 2 < steps) copy(step + 2);
        async_commit();
        #pragma unroll
        for (int d = 0; d < 16; d++) {
            float a[4], b[4];
            #pragma unroll
            for (int i = 0; i < 4; i++) a[i] = tiles.source[step % 3][y + 16 * i][d];
            #pragma unroll
            for (int j = 0; j < 4; j++) b[j] = tiles.filters[step % 3][x + 16 * j][d];
            #pragma unroll
            for (int i = 0; i < 4; i++)
                #pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] += a[i] * b[j];
        }
    }

    #pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = block.row0 + y + 16 * i;
        if (row >= block.rows) continue;
        float* to = target + target_of(conv, block, row);
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            int column = block.column0 + x + 16 * j;
            if (column < conv.columns)
                to[column] = activated(sum[i][j] + (bias ? bias[block.group * conv.columns + column] : 0), negative_slope);
        }
    }
}
