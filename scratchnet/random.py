"""The default random generator. Every random function takes ``generator=``; without one it draws from here."""

import threading

import numpy as np

from scratchnet import recording

_default = np.random.default_rng(0)
_own = threading.local()


@recording.repeated
def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from ``seed`` and return it.

    Numbers are drawn on the host by NumPy's PCG64, so that every device starts from the same values. Called in a thread
    other than the main one, it gives that thread a default generator of its own: two trainings in two threads that
    both begin with ``manual_seed`` do not disturb each other. Threads that never call it share the main one's.

    Raises:
        ValueError: the seed is no integer of at least 0.
    """
    global _default
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"manual_seed: expected an integer of at least 0, got {seed!r}")
    generator = np.random.default_rng(seed)
    if threading.current_thread() is threading.main_thread():
        _default = generator
    else:
        _own.generator = generator
    return generator


def default_generator() -> np.random.Generator:
    """The generator that is used where none is passed."""
    return getattr(_own, "generator", _default)


def draw(method: str, *args, generator: np.random.Generator | None = None, **options) -> np.ndarray:
    """``generator.method(*args, **options)``, in a captured function anew in every call."""
    chosen(generator)
    return recording.call(_draw, method=method, args=args, generator=generator, options=options)


def _draw(method, args, generator, options):
    return np.asarray(getattr(chosen(generator), method)(*args, **options))


def chosen(generator: np.random.Generator | None) -> np.random.Generator:
    """The generator that was passed, or the default one. Raises TypeError where it is no generator."""
    if generator is None:
        return default_generator()
    if not hasattr(generator, "standard_normal"):
        raise TypeError(f"generator: expected a numpy.random.Generator, got {generator!r:.80}")
    return generator
