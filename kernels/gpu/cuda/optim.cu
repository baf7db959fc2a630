// Optimiser steps: elementwise, in place. Arrays are dense, and all of a parameter in one memory order.

// Adam for up to TENSORS parameters in one launch. The table of their addresses travels with the launch, as its argument:
// no copy to the GPU comes before. Blocks are dealt out in order: those of parameter i end before block end[i].
constexpr int TENSORS = 56;
constexpr int ELEMENTS = 1024;  // of a block

template <class T> struct AdamTable {
    T* param[TENSORS];
    T* exp_avg[TENSORS];
    T* exp_avg_sq[TENSORS];
    const T* grad[TENSORS];
    long long count[TENSORS];
    T scale[TENSORS], unbias[TENSORS], eps[TENSORS];
    int end[TENSORS];
    T beta1, rest1, beta2, rest2, shrink, decay;
};

// value -= scale * m / (sqrt(v) * unbias + eps), after the moments m and v have moved towards the gradient and its square.
template <class T> __global__ void adam(const AdamTable<T> table) {
    int i = 0;
    while (int(blockIdx.x) >= table.end[i]) i++;
    const long long begin = (long long)(blockIdx.x - (i ? table.end[i - 1] : 0)) * ELEMENTS;
    const long long end = min(begin + ELEMENTS, table.count[i]);
    T* __restrict__ param = table.param[i];
    const T* __restrict__ grad = table.grad[i];
    T* __restrict__ exp_avg = table.exp_avg[i];
    T* __restrict__ exp_avg_sq = table.exp_avg_sq[i];
    const T scale = table.scale[i], unbias = table.unbias[i], eps = table.eps[i];
    #pragma unroll 4
    for (long long at = begin + threadIdx.x; at < end; at += blockDim.x) {
        const T value = param[at] * table.shrink;
        T g = grad[at];
        if (table.decay != 0) g += table.decay * value;
        const T mean = table.beta1 * exp_avg[at] + table.rest1 * g;
        const T square = table.beta2 * exp_avg_sq[at] + table.rest2 * g * g;
        exp_avg[at] = mean, exp_avg_sq[at] = square;
        param[at] = value - scale * mean / (sqrt(square) * unbias + eps);
    }
}

template <class T>
__global__ void sgd(T* __restrict__ param, const T* __restrict__ grad, T* __restrict__ buffer, T lr, T momentum, T keep,
                    T decay, int nesterov, int first, long long count) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const T value = param[at];
    T step = grad[at];
    if (decay != 0) step += decay * value;
    if (momentum != 0) {
        const T velocity = first ? step : momentum * buffer[at] + keep * step;
        buffer[at] = velocity;
        step = nesterov ? step + momentum * velocity : velocity;
    }
    param[at] = value - lr * step;
}

template <class T>
__global__ void rmsprop(T* __restrict__ param, const T* __restrict__ grad, T* __restrict__ square_avg,
                        T* __restrict__ buffer, T* __restrict__ grad_avg, T lr, T alpha, T rest, T inside, T outside,
                        T decay, T momentum, int centered, long long count) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const T value = param[at];
    T g = grad[at];
    if (decay != 0) g += decay * value;
    T variance = alpha * square_avg[at] + rest * g * g;
    square_avg[at] = variance;
    if (centered) {
        const T mean = alpha * grad_avg[at] + rest * g;
        grad_avg[at] = mean;
        variance = max(variance - mean * mean, T(0));  // rounding must not make it negative
    }
    T step = g / (sqrt(variance + inside) + outside);
    if (momentum != 0) {
        step += momentum * buffer[at];
        buffer[at] = step;
    }
    param[at] = value - lr * step;
}
