"""Adam, and AdamW with its decoupled weight decay."""

import kernels
from scratchnet.optim.optimizer import Optimizer, check_range, count_step, zeros_once


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    With gradient g (its sign changed by ``maximize``), parameter p, averages m and v, and t = 1, 2, ...::

        g = g + weight_decay * p                      (Adam)
        p = p - lr * weight_decay * p                 (``decoupled_weight_decay``: AdamW)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - lr / (1 - beta1**t) * m / (sqrt(v / (1 - beta2**t)) + eps)

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.

    Args:
        betas: the averages' decay rates; beta1 = 0.5 is usual for adversarial networks.
        epsilon_hat: add eps to sqrt(v) *before* its bias correction, p = p - lr * sqrt(1 - beta2**t) / (1 - beta1**t)
            * m / (sqrt(v) + eps). This is the paper's remark at the end of section 2 and what Keras and TensorFlow do;
            their default eps is 1e-7. It matters in the first steps and where gradients are tiny.
    """

    required_state = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        epsilon_hat: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
                "epsilon_hat": epsilon_hat,
            },
        )

    def _check_options(self, group):
        for name in ("lr", "eps", "weight_decay"):
            check_range(self._name, name, group[name])
        if not isinstance(group["betas"], tuple | list) or len(group["betas"]) != 2:
            raise ValueError(f"{self._name}: betas must be a pair, got {group['betas']!r}")
        for i, beta in enumerate(group["betas"]):
            check_range(self._name, f"betas[{i}]", beta, below=1.0)

    def _update(self, params, grads, states, group):
        steps = count_step(states)
        beta1, beta2 = group["betas"]
        kernels.adam_steps_(
            params,
            grads,
            zeros_once(states, "exp_avg", params),
            zeros_once(states, "exp_avg_sq", params),
            steps=steps,
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            epsilon_hat=group["epsilon_hat"],
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself and does not pass through the averages.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019), algorithm 2, with the decay
    multiplied by lr as in PyTorch. Its default decay is 0.01.
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
        epsilon_hat: bool = False,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            maximize=maximize,
            decoupled_weight_decay=True,
            epsilon_hat=epsilon_hat,
        )
