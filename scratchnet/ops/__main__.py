"""``python -m scratchnet.ops`` prints the table of all ops in Markdown: docs/ops.md is its output."""

from scratchnet.ops import OPS
from scratchnet.ops.registry import Op


def _kind(op: Op) -> str:
    if op.derived:
        return "of its ops"
    if op.vjp is None:
        return "none"
    inputs = op.vjp if isinstance(op.vjp, dict) else op.inputs
    return ", ".join(f"`{name}`" for name in inputs) + ("; composite for order 2" if op.composite else "")


def table() -> str:
    lines = [
        "# Ops",
        "",
        "Written by `python -m scratchnet.ops`. The tests of each are generated from its record: value against a",
        "reference, first and second derivative, dtype, strides, purity, error messages, declared kinks.",
        "",
        "| op | what it is | gradient | declared kinks |",
        "|---|---|---|---|",
    ]
    for family in sorted({op.__module__ for op in OPS.values()}):
        lines.append(f"| **{family.rpartition('.')[2]}** | | | |")
        for op in sorted((op for op in OPS.values() if op.__module__ == family), key=lambda op: op.name):
            what = " ".join(op.__doc__.split("\n\n")[0].split()).replace("|", "\\|")
            kinks = "; ".join(kink.where for kink in op.kinks).replace("|", "\\|")
            lines.append(f"| `{op.name}` | {what} | {_kind(op)} | {kinks} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
