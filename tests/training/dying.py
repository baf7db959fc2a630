"""Let a training process send itself SIGKILL at a chosen moment, also in the middle of a file."""

import os
import signal

import run
from scratchnet import files, jsonlines

EVERYWHERE = ("write", "flush", "rename", "delete", "step")


def die_at(event: int, places=EVERYWHERE, number: int = signal.SIGKILL) -> None:
    """At the ``event``-th time that this process is about to do one of these with a file, or to begin a step."""
    events = iter(range(1, event))

    def count(place):
        if place in places and next(events, None) is None:
            os.kill(os.getpid(), number)

    def counted(place, function):
        return lambda *args, **kwargs: (count(place), function(*args, **kwargs))[1]

    for place, name in (("flush", "fsync"), ("rename", "replace"), ("delete", "unlink")):
        setattr(os, name, counted(place, getattr(os, name)))
    real_open = open

    def open_counted(path, mode="r", *args, **kwargs):
        file = real_open(path, mode, *args, **kwargs)
        if mode == "rb" or not str(path).endswith((".part", ".jsonl")):
            return file
        return Slow(file, lambda: count("write" if str(path).endswith(".part") else "log"))

    files.open = jsonlines.open = open_counted
    run.Run.steps = counted_steps(run.Run.steps, lambda: count("step"))


class Slow:
    """A file that reaches the disk in pieces, with a moment to be killed at before each but the first."""

    def __init__(self, file, count):
        self._file, self._count = file, count

    def write(self, data):
        third = max(1, len(data) // 3)
        for i in range(0, len(data), third):
            self._count()
            self._file.write(data[i : i + third])
            self._file.flush()

    def writelines(self, pieces):
        self.write(b"".join(pieces))

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def counted_steps(steps, count):
    def watched(self, *args):
        for batch in steps(self, *args):
            count()
            yield batch

    return watched
