"""What the example trainers leave behind: pictures, and an assertion on their result."""

from pathlib import Path

import numpy as np

try:
    import matplotlib
except ImportError:
    raise SystemExit("the examples draw with matplotlib: pip install 'scratchnet[examples]'") from None
matplotlib.use("Agg")
import matplotlib.pyplot as plt


def assert_within(result: dict, wanted: dict[str, tuple[float, float]]) -> None:
    """Assert that each measure that is ``wanted`` lies between its least and its most."""
    for name, (least, most) in wanted.items():
        assert least <= result[name] <= most, f"{name} is {result[name]:.3f}, wanted from {least:g} to {most:g}"


def save_curves(path: Path, rows: list[dict], panels: dict[str, dict[str, str]]) -> None:
    """Columns of a log over epochs: ``panels`` has for each title the lines, {label: column}."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.4), layout="constrained", squeeze=False)
    epochs = [row["epoch"] for row in rows]
    for axis, (title, lines) in zip(axes.flat, panels.items(), strict=True):
        for label, column in lines.items():
            axis.plot(epochs, [row[column] for row in rows], "o--" if label == "train" else "o-", label=label, ms=4)
        axis.set(xlabel="epoch", title=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if all(isinstance(row[column], int) for row in rows for column in lines.values()):
            axis.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            axis.legend(frameon=False)
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


def save_neighbours(path: Path, samples: np.ndarray, neighbours: np.ndarray, distances: np.ndarray) -> None:
    """Rows of a sample (N, C, H, W) and its neighbours (N, K, C, H, W), under their distances (N, K)."""
    rows, columns = distances.shape
    figure, axes = plt.subplots(
        rows, columns + 1, figsize=(1.2 * (columns + 1), 1.4 * rows), layout="constrained", squeeze=False
    )
    for sample, row, apart, places in zip(samples, neighbours, distances, axes, strict=True):
        titles = ["sample", *(f"{distance:.2f}" for distance in apart)]
        for image, title, axis in zip([sample, *row], titles, places, strict=True):
            axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray" if len(image) == 1 else None, vmin=0, vmax=1)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.savefig(path, dpi=120)
    plt.close(figure)
