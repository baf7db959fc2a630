"""Dropout: zero a random part of the input and scale the rest so that its expectation stays."""

import numpy as np

from scratchnet import random
from scratchnet.device import device_of, to_device
from scratchnet.nn import checks
from scratchnet.recording import noted
from scratchnet.tensor import Tensor


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """input * mask / (1 - p), mask being 0 with probability p; the input itself unless ``training``.

    Which elements fall depends on the generator's state and the shape, not on the memory layout
    (Srivastava et al. 2014). Raises ValueError where p lies outside [0, 1].
    """
    return _drop("dropout", input, input.shape, p, training, generator)


def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """``dropout`` of whole planes of an (N, C, H, W) input (Tompson et al. 2015)."""
    checks.shape("dropout2d", input, "N", "C", "H", "W")
    return _drop("dropout2d", input, (*input.shape[:2], 1, 1), p, training, generator)


def _drop(owner, input, mask_shape, p, training, generator) -> Tensor:
    checks.probability(owner, p=p)
    checks.floating(owner, input=input)
    if not training or p == 0:
        return input
    drawn = random.draw("random", mask_shape, np.float32, generator=generator)
    return input * Tensor(_mask(input, drawn, p=p))


@noted
def _mask(input, drawn, *, p):
    """1 / (1 - p) where the drawn number is at least p, else 0, in the input's memory layout: the result keeps it."""
    mask = np.empty_like(input, shape=drawn.shape)
    scale = input.dtype.type(1 / (1 - p) if p < 1 else 0)
    return np.multiply(to_device(drawn >= p, device_of(input)), scale, out=mask)
