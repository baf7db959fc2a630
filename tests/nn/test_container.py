"""Sequential, ModuleList, ModuleDict."""

from collections import OrderedDict

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import autograd, nn
from scratchnet.observe import observe_ops


def test_sequential_calls_in_order():
    double, negate = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(double.weight, 2)
    nn.init.constant_(negate.weight, -1)
    assert nn.Sequential(double, negate, nn.ReLU())(sn.tensor([-3.0])).tolist() == [6.0]
    assert nn.Sequential(double, nn.ReLU(), negate)(sn.tensor([-3.0])).tolist() == [0.0]
    assert nn.Sequential()(5) == 5


def test_sequential_of_names():
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.Tanh(), last=nn.Linear(3, 1)))
    assert list(net.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert net[0] is net.first and net[-1] is net.last
    part = net[1:]
    assert type(part) is nn.Sequential and part[1] is net.last and list(part._modules) == ["act", "last"]


def test_sequential_edits():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a).append(c).insert(1, b)
    assert list(net) == [a, b, c] and len(net) == 3
    net[1] = c
    del net[0]
    assert list(net) == [c, c] and list(net._modules) == ["0", "1"]
    del net[:]
    assert len(net.extend([a, b])) == 2
    with pytest.raises(IndexError, match="Sequential: index 2 is out of range for 2 modules"):
        net[2]
    with pytest.raises(TypeError, match=r"Sequential: expected Modules, got the class ReLU \(call it\)"):
        net.append(nn.ReLU)
    with pytest.raises(TypeError, match="Sequential: expected Modules, got function"):
        nn.Sequential(lambda x: x)


def names_of_nodes(tensor):
    """Of the ops that led to a tensor, the last one first, along first inputs."""
    names, node = [], tensor.node
    while node is not None and node.op is not None:
        names.append(node.name)
        node = node.parents[0]
    return names


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("activation", "joined"), [
    (nn.ReLU(), True), (nn.LeakyReLU(0.2), True), (nn.LeakyReLU(0.0), False), (nn.LeakyReLU(-0.1), False),
])  # fmt: skip
def test_a_convolution_with_its_activation_has_the_bits_of_both(activation, joined, bias, dtype):
    net = nn.Sequential(nn.Conv2d(3, 20, 3, bias=bias), activation, nn.Conv2d(20, 4, 2, 2, bias=bias)).to(dtype=dtype)
    x = sn.from_numpy(np.random.default_rng(0).standard_normal((6, 3, 12, 13)).astype(dtype))
    x.requires_grad = True
    together, apart = net(x), net[2](net[1](net[0](x)))
    assert ("conv2d_leaky_relu" in names_of_nodes(together)) == joined
    leaves, results = [x, *net.parameters()], []
    for output in (together, apart):
        results.append([output, *autograd.grad((output * output).sum(), leaves)])
    for first, second in zip(*results, strict=True):
        assert first.data.tobytes() == second.data.tobytes()


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1, 0, 2, ceil_mode=True)])
def test_pooling_before_relu_has_the_bits_of_pooling_after_it(pool, special):
    """Small integers: ties, windows of zeros and windows of negative numbers."""
    rng = np.random.default_rng(0)
    values = rng.integers(-2, 2, (4, 20, 13, 12)).astype("float32") * np.float32(1 if special else 0.5)
    if special:
        values = np.choose(rng.integers(0, 8, values.shape), [values, *[values] * 3, -0.0, np.nan, np.inf, -np.inf])
        values = values.astype("float32")
    x, net = sn.from_numpy(values), nn.Sequential(nn.ReLU(), pool)
    x.requires_grad = True
    together, apart = net(x), pool(net[0](x))
    assert names_of_nodes(together) == ["max_pool2d_relu"]
    assert names_of_nodes(apart) == ["max_pool2d", "relu"]
    g = sn.from_numpy(rng.standard_normal(together.shape).astype("float32"))
    for first, second in (
        (together, apart),
        *zip(*(autograd.grad(out, [x], g) for out in (together, apart)), strict=True),
    ):
        assert first.data.tobytes() == second.data.tobytes()


def test_pooling_that_tells_places_stays_behind_relu():
    x = sn.from_numpy(-np.arange(4, dtype="float32").reshape(1, 1, 2, 2)[..., ::-1].copy())
    _, places = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))(x)
    assert places.item() == 0


@pytest.mark.parametrize(
    ("activation", "nodes"), [(nn.ReLU(), ["max_pool2d_relu"]), (nn.LeakyReLU(), ["leaky_relu", "max_pool2d"])]
)
def test_pooling_does_the_relu_behind_it_and_no_other(activation, nodes):
    x = sn.ones(1, 1, 2, 2, requires_grad=True)
    assert names_of_nodes(nn.Sequential(nn.MaxPool2d(2), activation)(x)) == nodes


def test_an_infinite_gradient_ends_where_relu_is_off():
    net, x = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), sn.ones(1, 1, 2, 2, requires_grad=True)
    nn.init.constant_(net[0].bias, -9)
    (gradient,) = autograd.grad(net(x), [x], sn.full((1, 1, 2, 2), np.inf))
    assert not gradient.data.any()


def test_who_watches_sees_convolution_and_activation():
    net, x, seen = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), sn.ones(1, 1, 4, 4), []
    assert names_of_nodes(net(x)) == ["conv2d_leaky_relu"]
    with observe_ops(lambda name, result, inputs: seen.append(name)):
        net(x)
    assert seen == ["conv2d_bias", "relu"]
    for module in net:
        for register in (module.register_forward_hook, module.register_forward_pre_hook):
            with register(lambda module, *_: seen.append(type(module))):
                assert names_of_nodes(net(x)) == ["relu", "conv2d_bias"]
    assert seen[2:] == [nn.Conv2d, nn.Conv2d, nn.ReLU, nn.ReLU]
    net[0].weight.data[:] = np.nan
    with sn.detect_anomaly():
        assert names_of_nodes(net(x)) == ["relu", "conv2d_bias"]
    net[1].forward = lambda input: input * 2.0
    assert names_of_nodes(net(x)) == ["mul", "conv2d_bias"]


def test_an_error_in_a_convolution_with_its_activation_names_the_layer():
    with pytest.raises(ValueError, match=r"^Conv2d\(1, 2, .*\): expected input \(N, 1, H, W\)") as caught:
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())(sn.ones(1, 3, 4, 4))
    assert caught.value.__notes__ == ["raised in Sequential.0 (Conv2d)"]


def test_a_module_list_registers():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert len(list(layers.parameters())) == 6 and len(layers[:2]) == 2
    assert list(layers.state_dict())[-1] == "2.bias"
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        layers(sn.zeros(2))


def test_a_module_dict_registers():
    heads = nn.ModuleDict({"left": nn.Linear(2, 1)})
    heads["right"] = nn.Linear(2, 1)
    assert "left" in heads and list(heads) == list(heads.keys()) == ["left", "right"] and len(heads) == 2
    assert len(list(heads.parameters())) == 4
    assert heads.pop("left") not in heads.values()
    del heads["right"]
    with pytest.raises(KeyError, match="no module 'left', only none"):
        heads["left"]
    with pytest.raises(KeyError, match="already has an attribute 'keys'"):
        heads["keys"] = nn.ReLU()
