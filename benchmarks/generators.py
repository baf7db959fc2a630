"""Judge generators of digits: by a CNN that was trained on real ones, next to the same DCGAN trained in PyTorch.

    python benchmarks/generators.py "DCGAN=runs/mnist-gan-dcgan-0" --twin "PyTorch's=twin.safetensors" \\
        --judge runs/mnist-cnn-0 --data-root DIR --audit --write docs/generators.md

A generator is the folder of a run of train_gan.py or train_vae.py, one of its checkpoints, or a .safetensors file with
the weights of a DCGAN generator, as gan_twin.py writes; before the = stands what the table calls it. Judge, test and
training images are MNIST's; a judge that is missing is trained by train_cnn.py. Samples are brought to the judge's
28 x 28 pixels by the data pipeline's own filter and rounded to bytes, and the real images that they are compared with
have gone the same way: for a generator of 64 x 64 pixels from 28 to 64 and back.

Exit code 1: a generator misses what is wanted, or there is no twin of its size; bold in the table. (A twin may.)
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from harness import machine, write_section
from judge import AGREEMENT, CONFIDENT, ENTROPY, RATIO, SMALLEST, Judge, as_seen, judge_samples
from samples import draw_samples
from scratchnet import data, metrics
from scratchnet.data.resample import resize

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples"))
import predict
import train_cnn

FEATURES = "10"  # of models.CNN: the 64 rectified features that its last layer classifies
ACCURACY = 0.99
HEAD = f"""\
| samples | pixels | top p > 0.9 | entropy | rarest class | distance | to PyTorch's | as asked | copies, p |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
| wanted | | ≥ {CONFIDENT:.0%} | ≥ {ENTROPY} | ≥ {SMALLEST:.0%} | | ≤ {RATIO} | ≥ {AGREEMENT:.0%} | |
"""


def load_judge(folder: Path, data_root: Path | None, test) -> tuple[Judge, float]:
    """The judge in ``folder``, trained there if it is missing, and its accuracy on the test images.

    Raises:
        AssertionError: less than 99 % of the test images are right.
    """
    if not folder.exists():
        root = ["--data-root", str(data_root)] if data_root else []
        train_cnn.main(["--data", "mnist", "--out", str(folder), *root])
    judge = Judge(predict.load_classifier(folder)[0], "mnist-cnn", FEATURES)
    accuracy = metrics.accuracy(judge.probabilities(pixels(test)), test.labels)
    assert accuracy >= ACCURACY, f"the judge in {folder} gets only {accuracy:.2%} of the test images right"
    return judge, accuracy


def pixels(dataset) -> np.ndarray:
    """All images of a data set, float32 (N, 1, 28, 28) in [0, 1]."""
    return dataset[np.arange(len(dataset))][0]


class Table:
    """Judges generators one after the other; its text is their table.

    Args:
        judge: whose features and probabilities count.
        train, test: the real images, (N, 1, 28, 28) in [0, 1].
        count, seed: how many samples to draw, and of which codes.
        audit: whether to look for copies of training images.
    """

    def __init__(self, judge: Judge, train: np.ndarray, test: np.ndarray, count: int, seed: int, audit: bool):
        self.judge, self.train, self.test = judge, train, test
        self.count, self.seed, self.audit = count, seed, audit
        self.rows, self.missed = [], []
        self._real, self._twins = {}, {}

    def real(self, size: int):
        """Training and test images that have been at ``size``, and the features of the latter; the first time a row."""
        if size not in self._real:
            train, test = (as_seen(resize(images, (size, size))) for images in (self.train, self.test))
            features = self.judge.features(test)
            self._real[size] = train, test, features
            some = np.random.default_rng(self.seed).permutation(len(train))[: self.count]
            self._add("real: training images", size, judge_samples(self.judge, train[some], features))
        return self._real[size]

    def add(self, name: str, path: Path, is_twin: bool = False) -> None:
        """Judge a generator; a twin's distance is that to which others of its size are compared."""
        samples, asked, size = draw_samples(path, self.count, self.seed)
        train, test, features = self.real(size)
        verdict = judge_samples(self.judge, samples, features, asked)
        if is_twin:
            self._twins[size] = verdict.distance.value
        missed = verdict.missed(self._twins.get(size))
        if not is_twin and size not in self._twins:
            missed["ratio"] = f"no twin of {size} pixels to compare the distance with"
        if not is_twin:
            self.missed += [f"{name}: {words}" for words in missed.values()]
        p_value = None
        if self.audit:
            rng = np.random.default_rng(self.seed)
            p_value = metrics.audit_memorisation(samples, train, test, generator=rng).p_value
        self._add(name, size, verdict, missed, p_value)

    def _add(self, name, size, verdict, missed=(), p_value=None) -> None:
        twin = self._twins.get(size)
        cells = {
            "confident": f"{verdict.coverage.confident:.1%}",
            "entropy": f"{verdict.coverage.entropy:.3f}",
            "smallest": f"{verdict.coverage.smallest_share:.1%}",
            "distance": f"{verdict.distance.value:.2f}",
            "ratio": f"{verdict.distance.value / twin:.2f}" if twin else "no twin" if "ratio" in missed else "",
            "agreement": "" if verdict.agreement is None else f"{verdict.agreement:.1%}",
            "copies": "" if p_value is None else f"{p_value:.4f}",
        }
        texts = [f"**{text}**" if column in missed else text for column, text in cells.items()]
        self.rows.append(" | ".join([f"| {name}", str(size), *texts]) + " |")
        print(self.rows[-1], flush=True)

    def __str__(self):
        return HEAD + "\n".join(self.rows)


def named(text: str) -> tuple[str, Path]:
    """NAME=PATH, for argparse."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, got {text!r}")
    return name, Path(path)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generators", nargs="+", type=named, metavar="NAME=PATH")
    parser.add_argument(
        "--twin", action="append", default=[], type=named, metavar="NAME=PATH", help="PyTorch's weights"
    )
    parser.add_argument("--judge", type=Path, default=Path("runs/mnist-cnn-0"), help="folder of a run of train_cnn.py")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data set (default: the cache folder)")
    parser.add_argument("--count", type=int, default=10_000, help="samples of each generator")
    parser.add_argument("--seed", type=int, default=0, help="of the codes")
    parser.add_argument("--audit", action="store_true", help="look for copies of training images, minutes each")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's marks")
    args = parser.parse_args(argv)
    train, test = (data.MNIST(args.data_root, train=part) for part in (True, False))
    judge, accuracy = load_judge(args.judge, args.data_root, test)
    about = f"{args.count:,} samples of seed {args.seed}; judge {judge.features.identity}, {accuracy:.2%} right on test"
    print(f"{about}\n{HEAD}", end="", flush=True)
    table = Table(judge, pixels(train), pixels(test), args.count, args.seed, args.audit)
    for name, path in args.twin:
        table.add(name, path, is_twin=True)
    for name, path in args.generators:
        table.add(name, path)
    if args.write:
        write_section(args.write, "generators", f"{table}\n\n{about} images; {machine()}.")
    for words in table.missed:
        print(f"missed: {words}", file=sys.stderr)
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
