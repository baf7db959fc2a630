"""Run an op of the registry on another device, to compare it with the CPU, where everything else is checked."""

import numpy as np

from scratchnet import autograd
from scratchnet.ops.registry import Op, S
from scratchnet.tensor import tensor
from scratchnet.testing.gradcheck import bind


def derivatives_on(device: str, op: Op, sample: S, dtype=np.float64, seed: int = 0) -> list[np.ndarray | None]:
    """The op's result, its gradients and the gradients of those, computed on ``device`` and brought to the CPU.

    Args:
        device: "cpu" or "cuda".
        sample: a call of the op; its floating arrays are converted to ``dtype``.
        seed: of the cotangents, which are the same on every device.

    Returns:
        The result; for every floating input its gradient, None where it has none; and if those depend on the inputs,
        the gradients of their products with second cotangents.

    Raises:
        AssertionError: a result is on another device.
    """
    draw = np.random.default_rng(seed)

    def cotangent(like):
        return tensor(draw.standard_normal(like.shape).astype(like.dtype), device=device)

    inputs = [
        tensor(a.astype(dtype) if a.dtype.kind == "f" else a, device=device) for a in map(np.asarray, sample.arrays)
    ]
    wanted = [x.requires_grad_() for x in inputs if x.dtype.kind == "f"]
    out = bind(op, sample.params)(*inputs)
    found = [out]
    if out.requires_grad:
        first = autograd.grad(out, wanted, cotangent(out), create_graph=True, allow_unused=True)
        curved = [g for g in first if g is not None and g.requires_grad]
        second = autograd.grad(curved, wanted, [*map(cotangent, curved)], allow_unused=True) if curved else ()
        found = [out, *first, *second]
    astray = [str(x.device) for x in found if x is not None and x.device != device]
    assert not astray, f"{op.name}: results on {astray}, its inputs on {device}"
    return [None if x is None else x.detach().cpu().numpy() for x in found]
