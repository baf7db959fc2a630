"""Tensors as arrays: dtypes, memory, conversions."""

import numpy as np
import pytest

import scratchnet as sn


@pytest.fixture
def double_default():
    sn.set_default_dtype(np.float64)
    yield
    sn.set_default_dtype(np.float32)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x + 1,
        lambda x: 1.5 - x,
        lambda x: 2 / x,
        lambda x: x**2,
        lambda x: x**0.5,
        lambda x: 2.0**x,
        lambda x: x * np.sqrt(3.0),
        lambda x: np.float64(3.0) * x,
        lambda x: sn.where(x > 0, x, 0.0),
        lambda x: sn.clamp(x, 0.1, 0.2),
        lambda x: x.mean() * 3,
        lambda x: x.var(),
        lambda x: x.std(0),
        lambda x: sn.gelu(x),
        lambda x: x * sn.tensor([1, 2]),
        lambda x: x * (x > 1),
        lambda x: sn.maximum(x, 1),
        lambda x: x.sum() / len(x),
    ],
)
def test_float32_never_turns_into_float64(compute):
    x = sn.tensor([1.0, 2.0], requires_grad=True)
    y = compute(x)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


def test_float32_and_float64_together_are_refused():
    with pytest.raises(TypeError, match="mul: mixed floating dtypes .a is float32, b is float64."):
        sn.ones(2) * sn.ones(2, dtype=np.float64)
    assert (sn.ones(2).double() * sn.ones(2, dtype=np.float64)).dtype == np.float64


def test_integers_stay_integers_and_become_floats_by_division():
    n = sn.tensor([1, 2])
    assert (n * 2).dtype == np.int64
    assert (n + n).sum().dtype == np.int64
    assert (n * 0.5).dtype == np.float32
    assert n.float().dtype == np.float32


def test_activations_of_integers():
    x = sn.tensor([1, -1, 2])
    assert (x.relu().dtype, x.relu().tolist()) == (np.int64, [1, 0, 2])
    assert x.sigmoid().dtype == x.tanh().dtype == np.float32
    np.testing.assert_allclose(x.tanh().data, np.tanh([1, -1, 2]), rtol=1e-6)


def test_default_dtype(double_default):
    assert sn.tensor([1.0]).dtype == np.float64
    assert sn.zeros(2).dtype == np.float64
    assert sn.randn(2).dtype == np.float64
    assert (sn.tensor([1, 2]) * 0.5).dtype == np.float64


def test_default_dtype_must_be_floating():
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        sn.set_default_dtype(np.int64)


def test_precision_switch_is_differentiable():
    x = sn.tensor([1.0, 2.0], requires_grad=True)
    y = (x.double() ** 2).sum()
    assert y.dtype == np.float64
    y.backward()
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [2.0, 4.0]
    assert x.astype(np.float32) is x


def test_tensor_copies_and_from_numpy_shares():
    a = np.zeros(3, np.float32)
    copied, shared = sn.tensor(a), sn.from_numpy(a)
    a[0] = 1.0
    assert copied.tolist() == [0.0, 0.0, 0.0]
    assert shared.tolist() == [1.0, 0.0, 0.0]
    assert shared.numpy() is a


def test_from_numpy_keeps_channels_last_strides_and_so_do_elementwise_ops():
    channels_last = np.zeros((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2)
    x = sn.from_numpy(channels_last)
    assert x.data.strides == channels_last.strides
    assert sn.relu(x * 2.0 + 1.0).data.strides == channels_last.strides
    assert sn.tensor(channels_last).data.strides == channels_last.strides


@pytest.mark.parametrize("value", [[[1, 2], [3]], ["a"], [None], np.array([1j])])
def test_what_is_not_numeric_is_refused(value):
    with pytest.raises(TypeError, match="tensor:"):
        sn.tensor(value)


def test_from_numpy_refuses_lists():
    with pytest.raises(TypeError, match="from_numpy: expected a NumPy array, got list"):
        sn.from_numpy([1.0])


def test_only_floats_require_gradients():
    with pytest.raises(TypeError, match="int64"):
        sn.tensor([1, 2], requires_grad=True)


def test_numpy_of_a_tensor_that_requires_a_gradient():
    x = sn.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        x.numpy()
    assert x.detach().numpy() is x.data


def test_item_len_iteration_and_truth():
    assert sn.tensor(3.5).item() == 3.5
    assert [row.tolist() for row in sn.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    assert len(sn.zeros(4, 2)) == 4
    assert bool(sn.tensor([True]))
    assert [0, 10, 20][sn.tensor(2)] == 20
    with pytest.raises(ValueError, match=r"exactly one.*\(2,\)"):
        bool(sn.ones(2))
    with pytest.raises(TypeError, match="0-d"):
        len(sn.tensor(1.0))


def test_arrays_and_numbers_work_on_either_side():
    x = sn.tensor([1.0, 2.0])
    a = np.array([3.0, 4.0], np.float32)
    assert (a * x).tolist() == (x * a).tolist() == [3.0, 8.0]
    assert (1 - x).tolist() == [0.0, -1.0]
    assert (a @ x).item() == 11.0


def test_indexing_by_tensors_lists_and_masks():
    x = sn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert x[sn.tensor([1, 0])].tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert x[x > 2.5].tolist() == [3.0, 4.0]
    assert x[[0, 1], [1, 0]].tolist() == [2.0, 3.0]
    x[[0, 0], [1, 1]].sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0], [0.0, 0.0]]


def test_sizes_may_be_spread_out():
    x = sn.arange(6)
    assert x.reshape(2, 3).shape == x.reshape((2, 3)).shape == x.view(2, -1).shape == (2, 3)
    assert x.reshape(2, 3).permute(1, 0).shape == x.reshape(2, 3).T.shape == (3, 2)


def test_max_and_min_return_values_and_indices():
    x = sn.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]], requires_grad=True)
    values, indices = x.max(1)
    assert (values.tolist(), indices.tolist()) == ([3.0, 2.0], [1, 0])
    values.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert x.max().item() == 3.0
    assert x.min(0)[0].tolist() == [1.0, 0.0, 1.0]


def test_split_chunk_unbind():
    x = sn.arange(7)
    assert [p.tolist() for p in x.split(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(p) for p in sn.split(x, [2, 5])] == [2, 5]
    assert [len(p) for p in x.chunk(3)] == [3, 3, 1]
    assert [p.item() for p in x.unbind()] == list(range(7))
    with pytest.raises(ValueError, match="add up to 6, dim 0 has 7"):
        x.split([1, 5])


def test_seeded_random_numbers_repeat():
    sn.manual_seed(7)
    first = [sn.randn(3).tolist(), sn.rand(2).tolist(), sn.randint(0, 9, (4,)).tolist(), sn.randperm(5).tolist()]
    sn.manual_seed(7)
    assert first == [
        sn.randn(3).tolist(),
        sn.rand(2).tolist(),
        sn.randint(0, 9, (4,)).tolist(),
        sn.randperm(5).tolist(),
    ]
    own = np.random.default_rng(1)
    assert sn.randn(2, generator=own).tolist() != sn.randn(2, generator=own).tolist()


@pytest.mark.parametrize("size", [(-1,), (2.5,), ((2, -3),)])
def test_wrong_sizes_are_refused(size):
    with pytest.raises(ValueError, match="non-negative integers"):
        sn.zeros(*size)


def test_unknown_device_and_missing_gpu():
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'tpu'"):
        sn.tensor([1.0], device="tpu")
    if not sn.cuda.is_available():
        with pytest.raises(RuntimeError, match="CuPy"):
            sn.ones(2).to("cuda")


def test_repr_names_what_is_unusual():
    assert repr(sn.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert (
        repr(sn.tensor([1.0], dtype=np.float64, requires_grad=True))
        == "tensor([1.], dtype=float64, requires_grad=True)"
    )
    assert "grad_fn=mul" in repr(sn.ones(1, requires_grad=True) * 2.0)
