"""Plants one fault at a time in the CUDA sources, and says which of them the tests on the emulator miss.

    python tests/emulator/plant_faults.py pool.cu norm.cu    # no names: every file

Each fault goes into a copy of the sources, where the file's tests then run until the first failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from faults_in_memory_kernels import FAULTS

ROOT = Path(__file__).parent.parent.parent
CUDA = Path("kernels", "gpu", "cuda")


def plant(folder, file, old, new):
    """Write the file with its fault into the copy at `folder`. Raises ValueError unless it has one place for it."""
    text = (ROOT / CUDA / file).read_text()
    if text.count(old) != 1:
        raise ValueError(f"{file} must hold {old!r} once, and has it {text.count(old)} times")
    (folder / CUDA / file).write_text(text.replace(old, new))


def tests_of(file):
    return f"tests/emulator/test_gpu_{Path(file).stem.split('_')[0]}.py"


def first_failure(folder, file):
    """What the file's tests find in the copy at `folder`: the line pytest ends with, or None if all pass."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "--tb=line", "-p", "no:cacheprovider", tests_of(file)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-3] if done.returncode else None


def copy_sources(folder):
    for name in ("kernels", "tests", "scratchnet"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def main(files):
    missed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_sources(folder)
        for file in files or FAULTS:
            if first_failure(folder, file):
                raise SystemExit(f"{tests_of(file)} fails without any fault")
            for old, new in FAULTS[file]:
                plant(folder, file, old, new)
                found = first_failure(folder, file)
                print(f"{'found ' if found else 'MISSED'} {file}: {old!r} -> {new!r}: {found}", flush=True)
                missed += [(file, old, new)] * (not found)
            shutil.copy(ROOT / CUDA / file, folder / CUDA / file)
    total = sum(len(FAULTS[file]) for file in files or FAULTS)
    print(f"{total - len(missed)} of {total} faults found")


if __name__ == "__main__":
    main(sys.argv[1:])
