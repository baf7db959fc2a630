// A copy in row-major memory of an array of any strides.
//
// Of its four axes the last two are the rows and columns of tiles, a block for each. Columns are next to each other in the
// copy. Where rows are in the source, it is read `turned`, and shared memory turns the tile: so a warp both reads and writes
// neighbours. A thread has EACH elements of a tile, LINES apart, which are read before any is stored.
constexpr int TILE = 32, LINES = 8, EACH = TILE / LINES;

template <class T> struct Tile { T at[TILE][TILE + 1]; };  // + 1: lanes that write a column meet different banks

template <class T> struct Source {
    const T* first;
    long long size[4], step[4], to[4];  // of each axis, with its steps in the source and in the copy; counted in elements
};

template <class T> __global__ void contiguous(const Source<T> source, T* __restrict__ copy, int turned) {
    auto& tile = shared_memory<Tile<T>>().at;
    const auto& [first, size, step, to] = source;
    const unsigned across = (size[3] + TILE - 1) / TILE, down = (size[2] + TILE - 1) / TILE;
    const unsigned outer = blockIdx.x / across / down, inner_size = size[1];
    const long long n = outer / inner_size, m = outer % inner_size;
    const long long row0 = blockIdx.x / across % down * 1LL * TILE, column0 = blockIdx.x % across * 1LL * TILE;
    const long long rows = size[2] - row0, columns = size[3] - column0;
    const int x = threadIdx.x, y = threadIdx.y;

    const T* const from = first + n * step[0] + m * step[1] + row0 * step[2] + column0 * step[3];
    T value[EACH];
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const int line = y + k * LINES, row = turned ? x : line, column = turned ? line : x;
        value[k] = row < rows && column < columns ? from[row * step[2] + column * step[3]] : T(0);
    }
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const int line = y + k * LINES;
        tile[turned ? x : line][turned ? line : x] = value[k];
    }
    __syncthreads();
    T* const into = copy + n * to[0] + m * to[1] + row0 * to[2] + column0;
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const int row = y + k * LINES;
        if (row < rows && x < columns) into[row * to[2] + x] = tile[row][x];
    }
}
