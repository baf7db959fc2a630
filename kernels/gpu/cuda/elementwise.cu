// Functions of one element each, over flat arrays.

template <class T> __global__ void relu(const T* __restrict__ input, T* __restrict__ output, long long size) {
    long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (i < size) output[i] = input[i] < 0 ? 0 : input[i];  // NaN is not below 0, and stays
}
