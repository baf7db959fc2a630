"""What the gradients at a discriminator's verdicts say about the losses of both networks.

A loss that is a mean over N verdicts a has the gradient f(a) / N, f being the loss's slope. Of the discriminator's loss
there is one f for each label; the generator's has the one of what it wants to be taken for.
"""

from dataclasses import dataclass

import numpy as np

_ONE_LOSS = 0.02  # what a fit may miss of gradients that are all one function of the verdict
_SAME, _OTHER = 1e-5, 1e-4  # of a gradient that is a given function, and of one that is told from it (float32)


@dataclass(eq=False)
class Verdict:
    """What the discriminator said of a batch, and the gradient of a loss by it, times the size of the batch."""

    output: np.ndarray
    slope: np.ndarray
    fake: bool  # whether the batch is, as it stands, one that the generator has made

    @classmethod
    def of(cls, output: np.ndarray, gradient: np.ndarray, fake: bool) -> "Verdict":
        return cls(output.astype(np.float64).ravel(), gradient.astype(np.float64).ravel() * len(output), fake)


def one_label(verdicts: list[Verdict]) -> str | None:
    """What the discriminator learns to say more often of everything, "real" or "fake"; None if it learns both.

    All slopes have one sign and, because least squares pull verdicts beyond both labels to one side, are one function.
    """
    output, slope = _pooled(verdicts)
    signs = set(np.sign(slope[slope != 0]))
    if len(signs) != 1:
        return None
    functions = [np.ones_like(output), output, _sigmoid(output)]
    if _probabilities(output):
        functions += [1 / output, 1 / (1 - output)]
    basis = np.stack(functions, axis=1)
    missed = slope - basis @ np.linalg.lstsq(basis, slope, rcond=None)[0]
    if np.linalg.norm(missed) > _ONE_LOSS * np.linalg.norm(slope):
        return None
    return "real" if signs == {-1.0} else "fake"


def inverted(of_discriminator: list[Verdict], of_generator: list[Verdict]) -> bool:
    """Whether the discriminator moves its verdicts on generated images to where the generator wants them.

    The sign alone does not tell: least squares pull scores above both labels down, in both networks' steps.
    """
    real, fake = ([v for v in of_discriminator if v.fake == kind] for kind in (False, True))
    if not (real and fake and of_generator):
        return False
    to_real, to_fake, wanted = (_pooled(verdicts)[1].mean() for verdicts in (real, fake, of_generator))
    return (to_real - to_fake) * wanted < 0 and abs(wanted - to_fake) < abs(wanted - to_real)


def minus_probability(of_discriminator: list[Verdict], of_generator: list[Verdict]) -> bool:
    """Whether the generator's loss is -E D, of a D that is a sigmoid or is trained as a probability."""
    if not of_generator:
        return False
    output, slope = _pooled(of_generator)
    constant = np.ones_like(output)
    if _probabilities(output) and _is_log_loss(of_discriminator):
        return _is(slope, -constant, other=(-1 / output, -1 / (1 - output)))
    p = _sigmoid(output)
    return _is(slope, -p * (1 - p), other=(p - 1, -p, -constant, output - 1))


def _is_log_loss(verdicts: list[Verdict]) -> bool:
    """Whether the slopes are -1 / D and 1 / (1 - D), on either of which there are some."""
    output, slope = _pooled(verdicts)
    up, down = slope < 0, slope > 0
    if not (_probabilities(output) and up.any()):
        return False
    return _is(slope[up], -1 / output[up]) and (not down.any() or _is(slope[down], 1 / (1 - output[down])))


def _is(slope: np.ndarray, function: np.ndarray, other=()) -> bool:
    """Whether the slopes are that function times a positive factor, and are told from the others."""
    return _missed(slope, function) < _SAME and all(_missed(slope, f) > _OTHER for f in other)


def _missed(slope: np.ndarray, function: np.ndarray) -> float:
    factor = max(slope @ function, 0.0) / (function @ function)
    return np.linalg.norm(slope - factor * function) / max(np.linalg.norm(slope), 1e-300)


def _pooled(verdicts: list[Verdict]) -> tuple[np.ndarray, np.ndarray]:
    if not verdicts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([v.output for v in verdicts]), np.concatenate([v.slope for v in verdicts])


def _probabilities(output: np.ndarray) -> bool:
    return bool((output > 0).all() and (output < 1).all())


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))
