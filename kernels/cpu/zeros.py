"""Entries of a weight gradient that are sums of zeros alone, found without adding up.

dw[k, c, tap] = sum over pixels p of grad[k, p] * input[c, p at tap]. Units that are dead, or alive in one corner only,
leave entries all of whose terms are 0: one in eight in the second layer of a convolutional VAE on MNIST. The
definition gives 0 there. Winograd's sums give rounding errors, of which Adam makes steps as long as any other.

So it is asked of every entry whether some pixel has both factors. A word has 32 bits, one for each of 32 images, or of
32 horizontal bands of fewer images; a bit says whether a pixel there is other than 0, and one AND answers for 32
pixels. Each number is read once and serves all taps, which see the same words at other places. Where factors are
rarely 0 the words of one row settle all entries, and no others are made. Channels that are 0 everywhere are not waited
for.
"""

import numpy as np

from .compile import entry, inlined, portion, serial, tasks_for
from .fork import fork
from .memory import cleared, empty
from .vector import use_whole_registers

_BITS = 32  # as wide as a float32: a vector of numbers becomes a vector of words
_TOGETHER = 4  # words that one loop over channels looks at: a short loop costs more than what it does
_LOOK = 32  # words after which it is asked whether any are missing still


def clear_sums_of_zeros(grad_weight, source, grad, geometry):
    """Set to 0 what has no term other than 0. source (N, H, W, C), grad (N, OH, OW, K), grad_weight (K, C, KH, KW)."""
    (n, height, width, k), (_, c, kernel_height, kernel_width) = grad.shape, grad_weight.shape
    top, left = geometry.corner
    down, right = geometry.stride
    rows = -(-height // min(height, max(1, _BITS // n)))  # of a band
    bands = -(-height // rows)
    words = -(-n * bands // _BITS)
    inputs = empty((words, (rows - 1) * down + kernel_height, (width - 1) * right + kernel_width, c), np.uint32)
    grads = empty((words, rows, width, k), np.uint32)
    settled, dead = cleared((k,), np.bool_), cleared((kernel_width, c), np.uint32)
    _clear(
        grad_weight, source, grad, bands, (down, right), (-top, -left), inputs, grads, settled, dead, tasks_for(k)
    )  # fmt: skip


@entry
def _clear(grad_weight, source, grad, bands, stride, corner, inputs, grads, settled, dead, tasks):
    (words, rows, _, channels), height, kernel_height = inputs.shape, grads.shape[1], grad_weight.shape[2]
    step, middle = height * stride[0], height // 2
    fork(_note_rows, (source, bands, step, corner, inputs, middle * stride[0], kernel_height), kernel_height)
    _note_rows(grad, bands, height, (0, 0), grads, middle, 1, 1, 0)
    fork(_meet, (grad_weight, inputs, grads, stride, dead, settled, False, 1, middle, middle + 1), tasks)
    if not settled.all():
        fork(_note_rows, (source, bands, step, corner, inputs, 0, rows), words * rows)
        fork(_note_rows, (grad, bands, height, (0, 0), grads, 0, height), words * height)
        _find_dead(inputs.reshape(inputs.size // channels, channels), dead)
        fork(_meet, (grad_weight, inputs, grads, stride, dead, settled, True, words, 0, height), tasks)


@serial
def _note_rows(images, bands, step, corner, bits, first, count, tasks, task):
    """Fill a row of words: bits[word, row, x, c], whose bit i is that of image and band (word * 32 + i) // bands and %.

    Row 0 of a band is the image's row band * step + corner[0]. What lies outside the image is 0.
    """
    use_whole_registers()
    word, row = task // count, first + task % count
    batch, height, width, channels = images.shape
    there = bits[word, row].reshape(bits.shape[2] * channels)
    there[:] = 0
    low, high = max(0, -corner[1]), min(bits.shape[2], width - corner[1])
    flat = images.reshape(images.size)
    for bit in range(min(_BITS, batch * bands - word * _BITS)):
        image, band = divmod(word * _BITS + bit, bands)
        y = band * step + row + corner[0]
        if 0 <= y < height and low < high:
            at = ((image * height + y) * width + low + corner[1]) * channels
            _note(there, low * channels, flat, at, (high - low) * channels, bit)


@inlined
def _note(words, to, values, at, count, bit):
    """Set `bit` in the words of values other than 0.

    Unsigned places: of signed ones Numba asks whether they count from the end, and the loop takes 5 times longer.
    """
    one = np.uint32(1) << np.uint32(bit)
    for i in range(count):
        words[np.uint64(to + i)] |= one if values[np.uint64(at + i)] != 0 else np.uint32(0)


@serial
def _find_dead(words, dead):
    """dead[w, c], which is 0, becomes 1 for every column w of the kernel, where no word of c has a bit."""
    seen = dead[0]
    for row in range(len(words)):
        for c in range(len(seen)):
            seen[c] |= words[row, c]
    for c in range(len(seen)):
        dead[:, c] = seen[c] == 0


@serial
def _meet(grad_weight, inputs, grads, stride, dead, settled, complete, words, first, last, tasks, task):
    """Let each k that is not settled meet all channels and taps in rows `first` to `last` of these words.

    settled[k] says that all channels but the dead have met k at all taps. If the look is complete, what it has not
    found is set to 0.
    """
    use_whole_registers()
    outputs, channels, kernel_height, kernel_width = grad_weight.shape
    begin, end = portion(outputs, tasks, task)
    _, height, wide, _ = inputs.shape
    run, flat, gone = kernel_width * channels, inputs.reshape(inputs.size), dead.reshape(dead.size)
    most = words * (last - first) * grads.shape[2] + _TOGETHER
    places, factors, met = np.empty(most, np.int64), np.empty(most, np.uint32), np.empty(run, np.uint32)
    for k in range(begin, end):
        full = 0
        for word in range(0 if settled[k] else words):
            for y in range(first, last):
                for x in range(grads.shape[2]):
                    if grads[word, y, x, k]:
                        places[full] = ((word * height + y * stride[0]) * wide + x * stride[1]) * channels
                        factors[full] = grads[word, y, x, k]
                        full += 1
        places[full : full + _TOGETHER] = 0
        factors[full : full + _TOGETHER] = 0
        missing = 0
        for h in range(0 if settled[k] else kernel_height):
            met[:] = 0
            for i in range(0, full, _TOGETHER):
                _note_meetings(met, flat, places, factors, i, h * wide * channels)
                if i % _LOOK == _LOOK - _TOGETHER and not _are_missing(met, gone):
                    break
            missing += _are_missing(met, gone)
            if complete:
                _clear_unmet(grad_weight[k], h, met)
        settled[k] = missing == 0


@inlined
def _note_meetings(met, inputs, places, factors, i, shift):
    a, b, c, d = places[i] + shift, places[i + 1] + shift, places[i + 2] + shift, places[i + 3] + shift
    p, q, r, s = factors[i], factors[i + 1], factors[i + 2], factors[i + 3]
    for j in range(len(met)):
        first = inputs[np.uint64(a + j)] & p | inputs[np.uint64(b + j)] & q
        second = inputs[np.uint64(c + j)] & r | inputs[np.uint64(d + j)] & s
        met[np.uint64(j)] |= first | second


@inlined
def _are_missing(met, dead):
    missing = np.uint32(0)
    for j in range(len(dead)):
        missing += np.uint32(met[np.uint64(j)] | dead[np.uint64(j)] == 0)
    return missing > 0


@serial
def _clear_unmet(weight, row, met):
    """weight (C, KH, KW) of one output becomes 0 in this row of taps where met (KW, C) is."""
    channels, _, width = weight.shape
    for tap in range(width):
        for c in range(channels):
            if met[tap * channels + c] == 0:
                weight[c, row, tap] = 0
