"""The import rule: downward only, and light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each room may import from rooms on lower floors, and from its own.
FLOORS = [
    ["kernels"],
    ["scratchnet.errors", "scratchnet.files", "scratchnet.recording"],
    ["scratchnet.tensor", "scratchnet.device", "scratchnet.random", "scratchnet.cuda"],
    ["scratchnet.autograd"],
    ["scratchnet.ops", "scratchnet.creation", "scratchnet.methods"],
    ["scratchnet.bound", "scratchnet.program", "scratchnet.capture"],
    ["scratchnet.testing", "scratchnet.serialization", "scratchnet.metrics"],
    ["scratchnet.checkpoint", "scratchnet.jsonlines", "scratchnet.observe", "scratchnet.replay"],
    ["scratchnet.nn", "scratchnet.optim"],
    ["scratchnet.data", "scratchnet.models", "scratchnet.testing.lint"],
]
HEAVY = ["numba", "cupy", "PIL", "matplotlib", "tqdm", "safetensors"]


def floor(module):
    """The floor of the room that the module is in; a room may have a chamber on another floor."""
    rooms = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    inside = [room for room in rooms if module == room or module.startswith((room + ".", room + "_"))]
    return rooms[max(inside, key=len)] if inside else None


def imported(path):
    """Absolute names of all modules that a file imports, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix("").parts
    package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield from (f"{module}.{alias.name}" for alias in node.names)


FILES = sorted(p for room in ("kernels", "scratchnet") for p in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward_only(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if module == "scratchnet":
        pytest.skip("the package's face imports from every floor")
    level = floor(module)
    assert level is not None, f"{module} stands on no floor: name its room in FLOORS"
    for name in imported(path):
        if name.startswith(("kernels", "scratchnet")):
            other = floor(name)
            assert other is not None and other <= level, f"{module} must not import {name}"
    if path.parts[-2] == "kernels" or "kernels" in path.parts:
        assert not any(name.startswith("scratchnet") for name in imported(path))


def test_only_the_device_file_imports_cupy():
    users = [str(p.relative_to(ROOT)) for p in FILES if any(n.split(".")[0] == "cupy" for n in imported(p))]
    assert [u for u in users if not u.startswith("kernels/gpu")] == ["scratchnet/device.py"]


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module", ["scratchnet", "kernels", "scratchnet.data", "scratchnet.models", "scratchnet.testing"]
)
def test_import_is_light(module):
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []


def test_another_package_named_kernels_is_named(tmp_path):
    (tmp_path / "kernels.py").write_text("")
    result = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scratchnet")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: scratchnet needs its own package 'kernels'")
    assert str(tmp_path / "kernels.py") in last
