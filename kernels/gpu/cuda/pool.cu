// Pooling over channels-last images (n, h, w, c). A thread makes one element of its result: those of a warp are
// neighbours in memory, and no two add to one place. Sums run in the reference's order, window by window.
//
// An image's elements are counted in 32 bits, so that the divisions are cheap; images, and memory, in 64.

struct Window {
    int kernel, stride, before, dilation;

    // Taps [first, end) of the window that begins at `start` lie inside of 0 ... size - 1.
    __device__ int first_tap(int start) const { return start < 0 ? (-start + dilation - 1) / dilation : 0; }
    __device__ int end_tap(int start, int size) const { return min(kernel, (size - 1 - start) / dilation + 1); }

    // Windows [first, end) of `windows` may reach index `at`.
    __device__ int first_window(int at) const {
        const int late = at + before - dilation * (kernel - 1);
        return late > 0 ? (late + stride - 1) / stride : 0;
    }
    __device__ int end_window(int at, int windows) const { return min(windows, (at + before) / stride + 1); }
};

// One element of a plane of channels-last pixels.
struct Place {
    int y, x, channel;
    __device__ Place(unsigned element, int width, int channels) {
        const unsigned pixel = element / channels;
        channel = element % channels, y = pixel / width, x = pixel % width;
    }
};

// The first maximum wins, a NaN counts as the maximum, and the first NaN wins. With `relu`, 0 and no place (-1) where
// nothing is above 0; a NaN stays, without a place.
template <class T>
__global__ void max_pool(const T* __restrict__ input, T* __restrict__ output, long long* __restrict__ indices, int batch,
                         int height, int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w,
                         int stride_h, int stride_w, int top, int left, int dilation_h, int dilation_w, int relu) {
    const Window rows{kernel_h, stride_h, top, dilation_h}, columns{kernel_w, stride_w, left, dilation_w};
    const unsigned plane = unsigned(out_height) * out_width * channels, element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= plane) return;
    const Place to(element, out_width, channels);
    const int y = to.y * stride_h - top, x = to.x * stride_w - left;
    const int h_first = rows.first_tap(y), h_end = rows.end_tap(y, height);
    const int w_first = columns.first_tap(x), w_end = columns.end_tap(x, width);
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        const T* from = input + (long long)n * height * width * channels + to.channel;
        long long where = (long long)(y + h_first * dilation_h) * width + x + w_first * dilation_w;
        T best = from[where * channels];
        for (int h = h_first; h < h_end; h++)
            for (int w = w_first; w < w_end; w++) {
                const long long at = (long long)(y + h * dilation_h) * width + x + w * dilation_w;
                const T value = from[at * channels];
                if (value > best || (value != value && best == best)) best = value, where = at;
            }
        output[(long long)n * plane + element] = relu && best <= 0 ? T(0) : best;
        indices[(long long)n * plane + element] = relu && !(best > 0) ? -1 : where;
    }
}

// Each input element sums the gradients of the windows whose maximum it was.
template <class T>
__global__ void max_pool_input(const T* __restrict__ grad, const long long* __restrict__ indices, T* __restrict__ grad_input,
                               int batch, int height, int width, int channels, int out_height, int out_width, int kernel_h,
                               int kernel_w, int stride_h, int stride_w, int top, int left, int dilation_h,
                               int dilation_w) {
    const Window rows{kernel_h, stride_h, top, dilation_h}, columns{kernel_w, stride_w, left, dilation_w};
    const unsigned plane = unsigned(height) * width * channels, element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= plane) return;
    const Place to(element, width, channels);
    const long long place = (long long)to.y * width + to.x;
    const int i_first = rows.first_window(to.y), i_end = rows.end_window(to.y, out_height);
    const int j_first = columns.first_window(to.x), j_end = columns.end_window(to.x, out_width);
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        const long long image = (long long)n * out_height * out_width * channels + to.channel;
        T sum = 0;
        for (int i = i_first; i < i_end; i++)
            for (int j = j_first; j < j_end; j++) {
                const long long at = image + ((long long)i * out_width + j) * channels;
                if (indices[at] == place) sum += grad[at];
            }
        grad_input[(long long)n * plane + element] = sum;
    }
}

// How many elements of a window count: those between `low` and `high`, where padding may be taken in.
__device__ int length(int start, int kernel, int low, int high) { return min(start + kernel, high) - max(start, low); }

template <class T>
__global__ void avg_pool(const T* __restrict__ input, T* __restrict__ output, int batch, int height, int width,
                         int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h,
                         int stride_w, int top, int left, int low_h, int high_h, int low_w, int high_w, T divisor) {
    const Window rows{kernel_h, stride_h, top, 1}, columns{kernel_w, stride_w, left, 1};
    const unsigned plane = unsigned(out_height) * out_width * channels, element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= plane) return;
    const Place to(element, out_width, channels);
    const int y = to.y * stride_h - top, x = to.x * stride_w - left;
    const int h_first = rows.first_tap(y), h_end = rows.end_tap(y, height);
    const int w_first = columns.first_tap(x), w_end = columns.end_tap(x, width);
    if (divisor == 0) divisor = T(length(y, kernel_h, low_h, high_h) * length(x, kernel_w, low_w, high_w));
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        const T* from = input + (long long)n * height * width * channels + to.channel;
        T sum = 0;
        for (int h = h_first; h < h_end; h++)
            for (int w = w_first; w < w_end; w++) sum += from[((long long)(y + h) * width + x + w) * channels];
        output[(long long)n * plane + element] = sum / divisor;
    }
}

template <class T>
__global__ void avg_pool_input(const T* __restrict__ grad, T* __restrict__ grad_input, int batch, int height, int width,
                               int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h,
                               int stride_w, int top, int left, int low_h, int high_h, int low_w, int high_w, T divisor) {
    const Window rows{kernel_h, stride_h, top, 1}, columns{kernel_w, stride_w, left, 1};
    const unsigned plane = unsigned(height) * width * channels, element = blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= plane) return;
    const Place to(element, width, channels);
    const int i_first = rows.first_window(to.y), i_end = rows.end_window(to.y, out_height);
    const int j_first = columns.first_window(to.x), j_end = columns.end_window(to.x, out_width);
    for (int n = blockIdx.y; n < batch; n += gridDim.y) {
        const T* from = grad + (long long)n * out_height * out_width * channels + to.channel;
        T sum = 0;
        for (int i = i_first; i < i_end; i++)
            for (int j = j_first; j < j_end; j++) {
                const int count = length(i * stride_h - top, kernel_h, low_h, high_h) *
                                  length(j * stride_w - left, kernel_w, low_w, high_w);
                sum += from[((long long)i * out_width + j) * channels] / (divisor == 0 ? T(count) : divisor);
            }
        grad_input[(long long)n * plane + element] = sum;
    }
}

// output[n, pixel, c] = input[n, indices[n, pixel, c], c]; `outside` becomes 1 where an index is no place of the plane.
template <class T>
__global__ void gather(const T* __restrict__ input, const long long* __restrict__ indices, T* __restrict__ output,
                       int* __restrict__ outside, long long in_pixels, long long out_pixels, int channels,
                       long long count) {
    const long long element = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= count) return;
    const long long at = indices[element];
    if (at < 0 || at >= in_pixels) {
        *outside = 1;
        return;
    }
    output[element] = input[(element / (out_pixels * channels) * in_pixels + at) * channels + element % channels];
}

// The adjoint, for any indices: a thread owns a channel of an image, and adds in the order of the pixels.
template <class T>
__global__ void scatter(const T* __restrict__ grad, const long long* __restrict__ indices, T* __restrict__ grad_input,
                        int* __restrict__ outside, long long in_pixels, long long out_pixels, int channels,
                        long long columns) {
    const long long column = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const long long n = column / channels, channel = column % channels;
    for (long long pixel = 0; pixel < in_pixels; pixel++) grad_input[(n * in_pixels + pixel) * channels + channel] = 0;
    for (long long pixel = 0; pixel < out_pixels; pixel++) {
        const long long from = (n * out_pixels + pixel) * channels + channel, at = indices[from];
        if (at < 0 || at >= in_pixels) *outside = 1;
        else grad_input[(n * in_pixels + at) * channels + channel] += grad[from];
    }
}
