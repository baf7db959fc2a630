"""No warnings of NumPy's where ops compute: inf and NaN are values, and ``detect_anomaly`` is there to find them.

``np.errstate`` around each op took 0.6 of the 36 ms of a VAE's training step, in five Python functions that other code
had pushed out of the caches. NumPy keeps its state in a context variable. Its name is NumPy's own affair: it is the one
that ``np.seterr`` changes.
"""

import contextvars

import numpy as np


def _state():
    """The variable, and its value where nothing is warned of."""
    before, after = contextvars.copy_context(), contextvars.copy_context()
    after.run(np.seterr, all="ignore")
    variable, *others = (each for each in after if before.get(each) is not after[each])
    if others:
        raise ImportError(f"np.seterr of NumPy {np.__version__} changes {len(others) + 1} context variables, wanted 1")
    return variable, after[variable]


_variable, _ignored = _state()


def silence():
    """Warn of nothing in this context, until ``speak`` gets what this returns."""
    return _variable.set(_ignored)


speak = _variable.reset
