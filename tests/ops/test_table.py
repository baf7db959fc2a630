from pathlib import Path

from scratchnet.ops.__main__ import table


def test_table_of_ops_is_up_to_date():
    written = (Path(__file__).parents[2] / "docs" / "ops.md").read_text()
    assert written == table(), "run: python -m scratchnet.ops > docs/ops.md"
