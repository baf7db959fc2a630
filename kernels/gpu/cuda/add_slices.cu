// Adds partial weight gradients (slices, groups, taps, channels, columns) in the order of the slices, so that the sum never
// depends on which block ran first, into weights (groups, columns, channels, taps).

template <class T>
__global__ void add_slices(const T* __restrict__ part, T* __restrict__ weight, int slices, int groups, int taps,
                           int channels, int columns) {
    const long long size = static_cast<long long>(groups) * taps * channels * columns;
    const long long at = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (at >= size) return;
    T sum = 0;
    for (int slice = 0; slice < slices; slice++) sum += part[slice * size + at];
    const int column = at % columns, channel = at / columns % channels;
    const long long tap = at / columns / channels % taps, group = at / columns / channels / taps;
    weight[((group * columns + column) * channels + channel) * taps + tap] = sum;
}
