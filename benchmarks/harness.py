"""Timing two implementations of the same work side by side, and saying on what machine."""

import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

try:
    import torch
except ImportError:
    torch = None

_SETTLING = 0.01  # seconds; without them a kernel of 0.2 ms took up to twice as long beside PyTorch as alone


def machine() -> str:
    """The processor's name, its cores, and the versions at work."""
    import numba  # here, since the GPU's tables need none

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {numba.get_num_threads()} threads; "
        f"{versions}, PyTorch {torch.__version__ if torch else 'not installed'}"
    )


def equal_threads() -> None:
    """Give PyTorch as many threads as Numba has."""
    import numba

    if torch:
        torch.set_num_threads(numba.get_num_threads())


def medians(functions: dict[str, Callable], seconds: float = 1.0, warmup: int = 3) -> dict[str, float]:
    """Median time of each function in seconds. Runs are interleaved, so that all see the same weather.

    The first _SETTLING seconds of each turn do not count: so long the threads of whoever ran before may still spin on
    the cores, and its data fill the caches.

    Args:
        functions: name -> function of no arguments, checked for equal results by the caller beforehand.
        seconds: about how long to measure each.
        warmup: untimed calls.
    """
    times = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(warmup):
            function()
    while any(len(t) < 5 or sum(t) < seconds for t in times.values()):
        for name, function in functions.items():
            begin = time.perf_counter()
            while time.perf_counter() < begin + _SETTLING:
                function()
            times[name] += _turn(function)
    return {name: statistics.median(t) for name, t in times.items()}


def _turn(function: Callable) -> list[float]:
    """Times of consecutive runs: of three, and of as many as fit in as much time as was given for settling."""
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() < begin + _SETTLING:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def check_close(name: str, value, expected, tolerance: float) -> None:
    """Refuse to time what is wrong: largest error relative to the largest expected value.

    Raises:
        AssertionError: the error exceeds the tolerance.
    """
    scale = np.abs(expected).max() or 1.0
    error = np.abs(value - expected).max() / scale
    assert error <= tolerance, f"{name}: relative error {error:.1e} exceeds {tolerance:.0e}"


def channels_last(array):
    """The array (N, C, H, W) in channels-last memory, as it comes from another layer."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def write_section(path: Path, name: str, text: str) -> None:
    """Replace what stands in a file between its marks `<!-- name: ... -->` and `<!-- /name -->`.

    Raises:
        ValueError: the file has no such marks, or several.
    """
    old = path.read_text()
    section = f"(<!-- {name}:[^\n]*-->\n).*?(\n<!-- /{name} -->)"
    new, count = re.subn(section, lambda marks: f"{marks[1]}{text}{marks[2]}", old, flags=re.S)
    if count != 1:
        raise ValueError(
            f"{path} must have the marks <!-- {name}: ... --> and <!-- /{name} --> once, found them {count} times"
        )
    path.write_text(new)
