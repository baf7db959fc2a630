"""The Python in the documents runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

import kernels
import scratchnet as sn
from scratchnet.ops import OPS

ROOT = Path(__file__).parent.parent


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


@pytest.fixture
def names():
    """What the documents take for granted: a convolution of the reader's. Declared ops go again."""
    before = set(OPS)
    yield {"my_convolution": kernels.conv2d, "reference": kernels.conv2d.reference}
    for name in set(OPS) - before:
        del OPS[name]


def test_the_testing_page_runs(names):
    for code in blocks("docs/testing.md"):
        exec(compile(code, "docs/testing.md", "exec"), names)
        for name, value in list(names.items()):
            if name.startswith("test_"):
                value()


def test_the_convolution_page_runs():
    names = {}
    for code in blocks("docs/convolution.md"):
        exec(compile(code, "docs/convolution.md", "exec"), names)
    assert "w_phases" in names


def test_the_running_page_runs():
    for code in blocks("docs/running.md"):
        exec(compile(code, "docs/running.md", "exec"), {})


def test_the_generative_page_runs_and_names_tests_that_are_there():
    names = {}
    for code in blocks("docs/generative.md"):
        exec(compile(code, "docs/generative.md", "exec"), names)
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/generative.md").read_text()))
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 20 and named <= set(re.findall(r"^def (test_\w+)", written, flags=re.MULTILINE))


def test_the_readme_runs_but_for_training_and_declaring(names):
    runnable = [code for code in blocks("README.md") if "MNIST" not in code and "..." not in code]
    assert len(runnable) == 4
    names |= {"sn": sn, "nn": sn.nn}
    for code in runnable:
        exec(compile(code, "README.md", "exec"), names)
    np.testing.assert_allclose(names["second"].data, -np.sin([0.5]), rtol=1e-6)
    names["model"] = sn.nn.Linear(3, 2)
    names["optimizer"] = sn.optim.SGD(names["model"].parameters(), lr=0.1)
    images, labels = sn.randn(4, 3), sn.tensor([0, 1, 1, 0])
    losses = [names["step"](images, labels).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True) and len(set(losses)) == 5
