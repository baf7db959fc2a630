"""Randomness that belongs to a sample, not to the moment at which the sample is made.

Augmentation must not depend on the batch size or on a prefetching thread, so the loader gives every sample a stream of
its own, keyed by (seed of the epoch, index of the sample). The streams of a whole batch are one counter-based
generator: numbers are hashed from (key, counter) in one vectorised step, with nothing to carry over.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from scratchnet.random import default_generator

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class SampleStreams:
    """One random stream a sample, drawn for a whole batch at once.

    Offers `random` and `standard_normal` as `numpy.random.Generator` does; `size` begins with the number of samples,
    and row i of a draw depends on (seed, indices[i]) and the number of values drawn before it, on nothing else.

    Args:
        seed: integer, taken modulo 2**64.
        indices: integers, shape (N,).

    The hash is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """

    def __init__(self, seed: int, indices) -> None:
        index = np.atleast_1d(np.asarray(indices)).astype(np.uint64)
        start = _mix(np.array([int(seed) % 2**64], dtype=np.uint64))
        self._key = _mix(start + (index + np.uint64(1)) * _GOLDEN)
        self._drawn = 0

    def random(self, size) -> np.ndarray:
        """Uniform float64 in [0, 1), shape `size` = (N, ...)."""
        # The upper 53 bits are what a double in [0, 1) can hold.
        return (self._bits(_row_shape(size, len(self._key))) >> np.uint64(11)) * 2.0**-53

    def standard_normal(self, size) -> np.ndarray:
        """Standard normal float64, shape `size` = (N, ...), by the Box-Muller transform."""
        shape = _row_shape(size, len(self._key))
        u = self.random((*shape, 2))
        return np.sqrt(-2 * np.log1p(-u[..., 0])) * np.cos(2 * np.pi * u[..., 1])

    def _bits(self, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape[1:]))
        counter = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64)
        self._drawn += count
        return _mix(self._key[:, None] + counter * _GOLDEN).reshape(shape)


def _row_shape(size, samples: int) -> tuple[int, ...]:
    shape = tuple(size) if np.iterable(size) else (size,)
    if not shape or shape[0] != samples:
        raise ValueError(f"size: these streams draw for {samples} samples at once, got a draw of shape {shape}")
    return shape


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_current: ContextVar[SampleStreams | None] = ContextVar("streams of the samples being loaded", default=None)


@contextmanager
def sample_streams(seed: int, indices) -> Iterator[None]:
    """Within the block, random transforms that are given no generator draw from these samples' streams."""
    token = _current.set(SampleStreams(seed, indices))
    try:
        yield
    finally:
        _current.reset(token)


def current_generator() -> SampleStreams | np.random.Generator:
    """The streams of the samples being loaded; outside a loader, the library's default generator."""
    return _current.get() or default_generator()
