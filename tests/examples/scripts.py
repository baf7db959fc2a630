"""Example scripts, started as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def start(script, *arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / script, *map(str, arguments)]
    return subprocess.Popen(command, text=True, env=environment, **options)


def run_killed(script, *arguments):
    """Kill a trainer some steps after its first epoch, and let another process finish."""
    with start(script, *arguments, stdout=subprocess.PIPE) as process:
        next(line for line in process.stdout if line.startswith("epoch 1"))
        process.kill()
    return run(script, *arguments, "--resume")


def run(script, *arguments):
    with start(script, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
