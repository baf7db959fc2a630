"""What the example trainers leave behind: a log of metrics, curves, and pictures."""

import json
import platform
import time
from pathlib import Path

import numpy as np

import scratchnet as sn

try:
    import matplotlib
except ImportError:
    raise SystemExit("the examples draw with matplotlib: pip install 'scratchnet[examples]'") from None
matplotlib.use("Agg")
import matplotlib.pyplot as plt


class MetricsLog:
    """metrics.jsonl: a first line that describes the run, then a line for each epoch.

    Raises:
        FileExistsError: the folder has a log already and ``resume`` is not asked for.
        FileNotFoundError: ``resume`` is asked for and there is none.
    """

    def __init__(self, folder: Path, config: dict, resume: bool = False):
        self.path = folder / "metrics.jsonl"
        self.rows: list[dict] = []
        if resume:
            if not self.path.exists():
                raise FileNotFoundError(f"{folder} holds no run to resume")
            self.rows = [json.loads(line) for line in self.path.read_text().splitlines()[1:]]
        elif self.path.exists():
            raise FileExistsError(f"{folder} holds a run already: use --resume, or another --out")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            versions = {"scratchnet": sn.__version__, "numpy": np.__version__, "python": platform.python_version()}
            self._append(
                {"config": config, "versions": versions, "machine": platform.processor() or platform.machine()}
            )
        self.started = time.perf_counter()

    def write(self, **row) -> None:
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        self.rows.append(row)
        self._append(row)

    def _append(self, row: dict) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def save_curves(path: Path, rows: list[dict]) -> None:
    """Loss and accuracy of training and test data over epochs."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for part, style in (("train", "o--"), ("test", "o-")):
            axis.plot(epochs, [row[f"{part}_{quantity}"] for row in rows], style, label=part, markersize=4)
        axis.set(xlabel="epoch", title=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save_mistakes(path: Path, dataset, logits, labels, classes, count: int = 24) -> None:
    """The images the model is most confidently wrong about, each with its true and its predicted class."""
    shifted = logits - logits.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    predicted = logits.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]])][:count]
    columns = 8
    rows = max(1, -(-len(worst) // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * 1.15, rows * 1.5), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, worst, strict=False):
        image = dataset[int(i)][0].transpose(1, 2, 0)
        axis.imshow(image.squeeze(), cmap="gray_r" if image.shape[2] == 1 else None, vmin=0, vmax=1)
        axis.set_title(f"{classes[labels[i]]}, not {classes[predicted[i]]}", fontsize=7)
    figure.suptitle(f"{len(wrong)} of {len(labels)} wrong; the most confident mistakes", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)
