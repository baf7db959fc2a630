"""What a VAE's gradients say about its loss.

The loss is a * (negative log likelihood, summed over pixels) + b * (KL, summed over latents), whatever it was written
as. From the likelihood's own gradient at the decoder's output follows a. The gradient at mu is what comes through
z = mu + exp(log_var / 2) noise, known from the gradient at z, plus b * mu; that at log_var is
half the gradient at z times (z - mu), plus b * (exp(log_var) - 1) / 2. So each of them gives b, and b / a is the beta.
"""

from collections.abc import Iterator

import numpy as np

from scratchnet.tensor import Tensor

_SLACK = 0.05  # relative: far above float32's rounding, far below any real mistake
_ROUNDING = 1e-6  # of float32 gradients: a head that begins at 0 gets next to none from the KL, which tells nothing


class Latent:
    """The tensors of one step, and the gradients that its backward pass brings to them."""

    def __init__(self, mu, log_var, z, output, target, likelihood, beta, variance):
        if likelihood not in ("logits", "probabilities", "gaussian"):
            raise ValueError(f"likelihood: expected 'logits', 'probabilities' or 'gaussian', got {likelihood!r}")
        for name, tensor, like in (("log_var", log_var, mu), ("z", z, mu), ("target", target, output)):
            if tensor.shape != like.shape:
                raise ValueError(f"{name}: expected shape {like.shape}, got {tensor.shape}")
        self.tensors = {"mu": mu, "log_var": log_var, "z": z, "output": output}
        self.target, self.likelihood, self.beta, self.variance = target, likelihood, beta, variance
        self.gradients: dict[str, np.ndarray] = {}

    def listen(self) -> None:
        for name, tensor in self.tensors.items():
            if tensor.node is not None:
                tensor.node.hooks.append(lambda g, name=name: self.gradients.__setitem__(name, _float64(g)))

    def value(self, name: str) -> np.ndarray:
        return _float64(self.tensors[name])

    def gradient(self, name: str) -> np.ndarray:
        """Zeros where none arrived."""
        return self.gradients.get(name, np.zeros(self.tensors[name].shape))


def vae_findings(latent: Latent) -> Iterator[tuple[str, str]]:
    """(rule, message) for each thing that is wrong, see ``Lint.vae``."""
    target = _float64(latent.target)
    if latent.likelihood != "gaussian":
        yield from (("target", message) for message in target_findings(latent.target))
    sampled = True
    for rule, message in _sampling(latent):
        sampled = False
        yield rule, message
    reconstruction, misfit = _fit(latent.gradient("output"), _likelihood_gradient(latent, target))
    if misfit > _SLACK or reconstruction <= 0:
        yield "likelihood", f"the gradient at the output is not that of the likelihood {latent.likelihood!r}"
        return
    if sampled:
        yield from _beta(latent, reconstruction)


def target_findings(target: Tensor) -> Iterator[str]:
    """What is wrong with these as probabilities."""
    values = _float64(target)
    if values.size and (values.min() < 0 or values.max() > 1):
        yield f"Bernoulli targets lie in [0, 1], these in [{values.min():.3g}, {values.max():.3g}]"


def _sampling(latent: Latent) -> Iterator[tuple[str, str]]:
    noise = (latent.value("z") - latent.value("mu")) * np.exp(-0.5 * latent.value("log_var"))
    if not noise.any():
        yield "sampling", "z is the mean: nothing is sampled, and the decoder never sees the variance"
        return
    square = float(np.mean(noise**2))
    if abs(square - 1) > 6 * np.sqrt(2 / noise.size):
        yield "deviation", f"z - mu has {np.sqrt(square):.3g} times the standard deviation exp(log_var / 2)"


def _likelihood_gradient(latent: Latent, target: np.ndarray) -> np.ndarray:
    """Of the negative log likelihood with respect to the output."""
    output = latent.value("output")
    if latent.likelihood == "gaussian":
        return (output - target) / latent.variance
    if latent.likelihood == "logits":
        return 0.5 * (1 + np.tanh(0.5 * output)) - target
    return (output - target) / np.maximum(output * (1 - output), 1e-12)


def _beta(latent: Latent, reconstruction: float) -> Iterator[tuple[str, str]]:
    mu, log_var, z = (latent.value(name) for name in ("mu", "log_var", "z"))
    of_mu, of_log_var, of_z = (latent.gradient(name) for name in ("mu", "log_var", "z"))
    rest_of_mu, rest_of_log_var = of_mu - of_z, of_log_var - 0.5 * of_z * (z - mu)
    parts = [(rest_of_mu, mu), (rest_of_log_var, 0.5 * np.expm1(log_var))]
    rounding = _ROUNDING * np.linalg.norm(of_z) / reconstruction
    betas = [_fit(*part)[0] / reconstruction for part in parts if np.linalg.norm(part[1]) * _SLACK > rounding]
    off = [abs(beta - latent.beta) > _SLACK * max(abs(latent.beta), 1e-3) for beta in betas]
    if any(off) and not np.isclose(betas[0], betas[-1], rtol=_SLACK, atol=1e-3):
        yield (
            "deviation",
            (
                f"the KL weighs {betas[0]:.3g} in the mean's gradient and {betas[-1]:.3g} in the variance's: "
                "it is of another standard deviation than z"
            ),
        )
    elif any(off):
        words = "there is no KL" if abs(betas[0]) < 1e-6 else f"the effective beta is {betas[0]:.4g}"
        yield "beta", f"{words}, declared is {latent.beta:g}"


def _fit(gradient: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """The factor of ``direction`` that is nearest to ``gradient``, and the part of the gradient that it misses."""
    factor = float((gradient * direction).sum() / max((direction**2).sum(), 1e-300))
    norm = np.linalg.norm(gradient.ravel())
    return factor, float(np.linalg.norm((gradient - factor * direction).ravel()) / norm) if norm else 0.0


def _float64(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().data.astype(np.float64)
