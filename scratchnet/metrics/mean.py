"""The mean of values that come one after the other."""

import math
import numbers


class Mean:
    """The mean of values that come one after the other. ``state_dict()`` lets a checkpoint hold a mean half-way.

    ``value`` is NaN before the first update.
    """

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.total, self.weight = 0.0, 0

    def update(self, value: float, weight: int = 1) -> None:
        """Take in a value that is the mean of ``weight`` samples."""
        if not isinstance(value, numbers.Real):
            raise TypeError(f"Mean: value must be a number, got {value!r:.80}; take item() of a tensor")
        if not isinstance(weight, numbers.Real) or not weight >= 0:
            raise ValueError(f"Mean: weight must be a number of at least 0, got {weight!r:.80}")
        self.total += float(value) * weight
        self.weight += weight

    @property
    def value(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    def state_dict(self) -> dict:
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict) -> None:
        if not isinstance(state, dict) or not {"total", "weight"} <= state.keys():
            raise ValueError(f"Mean: a state_dict has total and weight, got {state!r:.80}")
        self.total, self.weight = float(state["total"]), int(state["weight"])
