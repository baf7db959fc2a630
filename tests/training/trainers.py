"""The trainers of the examples, all in one process: what is imported and compiled for one run serves the next.

python trainers.py FOLDER serve    train each, in FOLDER/NAME; then read runs from stdin, and fork a child for each
python trainers.py FOLDER STEPS    train each in a child of its own, and interrupt it in that step

A run is {"name", "arguments", "die": [event, places, signal] or null} on a line; its output goes to FOLDER/output. It
is answered by the child's number when it begins and by its exit code when it has ended.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))
from dying import die_at

import train_cnn
import train_gan
import train_vae

# Two epochs of eight steps.
TRAINERS = {
    "cnn": (train_cnn, ["--epochs", "2", "--batch-size", "64", "--lr", "0.002", "--schedule", "constant"]),
    "gan": (train_gan, ["--epochs", "2", "--model", "small"]),
    "vae": (train_vae, ["--epochs", "2", "--model", "conv"]),
}


def train(name: str, arguments: list) -> None:
    module, options = TRAINERS[name]
    module.main(["--smoke", "--quiet", "--save-every", "3", "--certificate", *options, *map(str, arguments)])


def child(output: Path, name: str, arguments: list, die: list | None) -> int:
    """A run in this process; its exit code."""
    with open(output, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if die:
        die_at(*die)
    try:
        train(name, arguments)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def fork(output: Path, **wanted) -> int:
    number = os.fork()
    if number == 0:
        os._exit(child(output, **wanted))
    return number


def serve(folder: Path) -> None:
    for name in TRAINERS:
        train(name, ["--out", folder / name])
    print("ready", flush=True)
    for line in sys.stdin:
        number = fork(folder / "output", **json.loads(line))
        print(number, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)


def train_some_steps(folder: Path, steps: int) -> None:
    for name in TRAINERS:
        die = [steps, ["step"], signal.SIGINT]
        number = fork(folder / "output", name=name, arguments=["--out", folder / name], die=die)
        os.waitpid(number, 0)


if __name__ == "__main__":
    folder, task = sys.argv[1:]
    if task == "serve":
        serve(Path(folder))
    else:
        train_some_steps(Path(folder), int(task))
