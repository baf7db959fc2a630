"""Entries of a weight gradient that are sums of zeros alone, found without adding up.

dw[k, c, tap] = sum over pixels p of grad[k, p] * input[c, p at tap]. Units that are dead, or alive in one corner only,
leave entries all of whose terms are 0: one in eight in the second layer of a convolutional VAE on MNIST. The
definition gives 0 there. Winograd's sums give rounding errors, of which Adam makes steps as long as any other.

Channels that are 0 everywhere are found first, and are done with. For the others it is asked whether some pixel has
both factors: 32 pixels are the bits of a word, and one AND answers for all of them. Where factors are rarely 0 the
first words settle an entry; where they never meet, the words cost a sixteenth of the multiplications of the definition.
"""

import numpy as np

from .compile import entry, inlined, portion, serial, tasks_for
from .fork import fork
from .patches import following, position

_BITS = 32  # as wide as a float32: a vector of numbers becomes a vector of words
_WORDS = 32  # read at a time, after the first
_SHARES = 16  # of the pixels
_TOGETHER = 4  # words that one loop over channels looks at: a short loop costs more than what it does


def clear_sums_of_zeros(grad_weight, source, grad, geometry):
    """Set to 0 what has no term other than 0. source (N, H, W, C), grad (N, OH, OW, K), grad_weight (K, C, KH, KW)."""
    corner = tuple(-before for before, _ in geometry.padding)
    k, c, kernel_height, kernel_width = grad_weight.shape
    taps = kernel_height * kernel_width
    met, settled = np.zeros(k * taps * c, np.uint32), np.zeros(k * taps, np.bool_)  # a row for each (k, tap)
    inputs, grads = np.empty((_WORDS, taps * c), np.uint32), np.empty((_WORDS, k), np.uint32)
    alive = tuple(np.zeros((_SHARES, channels), np.uint32) for channels in (c, k))
    _clear(grad_weight, source, grad, geometry.stride, corner, alive, met, settled, inputs, grads, tasks_for(k))


@entry
def _clear(grad_weight, source, grad, stride, corner, alive, met, settled, inputs, grads, tasks):
    fork(_look_for_life, (source, alive[0]), _SHARES)
    fork(_look_for_life, (grad, alive[1]), _SHARES)
    fork(_leave_out_the_dead, (alive, met, settled), tasks)
    words, first = _TOGETHER, 0
    while first * grad.shape[3] < grad.size and not settled.all():
        fork(_read, (inputs, grads, source, grad, grad_weight.shape, stride, corner, first), words)
        fork(_meet, (met, settled, inputs, grads, words), tasks)
        first, words = first + words * _BITS, len(inputs)
    fork(_clear_unmet, (grad_weight, alive, met), tasks)


@serial
def _look_for_life(images, alive, tasks, task):
    """alive[task, c] becomes other than 0 where a channel is, somewhere in the task's share of the pixels."""
    channels = images.shape[3]
    flat, seen = images.reshape(images.size), alive[task]
    begin, end = portion(images.size // channels, tasks, task)
    for first in range(begin, end, _BITS):
        for pixel in range(first, min(first + _BITS, end)):
            _note(seen, 0, flat, pixel * channels, channels, 0)
        if seen.all():
            break


@serial
def _leave_out_the_dead(alive, met, settled, tasks, task):
    """Dead inputs count as met and dead outputs as settled: there is nothing to wait for."""
    inputs, outputs = alive
    channels, count = inputs.shape[1], outputs.shape[1]
    taps = len(settled) // count
    begin, end = portion(count, tasks, task)
    for c in range(channels):
        if not inputs[:, c].any():
            for row in range(begin * taps, end * taps):
                met[row * channels + c] = 1
    for k in range(begin, end):
        if not outputs[:, k].any():
            settled[k * taps : (k + 1) * taps] = True


@serial
def _read(inputs, grads, source, grad, weight_shape, stride, corner, first, tasks, word):
    """Bit i of grads[word, k] says whether grad of that word's pixel i is other than 0, and bit i of
    inputs[word, (tap, c)] whether what the tap sees of it is.
    """
    _, channels, kernel_height, kernel_width = weight_shape
    _, height, width, _ = source.shape
    source_flat, grad_flat, outputs, extent = (
        source.reshape(source.size),
        grad.reshape(grad.size),
        grad.shape[3],
        grad.shape[1:3],
    )
    inputs[word] = 0
    grads[word] = 0
    first += word * _BITS
    n, y, x = position(first, extent)
    for bit in range(min(_BITS, grad.size // outputs - first)):
        _note(grads[word], 0, grad_flat, (first + bit) * outputs, outputs, bit)
        left = x * stride[1] + corner[1]
        low, high = max(-left, 0), min(kernel_width, width - left)
        for h in range(kernel_height):
            row = y * stride[0] + corner[0] + h
            if 0 <= row < height and low < high:
                at = ((n * height + row) * width + left + low) * channels
                _note(inputs[word], (h * kernel_width + low) * channels, source_flat, at, (high - low) * channels, bit)
        n, y, x = following(n, y, x, extent)


@inlined
def _note(words, to, values, at, count, bit):
    """Unsigned places: of signed ones Numba asks whether they count from the end, and the loop takes 5 times longer."""
    one = np.uint32(1) << np.uint32(bit)
    for i in range(count):
        words[np.uint64(to + i)] |= one if values[np.uint64(at + i)] != 0 else np.uint32(0)


@serial
def _meet(met, settled, inputs, grads, words, tasks, task):
    """met[k, tap, c] becomes other than 0 where two factors meet in these words; settled, where all c have met."""
    outputs = grads.shape[1]
    taps, channels = len(settled) // outputs, len(met) // len(settled)
    begin, end = portion(outputs, tasks, task)
    flat, step = inputs.reshape(inputs.size), inputs.shape[1]
    for row in range(begin * taps, end * taps):
        if settled[row]:
            continue
        (k, tap), to, missing = divmod(row, taps), row * channels, np.uint32(0)
        for word in range(0, words, _TOGETHER):
            p, q, r, s = grads[word, k], grads[word + 1, k], grads[word + 2, k], grads[word + 3, k]
            at = (word * taps + tap) * channels
            if p | q | r | s:
                for c in range(channels):
                    i = at + c
                    first = flat[np.uint64(i)] & p | flat[np.uint64(i + step)] & q
                    second = flat[np.uint64(i + 2 * step)] & r | flat[np.uint64(i + 3 * step)] & s
                    met[np.uint64(to + c)] |= first | second
        for c in range(channels):
            missing += np.uint32(met[np.uint64(to + c)] == 0)
        settled[row] = missing == 0


@serial
def _clear_unmet(grad_weight, alive, met, tasks, task):
    outputs, channels, height, width = grad_weight.shape
    begin, end = portion(outputs, tasks, task)
    for k in range(begin, end):
        if not alive[1][:, k].any():
            grad_weight[k] = 0
    for c in range(channels):
        if not alive[0][:, c].any():
            grad_weight[begin:end, c] = 0
    for row in range(begin * height * width, end * height * width):
        k, tap = divmod(row, height * width)
        for c in range(channels):
            if met[row * channels + c] == 0:
                grad_weight[k, c, tap // width, tap % width] = 0
