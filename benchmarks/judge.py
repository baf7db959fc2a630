"""What a classifier that knows real images says of generated ones, and what is wanted of a generator of digits."""

from dataclasses import dataclass

import numpy as np

from scratchnet import metrics, nn
from scratchnet.data.resample import resize

SIDE = 28  # pixels of the images that judges know
CONFIDENT, ENTROPY, SMALLEST, RATIO, AGREEMENT = 0.85, 2.2, 0.04, 1.5, 0.95


class Judge:
    """The features and the class probabilities that a classifier gives to images; ``layer`` is that of the features."""

    def __init__(self, network: nn.Module, name: str, layer: str):
        self.features = metrics.FeatureNetwork(network, name, layer)
        self._logits = metrics.FeatureNetwork(network, name)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        logits = self._logits(images).values
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one set of samples; ``agreement`` is None where no class was asked for."""

    coverage: metrics.ClassCoverage
    distance: metrics.FeatureDistance
    agreement: float | None = None

    def missed(self, twin: float | None = None) -> dict[str, str]:
        """What is not as wanted, in words, by name; ``twin`` is the distance of the same model, trained elsewhere."""
        coverage = self.coverage
        wanted = {
            "confident": (coverage.confident >= CONFIDENT, f"{coverage.confident:.1%} have a top probability > 0.9"),
            "entropy": (coverage.entropy >= ENTROPY, f"the classes' entropy is {coverage.entropy:.3f} nats"),
            "smallest": (coverage.smallest_share >= SMALLEST, f"the rarest class has {coverage.smallest_share:.1%}"),
        }
        if twin is not None:
            ratio = self.distance.value / twin
            wanted["ratio"] = (ratio <= RATIO, f"the distance is {ratio:.2f} times that of PyTorch's")
        if self.agreement is not None:
            wanted["agreement"] = (self.agreement >= AGREEMENT, f"{self.agreement:.1%} are judged to be as asked")
        return {name: words for name, (reached, words) in wanted.items() if not reached}


def judge_samples(
    judge: Judge, samples: np.ndarray, real: metrics.Features, asked: np.ndarray | None = None
) -> Verdict:
    """The verdict on samples (N, 1, 28, 28) against the features of real images; ``asked`` are classes (N,)."""
    probabilities = judge.probabilities(samples)
    agreement = None if asked is None else metrics.accuracy(probabilities, asked)
    distance = metrics.frechet_distance(judge.features(samples), real)
    return Verdict(metrics.class_coverage(probabilities), distance, agreement)


def as_seen(images: np.ndarray) -> np.ndarray:
    """Images (N, 1, H, W) in [0, 1] as a judge knows them, float32 (N, 1, 28, 28) in steps of 1/255."""
    return np.rint(255 * resize(np.clip(images, 0, 1), (SIDE, SIDE))).astype(np.float32) / np.float32(255)
