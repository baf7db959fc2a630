"""Averaged weights."""

import contextlib
from collections.abc import Iterable, Iterator

from scratchnet.device import device_of, to_device
from scratchnet.optim.optimizer import check_range
from scratchnet.recording import refuse, repeat_overrides, repeated
from scratchnet.tensor import Tensor


class ExponentialMovingAverage:
    """Keep avg = decay * avg + (1 - decay) * p for every parameter p; the average often tests better than p.

    The same numbers as torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn(decay): the first ``update``
    copies, later ones average. AveragedModel keeps a second model; here there are only the arrays, and
    ``average_parameters`` puts them into the model at hand. Buffers (the statistics of batch norm) are not averaged,
    as there with use_buffers=False.

    Args:
        parameters: tensors, or a module, whose ``parameters()`` are taken.
        decay: in [0, 1); 0.999 remembers about the last 1,000 updates.
    """

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        repeat_overrides(cls, "update")

    def __init__(self, parameters, decay: float = 0.999):
        check_range("ExponentialMovingAverage", "decay", decay, below=1.0)
        if hasattr(parameters, "parameters"):
            parameters = parameters.parameters()
        if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
            raise TypeError(f"ExponentialMovingAverage: expected a module or tensors, got {type(parameters).__name__}")
        self.parameters = list(parameters)
        for i, param in enumerate(self.parameters):
            if not isinstance(param, Tensor) or param.dtype.kind != "f":
                raise TypeError(f"ExponentialMovingAverage: parameter {i} is no floating tensor")
        if not self.parameters:
            raise ValueError("ExponentialMovingAverage: got no parameters")
        self.decay = decay
        self.num_updates = 0
        self.averages = [param.data.copy(order="K") for param in self.parameters]
        self._in_use = False

    @repeated
    def update(self) -> None:
        """Take in the parameters as they are now; call it after ``optimizer.step()``."""
        if self._in_use:
            raise RuntimeError("ExponentialMovingAverage: update() inside average_parameters() would average averages")
        self._follow()
        now, then = _facts(param.data for param in self.parameters), _facts(self.averages)
        if now != then:
            raise ValueError(
                f"ExponentialMovingAverage: the parameters are {_brief(now)} by now, their averages {_brief(then)}"
            )
        for average, param in zip(self.averages, self.parameters, strict=True):
            if self.num_updates == 0:
                average[...] = param.data
            else:
                average += (1 - self.decay) * (param.data - average)
        self.num_updates += 1

    @contextlib.contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Inside the ``with`` block the parameters hold their averages; afterwards their own values again.

        What is written into them inside is lost. A graph recorded before notices that its arrays were written.
        """
        refuse("average_parameters()", "put it around the call")
        self._follow()
        own = [param.data.copy(order="K") for param in self.parameters]
        was_in_use, self._in_use = self._in_use, True
        try:
            self._write(self.averages)
            yield
        finally:
            self._write(own)
            self._in_use = was_in_use

    def _follow(self) -> None:
        """The averages go where the parameters were moved."""
        pairs = zip(self.averages, self.parameters, strict=True)
        self.averages = [to_device(average, param.device) for average, param in pairs]

    def _write(self, arrays) -> None:
        for param, array in zip(self.parameters, arrays, strict=True):
            param.data[...] = array
            param.version[0] += 1

    def state_dict(self) -> dict:
        """A snapshot: ``decay``, ``num_updates`` and copies of the ``averages``, in the order of the parameters."""
        return {
            "decay": self.decay,
            "num_updates": self.num_updates,
            "averages": [average.copy(order="K") for average in self.averages],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a snapshot.

        Raises ValueError where number, shapes or dtypes of its averages are others; nothing is changed then.
        """
        if not isinstance(state_dict, dict) or not {"decay", "num_updates", "averages"} <= state_dict.keys():
            raise ValueError("ExponentialMovingAverage: a state_dict has decay, num_updates and averages")
        saved = [
            to_device(array, device_of(average))
            for array, average in zip(state_dict["averages"], self.averages, strict=False)
        ]
        if len(state_dict["averages"]) != len(self.averages) or _facts(saved) != _facts(self.averages):
            raise ValueError(
                f"ExponentialMovingAverage: the state_dict has averages {_brief(_facts(state_dict['averages']))}, "
                f"the parameters are {_brief(_facts(self.averages))}"
            )
        self.decay, self.num_updates = state_dict["decay"], int(state_dict["num_updates"])
        for average, array in zip(self.averages, saved, strict=True):
            average[...] = array


def _facts(arrays) -> list[str]:
    return [f"{array.dtype}{list(array.shape)} on {device_of(array)}" for array in arrays]


def _brief(facts: list[str]) -> str:
    return ", ".join(facts[:4]) + (f", ... ({len(facts)} in all)" if len(facts) > 4 else "")
