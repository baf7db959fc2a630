"""What a user can say about devices: where tensors are made, how they move, and what is refused in words."""

import subprocess
import sys

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn, optim
from scratchnet.metrics import accuracy
from scratchnet.nn import functional as F
from scratchnet.serialization import load_checkpoint, load_file, save_checkpoint, save_file


def on(device, *shape, **options):
    return sn.randn(*shape, generator=np.random.default_rng(0), device=device, **options)


def test_a_device_is_a_name():
    assert sn.device("cpu") == "cpu"
    assert sn.device("cuda:0") == "cuda"
    assert sn.device("cuda").type == "cuda"
    assert repr(sn.zeros(1).device) == "device('cpu')"
    for wrong in ("gpu", "cuda:1", "", 0, None):
        with pytest.raises(ValueError, match="'cpu' or 'cuda', got"):
            sn.device(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: sn.zeros(2, 3, **o),
        lambda **o: sn.ones((2, 3), **o),
        lambda **o: sn.empty(0, 3, **o),
        lambda **o: sn.full((2,), 7, **o),
        lambda **o: sn.eye(3, 2, **o),
        lambda **o: sn.arange(5, **o),
        lambda **o: sn.linspace(0, 1, 5, **o),
        lambda **o: sn.rand(2, 3, generator=np.random.default_rng(0), **o),
        lambda **o: sn.randn(2, 3, generator=np.random.default_rng(0), **o),
        lambda **o: sn.randint(9, size=(4,), generator=np.random.default_rng(0), **o),
        lambda **o: sn.randperm(6, generator=np.random.default_rng(0), **o),
        lambda **o: sn.tensor([1.5, 2.5], **o),
        lambda **o: sn.zeros_like(sn.ones(2, 3), **o),
        lambda **o: sn.full_like(sn.ones(2, 3), 4.0, **o),
    ],
)
def test_is_made_on_a_device_with_the_same_numbers(cuda, make):
    here, there = make(), make(device="cuda")
    assert (here.device, there.device) == ("cpu", "cuda")
    assert there.dtype == here.dtype
    np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def test_what_is_made_like_a_tensor_is_beside_it(cuda):
    x = sn.ones(2, 3, device="cuda")
    for y in (sn.zeros_like(x), sn.ones_like(x), sn.full_like(x, 2), sn.empty_like(x), sn.rand_like(x), sn.tensor(x)):
        assert y.device == "cuda"
    assert sn.zeros_like(x, device="cpu").device == "cpu"


def test_gradients_return_where_they_belong(cuda):
    x = on("cpu", 3, requires_grad=True)
    (x.cuda() ** 2).sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy(), rtol=1e-6)
    y = on("cuda", 3, requires_grad=True)
    y.to("cpu").to("cuda").sum().backward()
    assert y.grad.device == "cuda"
    assert y.to("cuda") is y
    assert y.to(x).device == "cpu"
    assert y.to("cpu", np.float64).dtype == np.float64


def test_only_what_says_so_comes_to_the_host(cuda):
    x = on("cuda", 2, 2)
    with pytest.raises(TypeError, match=r"cpu\(\) first"):
        x.numpy()
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x.data)
    for look in (lambda: x.cpu(), lambda: x[0, 0].item(), lambda: float(x.sum()), lambda: repr(x), lambda: x.tolist()):
        cuda.transfers.clear()
        look()
        assert cuda.transfers["to host"] == 1
    assert repr(x) == repr(x.cpu())[:-1] + ", device=cuda)"


def test_writes_may_cross_by_name_only(cuda):
    x, y = on("cuda", 3), on("cpu", 3)
    assert x.copy_(y).device == "cuda"
    np.testing.assert_array_equal(x.cpu().numpy(), y.numpy())
    assert y.copy_(x).device == "cpu"
    x[0] = 5.0
    x[1:] = x[:2]
    for write in (lambda: x.__setitem__(0, y), lambda: x.add_(y), lambda: y.mul_(x), lambda: y.__setitem__(..., x)):
        with pytest.raises(TypeError, match="self on (cpu|cuda), (value|other) on (cuda|cpu)"):
            write()
    x.normal_().uniform_().clamp_(0.25, 0.5).fill_(3).add_(1).sub_(x)
    assert x.tolist() == [0, 0, 0]


def test_a_cpu_number_is_a_number(cuda):
    x = sn.ones(2, device="cuda")
    assert (x * sn.tensor(2.0)).tolist() == [2, 2]
    assert (sn.tensor(2.0) - x).device == "cuda"
    with pytest.raises(TypeError, match="mul: .*a on cuda, b on cpu"):
        x * sn.tensor(2.0, requires_grad=True)
    with pytest.raises(TypeError, match="mul: .*a on cuda, b on cpu"):
        x * np.ones(2, np.float32)


def test_an_index_goes_along_to_the_gpu_but_does_not_come_back(cuda):
    x = sn.arange(6, device="cuda").reshape(2, 3)
    assert x[:, [2, 0]].tolist() == [[2, 0], [5, 3]]
    assert x[np.array([1])].tolist() == [[3, 4, 5]]
    assert x[x > 3].tolist() == [4, 5]
    with pytest.raises(TypeError, match="getitem: .*the tensor on cpu, the index on cuda"):
        x.cpu()[sn.tensor([1], device="cuda")]


# What only sees its arguments as arrays names them too.
MIXED = {
    "conv2d: .*input on cuda, weight on cpu": lambda x: F.conv2d(x, sn.ones(1, 2, 1, 1)),
    r"Linear\(.*input on cuda, weight on cpu, bias on cpu": lambda x: nn.Linear(3, 2)(x),
    r"BatchNorm2d\(.*input on cuda, running_mean on cpu": lambda x: nn.BatchNorm2d(2)(x),
    r"GroupNorm\(.*input on cuda, weight on cpu": lambda x: nn.GroupNorm(1, 2)(x),
    r"PReLU\(.*input on cuda, weight on cpu": lambda x: nn.PReLU()(x),
    "mse_loss: .*input on cuda, target on cpu": lambda x: F.mse_loss(x, x.cpu()),
    "cross_entropy: .*input on cuda, target on cpu": lambda x: F.cross_entropy(x, sn.zeros(2, 3, 3).long()),
    "weight: .*input on cuda, weight on cpu": lambda x: F.cross_entropy(
        x, sn.zeros(2, 3, 3, device="cuda").long(), weight=sn.ones(2)
    ),
    "cat: .*tensors.0. on cuda, tensors.1. on cpu": lambda x: sn.cat([x, x.cpu()]),
    r"Embedding\(.*index on cuda, weight on cpu": lambda x: nn.Embedding(3, 2)(x.long()),
    r"clip_grad_norm_: .*parameter 0 on cuda, .*parameter 1 on cpu": lambda x: nn.utils.clip_grad_norm_(
        [with_grad(x), with_grad(x.cpu())], 1.0
    ),
    "grad of parameter 0 of group 0 has device cpu": lambda x: optim.SGD([with_grad(x, "cpu")]).step(),
    "TensorDataset: data are on the CPU": lambda x: sn.data.TensorDataset(x),
}


def with_grad(x, device=None):
    leaf = x.detach().clone().requires_grad_()
    leaf.grad = sn.ones_like(x, device=device)
    return leaf


@pytest.mark.parametrize("message", MIXED)
def test_mixed_devices_are_named(cuda, message):
    import scratchnet.data  # noqa: F401

    with pytest.raises(TypeError, match=message):
        MIXED[message](sn.ones(2, 2, 3, 3, device="cuda"))


def test_a_module_moves_as_a_whole(cuda):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model(on("cpu", 2, 1, 5, 5)).sum().backward()
    kept = [*model.parameters()]
    assert model.cuda() is model
    assert [p is q for p, q in zip(kept, model.parameters(), strict=True)] == [True] * 4
    everything = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert {t.device for t in everything} == {"cuda"}
    made = nn.BatchNorm2d(2, device="cuda")
    assert {t.device for t in (*made.parameters(), *made.buffers())} == {"cuda"}
    assert {p.device for p in model.to(sn.zeros(1)).parameters()} == {"cpu"}
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'cuba'"):
        model.to("cuba")


OPTIMIZERS = {
    "adam": lambda p: optim.Adam(p),
    "sgd": lambda p: optim.SGD(p, momentum=0.9),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimisers_state_follows_its_parameters(cuda, name):
    def run(*devices):
        model = nn.Linear(2, 1)
        model.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": np.array([0.5])})
        optimizer, average = OPTIMIZERS[name](model.parameters()), optim.ExponentialMovingAverage(model, 0.5)
        for device in devices:
            model.to(device)
            optimizer.zero_grad()
            model(sn.ones(3, 2, device=device)).sum().backward()
            optimizer.step()
            average.update()
        with average.average_parameters():
            mean = model.weight.detach().cpu().tolist()
        return model.weight.detach().cpu().tolist(), mean, optimizer, average

    *expected, _, _ = run("cpu", "cpu", "cpu")
    *found, optimizer, average = run("cpu", "cuda", "cpu")
    assert found == expected
    optimizer.load_state_dict(run("cuda")[2].state_dict())
    average.load_state_dict(run("cuda", "cuda")[3].state_dict())
    arrays = [v for state in optimizer.state.values() for v in state.values() if hasattr(v, "dtype")]
    assert {type(a) for a in (*arrays, *average.averages)} == {np.ndarray}


def test_checkpoints_know_no_devices(cuda, tmp_path):
    def parts(device):
        sn.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(device)
        optimizer = optim.Adam(model.parameters())
        return {"model": model, "optimizer": optimizer, "ema": optim.ExponentialMovingAverage(model)}

    def step(parts, device):
        parts["optimizer"].zero_grad()
        parts["model"](
            sn.tensor(np.arange(12.0, dtype=np.float32).reshape(4, 3), device=device)
        ).square().sum().backward()
        parts["optimizer"].step()
        parts["ema"].update()

    straight = parts("cpu")
    for _ in range(2):
        step(straight, "cpu")
    saved = parts("cuda")
    step(saved, "cuda")
    save_checkpoint(tmp_path / "c.safetensors", **saved)
    save_file(saved["model"].state_dict(), tmp_path / "m.safetensors")
    assert {t.device for t in load_file(tmp_path / "m.safetensors").values()} == {"cpu"}
    for device in ("cpu", "cuda"):
        loaded = parts(device)
        load_checkpoint(tmp_path / "c.safetensors", **loaded)
        step(loaded, device)
        assert {p.device for p in loaded["model"].parameters()} == {device}
        for name, value in straight["model"].state_dict().items():
            found = loaded["model"].state_dict()[name].cpu().numpy()
            np.testing.assert_allclose(found, value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_metrics_take_tensors_from_anywhere(cuda):
    logits, labels = on("cuda", 8, 3), sn.tensor(np.arange(8) % 3, device="cuda")
    assert accuracy(logits, labels) == accuracy(logits.cpu(), labels.cpu())


@pytest.mark.parametrize("label", [3, -1, 10**6])
def test_a_label_that_is_no_class_makes_the_loss_nan(cuda, label):
    logits = on("cuda", 2, 3)
    for options in ({}, {"label_smoothing": 0.1}, {"weight": sn.ones(3, device="cuda")}):
        assert np.isnan(F.cross_entropy(logits, sn.tensor([0, label], device="cuda"), **options).item())
    assert np.isfinite(F.cross_entropy(logits, sn.tensor([0, -100], device="cuda")).item())


def test_an_index_out_of_range_picks_nan(cuda):
    rows = F.embedding(sn.tensor([0, 5], device="cuda"), on("cuda", 5, 2))
    assert np.isnan(rows.cpu().numpy()).tolist() == [[False] * 2, [True] * 2]
    picked = sn.gather(on("cuda", 2, 3), sn.tensor([[0, 3]], device="cuda"), dim=1)
    assert np.isnan(picked.cpu().numpy()).tolist() == [[False, True]]


def test_without_cupy_it_says_no_in_silence_and_asks_for_it_in_words():
    code = """
import sys, time
sys.modules["cupy"] = None
import scratchnet as sn
start = time.perf_counter()
assert not sn.cuda.is_available()
assert time.perf_counter() - start < 0.5
for make in (lambda: sn.zeros(2, device="cuda"), lambda: sn.ones(2).cuda(), lambda: sn.nn.Linear(2, 2).to("cuda")):
    try:
        make()
    except RuntimeError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["device 'cuda' needs CuPy: pip install 'scratchnet[gpu]'"] * 3


def test_cupy_without_a_gpu_asks_for_a_driver(cuda, monkeypatch):
    from scratchnet.device import find_cupy

    monkeypatch.setattr(cuda.cuda, "is_available", lambda: False)
    find_cupy.cache_clear()
    assert not sn.cuda.is_available()
    with pytest.raises(RuntimeError, match="needs an NVIDIA GPU and its driver"):
        sn.ones(2).cuda()


def test_averages_follow_before_they_are_used(cuda):
    model = nn.Linear(2, 1)
    average = optim.ExponentialMovingAverage(model)
    model.to("cuda")
    with average.average_parameters():
        assert {p.device for p in model.parameters()} == {"cuda"}
    assert {type(array) for array in average.averages} == {cuda.ndarray}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_puts_batches_where_it_is_told(cuda, prefetch):
    images, labels = np.arange(10.0).reshape(5, 2), np.arange(5)
    options = {"prefetch": prefetch, "device": "cuda"}
    batches = list(sn.data.DataLoader(sn.data.TensorDataset(images, labels), 2, **options))
    assert {tensor.device for batch in batches for tensor in batch} == {"cuda"}
    np.testing.assert_array_equal(np.concatenate([batch[0].cpu().numpy() for batch in batches]), images)
    names = sn.data.DataLoader(["a", "b"], 2, collate_fn=tuple, device="cuda")
    assert list(names) == [(("a",), ("b",))]
