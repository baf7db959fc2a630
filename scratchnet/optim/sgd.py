"""Stochastic gradient descent with momentum."""

import kernels
from scratchnet.optim.optimizer import Optimizer, check_range, zeros_once


class SGD(Optimizer):
    """Stochastic gradient descent, with the momentum of Polyak or of Nesterov.

    With gradient g (its sign changed by ``maximize``), parameter p and momentum buffer b::

        g = g + weight_decay * p
        b = momentum * b + (1 - dampening) * g        (b = g on a parameter's first step)
        p = p - lr * (g + momentum * b if nesterov else b)

    and p = p - lr * g without momentum. Sources: Sutskever et al., "On the importance of initialization and momentum
    in deep learning" (ICML 2013), in the form of torch.optim.SGD, where lr multiplies the buffer, not the gradient.

    Raises:
        ValueError: an option is out of range, or ``nesterov`` comes without momentum or with dampening.
    """

    optional_state = ("momentum_buffer",)

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_options(self, group):
        for name in ("lr", "momentum", "weight_decay"):
            check_range("SGD", name, group[name])
        check_range("SGD", "dampening", group["dampening"], least=float("-inf"))
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and a dampening of 0, "
                f"got {group['momentum']} and {group['dampening']}"
            )

    def _update(self, params, grads, states, group):
        firsts = ["momentum_buffer" not in state for state in states]
        kernels.sgd_steps_(
            params,
            grads,
            zeros_once(states, "momentum_buffer", params) if group["momentum"] else None,
            firsts=firsts,
            lr=float(group["lr"]),
            momentum=group["momentum"],
            dampening=group["dampening"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
        )
