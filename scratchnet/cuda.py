"""What a program may ask about GPUs: ``scratchnet.cuda.is_available()``, quiet and fast where there is none."""

from scratchnet.device import is_available

__all__ = ["is_available"]
