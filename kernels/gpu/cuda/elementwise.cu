// Activations and their gradients, each one pass over memory in whatever order memory is. A thread makes EACH
// elements, a block's width apart: so its loads are in flight together, and a warp's are next to each other.
constexpr int EACH = 4;

template <class Op, class T>
__global__ void unary(const T* __restrict__ x, T* __restrict__ result, T parameter, long long count) {
    const long long first = (long long)blockIdx.x * blockDim.x * EACH + threadIdx.x;
    T value[EACH];
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long i = first + k * blockDim.x;
        if (i < count) value[k] = x[i];
    }
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long i = first + k * blockDim.x;
        if (i < count) result[i] = Op::of(value[k], parameter);
    }
}

// The gradients: `grad` by the output, and what the forward pass kept (its input x or output y). And a loss, of which
// `grad` is the target, and `kept` the logit.
template <class Op, class T>
__global__ void binary(const T* __restrict__ grad, const T* __restrict__ kept, T* __restrict__ result, T parameter,
                       long long count) {
    const long long first = (long long)blockIdx.x * blockDim.x * EACH + threadIdx.x;
    T g[EACH], value[EACH];
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long i = first + k * blockDim.x;
        if (i < count) g[k] = grad[i], value[k] = kept[i];
    }
    #pragma unroll
    for (int k = 0; k < EACH; k++) {
        const long long i = first + k * blockDim.x;
        if (i < count) result[i] = Op::of(g[k], value[k], parameter);
    }
}

struct Relu {
    template <class T> static __device__ T of(T x, T) { return x <= 0 ? T(0) : x; }  // NaN stays NaN
};
struct ReluBackward {
    template <class T> static __device__ T of(T grad, T y, T) { return y > 0 ? grad : T(0); }
};

struct LeakyRelu {
    template <class T> static __device__ T of(T x, T slope) { return x > 0 ? x : x * slope; }
};
struct LeakyReluBackward {
    template <class T> static __device__ T of(T grad, T x, T slope) { return x > 0 ? grad : grad * slope; }
};

struct Sigmoid {
    template <class T> static __device__ T of(T x, T) {
        const T small = exp(x < 0 ? x : -x);  // never overflows
        return (x >= 0 ? T(1) : small) / (1 + small);
    }
};
struct SigmoidBackward {
    template <class T> static __device__ T of(T grad, T y, T) { return grad * (y - y * y); }
};

struct Tanh {
    template <class T> static __device__ T of(T x, T) { return tanh(x); }
};
struct TanhBackward {
    template <class T> static __device__ T of(T grad, T y, T) { return grad * (1 - y * y); }
};

struct Softplus {
    template <class T> static __device__ T of(T x, T) { return (x > 0 ? x : T(0)) + log1p(exp(x < 0 ? x : -x)); }
};

// t log(1 + e^-x) + (1 - t) log(1 + e^x)
struct BinaryCrossEntropy {
    template <class T> static __device__ T of(T t, T x, T) {
        const T size = x < 0 ? -x : x, low = log1p(exp(-size)), high = low + size;
        return t * (x > 0 ? low : high) + (1 - t) * (x > 0 ? high : low);
    }
};
// (1 - t) sigmoid(x) - t sigmoid(-x)
struct BinaryCrossEntropySlope {
    template <class T> static __device__ T of(T t, T x, T) {
        const T size = x < 0 ? -x : x, small = exp(-size), low = small / (1 + small), high = 1 / (1 + small);
        return (1 - t) * (x > 0 ? high : low) - t * (x > 0 ? low : high);
    }
};

struct Erf {
    template <class T> static __device__ T of(T x, T) { return erf(x); }
};

// Phi(x) = erfc(h) / 2 with h = -x / sqrt(2). Where erfc is steep, rounding h would show: erfc(h + d) is nearly
// erfc(h) (1 - 2 h d).
template <class T> __device__ T normal_distribution(T x) {
    const T root = T(0.70710678118654752440), rest = T(0.70710678118654752440 - double(root));
    const T h = -x * root, d = fma(-x, root, -h) - x * rest, tail = erfc(h);
    return T(0.5) * (h > 1 && tail > 0 ? tail - 2 * h * d * tail : tail);
}

// e^(-x^2 / 2) / sqrt(2 pi), where what rounding takes from x^2 is given back. NaN where x^2 is infinite.
template <class T> __device__ T normal_density(T x) {
    const T square = x * x, rest = fma(x, x, -square), bell = exp(T(-0.5) * square) * T(0.39894228040143267794);
    return bell - T(0.5) * rest * bell;
}

struct Gelu {
    template <class T> static __device__ T of(T x, T) { return x * normal_distribution(x); }
};
struct GeluBackward {
    template <class T> static __device__ T of(T grad, T x, T) {
        const T density = normal_density(x);
        return grad * (normal_distribution(x) + (density > 0 ? x * density : T(0)));
    }
};
