"""Special functions that NumPy does not have, elementwise."""

import math

import numpy as np
from numba import prange

from .. import reference
from .compile import parallel
from .layout import update_flat


@reference.erf.implementation("numba")
def erf(input):
    output = np.empty_like(input)
    update_flat(_erf, [output], [input])
    return output


@parallel
def _erf(output, input):
    for i in prange(output.size):
        output[i] = math.erf(input[i])
