"""Small models of which theory says everything, to hold losses and samplers against.

``DiscreteGAN``: two distributions on a few points, with the best discriminator of every adversarial loss and the
loss's value there. ``LinearGaussianVAE``: a decoder whose p(x) and posterior are known. ``Quadratic`` with
``gauss_hermite``: expectations under a normal law and their gradients, without sampling error. Everything is float64
NumPy, computed apart from the library's own losses.

    gan = DiscreteGAN.random(np.random.default_rng(0))
    a = sn.tensor(gan.optimal_logits)
    loss = F.gan_discriminator_loss(a[gan.real], a[gan.fake])  # = -gan.optimal_value, to rounding
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DiscreteGAN:
    """Data with probabilities p and a generator with probabilities q, on k points of a line.

    Both are given by integer counts (k,). ``real`` and ``fake`` are batches of point indices in which every point
    occurs as often as it is counted, so that a batch's mean *is* the expectation. ``places`` (k,), increasing, is
    where the points lie. Discriminator and critic are arrays (k,) of their outputs.
    """

    real_counts: np.ndarray
    fake_counts: np.ndarray
    places: np.ndarray

    @classmethod
    def random(cls, generator: np.random.Generator, points: int = 6) -> "DiscreteGAN":
        """Every point has some mass under both."""
        counts = generator.integers(1, 20, (2, points))
        return cls(*counts, places=np.cumsum(generator.uniform(0.2, 2.0, points)))

    @property
    def p(self) -> np.ndarray:
        return self.real_counts / self.real_counts.sum()

    @property
    def q(self) -> np.ndarray:
        return self.fake_counts / self.fake_counts.sum()

    @property
    def real(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.places)), self.real_counts)

    @property
    def fake(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.places)), self.fake_counts)

    @property
    def optimal_discriminator(self) -> np.ndarray:
        """D* = p / (p + q), the probability that a point drawn from either is real (Goodfellow et al. 2014, prop. 1).

        Also the best score of the least-squares loss (Mao et al. 2017, section 3.2). NaN where neither has mass.
        """
        with np.errstate(invalid="ignore"):
            return self.p / (self.p + self.q)

    @property
    def optimal_logits(self) -> np.ndarray:
        """log p - log q, the logits of D*; infinite where only one has mass."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.p) - np.log(self.q)

    @property
    def jensen_shannon(self) -> float:
        """JSD = KL(p | m) / 2 + KL(q | m) / 2 with m = (p + q) / 2, in nats: 0 to log 2."""
        middle = (self.p + self.q) / 2
        return (kl_divergence(self.p, middle) + kl_divergence(self.q, middle)) / 2

    @property
    def optimal_value(self) -> float:
        """V(D*, G) = E_p log D* + E_q log(1 - D*) = -log 4 + 2 JSD (Goodfellow et al. 2014, theorem 1)."""
        return -np.log(4) + 2 * self.jensen_shannon

    @property
    def total_variation(self) -> float:
        """TV = sum |p - q| / 2: 0 to 1. The least hinge loss is 2 - 2 TV, at sign(p - q) (Lim and Ye 2017)."""
        return np.abs(self.p - self.q).sum() / 2

    @property
    def least_squares_value(self) -> float:
        """The least least-squares loss, E_p (D* - 1)^2 / 2 + E_q D*^2 / 2 = sum pq / (p + q) / 2."""
        both = self.p + self.q
        return (self.p * self.q / np.where(both > 0, both, 1)).sum() / 2

    @property
    def wasserstein(self) -> float:
        """W1, the area between the two distribution functions."""
        return np.abs(self._excess * np.diff(self.places)).sum()

    @property
    def optimal_critic(self) -> np.ndarray:
        """Of slope +-1 everywhere, rising to the side on which the data has more: E_p D - E_q D = W1 (Kantorovich)."""
        return np.concatenate([[0.0], np.cumsum(np.sign(self._excess) * np.diff(self.places))])

    @property
    def _excess(self) -> np.ndarray:
        """By how much q has more mass up to each gap between points, (k - 1,)."""
        return np.cumsum(self.q - self.p)[:-1]


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p | q) = sum p log(p / q) in nats, with 0 log 0 = 0."""
    occurs = p > 0
    return float((p[occurs] * np.log(p[occurs] / q[occurs])).sum())


@dataclass(frozen=True)
class LinearGaussianVAE:
    """z ~ N(0, I), x | z ~ N(weight z + bias, std^2 I): probabilistic PCA (Tipping and Bishop 1999).

    weight (pixels, latents), bias (pixels,). Marginals and posteriors are normal, so the ELBO of any normal encoder,
    the log-likelihood that it bounds and the encoder that reaches it are all known.
    """

    weight: np.ndarray
    bias: np.ndarray
    std: float

    @classmethod
    def random(
        cls, generator: np.random.Generator, pixels: int = 5, latents: int = 2, std: float = 0.6
    ) -> "LinearGaussianVAE":
        """The weight's columns are orthogonal, so that the posterior is diagonal: what an encoder's log_var can say."""
        directions, _ = np.linalg.qr(generator.standard_normal((pixels, latents)))
        return cls(directions * generator.uniform(0.5, 2.0, latents), generator.standard_normal(pixels), std)

    def sample(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Data, (count, pixels)."""
        z = generator.standard_normal((count, self.weight.shape[1]))
        return z @ self.weight.T + self.bias + self.std * generator.standard_normal((count, len(self.bias)))

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """log p(x), (N,), of x (N, pixels): x ~ N(bias, weight weight^T + std^2 I)."""
        covariance = self.weight @ self.weight.T + self.std**2 * np.eye(len(self.bias))
        off = x - self.bias
        distance = (off * np.linalg.solve(covariance, off.T).T).sum(axis=1)
        return -0.5 * (distance + np.linalg.slogdet(2 * np.pi * covariance).logabsdet)

    def posterior(self, x: np.ndarray, beta: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Mean (N, latents) and covariance (latents, latents), the same for all x, of p(z | x).

        With another ``beta``, of the normal law that maximises E log p(x | z) - beta KL instead: the posterior under
        noise of variance beta std^2.
        """
        noise = beta * self.std**2
        covariance = np.linalg.inv(np.eye(self.weight.shape[1]) + self.weight.T @ self.weight / noise)
        return (x - self.bias) @ self.weight @ covariance / noise, covariance

    def elbo(self, x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """E_q log p(x | z) - KL(q | N(0, I)), (N,), of the encoder q(z | x) = N(mean, covariance)."""
        off = x - self.bias - mean @ self.weight.T
        squares = (off**2).sum(axis=1) + np.trace(self.weight @ covariance @ self.weight.T)
        reconstruction = -0.5 * (squares / self.std**2 + len(self.bias) * np.log(2 * np.pi * self.std**2))
        return reconstruction - gaussian_kl(mean, covariance)


def gaussian_kl(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """KL(N(mean, covariance) | N(0, I)) in nats, (N,), of means (N, latents) and one covariance."""
    spread = np.trace(covariance) - len(covariance) - np.linalg.slogdet(covariance).logabsdet
    return 0.5 * ((mean**2).sum(axis=1) + spread)


def gaussian_kl_by_sampling(
    mean: np.ndarray, log_var: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The KL divergence of N(mean, diag exp(log_var)) from N(0, I) as a mean of log q(z) - log p(z) over samples.

    mean and log_var (latents,). Returns the estimate and its standard error.
    """
    noise = generator.standard_normal((count, len(mean)))
    z = mean + np.exp(log_var / 2) * noise
    difference = 0.5 * (z**2 - noise**2 - log_var).sum(axis=1)
    return float(difference.mean()), float(difference.std() / np.sqrt(count))


@dataclass(frozen=True)
class Quadratic:
    """f(z) = z^T matrix z / 2 + vector^T z of z (N, k), arrays or tensors; matrix (k, k) symmetric, vector (k,).

    For z ~ N(mean, covariance) its expectation has the gradients that Bonnet's and Price's theorems give (Rezende,
    Mohamed and Wierstra 2014, section 3): by the mean E grad f, by the covariance E hessian f / 2.
    """

    matrix: np.ndarray
    vector: np.ndarray

    @classmethod
    def random(cls, generator: np.random.Generator, size: int = 3) -> "Quadratic":
        half = generator.standard_normal((size, size))
        return cls(half + half.T, generator.standard_normal(size))

    def __call__(self, z):
        """(N,)."""
        return ((z @ self.matrix) * z * 0.5 + z * self.vector).sum(1)

    def expectation(self, mean: np.ndarray, covariance: np.ndarray) -> float:
        """mean^T matrix mean / 2 + vector^T mean + tr(matrix covariance) / 2."""
        return float(mean @ self.matrix @ mean / 2 + self.vector @ mean + np.trace(self.matrix @ covariance) / 2)

    def mean_gradient(self, mean: np.ndarray) -> np.ndarray:
        """E grad f = matrix mean + vector (Bonnet)."""
        return self.matrix @ mean + self.vector

    def covariance_gradient(self) -> np.ndarray:
        """E hessian f / 2 = matrix / 2 (Price)."""
        return self.matrix / 2


def gauss_hermite(order: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (order^dims, dims) and weights (order^dims,), of sum 1, of expectations under N(0, I).

    sum_i weights[i] f(nodes[i]) is E f, exactly where f is a polynomial of degree below 2 order in each variable.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    grid = np.meshgrid(*[nodes] * dims, indexing="ij")
    products = np.prod(np.meshgrid(*[weights / weights.sum()] * dims, indexing="ij"), axis=0)
    return np.stack([g.ravel() for g in grid], axis=1), products.ravel()
