// Optimiser steps of up to TENSORS parameters in one launch: elementwise, in place. A parameter's arrays are dense, and all
// in one memory order. The table of their addresses travels with the launch, as its argument: no copy to the GPU comes
// before. Blocks are dealt out in order: those of parameter i end before block end[i].
constexpr int TENSORS = 64;
constexpr int EACH = 4;  // elements of a thread, a block's width apart: so its loads are in flight together

template <class Rule> struct Table {
    using T = typename Rule::Number;
    T* param[TENSORS];
    const T* grad[TENSORS];
    T* state[Rule::STATES][TENSORS];  // null where the rule does without
    long long count[TENSORS];
    int end[TENSORS];
    Rule rule;
};

template <class Rule> __global__ void steps(const Table<Rule> table) {
    using T = typename Rule::Number;
    int i = 0;
    while (int(blockIdx.x) >= table.end[i]) i++;
    const long long before = i ? table.end[i - 1] : 0, count = table.count[i];
    const long long first = (blockIdx.x - before) * blockDim.x * EACH + threadIdx.x;
    T* const param = table.param[i];
    const T* const grad = table.grad[i];
    T* kept[Rule::STATES];
    #pragma unroll
    for (int s = 0; s < Rule::STATES; s++) kept[s] = table.state[s][i];
    T value[EACH], g[EACH], state[EACH][Rule::STATES];
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long at = first + k * blockDim.x;
        if (at >= count) continue;
        value[k] = param[at], g[k] = grad[at];
        #pragma unroll
        for (int s = 0; s < Rule::STATES; s++) state[k][s] = kept[s] ? kept[s][at] : T(0);
    }
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long at = first + k * blockDim.x;
        if (at >= count) continue;
        param[at] = table.rule.step(value[k], g[k], state[k]);
        #pragma unroll
        for (int s = 0; s < Rule::STATES; s++)
            if (kept[s]) kept[s][at] = state[k][s];
    }
}

// Rules: `step` is a parameter's new value, by the old one, the gradient g and the state, which it brings up to date.

template <class T> struct Sgd {
    using Number = T;
    static constexpr int STATES = 1;
    T lr, momentum, keep, decay, nesterov, first;
    __device__ T step(T value, T g, T (&state)[STATES]) const {
        auto& [buffer] = state;
        if (decay != 0) g += decay * value;
        if (momentum != 0) {
            buffer = first != 0 ? g : momentum * buffer + keep * g;
            g = nesterov != 0 ? g + momentum * buffer : buffer;
        }
        return value - lr * g;
    }
};

template <class T> struct Adam {
    using Number = T;
    static constexpr int STATES = 2;
    T beta1, rest1, beta2, rest2, shrink, decay, scale, unbias, eps;
    __device__ T step(T value, T g, T (&state)[STATES]) const {
        auto& [mean, square] = state;
        value *= shrink;
        if (decay != 0) g += decay * value;
        mean = beta1 * mean + rest1 * g;
        square = beta2 * square + rest2 * g * g;
        return value - scale * mean / (sqrt(square) * unbias + eps);
    }
};

template <class T> struct RmsProp {
    using Number = T;
    static constexpr int STATES = 3;
    T lr, alpha, rest, inside, outside, decay, momentum, centered;
    __device__ T step(T value, T g, T (&state)[STATES]) const {
        auto& [square, buffer, mean] = state;
        if (decay != 0) g += decay * value;
        square = alpha * square + rest * g * g;
        T variance = square;
        if (centered != 0) {
            mean = alpha * mean + rest * g;
            variance = max(variance - mean * mean, T(0));  // rounding must not make it negative
        }
        g /= sqrt(variance + inside) + outside;
        if (momentum != 0) g += momentum * buffer;
        buffer = g;
        return value - lr * g;
    }
};
