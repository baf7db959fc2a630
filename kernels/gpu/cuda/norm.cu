// Batch normalisation over channels-last rows (rows, channels): one pass that sums, one that writes.
//
// A block takes a strip of blockDim.x channels (a power of two) and a chunk of the rows; its blockDim.y threads of a
// channel take every blockDim.y-th row. Sums are in float64, first of a thread, then of a block, then of the chunks, always
// in one order. Chunks depend on the shape alone: equal inputs give equal bits on every GPU.
struct Sums { double of_thread[256]; };

struct Part {  // of the rows, and the channel, that are this thread's
    int channel;
    long long row, end;
    __device__ Part(long long rows, long long chunk)
        : channel(blockIdx.x * blockDim.x + threadIdx.x), row(blockIdx.y * chunk + threadIdx.y),
          end(min(rows, (blockIdx.y + 1) * chunk)) {}
};

// `value` summed over the threads of a channel; the first of them gets it.
__device__ double sum_of_channel(double value) {
    auto& sums = shared_memory<Sums>().of_thread;
    const int at = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();  // a sum before this one may not have been read yet
    sums[at] = value;
    for (int half = blockDim.y / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) sums[at] += sums[at + half * blockDim.x];
    }
    return sums[at];
}

// The block's sums go to row blockIdx.y of `partial`, which has 2 * channels columns.
__device__ void keep_sums(double first, double second, double* partial, int channel, int channels) {
    first = sum_of_channel(first), second = sum_of_channel(second);
    if (threadIdx.y || channel >= channels) return;
    double* to = partial + (long long)blockIdx.y * 2 * channels + channel;
    to[0] = first, to[channels] = second;
}

template <class T>
__global__ void column_sums(const T* __restrict__ x, double* __restrict__ partial, long long rows, int channels,
                            long long chunk) {
    const Part part(rows, chunk);
    double sum = 0;
    if (part.channel < channels)
        #pragma unroll 4
        for (long long row = part.row; row < part.end; row += blockDim.y) sum += double(x[row * channels + part.channel]);
    sum = sum_of_channel(sum);
    if (threadIdx.y == 0 && part.channel < channels) partial[(long long)blockIdx.y * channels + part.channel] = sum;
}

// result[c] = the sum of partial[:, c]: what the chunks found, in their order.
template <class T>
__global__ void sum_chunks(const double* __restrict__ partial, T* __restrict__ result, int chunks, int columns) {
    const Part part(chunks, chunks);
    double sum = 0;
    if (part.channel < columns)
        #pragma unroll 4
        for (long long row = part.row; row < part.end; row += blockDim.y) sum += partial[row * columns + part.channel];
    sum = sum_of_channel(sum);
    if (threadIdx.y == 0 && part.channel < columns) result[part.channel] = T(sum);
}

// Sums of deviations from the channel's first value, and of their squares. Since that value is one of the data, its
// distance from the mean is at most sqrt(rows) standard deviations: so little cancels when the variance is made of them.
template <class T>
__global__ void moments(const T* __restrict__ x, double* __restrict__ partial, long long rows, int channels,
                        long long chunk) {
    const Part part(rows, chunk);
    double sum = 0, square = 0;
    if (part.channel < channels && part.row < part.end) {
        const double first = double(x[part.channel]);
        #pragma unroll 4
        for (long long row = part.row; row < part.end; row += blockDim.y) {
            const double deviation = double(x[row * channels + part.channel]) - first;
            sum += deviation, square += deviation * deviation;
        }
    }
    keep_sums(sum, square, partial, part.channel, channels);
}

// y = (x - mean) * invstd * weight + bias, with the statistics made of `sums` (2, channels), and written by the first chunk.
template <class T>
__global__ void normalise(const T* __restrict__ x, const double* __restrict__ sums, const T* __restrict__ weight,
                          const T* __restrict__ bias, T* __restrict__ y, T* __restrict__ mean_out,
                          T* __restrict__ invstd_out, double eps, long long rows, int channels, long long chunk) {
    const Part part(rows, chunk);
    if (part.channel >= channels) return;
    const double count = double(max(rows, 1LL)), moved = sums[part.channel] / count;
    const double mean = (rows ? double(x[part.channel]) : 0) + moved;
    const double variance = max(sums[channels + part.channel] / count - moved * moved, 0.0);
    const double invstd = 1 / sqrt(variance + eps), scale = invstd * double(weight[part.channel]);
    if (blockIdx.y == 0 && threadIdx.y == 0) mean_out[part.channel] = T(mean), invstd_out[part.channel] = T(invstd);
    const double offset = double(bias[part.channel]);
    #pragma unroll 4
    for (long long row = part.row; row < part.end; row += blockDim.y) {
        const long long at = row * channels + part.channel;
        y[at] = T((double(x[at]) - mean) * scale + offset);
    }
}

// Sums of the gradient, and of the gradient times the normalised input: the gradients of bias and weight.
template <class T>
__global__ void gradient_sums(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ mean,
                              const T* __restrict__ invstd, double* __restrict__ partial, long long rows, int channels,
                              long long chunk) {
    const Part part(rows, chunk);
    double sum = 0, product = 0;
    if (part.channel < channels) {
        const double centre = double(mean[part.channel]), scale = double(invstd[part.channel]);
        #pragma unroll 4
        for (long long row = part.row; row < part.end; row += blockDim.y) {
            const long long at = row * channels + part.channel;
            const double g = double(grad[at]);
            sum += g, product += g * ((double(x[at]) - centre) * scale);
        }
    }
    keep_sums(sum, product, partial, part.channel, channels);
}

// grad_input = (grad - (grad_bias + normalised * grad_weight) / rows) * invstd * weight, with the sums of all chunks.
template <class T>
__global__ void input_gradient(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ weight,
                               const T* __restrict__ mean, const T* __restrict__ invstd, const double* __restrict__ sums,
                               T* __restrict__ grad_input, T* __restrict__ grad_weight, T* __restrict__ grad_bias,
                               long long rows, int channels, long long chunk) {
    const Part part(rows, chunk);
    if (part.channel >= channels) return;
    const double sum = sums[part.channel], product = sums[channels + part.channel], count = double(max(rows, 1LL));
    if (blockIdx.y == 0 && threadIdx.y == 0) grad_bias[part.channel] = T(sum), grad_weight[part.channel] = T(product);
    const double centre = double(mean[part.channel]), unit = double(invstd[part.channel]);
    const double shift = sum / count, slope = product / count * unit, scale = unit * double(weight[part.channel]);
    #pragma unroll 4
    for (long long row = part.row; row < part.end; row += blockDim.y) {
        const long long at = row * channels + part.channel;
        grad_input[at] = T((double(grad[at]) - shift - (double(x[at]) - centre) * slope) * scale);
    }
}

// y = x + bias, which waits in a register: all rows of a thread are of one channel.
template <class T>
__global__ void add_bias(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ y, long long rows,
                         int channels, long long chunk) {
    const Part part(rows, chunk);
    if (part.channel >= channels) return;
    const T offset = bias[part.channel];
    #pragma unroll 4
    for (long long row = part.row; row < part.end; row += blockDim.y) {
        const long long at = row * channels + part.channel;
        y[at] = x[at] + offset;
    }
}
