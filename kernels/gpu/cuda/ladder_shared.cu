// Step 2: tiles in shared memory. The 256 threads of a block compute 16 x 16 numbers together: for 16 depths at a time each
// thread loads one number of either operand, and all read what the others loaded. Every number loaded is used 16 times.

struct SharedTiles { float source[16][16], filters[16][17]; };  // 17: lanes that read a column meet different banks

__global__ void conv_shared(const float* __restrict__ source, const float* __restrict__ filters, const float* __restrict__ bias,
                            float* __restrict__ target, Conv conv, float negative_slope) {
    auto& tiles = shared_memory<SharedTiles>();
    const Block block = block_of<16, 16>(conv);
    if (block.row0 >= block.rows) return;

    const int y = threadIdx.x / 16, x = threadIdx.x % 16;  // this thread computes row y and column x of the tile
    const int row = block.row0 + y, column = block.column0 + x, loads_column = block.column0 + y;
    const int depths = block.h.taps * block.w.taps * conv.channels;
    const Corner corner = corner_of(conv, block, row);
    float sum = 0;
    for (int depth0 = 0; depth0 < depths; depth0 += 16) {
        int depth = depth0 + x, tap = depth / conv.channels, channel = depth % conv.channels;
        int tap_h = tap / block.w.taps, tap_w = tap % block.w.taps;
        int h = tap_h * block.h.advance, w = tap_w * block.w.advance;
        long long offset = (static_cast<long long>(h) * conv.w.source + w) * conv.groups * conv.channels + channel;
        bool there = depth < depths && inside(conv, corner.h + h, corner.w + w);
        tiles.source[y][x] = there ? source[corner.at + offset] : 0;

        int element = (block.h.tap + tap_h * block.h.tap_step) * conv.w.kernel + block.w.tap + tap_w * block.w.tap_step;
        long long filter = static_cast<long long>(block.group) * conv.columns + loads_column;
        long long from = (filter * conv.h.kernel * conv.w.kernel + element) * conv.channels + channel;
        tiles.filters[y][x] = depth < depths && loads_column < conv.columns ? filters[from] : 0;
        __syncthreads();
        for (int d = 0; d < 16; d++) sum += tiles.source[y][d] * tiles.filters[x][d];
        __syncthreads();  // before the tiles are overwritten
    }
    if (row >= block.rows || column >= conv.columns) return;
    sum += bias ? bias[block.group * conv.columns + column] : 0;
    target[target_of(conv, block, row) + column] = activated(sum, negative_slope);
}
