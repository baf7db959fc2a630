"""The stages that benchmarks/gpu.py captures: the same losses step by step and as graphs."""

from pathlib import Path

import numpy as np
import pytest


@pytest.mark.parametrize("name", ["cnn", "vae"])
def test_captured_stages_are_the_stages(cuda, monkeypatch, name):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from stages import STAGES, captured, run

    stages = STAGES[name]("cuda", 2)
    eager = [[loss.item() for loss in run(stages)] for _ in range(2)]
    stages = STAGES[name]("cuda", 2)
    graphs = captured(stages)
    as_graphs = [[loss.item() for loss in run(stages, graphs)] for _ in range(2)]
    np.testing.assert_allclose(as_graphs, eager, rtol=1e-5)
    assert eager[0] != eager[1]
