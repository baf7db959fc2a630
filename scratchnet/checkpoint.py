"""The checkpoints of one training run: the last few, the best one, and weights that other programs can read."""

import math
import os
import re
from pathlib import Path
from typing import Any

from scratchnet.files import FolderLock, flush_folder, remove_leftovers
from scratchnet.serialization import Checkpoint, load_checkpoint, save_checkpoint, save_file


class CheckpointFolder:
    """A folder of checkpoints that one process at a time writes to.

        with CheckpointFolder("runs/mine") as checkpoints:
            checkpoint = checkpoints.load(model=model, optimizer=optimizer, loader=loader)  # None in a new folder
            ...
            checkpoints.save(step, config, score=accuracy, model=model, optimizer=optimizer, loader=loader)

    ============================  ==================================================================================
    step-00000120.safetensors     a whole training state, see ``save_checkpoint``; the last ``keep`` of them stay
    best.safetensors              the same for the step of the highest score so far; of equal ones, the first
    model.safetensors             the weights of the best (without scores: the last) step of each part that is a
                                  module, under its part's name; the keys are PyTorch's
    ============================  ==================================================================================

    Every file appears whole or not at all and carries a checksum. A step's own file is written last and old ones are
    deleted after that, so a process may be killed at any moment.

    Args:
        path: made where it is missing.
        keep: how many steps stay.

    Raises:
        BlockingIOError: another run holds the folder.
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, path: str | os.PathLike, keep: int = 3):
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(f"CheckpointFolder: keep must be an integer of at least 1, got {keep!r}")
        self.path, self.keep = Path(path), keep
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.path)
        remove_leftovers(self.path)

    def __enter__(self) -> "CheckpointFolder":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the folder."""
        self._lock.close()

    def steps(self) -> list[int]:
        """The steps whose states are there, ascending."""
        names = (re.fullmatch(r"step-(\d+)\.safetensors", file.name) for file in self.path.iterdir())
        return sorted(step for step in {int(name[1]) for name in names if name} if self.file(step).exists())

    def file(self, step: int) -> Path:
        """The file of a step's state."""
        return self.path / f"step-{step:08d}.safetensors"

    @property
    def best(self) -> Path:
        """The file of the best state."""
        return self.path / "best.safetensors"

    def save(self, step: int, config: Any = None, *, score: float | None = None, **parts) -> None:
        """Write the state of a step, as by ``save_checkpoint``, and delete what is older than the last ``keep``.

        Args:
            score: higher is better; NaN is never the best.

        Raises:
            TypeError: as ``save_checkpoint``.
            OSError: the disk is full, or the folder read-only. Earlier checkpoints are all there, then.
        """
        if score is None or self._is_best(score):
            for name, part in parts.items():
                if hasattr(part, "named_parameters"):
                    save_file(part.state_dict(), self.path / f"{name}.safetensors", {"step": str(step)})
        if score is not None and self._is_best(score):
            save_checkpoint(self.best, step=step, config=config, score=score, **parts)
        save_checkpoint(self.file(step), step=step, config=config, score=score, **parts)
        for old in self.steps()[: -self.keep]:
            self.file(old).unlink()
        flush_folder(self.path)

    def load(self, step: int | None = None, **parts) -> Checkpoint | None:
        """Read the last state, or that of ``step``, into the parts. None where the folder has no states.

        Raises:
            FileNotFoundError: there is no such step; the message names those that are there.
            ValueError: the file is damaged, of another version or of another model; nothing is loaded then. Where it
                cannot be read at all, the message offers the last step that can.
        """
        steps = self.steps()
        if step is None and not steps:
            return None
        if step is not None and step not in steps:
            raise FileNotFoundError(f"{self.path} has no state of step {step}; it has {_listed(steps)}")
        step = steps[-1] if step is None else step
        try:
            return load_checkpoint(self.file(step), **parts)
        except ValueError as error:
            if self._is_sound(step):
                raise
            others = [other for other in reversed(steps) if other != step]
            good = next(filter(self._is_sound, others), None)
            offer = "no other state is left" if good is None else f"step {good} is whole: go on from there instead"
            raise ValueError(f"{error}; {offer}") from error

    def _is_sound(self, step: int) -> bool:
        try:
            load_checkpoint(self.file(step))
        except (OSError, ValueError):
            return False
        return True

    def _is_best(self, score: float) -> bool:
        if math.isnan(score):
            return False
        try:
            best = load_checkpoint(self.best).score
        except (OSError, ValueError):  # none yet, or damaged: then it is of no use to anyone
            return True
        return best is None or score > best


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) or "none"
