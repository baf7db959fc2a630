"""Handles that take a hook back."""

import itertools

_numbers = itertools.count()


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes the hook back, and so does leaving a ``with`` block."""

    def __init__(self, hooks: dict, hook):
        self.hooks = hooks
        self.number = next(_numbers)
        hooks[self.number] = hook

    def remove(self) -> None:
        self.hooks.pop(self.number, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
