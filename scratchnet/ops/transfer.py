"""The way from one device to another, with gradients that go back."""

from scratchnet.device import to_device
from scratchnet.ops.registry import Op


def _transfer(x, /, device, back):
    """x on ``device``; its gradient returns to ``back``, where x is."""
    return to_device(x, device)


# No entry of the registry: it computes nothing, and without a second device there is nothing to check.
transfer = Op(
    _transfer,
    vjp={"x": lambda g, device, back: transfer(g, device=back, back=device)},
    broadcasts=False,
    aux=(),
    composite=None,
    view=False,
    samples=None,
    reference=None,
    errors=None,
    kinks=(),
    degree=1,
)
