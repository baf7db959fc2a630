"""The default random generator. Every random function takes ``generator=``; without one it draws from here."""

import numpy as np

_default = np.random.default_rng(0)


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from ``seed`` and return it.

    Numbers are drawn on the host by NumPy's PCG64, so that every device starts from the same values.
    """
    global _default
    _default = np.random.default_rng(seed)
    return _default


def default_generator() -> np.random.Generator:
    """The generator that is used where none is passed."""
    return _default
