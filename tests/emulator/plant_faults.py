"""Plants one fault at a time in the memory-bound CUDA sources, and says which of them the tests on the emulator miss.

    python -m tests.emulator.plant_faults pool.cu norm.cu    # no names: every file

Each fault has a process of its own, where the file's tests run until the first failure.
"""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import Phase, settings

from kernels.gpu import module
from tests.emulator import emulate
from tests.emulator.memory_faults import FAULTS

settings.register_profile(
    "faults", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


def tests_of(file):
    """pool.cu is tested by test_gpu_pool.py."""
    return str(Path(__file__).with_name(f"test_gpu_{Path(file).stem}.py"))


class FirstFailure:
    """A pytest plugin that remembers the first test to fail."""

    test = None

    def pytest_runtest_logreport(self, report):
        if report.failed and self.test is None:
            self.test = report.nodeid.rpartition("::")[-1]


def first_failure(file):
    """The first of the file's tests to fail in this process, or None."""
    found, text = FirstFailure(), io.StringIO()
    with contextlib.redirect_stdout(text):
        code = pytest.main(["-x", "-n", "0", "-p", "no:cacheprovider", tests_of(file)], plugins=[found])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(text.getvalue())
    return found.test


@contextlib.contextmanager
def planted(file, old, new):
    """Sources have the fault inside of the block. Raises ValueError unless the file has one place for it."""
    whole, text = module.source, (module.FOLDER / file).read_text()
    if text.count(old) != 1:
        raise ValueError(f"{file} must hold {old!r} once, and has it {text.count(old)} times")
    with mock.patch.object(module, "source", lambda *files: whole(*files).replace(text, text.replace(old, new))):
        module._function.cache_clear()
        yield


def finds(file, old, new):
    """What finds the fault: a test, or the end of the process that ran it; None where nothing does."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        with planted(file, old, new):
            os.write(theirs, (first_failure(file) or "").encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        test = pipe.read()
    _, status = os.waitpid(child, 0)
    return f"a crash, {status}" if status else test or None


def main(files):
    os.environ["HYPOTHESIS_PROFILE"] = "faults"
    missed = []
    for file in files:
        if first_failure(file):
            raise SystemExit(f"{tests_of(file)} fails without any fault")
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(emulate, "_cache", lambda: Path(folder)):
        for file in files:
            for old, new in FAULTS[file]:
                test = finds(file, old, new)
                print(f"{'found ' if test else 'MISSED'} {file}: {old!r} -> {new!r}: {test}", flush=True)
                missed += [(file, old, new)] * (test is None)
    total = sum(len(FAULTS[file]) for file in files)
    print(f"{total - len(missed)} of {total} faults found")


if __name__ == "__main__":
    main(sys.argv[1:] or list(FAULTS))
