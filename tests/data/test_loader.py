"""The loader gives every sample once, in an order that is the seed's, and leaves nothing behind."""

import gc
import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.data import DataLoader, Dataset, ImageDataset, Subset, TensorDataset, default_collate
from scratchnet.data.transforms import Compose, GaussianNoise, RandomAffine, RandomHorizontalFlip
from scratchnet.random import default_generator, manual_seed
from scratchnet.tensor import Tensor

X = np.random.default_rng(0).random((23, 3, 8, 6), dtype=np.float32)
Y = np.arange(23)
AUGMENT = Compose([RandomHorizontalFlip(), RandomAffine(20, (0.1, 0.1)), GaussianNoise(sigma=0.05)])


def seeded(dataset, batch_size=4, seed=7, **options) -> DataLoader:
    return DataLoader(dataset, batch_size, generator=np.random.default_rng(seed), **options)


def arrays(loader) -> list[np.ndarray]:
    """One epoch, each member of the batches joined."""
    return [np.concatenate([t.data for t in member]) for member in zip(*loader, strict=True)]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("DataLoader")]


@given(n=st.integers(0, 30), size=st.integers(1, 9), shuffle=st.booleans(), drop=st.booleans(), ahead=st.integers(0, 3))
def test_every_sample_once(n, size, shuffle, drop, ahead):
    loader = seeded(TensorDataset(np.arange(n)), size, shuffle=shuffle, drop_last=drop, prefetch=ahead)
    batches = [batch.data for (batch,) in loader]
    assert len(batches) == len(loader)
    assert all(len(batch) == size for batch in batches[:-1])
    seen = np.concatenate([*batches, np.array([], dtype=int)])
    assert len(seen) == (n - n % size if drop else n)
    assert len(set(seen)) == len(seen)
    if not shuffle:
        np.testing.assert_array_equal(seen, np.arange(len(seen)))


def test_batches_are_tuples_of_tensors():
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    for dataset in (ImageDataset(images, np.arange(6) % 2, "ab"), TensorDataset(X[:6], Y[:6])):
        batch = next(iter(DataLoader(dataset, 4)))
        assert isinstance(batch, tuple) and all(isinstance(t, Tensor) for t in batch)
        assert [t.data.dtype for t in batch] == [np.float32, np.int64]
        assert [len(t.data) for t in batch] == [4, 4]


def test_the_order_follows_from_the_generator_alone():
    loader, again = (seeded(TensorDataset(Y), shuffle=True) for _ in range(2))
    first, second = arrays(loader)[0], arrays(loader)[0]
    assert not np.array_equal(first, Y) and not np.array_equal(first, second)
    default_generator().random()
    np.testing.assert_array_equal(arrays(again)[0], first)
    np.testing.assert_array_equal(arrays(again)[0], second)
    assert not np.array_equal(arrays(seeded(TensorDataset(Y), shuffle=True, seed=8))[0], first)


def test_manual_seed_seeds_loaders_made_after_it():
    orders = []
    for _ in range(2):
        manual_seed(3)
        orders.append(arrays(DataLoader(TensorDataset(Y), 5, shuffle=True))[0])
    np.testing.assert_array_equal(*orders)


def by_label(loader) -> np.ndarray:
    images, labels = arrays(loader)
    return images[np.argsort(labels)]


@pytest.mark.parametrize("where", ["loader", "dataset", "subset"])
def test_augmentation_depends_on_neither_batches_nor_prefetching(where):
    pixels = (X * 255).astype(np.uint8)
    inside = ImageDataset(pixels, Y, [str(i) for i in Y], AUGMENT if where != "loader" else None)
    dataset = Subset(inside, Y) if where == "subset" else inside
    options = {"transform": AUGMENT} if where == "loader" else {}
    state = default_generator().bit_generator.state

    wanted = by_label(seeded(dataset, 23, shuffle=True, **options))
    plain = (pixels / np.float32(255)).astype(np.float32)
    assert sum(np.array_equal(a, b) for a, b in zip(wanted, plain, strict=True)) == 0
    for size, ahead, collate in ((1, 0, None), (4, 0, None), (5, 2, None), (4, 9, default_collate)):
        loader = seeded(dataset, size, shuffle=True, prefetch=ahead, collate_fn=collate, **options)
        np.testing.assert_array_equal(by_label(loader), wanted, strict=True)
        assert not np.array_equal(by_label(loader), wanted), "the next epoch is augmented anew"
    assert default_generator().bit_generator.state == state


@pytest.mark.parametrize("end", ["exhausted", "closed", "forgotten", "error in the loop", "not begun"])
def test_no_thread_is_left_behind(end):
    loader = seeded(TensorDataset(X, Y), prefetch=3)
    iterator = iter(loader)
    if end != "not begun":
        next(iterator)
        assert len(loader_threads()) == 1
    if end == "exhausted":
        assert len(list(iterator)) == len(loader) - 1
    elif end == "closed":
        iterator.close()
    elif end == "error in the loop":
        with pytest.raises(ZeroDivisionError):
            for _ in iterator:
                raise ZeroDivisionError
    del iterator
    gc.collect()
    assert loader_threads() == []


class Faulty(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        if 8 in np.atleast_1d(index):
            raise OSError("sample 8 cannot be read")
        return (np.zeros(len(index)),)


@pytest.mark.parametrize("ahead", [0, 2])
def test_errors_reach_the_loop_at_their_batch(ahead):
    iterator = iter(DataLoader(Faulty(), 4, prefetch=ahead))
    next(iterator), next(iterator)
    with pytest.raises(OSError, match="sample 8 cannot be read"):
        next(iterator)
    assert loader_threads() == []


class OneByOne(Dataset):
    files = ("a", "b", "c")

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return np.full(2, ord(self.files[index])), index


def test_datasets_that_take_one_index_at_a_time():
    with pytest.raises(TypeError) as caught:
        next(iter(DataLoader(OneByOne(), 2)))
    assert "collate_fn=default_collate" in caught.value.__notes__[0]
    codes, labels = arrays(DataLoader(OneByOne(), 2, collate_fn=default_collate))
    np.testing.assert_array_equal(codes, [[97, 97], [98, 98], [99, 99]])
    np.testing.assert_array_equal(labels, [0, 1, 2])


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("batches", [0, 1, 6, 7, 12])
def test_a_restored_loader_goes_on_where_the_other_stood(ahead, batches):
    def epochs(loader, count):
        for _ in range(count):
            for images, labels in loader:
                yield images.data, labels.data, loader.state_dict()

    options = {"shuffle": True, "transform": AUGMENT, "prefetch": ahead}
    whole = seeded(TensorDataset(X, Y), **options)
    stream = epochs(whole, 3)
    for _ in range(batches):
        next(stream)
    state = json.loads(json.dumps(whole.state_dict()))
    rest = list(stream)

    restored = seeded(TensorDataset(X, Y), seed=99, **options)
    restored.load_state_dict(state)
    resumed = list(epochs(restored, 3 - restored.epoch))
    assert len(resumed) == len(rest) == 18 - batches
    for one, other in zip(resumed, rest, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        assert one[2] == other[2]
    assert restored.state_dict() == whole.state_dict()
    assert restored.epoch == 3


def test_an_abandoned_epoch_counts_and_is_not_resumed():
    loader = seeded(TensorDataset(Y), shuffle=True)
    for _ in loader:
        break
    assert (loader.epoch, loader.state_dict()["batch"]) == (0, 1)
    assert len(list(loader)) == len(loader)
    assert loader.epoch == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 5}, "batch_size is 4 in the state and 5 in this loader"),
        ({"shuffle": True}, "shuffle is False"),
        ({"drop_last": True}, "drop_last is False"),
        ({"dataset": TensorDataset(Y[:9])}, "samples is 23 in the state and 9"),
        ({"generator": np.random.Generator(np.random.MT19937(0))}, "bit_generator is PCG64"),
    ],
)
def test_states_of_another_loader_are_refused(other, message):
    state = DataLoader(TensorDataset(Y), 4).state_dict()
    loader = DataLoader(**{"dataset": TensorDataset(Y), "batch_size": 4, **other})
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(state)
    with pytest.raises(ValueError, match=r"the state lacks \['generator', 'seed'\]"):
        loader.load_state_dict({k: v for k, v in state.items() if k not in ("seed", "generator")})
    assert str(loader.state_dict()) == str(before)


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"batch_size": 2.0}, {"prefetch": -1}, {"prefetch": None}])
def test_options_that_are_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: expected an integer of at least"):
        DataLoader(TensorDataset(Y), **option)


def test_batches_stay_where_they_are_or_go_to_a_device():
    batches = {device: next(iter(DataLoader(TensorDataset(X, Y), 3, device=device))) for device in (None, "cpu")}
    assert all(tensor.device == "cpu" for batch in batches.values() for tensor in batch)
    with pytest.raises(ValueError, match="'cpu' or 'cuda'"):
        DataLoader(TensorDataset(X, Y), device="tpu")
