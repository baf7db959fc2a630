// What both weight-gradient kernels share. The partial sums lie as (slices, groups, kernel height * width * channels, columns).

// The part of the product that a block computes: ROWS x COLUMNS from (row0, column0) of one group, over the output pixels
// from `first` to before `last`; `part` is where this slice and group begin among the partial sums.
struct WeightBlock { int row0, column0, group, rows, first, last; long long part; };

template <int ROWS, int COLUMNS> __device__ WeightBlock weight_block_of(const Conv& conv, int pixels_per_slice) {
    WeightBlock block;
    block.rows = conv.h.kernel * conv.w.kernel * conv.channels;
    int column_tiles = ceil_divide(conv.columns, COLUMNS), row_tiles = ceil_divide(block.rows, ROWS), index = blockIdx.x;
    block.column0 = index % column_tiles * COLUMNS;
    index /= column_tiles;
    block.row0 = index % row_tiles * ROWS;
    index /= row_tiles;
    block.group = index % conv.groups;
    int slice = index / conv.groups, pixels = conv.batch * conv.h.target * conv.w.target;
    block.first = slice * pixels_per_slice;
    block.last = min(pixels - block.first, pixels_per_slice) + block.first;
    block.part = (static_cast<long long>(slice) * conv.groups + block.group) * block.rows * conv.columns;
    return block;
}

// What a row of the product stands for: an input channel, and how far the tap is from the output pixel's corner.
struct Tap { int h, w, channel; };

__device__ inline Tap tap_of(const Conv& conv, int row) {
    int tap = row / conv.channels, tap_h = tap / conv.w.kernel;
    if (tap_h >= conv.h.kernel) return {FAR_OUTSIDE, FAR_OUTSIDE, 0};
    int h = tap_h * conv.h.dilation - conv.h.padding, w = tap % conv.w.kernel * conv.w.dilation - conv.w.padding;
    return {h, w, row % conv.channels};
}
