"""summary: its numbers, its table, and that it leaves no trace."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn


def small():
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Dropout(0.9), nn.Flatten(), nn.Linear(300, 7)),
    )


def test_numbers():
    net = small()
    net[6].requires_grad_(False)
    result = nn.summary(net, (2, 2, 5, 5))
    by_kind = {row.kind: row for row in result.rows}
    assert by_kind["Conv2d"].multiply_adds == 2 * 4 * 5 * 5 * 1 * 9
    assert by_kind["ConvTranspose2d"].multiply_adds == 2 * 4 * 5 * 5 * 3 * 4
    assert by_kind["Linear"].multiply_adds == 2 * 300 * 7
    assert by_kind["ConvTranspose2d"].output_shape == (2, 3, 10, 10)
    assert [row.parameters for row in result.rows] == [40, 8, 0, 51, 0, 0, 2107]
    assert (result.parameters, result.trainable, result.buffers) == (2206, 99, 9)
    assert result.size_mb == pytest.approx((2206 * 4 + 8 * 4 + 8) / 1e6)
    assert result.multiply_adds == sum(row.multiply_adds for row in result.rows)


def test_table():
    assert str(nn.summary(nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU()), (1, 1, 28, 28))) == (
        "Layer  Class   Output shape     Parameters  Multiply-adds\n"
        "---------------------------------------------------------\n"
        "0      Conv2d  (1, 32, 26, 26)         320        194,688\n"
        "1      ReLU    (1, 32, 26, 26)           0              0\n"
        "---------------------------------------------------------\n"
        "Total                                  320        194,688\n"
        "Trainable: 320   Buffers: 0   Size: 0.00 MB"
    )


def test_no_trace():
    net = small()
    net[1].eval()
    modes = [m.training for m in net.modules()]
    before = {key: value.data.copy() for key, value in net.state_dict().items()}
    state = sn.default_generator().bit_generator.state
    nn.summary(net, (2, 2, 5, 5))
    with pytest.raises(ValueError, match="expected input"):
        nn.summary(net, (2, 3, 5, 5))
    assert [m.training for m in net.modules()] == modes
    assert not any(m._forward_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters()) and sn.is_grad_enabled()
    assert sn.default_generator().bit_generator.state == state
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.data, before[key])


def test_shared_unused_and_several():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer, self.unused = nn.Embedding(5, 3), nn.Linear(3, 3), nn.Linear(2, 2)
            self.alias = self.layer
            self.scale = nn.Parameter(np.ones(4, np.float32))

        def forward(self, words, x):
            y = self.layer(self.layer(self.table(words))) + x
            return y, (y, y.sum())

    result = nn.summary(Twice(), sn.tensor([1, 2]), (2, 3))
    rows = {row.path: row for row in result.rows}
    assert list(rows) == ["(model)", "table", "layer", "unused"]
    assert rows["layer"].multiply_adds == 2 * 2 * 9
    assert rows["unused"].output_shape is None and "unused" in str(result)
    assert rows["(model)"].parameters == 4
    assert rows["(model)"].output_shape == ((2, 3), ((2, 3), ()))
    assert result.parameters == 15 + 12 + 6 + 4


def test_the_input_takes_the_models_dtype():
    assert nn.summary(nn.Linear(2, 1).double(), (3, 2)).rows[0].output_shape == (3, 1)
    with pytest.raises(TypeError, match=r"expected tensors or shapes \(tuples of ints\), got 'big'"):
        nn.summary(nn.Linear(2, 1), "big")
