"""What makes a trainer safe to leave alone: checkpoints, a log, and words for whatever stops it.

A trainer gives its parts to a Run and takes its batches from it:

    with Run(args.out, config, {"model": model, "optimizer": optimizer, "loader": loader}, resume=args.resume) as run:
        while loader.epoch < args.epochs:
            for images, labels in run.steps(loader):
                ...
            run.log(epoch=loader.epoch, loss=...)
            run.save(score=...)

After a step of the loop everything that the step changed must be in a part, so that a run which was killed at any
moment goes on bit for bit.

Exit codes: 0 done; 1 an error, or a result below what is wanted; 2 wrong arguments, or a folder, data or checkpoint
that is refused; 3 a NaN or an infinity; 4 the state could not be written; 130 and 143 stopped by SIGINT (Ctrl-C) and
SIGTERM, after saving.
"""

import argparse
import signal
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import scratchnet as sn
from scratchnet.checkpoint import CheckpointFolder
from scratchnet.jsonlines import JsonLines, environment, read
from scratchnet.observe import AnomalyError, observe_ops, refuse_nonfinite
from scratchnet.replay import Certificate

SCHEMA = "scratchnet.metrics/1"
REFUSED, ANOMALY, FILES = 2, 3, 4
LAST = -1  # --resume without a step


class ShowDefaults(argparse.HelpFormatter):
    """Help that names the default of each option that has one."""

    def _get_help_string(self, action):
        given = isinstance(action.default, int | float | str) and action.default != argparse.SUPPRESS
        if not given or action.default is False or "default" in action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


def add_arguments(parser) -> None:
    """The options that all trainers share."""
    parser.add_argument("--out", type=result_folder, help="result folder (default: one below runs/)")
    add_device_argument(parser)
    parser.add_argument(
        "--resume", type=int, nargs="?", const=LAST, metavar="STEP", help="go on from the last checkpoint, or from STEP"
    )
    parser.add_argument("--save-every", type=int, default=1000, help="steps between checkpoints inside an epoch")
    parser.add_argument("--keep", type=int, default=3, help="how many checkpoints stay, beside the best")
    parser.add_argument("--certificate", action="store_true", help="hash every op and state, for scratchnet.replay")
    parser.add_argument("--allow-nonfinite", action="store_true", help="do not stop at a NaN or an infinity")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def amount(text: str) -> float:
    """The type of options such as --lr: a finite number of at least 0."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number of at least 0, got {text}")
    return number


def result_folder(text: str) -> Path:
    """The type of --out: a folder, or none yet."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, {text} is a file")
    return Path(text)


def seed_number(text: str) -> int:
    """The type of --seed."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 0, got {text}")
    return number


def add_device_argument(parser) -> None:
    """--device, refused in words where it cannot be used."""
    parser.add_argument("--device", type=_usable_device, default="cpu", help="cpu (the default) or cuda")


def _usable_device(name: str) -> str:
    try:
        return sn.zeros(0, device=name).device
    except (ValueError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(error) from None


def fail(message, code: int):
    """End the program with a sentence on stderr."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


class Run:
    """One training run in one folder.

    Args:
        args: the options of ``add_arguments``, parsed.
        config: what the run was started with. Resuming with another one is refused.
        parts: everything that training changes, see ``save_checkpoint``. The default generator is added.

    Attributes:
        step: the step that is under way or was done last, counted from 1 over all resumptions.
        rows: what was logged, one dict a row, read from the file.
    """

    def __init__(self, args, config: dict, parts: dict):
        self.args, self.config, self.folder = args, config, args.out
        self.parts = {**parts, "default_generator": sn.default_generator()}
        self.step, self._signal, self._started = 0, None, time.perf_counter()
        self._open, self._watching = ExitStack(), ExitStack()
        try:
            self._begin()
        except (OSError, ValueError) as error:
            self._open.close()
            fail(error, REFUSED)

    def _begin(self) -> None:
        self.checkpoints = self._open.enter_context(CheckpointFolder(self.folder, self.args.keep))
        log, certificate = self.folder / "metrics.jsonl", self.folder / "certificate.jsonl"
        found, resuming = None, self.args.resume is not None
        if resuming:
            found = self.checkpoints.load(None if self.args.resume == LAST else self.args.resume)
        elif log.exists() or self.checkpoints.steps():
            raise FileExistsError(f"{self.folder} holds a run already: use --resume, or another --out")
        if found is None:  # nothing to go on from: a run that was killed before its first checkpoint begins again
            if resuming:
                print(f"{self.folder} has no checkpoint yet: beginning at step 1", file=sys.stderr, flush=True)
            log.unlink(missing_ok=True)
            certificate.unlink(missing_ok=True)
        else:
            self._refuse_changes(found.config)
            self.checkpoints.load(found.step, **self.parts)
            self.step = found.step
        resume_at = None if found is None else found.step
        header = {"config": self.config, "environment": environment()}
        self._log = JsonLines(log, SCHEMA, header, resume_at)
        self._open.callback(self._log.close)
        self.certificate = None
        if self.args.certificate:
            self.certificate = Certificate(certificate, {"config": self.config}, resume_at)
            self._open.callback(self.certificate.close)
        if found is not None:
            self.event("resumed", environment=environment())
            self.say(f"going on after step {self.step}")

    def _refuse_changes(self, saved: dict) -> None:
        names = sorted(saved.keys() | self.config.keys())
        changed = [name for name in names if saved.get(name) != self.config.get(name)]
        if changed:
            words = ", ".join(f"{name} was {saved.get(name)!r}, now {self.config.get(name)!r}" for name in changed)
            raise ValueError(f"{self.folder} holds a run with other settings: {words}")

    def __enter__(self) -> "Run":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._open.callback(signal.signal, number, signal.signal(number, self._stop))
        return self

    def __exit__(self, kind, error, _) -> None:
        self._watching.close()  # an error in the body of a loop over steps() leaves that generator where it is
        for end in (partial(self._note_end, error), self._open.close):
            try:
                end()
            except OSError as full:  # the log's last line, or what it had not written yet
                error = error or full
        for wanted, code in ((AnomalyError, ANOMALY), (OSError, FILES), (KeyboardInterrupt, 128 + signal.SIGINT)):
            if isinstance(error, wanted):
                notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
                fail(f"step {self.step}: {str(error) or 'stopped at once'}{notes}. {self._last_good()}", code)

    def _note_end(self, error) -> None:
        if error is None:
            self.event("done")
        elif isinstance(error, AnomalyError):
            self.event("anomaly", message=str(error))

    def _stop(self, number, frame) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
        self.say("stopping after this step; once more to stop at once")

    def _last_good(self) -> str:
        steps = self.checkpoints.steps()
        return f"Step {steps[-1]} is saved: --resume goes on from there" if steps else "No step was saved"

    @property
    def rows(self) -> list[dict]:
        _, *rows = read(self._log.path, SCHEMA)
        return [row for row in rows if "event" not in row]

    def say(self, *text) -> None:
        """Print, unless the user wants it quiet."""
        if not self.args.quiet:
            print(*text, flush=True)

    def log(self, **row) -> None:
        """Add a row to metrics.jsonl."""
        self._log.write(step=self.step, **row, seconds=round(time.perf_counter() - self._started, 3))

    def event(self, event: str, **facts) -> None:
        """Note in metrics.jsonl that something happened."""
        self._log.write(step=self.step, event=event, **facts)

    def skipped(self, files: list) -> None:
        """Name the files of the data that were left out, (path, reason) each, and count them in metrics.jsonl."""
        for path, reason in files:
            print(f"left out {path}: {reason}", file=sys.stderr)
        self.event("skipped", count=len(files), files=[str(path) for path, _ in files])

    def steps(self, loader, title: str = ""):
        """The batches of what is left of the loader's epoch. Each ends a step: it is counted, and saved where due."""
        bar = tqdm(
            loader,
            title,
            total=len(loader),
            initial=loader.state_dict()["batch"],
            disable=self.args.quiet or None,
            leave=False,
        )
        self._bar, self._spoken = bar, time.perf_counter()
        with ExitStack() as self._watching:
            self._watching.callback(bar.close)
            if not self.args.allow_nonfinite:
                self._watching.enter_context(observe_ops(refuse_nonfinite))
            if self.certificate:
                self._watching.enter_context(self.certificate.watch())
            for batch in bar:
                self.step += 1
                yield batch
                if self.certificate:
                    self.certificate.write(self.step, **self.parts)
                if self._signal is not None or self.step % self.args.save_every == 0:
                    self.save()

    def show(self, **values: float) -> None:
        """Numbers for the progress bar; where there is no terminal, for a line a minute."""
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()}, refresh=False)
        now = time.perf_counter()
        if self._bar.disable and now - self._spoken > 60:
            self._spoken = now
            self.say(f"step {self.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))

    def save(self, score: float | None = None) -> None:
        """Write a checkpoint; end the run if the user has asked for that."""
        for name, part in self.parts.items():
            self._refuse_nonfinite(name, part)
        self._log.sync()
        self.checkpoints.save(self.step, self.config, score=score, **self.parts)
        if self._signal is not None:
            print(f"stopped: step {self.step} is saved, --resume goes on from there", file=sys.stderr, flush=True)
            raise SystemExit(128 + self._signal)

    def _refuse_nonfinite(self, name: str, part) -> None:
        if hasattr(part, "named_parameters") and not self.args.allow_nonfinite:
            for path, parameter in part.named_parameters():
                if not np.isfinite(sn.Tensor(parameter.data).cpu().numpy()).all():
                    raise AnomalyError(f"the optimiser's step left NaN or infinity in {name}.{path}")
