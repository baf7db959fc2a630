"""Calls of kernels on the emulated device, as tests compare them with the reference."""

import numpy as np
from hypothesis import strategies as st

import kernels
from tests.emulator.device import ndarray
from tests.emulator.emulate import thread_order

orders = st.integers(0, 5)  # of the threads: upwards, downwards, shuffled


def run(kernel, *args, order=0, **options):
    """kernel(*args, **options) with NumPy arrays seen as the emulated device's, strides included; so are results."""
    with thread_order(order), kernels.use("cuda"):
        return _map(_fetch, kernel(*_map(_move, args), **options))


def reference(kernel, *args, **options):
    """What the reference makes of the call."""
    with kernels.use("reference"):
        return kernel(*args, **options)


def results(value):
    return value if isinstance(value, tuple) else (value,)


def _fetch(value):
    return value.view(np.ndarray)


def _move(value):
    return value.view(ndarray)


def _map(function, value):
    """`function` of every array in lists and tuples of them; sizes stay what they are."""
    if isinstance(value, tuple | list):
        return type(value)(_map(function, member) for member in value)
    return function(value) if isinstance(value, np.ndarray) else value
