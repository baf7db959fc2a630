"""Steps captured as CUDA graphs, on a stand-in that notes down what it is asked to do and repeats it."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import nn, optim
from scratchnet.nn import functional as F

DRAW = np.random.default_rng(0)
BATCHES = [(DRAW.standard_normal((6, 1, 8, 8)), DRAW.integers(0, 3, 6)) for _ in range(4)]


def classifier():
    sn.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    model = nn.Sequential(*layers).double().cuda()
    return model, optim.Adam(model.parameters(), lr=1e-2)


def step_of(model):
    def step(images, labels):
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return step


def train(captured: bool):
    model, optimizer = classifier()
    batches = [(sn.tensor(x, device="cuda"), sn.tensor(y, device="cuda")) for x, y in BATCHES]
    step = step_of(model)
    if captured:
        step = sn.cuda.capture(step, *batches[0], modules=model)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        losses.append(step(*batch).item())
        optimizer.step()
    return losses, {name: value.cpu().numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("device", ["cuda", "emulated_cuda"])
def test_trains_as_the_step_itself(device, request):
    request.getfixturevalue(device)
    losses, state = train(captured=False)
    captured_losses, captured_state = train(captured=True)
    np.testing.assert_allclose(captured_losses, losses, rtol=1e-12)
    assert len(set(losses)) == len(losses)
    for name, value in state.items():
        np.testing.assert_allclose(captured_state[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_capturing_changes_no_parameter_and_no_buffer(cuda):
    model, _ = classifier()
    before = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    sn.cuda.capture(step_of(model), *(sn.tensor(x, device="cuda") for x in BATCHES[0]), modules=model)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.cpu().numpy(), before[name], err_msg=name)


def test_gradients_are_new_ones_each_time_and_several_results_are_a_tuple(cuda):
    model = nn.Linear(1, 1, bias=False).cuda()

    def step(x):
        out = model(x).sum()
        out.backward()
        return out, x * 2

    captured = sn.cuda.capture(step, sn.ones(1, 1, device="cuda"), modules=[model])
    for number in (3.0, 5.0, 7.0):
        _, doubled = captured(sn.full((1, 1), number, device="cuda"))
        assert model.weight.grad.item() == number
        assert doubled.item() == 2 * number


def test_refuses_what_a_replay_could_not_do_again(cuda):
    model = nn.Linear(2, 2).cuda()
    x = sn.ones(3, 2, device="cuda")
    for step, words in (
        (lambda x: model(x).sum().item(), "not permitted when stream is capturing"),
        (lambda x: x[x > 0], "not permitted when stream is capturing"),
        (lambda x: model(x) + sn.randn(3, 2).to("cuda"), "cannot bring an array .*give it to the step as an argument"),
        (lambda x: F.dropout(model(x), 0.5), "cannot bring an array"),
    ):
        with pytest.raises(RuntimeError, match=words):
            sn.cuda.capture(step, x, modules=model)
    assert sn.cuda.capture(model, x, modules=model)(x).shape == (3, 2)  # the stream captures no more


def test_names_arguments_that_do_not_fit(cuda):
    model = nn.Linear(2, 2).cuda()
    x = sn.ones(3, 2, device="cuda")
    for wrong, words in ((x.cpu(), "example 0 must be a tensor on cuda, got a tensor on cpu"), (3, "got int")):
        with pytest.raises(TypeError, match=words):
            sn.cuda.capture(model, wrong, modules=model)
    captured = sn.cuda.capture(model, x, modules=model)
    with pytest.raises(ValueError, match=r"argument 0 was \(3, 2\) float32 on cuda, got \(4, 2\)"):
        captured(sn.ones(4, 2, device="cuda"))
    with pytest.raises(TypeError, match="of 1 tensors was given 2"):
        captured(x, x)
    model.to("cpu").to("cuda")
    with pytest.raises(RuntimeError, match="capture it again"):
        captured(x)


def test_without_a_gpu_it_says_what_is_missing():
    if sn.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="device 'cuda' needs"):
        sn.cuda.capture(nn.Linear(1, 1), sn.ones(1, 1), modules=nn.Linear(1, 1))
