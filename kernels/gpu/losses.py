"""Softmax and cross entropy together: a warp for each row of logits."""

import numpy as np

from .. import reference
from .layout import TYPES, channels_first, channels_last, contiguous, ctype, empty
from .module import blocks, launch

_ROWS = 8  # of a block, a warp each

INSTANCES = {
    "losses.cu": {f"{kernel}<{t}>": 0 for kernel in ("cross_entropy", "cross_entropy_backward") for t in TYPES},
}


@reference.cross_entropy.implementation("cuda", device="gpu")
def cross_entropy(input, target):
    reference.check_classes(input.shape, target=target.shape)
    loss, log_sum = empty(target.shape, input.dtype), empty(target.shape, input.dtype)
    _launch_rows("cross_entropy", input, channels_last(input), contiguous(target), loss, log_sum)
    return loss, log_sum


@reference.cross_entropy_backward.implementation("cuda", device="gpu")
def cross_entropy_backward(grad_output, input, target, log_sum):
    reference.check_classes(input.shape, target=target.shape, grad_output=grad_output.shape, log_sum=log_sum.shape)
    rows = channels_last(input)
    grad_input = empty(rows.shape, input.dtype)
    vectors = map(contiguous, (target, log_sum))
    _launch_rows("cross_entropy_backward", input, contiguous(grad_output), rows, *vectors, grad_input)
    return channels_first(grad_input)


def _launch_rows(kernel, input, *arrays):
    classes = input.shape[1]
    rows = input.size // classes
    if rows:
        grid, sizes = (blocks(rows, _ROWS),), (np.int64(rows), np.int32(classes))
        launch("losses.cu", f"{kernel}<{ctype(input.dtype)}>", grid, (32 * _ROWS,), (*arrays, *sizes))
