"""What a program may ask of the GPU: whether it is there, to wait for it, and to repeat a step in one launch."""

import contextlib
from collections.abc import Callable

from scratchnet.device import is_available, module_of
from scratchnet.tensor import Tensor

__all__ = ["capture", "is_available", "synchronize"]

_WARM_UPS = 2  # kernels are compiled and memory is taken in the first, which a capture must not do


def synchronize() -> None:
    """Wait until the GPU has done all that it was given. Raises RuntimeError where there is no GPU."""
    module_of("cuda").cuda.get_current_stream().synchronize()


def capture(step: Callable, *examples: Tensor, modules) -> "CapturedStep":
    """``step`` as one CUDA graph: hundreds of launches, each with Python before it, become one.

        def step(images, labels):
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss

        captured = sn.cuda.capture(step, images, labels, modules=model)
        for images, labels in loader:
            loss = captured(images.to("cuda"), labels.to("cuda"))
            optimizer.step()

    A call copies its arguments to where the examples were, repeats what the step did on the GPU and leaves the
    parameters' gradients in their ``grad``, new ones each time, not added to the last. What the step computed with
    Python or on the CPU is not done again: random numbers and anything else that changes must be an argument, and no
    value may be read back. The optimiser's step, whose number changes, stays outside.

    Args:
        step: takes tensors on the GPU; forward and backward pass. Returns a tensor, or several as a tuple.
        examples: arguments like those of later calls. The step runs on them a few times; buffers are put back.
        modules: the module, or a list of those, whose parameters and buffers the step uses.

    Raises:
        RuntimeError: there is no GPU, or the step reads a value back or brings an array from the CPU.
        TypeError: an example is no tensor on the GPU.
    """
    modules = list(modules) if isinstance(modules, list | tuple) else [modules]
    return CapturedStep(step, examples, modules)


class CapturedStep:
    """A step that is repeated in one launch: see ``capture``. Its results are overwritten by its next call."""

    def __init__(self, step, examples, modules):
        cupy = module_of("cuda")
        for i, x in enumerate(examples):
            if not isinstance(x, Tensor) or x.device != "cuda":
                where = f"a tensor on {x.device}" if isinstance(x, Tensor) else type(x).__name__
                raise TypeError(f"capture: example {i} must be a tensor on cuda, got {where}")
        self._inputs = [x.detach().clone() for x in examples]
        self._parameters = [p for module in modules for p in module.parameters()]
        buffers = [b for module in modules for b in module.buffers()]
        self._pool = cupy.cuda.MemoryPool()  # the graph's own: nobody else is given what its replays write to
        stream = cupy.cuda.Stream(non_blocking=True)
        synchronize()
        with stream, cupy.cuda.using_allocator(self._pool.malloc):
            before = [b.data.copy() for b in buffers]
            for _ in range(_WARM_UPS):
                self._run(step)
            for buffer, array in zip(buffers, before, strict=True):
                buffer.copy_(Tensor(array))
            self._graph, self._results = _captured(stream, lambda: self._run(step))
            stream.synchronize()
        self._arrays = [p.data for p in self._parameters]
        self._gradients = [p.grad for p in self._parameters]

    def _run(self, step):
        for p in self._parameters:
            p.grad = None
        return step(*self._inputs)

    def __call__(self, *inputs: Tensor):
        if len(inputs) != len(self._inputs):
            raise TypeError(f"a captured step of {len(self._inputs)} tensors was given {len(inputs)}")
        for i, (own, x) in enumerate(zip(self._inputs, inputs, strict=True)):
            if (x.shape, x.dtype, x.device) != (own.shape, own.dtype, own.device):
                raise ValueError(
                    f"a captured step takes what it was captured with: argument {i} was {own.shape} {own.dtype} on "
                    f"{own.device}, got {x.shape} {x.dtype} on {x.device}"
                )
            own.copy_(x)
        if any(p.data is not array for p, array in zip(self._parameters, self._arrays, strict=True)):
            raise RuntimeError("a captured step's parameters were moved or converted: capture it again")
        self._graph.launch()
        for p, gradient in zip(self._parameters, self._gradients, strict=True):
            if gradient is not None:
                p.grad = gradient
        return tuple(map(Tensor.detach, self._results)) if isinstance(self._results, tuple) else self._results.detach()


def _captured(stream, run):
    """The graph of what ``run`` does on the stream, and its result; the stream captures no more, whatever happens."""
    stream.begin_capture()
    try:
        results = run()
    except Exception as error:
        with contextlib.suppress(Exception):
            stream.end_capture()
        if "capturing" in str(error).lower() or "capture" in str(error).lower():
            error.add_note("A captured step may read no value back: no item(), no float(), no index that is a mask.")
        raise
    return stream.end_capture(), results
