// The convolution's gradient by its weight in the arrays' own precision: any stride, dilation, groups, float and double.
// A product of matrices again: a row for each (tap, input channel), a column for each output channel, the depth over all
// output pixels. Slice z of the pixels goes to part[z]; add_slices adds them up in their order.

template <class T, int ROWS, int COLUMNS, int DEPTH>
struct WeightSimtTiles { T input[2][DEPTH][ROWS], grad[2][DEPTH][COLUMNS]; };

template <class T, int ROWS, int COLUMNS, int DEPTH, int TILE_ROWS, int TILE_COLUMNS>
__global__ __launch_bounds__(ROWS / TILE_ROWS * (COLUMNS / TILE_COLUMNS))
void conv_weight_simt(const T* __restrict__ input, const T* __restrict__ grad, T* __restrict__ part, Conv conv,
                      int pixels_per_slice) {
    constexpr int THREADS = ROWS / TILE_ROWS * (COLUMNS / TILE_COLUMNS);
    constexpr int INPUT_LOADS = ROWS * DEPTH / THREADS, GRAD_LOADS = COLUMNS * DEPTH / THREADS;
    static_assert(THREADS % ROWS == 0 && THREADS % COLUMNS == 0, "uneven loads");
    auto& tiles = shared_memory<WeightSimtTiles<T, ROWS, COLUMNS, DEPTH>>();
    const WeightBlock block = weight_block_of<ROWS, COLUMNS>(conv, pixels_per_slice);

    // This thread loads one row and one column at some of the depths.
    const int thread = threadIdx.x, input_row = thread % ROWS, grad_column = thread % COLUMNS;
    const Tap tap = tap_of(conv, block.row0 + input_row);
    const Divisor by_width(conv.w.target), by_height(conv.h.target);
    T next_input[INPUT_LOADS], next_grad[GRAD_LOADS];
    auto load = [&](int step) {
        #pragma unroll
        for (int i = 0; i < INPUT_LOADS; i++) {
            int pixel = block.first + step * DEPTH + thread / ROWS + i * (THREADS / ROWS);
            int line = by_width(pixel), image = by_height(line);
            int h = (line - image * conv.h.target) * conv.h.stride + tap.h;
            int w = (pixel - line * conv.w.target) * conv.w.stride + tap.w;
            long long from = (static_cast<long long>(image) * conv.h.source + h) * conv.w.source + w;
            bool there = pixel < block.last && inside(conv, h, w);
            next_input[i] = there ? input[(from * conv.groups + block.group) * conv.channels + tap.channel] : T(0);
        }
        #pragma unroll
        for (int i = 0; i < GRAD_LOADS; i++) {
            int pixel = block.first + step * DEPTH + thread / COLUMNS + i * (THREADS / COLUMNS);
            int column = block.column0 + grad_column;
            long long from = (static_cast<long long>(pixel) * conv.groups + block.group) * conv.columns + column;
            next_grad[i] = pixel < block.last && column < conv.columns ? grad[from] : T(0);
        }
    };
    auto store = [&](int buffer) {
        #pragma unroll
        for (int i = 0; i < INPUT_LOADS; i++)
            tiles.input[buffer][thread / ROWS + i * (THREADS / ROWS)][input_row] = next_input[i];
        #pragma unroll
        for (int i = 0; i < GRAD_LOADS; i++)
            tiles.grad[buffer][thread / COLUMNS + i * (THREADS / COLUMNS)][grad_column] = next_grad[i];
    };

    const int row = thread / (COLUMNS / TILE_COLUMNS) * TILE_ROWS, column = thread % (COLUMNS / TILE_COLUMNS) * TILE_COLUMNS;
    const int steps = ceil_divide(block.last - block.first, DEPTH);
    T sum[TILE_ROWS][TILE_COLUMNS] = {};
    if (steps > 0) load(0);
    for (int step = 0; step < steps; step++) {
        store(step % 2);
        __syncthreads();
        if (step + 1 < steps) load(step + 1);
        #pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            auto a = vector_at<TILE_ROWS>(tiles.input[step % 2][d][row]);
            auto b = vector_at<TILE_COLUMNS>(tiles.grad[step % 2][d][column]);
            #pragma unroll
            for (int i = 0; i < TILE_ROWS; i++)
                #pragma unroll
                for (int j = 0; j < TILE_COLUMNS; j++) sum[i][j] += a.of[i] * b.of[j];
        }
    }

    #pragma unroll
    for (int i = 0; i < TILE_ROWS; i++)
        #pragma unroll
        for (int j = 0; j < TILE_COLUMNS; j++) {
            int to_row = block.row0 + row + i, to_column = block.column0 + column + j;
            if (to_row < block.rows && to_column < conv.columns)
                part[block.part + static_cast<long long>(to_row) * conv.columns + to_column] = sum[i][j];
        }
}
