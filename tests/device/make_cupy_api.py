"""Write cupy_api.json: what CuPy has, by name, with the arguments it takes.

Runs where CuPy is installed; no GPU is needed:

    python -m venv venv && venv/bin/pip install "cupy-cuda13x==14.2.0"
    venv/bin/python tests/device/make_cupy_api.py
"""

import inspect
import json
import re
from pathlib import Path

import cupy
import numpy as np


def parameters(function) -> list[str] | None:
    """Names of the arguments, as ``*name``, ``**name`` or ``name``, from the signature or a docstring's first line."""
    try:
        return [
            {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
            for p in inspect.signature(function).parameters.values()
        ]
    except (TypeError, ValueError):
        line = re.match(r"[\w.]*\(([^)]*)\)", function.__doc__ or "")
        names = [part.split("=")[0].split()[-1] for part in line[1].split(",") if part.strip()] if line else None
        return names if names is None or all(re.fullmatch(r"\**\w+", name) for name in names) else None


def public(owner) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]


def functions(module) -> dict[str, list[str]]:
    found = {name: getattr(module, name) for name in public(module)}
    return {name: parameters(f) for name, f in found.items() if inspect.isroutine(f) and parameters(f) is not None}


methods = {name: getattr(cupy.ndarray, name) for name in dir(cupy.ndarray)}
ufuncs = [name for name in public(cupy) if isinstance(getattr(cupy, name), cupy.ufunc)]
api = {
    "version": cupy.__version__,
    "functions": functions(cupy),
    "linalg": functions(cupy.linalg),
    "ufuncs": {name: [getattr(cupy, name).nin, getattr(cupy, name).nout] for name in ufuncs},
    "same as NumPy's": [name for name in public(cupy) if getattr(np, name, None) is getattr(cupy, name)],
    "ndarray": {
        name: parameters(f)[1:] if callable(f) and parameters(f) else None
        for name, f in methods.items()
        if not name.startswith("_")
    },
    "ufunc": public(cupy.ufunc),
}
Path(__file__).with_name("cupy_api.json").write_text(json.dumps(api, separators=(",", ":"), sort_keys=True) + "\n")
