// Softmax and cross entropy together: a warp for each row of logits (rows, classes), which it reads from memory once
// and then from cache. Lanes are joined by a butterfly, so every lane has the result, always added in one order.

template <class T> __device__ T larger(T a, T b) { return b > a ? b : a; }  // may lose a NaN, which the sum then finds

template <class T> __device__ T row_maximum(const T* row, int classes, int lane) {
    T best = row[lane < classes ? lane : 0];
    for (int c = lane + 32; c < classes; c += 32) best = larger(best, row[c]);
    #pragma unroll
    for (int by = 16; by; by /= 2) best = larger(best, shuffle_xor(best, by));
    return best;
}

template <class T>
__global__ void cross_entropy(const T* __restrict__ logits, const long long* __restrict__ target, T* __restrict__ loss,
                              T* __restrict__ log_sum, long long rows, int classes) {
    const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;
    const T* from = logits + row * classes;
    const T highest = row_maximum(from, classes, lane);
    T sum = 0;
    for (int c = lane; c < classes; c += 32) sum += exp(from[c] - highest);
    #pragma unroll
    for (int by = 16; by; by /= 2) sum += shuffle_xor(sum, by);
    if (lane) return;
    const long long label = target[row];
    const T logarithm = log(sum);
    log_sum[row] = logarithm;
    loss[row] = label >= 0 && label < classes ? logarithm - (from[label] - highest) : T(0);
}

template <class T>
__global__ void cross_entropy_backward(const T* __restrict__ grad, const T* __restrict__ logits,
                                       const long long* __restrict__ target, const T* __restrict__ log_sum,
                                       T* __restrict__ grad_input, long long rows, int classes) {
    const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;
    const T* from = logits + row * classes;
    T* to = grad_input + row * classes;
    const T highest = row_maximum(from, classes, lane), rest = log_sum[row], scale = grad[row];
    const long long label = target[row];
    const bool known = label >= 0 && label < classes;
    for (int c = lane; c < classes; c += 32) {
        const T softmax = exp((from[c] - highest) - rest);
        to[c] = known ? (softmax - T(c == label)) * scale : T(0);
    }
}
