"""What a program may ask about the GPU: ``scratchnet.cuda.is_available()``, quiet and fast where there is none."""

from scratchnet.device import is_available, module_of

__all__ = ["is_available", "synchronize"]


def synchronize() -> None:
    """Wait until the GPU has done all that it was given. Raises RuntimeError where there is no GPU."""
    module_of("cuda").cuda.get_current_stream().synchronize()
