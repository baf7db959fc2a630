"""Models, small enough to read, each with its parameter count in its docstring and in a test."""

from scratchnet.models.cnn import CNN, ShallowCNN

__all__ = ["CNN", "ShallowCNN"]
