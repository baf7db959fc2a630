"""The loader: seeded order, whole-batch fetching, and a thread that works ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from scratchnet.data.streams import sample_streams
from scratchnet.device import usable
from scratchnet.random import chosen, default_generator
from scratchnet.tensor import Tensor


class DataLoader:
    """Iterate over a dataset in batches, each a tuple of Tensors.

    Args:
        dataset: see `Dataset`. It is asked for a whole batch with one integer array.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        shuffle: a new order every epoch; without it the order of the dataset.
        drop_last: leave out the last batch where it is not full.
        generator: one number is drawn from it at the start of each epoch, and the epoch's order and augmentations
            follow from that number. By default the loader has a generator of its own, seeded from the library's
            default one when the loader is made.
        collate_fn: if given, samples are fetched one by one and `collate_fn(list of samples)` is the batch. Its
            arrays, alone or in a tuple, become Tensors, and anything else is passed on as it is.
        prefetch: how many batches a background thread prepares ahead; 0 means no thread.
        device: where the batches' tensors go, "cpu" or "cuda"; without one they stay where they are.
        transform: applied to the first member of each batch (with `collate_fn`, of each sample), the images.

    A random transform, here or in the dataset, draws from streams keyed by the epoch and the sample's index. What it
    does to a sample depends neither on `batch_size` nor on `prefetch`.

    An iterator that is abandoned half-way stops its thread when it is closed or forgotten; an exception in the thread
    is raised by the iteration.
    """

    def __init__(
        self,
        dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        generator: np.random.Generator | None = None,
        collate_fn: Callable | None = None,
        prefetch: int = 0,
        device: str | None = None,
        transform: Callable | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"dataset: expected a Dataset, with a length and an index, got {type(dataset).__name__}")
        if isinstance(dataset, list | tuple | dict) and collate_fn is None:
            raise TypeError(
                f"dataset: a {type(dataset).__name__} takes one index at a time; make a TensorDataset of it, or give "
                "collate_fn=default_collate"
            )
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(f"shuffle: expected True or False, got {shuffle!r}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        own = np.random.default_rng(default_generator().integers(2**63)) if generator is None else chosen(generator)
        self.generator = own
        self.collate_fn, self.prefetch, self.transform = collate_fn, prefetch, transform
        self.device = None if device is None else usable(device)
        self.epoch = 0  # epochs that have ended
        self._seed = None  # of the epoch in progress
        self._batch = 0  # batches of it that were handed out
        self._resuming = False

    def __len__(self) -> int:
        """Batches an epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self._resuming:
            self._resuming = False
        else:
            self.epoch += self._seed is not None
            self._seed, self._batch = int(self.generator.integers(2**63)), 0
        return self._batches(self._seed, self._batch)

    def _batches(self, seed: int, start: int) -> Iterator:
        n = len(self.dataset)
        order = np.random.default_rng(seed).permutation(n) if self.shuffle else np.arange(n)
        parts = (order[i * self.batch_size :][: self.batch_size] for i in range(start, len(self)))
        batches = self._fetch_ahead(parts, seed) if self.prefetch else (self._fetch(part, seed) for part in parts)
        for done, batch in enumerate(batches, start + 1):
            if seed == self._seed:
                self._batch = done
            yield self._moved(batch)
        if seed == self._seed:
            self.epoch, self._seed, self._batch = self.epoch + 1, None, 0

    def _fetch_ahead(self, parts: Iterator[np.ndarray], seed: int) -> Iterator:
        thread, process = ThreadPoolExecutor(1, thread_name_prefix="DataLoader"), os.getpid()
        try:
            pending = deque(thread.submit(self._fetch, part, seed) for part in islice(parts, self.prefetch))
            while pending:
                if os.getpid() != process:
                    raise RuntimeError("DataLoader: its thread did not come along with fork(): begin a new iteration")
                batch = pending.popleft().result()
                pending.extend(thread.submit(self._fetch, part, seed) for part in islice(parts, 1))
                yield batch
        finally:
            thread.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, indices: np.ndarray, seed: int):
        if self.collate_fn is None:
            try:
                batch = self._sample(indices, seed)
            except TypeError as error:
                error.add_note("If the dataset takes one index at a time, give DataLoader collate_fn=default_collate.")
                raise
        else:
            batch = self.collate_fn([self._sample(int(i), seed) for i in indices])
        return tuple(map(_to_tensor, batch)) if isinstance(batch, tuple | list) else _to_tensor(batch)

    def _moved(self, batch):
        if self.device is None:
            return batch
        if isinstance(batch, tuple):
            return tuple(map(self._moved, batch))
        return batch.to(self.device) if isinstance(batch, Tensor) else batch

    def _sample(self, index, seed: int) -> tuple:
        with sample_streams(seed, index):
            sample = self.dataset[index]
            first, *rest = sample if isinstance(sample, tuple) else (sample,)
            return (first if self.transform is None else self.transform(first), *rest)

    def state_dict(self) -> dict:
        """Where the loader stands, in numbers and strings only.

        Taken inside the loop, it counts the batch in hand as done. It speaks of the iterator begun last.
        """
        return {
            "epoch": self.epoch,
            "batch": self._batch,
            "seed": self._seed,
            "generator": self.generator.bit_generator.state,
            **self._identity(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Stand where `state` was taken: the next iteration hands out what was left of that epoch.

        Raises:
            ValueError: the state is incomplete, or of another dataset length, batch size, order, drop_last or kind of
                generator.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: expected a dict, got {type(state).__name__}")
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(f"load_state_dict: the state lacks {sorted(missing)}")
        for name, mine in self._identity().items():
            if state[name] != mine:
                raise ValueError(f"load_state_dict: {name} is {state[name]} in the state and {mine} in this loader")
        self.generator.bit_generator.state = state["generator"]
        self.epoch, self._seed, self._batch = state["epoch"], state["seed"], state["batch"]
        self._resuming = self._seed is not None

    def _identity(self) -> dict:
        return {
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "bit_generator": self.generator.bit_generator.state["bit_generator"],
        }


def _to_tensor(value):
    return Tensor(value) if isinstance(value, np.ndarray | np.generic) else value
