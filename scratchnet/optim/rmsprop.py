"""RMSprop."""

import kernels
from scratchnet.optim.optimizer import Optimizer, check_range, count_step, zeros_once


class RMSprop(Optimizer):
    """RMSprop: gradients divided by a running root mean square.

    With gradient g (its sign changed by ``maximize``), parameter p, averages v and a, and momentum buffer b::

        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g**2
        a = alpha * a + (1 - alpha) * g               (``centered``: v - a**2 takes the place of v below)
        b = momentum * b + g / (sqrt(v) + eps)
        p = p - lr * b

    Sources: Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning" (2012); the centred form is
    Graves, "Generating sequences with recurrent neural networks" (arXiv 1308.0850), equations 38 to 45.

    Args:
        alpha: decay of the averages. Keras calls it rho; its default is 0.9.
        eps_inside_sqrt: divide by sqrt(v + eps), as Keras does, instead of sqrt(v) + eps. Keras's default eps is 1e-7.
    """

    required_state = ("step", "square_avg")
    optional_state = ("momentum_buffer", "grad_avg")

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        eps_inside_sqrt: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
                "eps_inside_sqrt": eps_inside_sqrt,
            },
        )

    def _check_options(self, group):
        for name in ("lr", "eps", "weight_decay", "momentum"):
            check_range("RMSprop", name, group[name])
        check_range("RMSprop", "alpha", group["alpha"], below=1.0)

    def _update(self, params, grads, states, group):
        count_step(states)  # no use here, but PyTorch's RMSprop keeps it
        kernels.rmsprop_steps_(
            params,
            grads,
            zeros_once(states, "square_avg", params),
            zeros_once(states, "momentum_buffer", params) if group["momentum"] else None,
            zeros_once(states, "grad_avg", params) if group["centered"] else None,
            lr=float(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=group["centered"],
            eps_inside_sqrt=group["eps_inside_sqrt"],
        )
