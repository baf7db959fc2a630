// Step 1: the definition. A thread computes one number of the target; each multiplication reads both of its operands from
// global memory, and the caches are all that helps.

__global__ void conv_naive(const float* __restrict__ source, const float* __restrict__ filters, const float* __restrict__ bias,
                           float* __restrict__ target, Conv conv, float negative_slope) {
    const Block block = block_of<16, 16>(conv);
    const int row = block.row0 + threadIdx.x / 16, column = block.column0 + threadIdx.x % 16;
    if (row >= block.rows || column >= conv.columns) return;

    const Corner corner = corner_of(conv, block, row);
    const int filter = (block.group * conv.columns + column) * conv.h.kernel * conv.w.kernel;
    float sum = bias ? bias[block.group * conv.columns + column] : 0;
    for (int tap_h = 0; tap_h < block.h.taps; tap_h++)
        for (int tap_w = 0; tap_w < block.w.taps; tap_w++) {
            int h = tap_h * block.h.advance, w = tap_w * block.w.advance;
            if (!inside(conv, corner.h + h, corner.w + w)) continue;
            int element = (block.h.tap + tap_h * block.h.tap_step) * conv.w.kernel + block.w.tap + tap_w * block.w.tap_step;
            const float* a = source + corner.at + (static_cast<long long>(h) * conv.w.source + w) * conv.groups * conv.channels;
            const float* b = filters + static_cast<long long>(filter + element) * conv.channels;
            for (int channel = 0; channel < conv.channels; channel++) sum += a[channel] * b[channel];
        }
    target[target_of(conv, block, row) + column] = activated(sum, negative_slope);
}
