"""How the small trainer is started."""

import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "small_training.py"


def command(folder, *arguments) -> list[str]:
    return list(map(str, [sys.executable, SCRIPT, "--out", folder, "--save-every", 3, *arguments]))
