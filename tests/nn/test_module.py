"""Module: attributes, the tree, state, modes, hooks, errors that say where."""

import copy

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.register_buffer("step", sn.tensor(3))
        self.register_buffer("cache", sn.zeros(2), persistent=False)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3))) * self.scale


KEYS = [
    *("scale", "step", "features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias"),
    *("features.1.running_mean", "features.1.running_var", "features.1.num_batches_tracked"),
    *("head.weight", "head.bias"),
]


def test_names_follow_registration():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [name for name, _ in net.named_parameters()] == [
        key for key in KEYS if "running" not in key and "tracked" not in key and key != "step"
    ]
    assert {name for name, _ in net.named_buffers()} - set(KEYS) == {"cache"}
    assert [name for name, _ in net.named_modules()] == [
        *("", "features", "features.0", "features.1", "features.2", "head"),
    ]
    assert [name for name, _ in net.named_children()] == ["features", "head"]
    assert [name for name, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert net.get_submodule("features.2") is net.features[2] and net.get_submodule("") is net


def test_shared_objects_are_found_once_but_saved_under_every_name():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net.append(net[0])
    assert len(list(net.parameters())) == 3
    assert len(list(net.modules())) == 3
    assert len(list(net.named_parameters(remove_duplicate=False))) == 6
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]


def test_a_name_lives_in_one_place():
    module = nn.Module()
    module.thing = 3
    module.thing = nn.Parameter(np.ones(2))
    assert dict(module.named_parameters())["thing"] is module.thing
    module.thing = None
    assert module.thing is None and "thing" not in module.state_dict()
    module.thing = nn.ReLU()
    assert not list(module.parameters()) and module.thing in set(module.modules())
    del module.thing
    assert not hasattr(module, "thing")
    module.register_buffer("state", sn.zeros(2))
    module.state = sn.ones(2)
    assert dict(module.named_buffers())["state"].tolist() == [1, 1]
    with pytest.raises(TypeError, match=r"Module\.state holds a Tensor.*got ndarray"):
        module.state = np.ones(2)
    with pytest.raises(KeyError, match="already has an attribute 'forward'"):
        module.register_buffer("forward", sn.zeros(1))
    with pytest.raises(ValueError, match=r"'a\.b' cannot name"):
        module.add_module("a.b", nn.ReLU())
    with pytest.raises(TypeError, match="'w' must be a Parameter or None, got Tensor"):
        module.register_parameter("w", sn.zeros(1))


def test_a_plain_tensor_cannot_replace_a_parameter():
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match=r"Linear\.weight holds a Parameter.*got Tensor"):
        layer.weight = sn.zeros(3, 2)


def test_forgotten_super_init_is_said():
    class Forgetful(nn.Module):
        def __init__(self):
            self.size = 3  # plain values are no harm
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
        Forgetful()

    class Silent(nn.Module):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) has not been called"):
        Silent()(1)
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wait'$"):
        nn.Linear(1, 1).wait  # noqa: B018


def test_state_dict_shares_memory_and_round_trips():
    sn.manual_seed(0)
    source, target = Net(), Net()
    source.features[1].running_mean.fill_(0.25)
    state = source.state_dict()
    assert not any(value.requires_grad for value in state.values())
    assert np.shares_memory(state["head.weight"].data, source.head.weight.data)
    assert source.state_dict(keep_vars=True)["head.weight"] is source.head.weight
    assert next(iter(source.state_dict(prefix="net."))) == "net.scale"

    weight = target.head.weight
    assert target.load_state_dict(state) == ([], [])
    assert target.head.weight is weight and weight.requires_grad
    for key, value in target.state_dict().items():
        np.testing.assert_array_equal(value.data, state[key].data)
        assert not np.shares_memory(value.data, state[key].data)


def test_load_state_dict_takes_arrays_and_converts_dtypes():
    layer = nn.Linear(2, 1).double()
    layer.load_state_dict({"weight": np.array([[1, 2]], np.float32), "bias": np.array([3])})
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    assert layer(sn.tensor([10.0, 100.0]).double()).tolist() == [213.0]


def test_load_state_dict_reports_everything_and_loads_nothing():
    net = Net()
    before = {key: value.data.copy() for key, value in net.state_dict().items()}
    state = Net().state_dict()
    del state["scale"], state["head.bias"]
    state |= {"extra": sn.zeros(1), "head.weight": sn.zeros(2, 5), "step": "three"}
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    for part in (
        *("nothing was loaded into Net", "missing: scale, head.bias", "unexpected: extra"),
        *("head.weight: has shape (2, 5), the module needs (2, 4)", "step: expected a tensor or array", "got str"),
    ):
        assert part in text
    with pytest.raises(ValueError, match="head.weight: has shape") as error:
        net.load_state_dict(state, strict=False)
    assert "missing" not in str(error.value) and "unexpected" not in str(error.value)
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.data, before[key])
    with pytest.raises(TypeError, match="expected a mapping of names to tensors, got list"):
        net.load_state_dict([1])


def test_load_state_dict_not_strict():
    layer = nn.Linear(2, 1)
    missing, unexpected = layer.load_state_dict({"bias": sn.tensor([7.0]), "other": sn.zeros(1)}, strict=False)
    assert (missing, unexpected) == (["weight"], ["other"]) and layer.bias.tolist() == [7.0]


def test_loading_between_forward_and_backward_is_noticed():
    layer = nn.Linear(3, 2)
    x = sn.randn(4, 3, requires_grad=True)
    loss = layer(x).sum()
    layer.load_state_dict({key: value.clone() * 2 for key, value in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match="modified in place"):
        loss.backward()


def test_modes_reach_every_module():
    net = Net()
    assert net.training and net.features[1].training
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.features.train()
    assert net.features[1].training and not net.training
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    with pytest.raises(TypeError, match="mode must be a bool, got 'yes'"):
        net.train("yes")


def test_zero_grad():
    layer = nn.Linear(2, 2)
    layer(sn.ones(1, 2)).sum().backward()
    gradient = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0], [0, 0]] and gradient.tolist() == [[1, 1], [1, 1]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_apply_goes_children_first():
    seen = []
    Net().apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Conv2d", "BatchNorm2d", "ReLU", "Sequential", "Linear", "Net"]


def test_dtypes_switch_in_place():
    net = Net()
    weight = net.head.weight
    net(sn.randn(2, 1, 4, 4)).sum().backward()
    assert net.double() is net and net.head.weight is weight
    assert {t.dtype for t in (*net.parameters(), weight.grad, net.features[1].running_var)} == {np.dtype(np.float64)}
    assert net.step.dtype == net.features[1].num_batches_tracked.dtype == np.int64
    net.zero_grad()
    net(sn.randn(2, 1, 4, 4, dtype=np.float64)).sum().backward()
    assert weight.grad.dtype == np.float64
    assert net.float().to("cpu").head.weight.dtype == np.float32
    assert net.to(sn.zeros(1).double()).scale.dtype == np.float64
    with pytest.raises(TypeError, match=r"Net\.to: expected a floating dtype, got int64"):
        net.to(np.int64)


def test_a_graph_keeps_the_arrays_it_saved_when_the_dtype_switches():
    layer = nn.Linear(2, 1)
    x = sn.ones(1, 2, requires_grad=True)
    y = layer(x)
    weight = layer.weight.data.copy()
    layer.double()
    layer.weight.detach().zero_()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, weight)


def test_a_deep_copy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin(sn.randn(2, 1, 4, 4)).sum().backward()
    assert all(p.grad is None for p in net.parameters()) and all(p.grad is not None for p in twin.parameters())
    assert net.features[1].num_batches_tracked.item() == 0 and twin.features[1].num_batches_tracked.item() == 1
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert not np.shares_memory(p.data, q.data)


def test_hooks_see_and_replace_and_can_be_removed():
    layer = nn.Linear(2, 2, bias=False)
    nn.init.eye_(layer.weight)
    seen = []
    before = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
    watch = layer.register_forward_hook(lambda module, args, output: seen.append((args[0].tolist(), output.tolist())))
    after = layer.register_forward_hook(lambda module, args, output: output + 1)
    assert layer(sn.tensor([1.0, 2.0])).tolist() == [3.0, 5.0]
    assert seen == [([2.0, 4.0], [2.0, 4.0])]
    for handle in (before, watch, after, after):
        handle.remove()
    assert layer(sn.tensor([1.0, 2.0])).tolist() == [1.0, 2.0] and len(seen) == 1
    with layer.register_forward_hook(lambda module, args, output: -output):
        assert layer(sn.tensor([1.0, 2.0])).tolist() == [-1.0, -2.0]
    assert layer(sn.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_repr_is_a_tree():
    assert repr(Net()) == (
        "Net(\n"
        "  (features): Sequential(\n"
        "    (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))\n"
        "    (1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)\n"
        "    (2): ReLU()\n"
        "  )\n"
        "  (head): Linear(in_features=4, out_features=2, bias=True)\n"
        ")"
    )


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Identity(), "Identity()"),
        (nn.ReLU(True), "ReLU(inplace=True)"),
        (nn.LeakyReLU(0.2, inplace=True), "LeakyReLU(negative_slope=0.2, inplace=True)"),
        (nn.Dropout(0.25), "Dropout(p=0.25, inplace=False)"),
        (nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (
            nn.Conv2d(4, 8, (3, 1), 2, "same", groups=4, bias=False, padding_mode="reflect"),
            "Conv2d(4, 8, kernel_size=(3, 1), stride=(2, 2), padding=same, groups=4, bias=False, padding_mode=reflect)",
        ),
        (
            nn.Conv2d(1, 1, 2, padding=((0, 1), (0, 1))),
            "Conv2d(1, 1, kernel_size=(2, 2), stride=(1, 1), padding=((0, 1), (0, 1)))",
        ),
        (
            nn.ConvTranspose2d(4, 8, 3, 2, 1, output_padding=1),
            "ConvTranspose2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))",
        ),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"),
        (nn.Embedding(5, 3, padding_idx=-1), "Embedding(5, 3, padding_idx=4)"),
        (nn.Upsample(scale_factor=2), "Upsample(scale_factor=2, mode='nearest')"),
        (nn.Fold(4, 2), "Fold(output_size=4, kernel_size=2, dilation=1, padding=0, stride=1)"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (nn.Unflatten(1, (2, -1)), "Unflatten(dim=1, unflattened_size=(2, -1))"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_repr_shows_the_arguments(module, expected):
    assert repr(module) == expected


def test_errors_say_where():
    net = Net()
    with pytest.raises(ValueError) as error:
        nn.Sequential(net)(sn.zeros(2, 3, 4, 4))
    assert str(error.value) == (
        "Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)): "
        "expected input (N, 1, H, W), got shape (2, 3, 4, 4)"
    )
    assert error.value.__notes__ == ["raised in Sequential.0.features.0 (Conv2d)"]


def test_errors_of_user_modules_keep_their_message():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("labels: none")

    with pytest.raises(ValueError) as error:
        nn.Sequential(nn.Identity(), Broken())(1)
    assert str(error.value) == "labels: none"
    assert error.value.__notes__ == ["raised in Sequential.1 (Broken)"]
    with pytest.raises(NotImplementedError, match=r"Module defines no forward\(\)"):
        nn.Module()(1)


def test_a_parameter_shares_memory_and_knows_its_kind():
    array = np.ones(3, np.float32)
    parameter = nn.Parameter(sn.from_numpy(array))
    assert parameter.data is array and parameter.requires_grad and isinstance(parameter, sn.Tensor)
    assert repr(parameter).startswith("Parameter containing:\ntensor([1.")
    assert not isinstance(parameter * 2, nn.Parameter)
    with pytest.raises(TypeError, match="only floating tensors"):
        nn.Parameter(np.ones(2, np.int64))
    assert not nn.Parameter(np.ones(2, np.int64), requires_grad=False).requires_grad


def test_get_submodule_names_what_there_is():
    with pytest.raises(AttributeError, match=r"'features\.9' fails at '9': submodules of Sequential are 0, 1, 2"):
        Net().get_submodule("features.9")
