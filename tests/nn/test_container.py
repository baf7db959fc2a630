"""Sequential, ModuleList, ModuleDict."""

from collections import OrderedDict

import pytest

import scratchnet as sn
from scratchnet import nn


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
