"""Entries of a weight gradient that are sums of zeros alone, found without adding up.

dw[k, c, tap] = sum over pixels p of grad[k, p] * input[c, p at tap]. Units that are dead, or alive in one corner only,
leave entries all of whose terms are 0: one in eight in the second layer of a convolutional VAE on MNIST. The
definition gives 0 there. Winograd's sums give rounding errors, of which Adam makes steps as long as any other.

So it is asked whether some pixel has both factors: 64 pixels are the bits of a word, and one AND answers for all of
them. Where factors are rarely 0 the first word settles an entry; where all are, the words cost a sixteenth of the
multiplications of the definition.
"""

import numpy as np

from .compile import entry, inlined, portion, serial, tasks_for
from .fork import fork
from .patches import following, position

_BITS = 64
_WORDS = 16  # read at a time, after the first


def clear_sums_of_zeros(grad_weight, source, grad, geometry):
    """Set to 0 what has no term other than 0. source (N, H, W, C), grad (N, OH, OW, K), grad_weight (K, C, KH, KW)."""
    corner = tuple(-before for before, _ in geometry.padding)
    _clear(grad_weight, source, grad, geometry.stride, corner, tasks_for(len(grad_weight)))


@entry
def _clear(grad_weight, source, grad, stride, corner, tasks):
    fork(_clear_outputs, (grad_weight, source, grad, stride, corner), tasks)


@serial
def _clear_outputs(grad_weight, source, grad, stride, corner, tasks, task):
    outputs, channels, kernel_height, kernel_width = grad_weight.shape
    begin, end = portion(outputs, tasks, task)
    rows = (end - begin) * kernel_height * kernel_width  # one for each output channel and tap
    met, settled = np.zeros(rows * channels, np.uint64), np.zeros(rows, np.bool_)
    inputs = np.empty(_WORDS * kernel_height * kernel_width * channels, np.uint64)
    grads = np.empty(_WORDS * (end - begin), np.uint64)
    pixels, first, words = grad.shape[0] * grad.shape[1] * grad.shape[2], 0, 1
    while first < pixels and not settled.all():
        words = min(words, -(-(pixels - first) // _BITS))
        _read_grads(grads, words, grad, begin, end, first)
        _read_inputs(inputs, words, source, grad.shape, (kernel_height, kernel_width), stride, corner, first)
        _meet(met, settled, inputs, grads, words, channels, end - begin)
        first, words = first + words * _BITS, _WORDS
    for row in range(rows):
        if not settled[row]:
            k, tap = divmod(row, kernel_height * kernel_width)
            for c in range(channels):
                if met[row * channels + c] == 0:
                    grad_weight[begin + k, c, tap // kernel_width, tap % kernel_width] = 0


@serial
def _read_grads(grads, words, grad, begin, end, first):
    """Bit i of grads[word, k] says whether grad of that word's pixel i is other than 0."""
    flat, channels = grad.reshape(grad.size), grad.shape[3]
    grads[: words * (end - begin)] = 0
    for pixel in range(first, min(first + words * _BITS, flat.size // channels)):
        word, bit = divmod(pixel - first, _BITS)
        _note(grads, word * (end - begin), flat, pixel * channels + begin, end - begin, bit)


@serial
def _read_inputs(inputs, words, source, grad_shape, kernel, stride, corner, first):
    """Bit i of inputs[word, tap, c] says so of what the tap sees of pixel i."""
    _, height, width, channels = source.shape
    flat, size = source.reshape(source.size), kernel[0] * kernel[1] * channels
    extent = grad_shape[1:3]
    inputs[: words * size] = 0
    n, y, x = position(first, extent)
    for pixel in range(first, min(first + words * _BITS, grad_shape[0] * extent[0] * extent[1])):
        word, bit = divmod(pixel - first, _BITS)
        left = x * stride[1] + corner[1]
        low, high = max(-left, 0), min(kernel[1], width - left)
        for h in range(kernel[0]):
            row = y * stride[0] + corner[0] + h
            if 0 <= row < height and low < high:
                to, at = (
                    word * size + (h * kernel[1] + low) * channels,
                    ((n * height + row) * width + left + low) * channels,
                )
                _note(inputs, to, flat, at, (high - low) * channels, bit)
        n, y, x = following(n, y, x, extent)


@inlined
def _note(words, to, values, at, count, bit):
    """Unsigned places: of signed ones Numba asks whether they count from the end, and the loop takes 5 times longer."""
    for i in range(count):
        words[np.uint64(to + i)] |= np.uint64(values[np.uint64(at + i)] != 0) << np.uint64(bit)


@serial
def _meet(met, settled, inputs, grads, words, channels, outputs):
    """met[k, tap, c] becomes other than 0 where two factors meet in these words; settled, where all c have met."""
    taps = len(settled) // outputs
    for row in range(len(settled)):
        if settled[row]:
            continue
        k, tap = divmod(row, taps)
        for word in range(words):
            grad, to, at, missing = grads[word * outputs + k], row * channels, (word * taps + tap) * channels, 0
            for c in range(channels):
                both = met[np.uint64(to + c)] | inputs[np.uint64(at + c)] & grad
                met[np.uint64(to + c)] = both
                missing += both == 0
            if missing == 0:
                settled[row] = True
                break
