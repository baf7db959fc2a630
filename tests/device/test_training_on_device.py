"""Training steps on the pretended GPU: the CPU's losses and weights, and nothing that waits for the device."""

import numpy as np
import pytest

import scratchnet as sn
from scratchnet import models, nn, optim
from scratchnet.nn import functional as F

STEPS = 4


def images(*shape):
    return np.random.default_rng(1).random((STEPS, *shape))


def classifier(device):
    """A step of examples/train_cnn.py."""
    model = models.CNN(1, 20, 10).double().to(device)
    optimizer = optim.Adam(model.parameters())
    labels = sn.tensor(np.arange(6) % 10, device=device)

    def step(batch):
        loss = F.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step, [model], images(6, 1, 20, 20)


def dcgan(device):
    """Both steps of examples/train_gan.py."""
    generator = models.Generator(8, 1, 4, 8).double().to(device)
    discriminator = models.Discriminator(1, 4, 8).double().to(device)
    g_optimizer, d_optimizer = (optim.Adam(m.parameters(), betas=(0.5, 0.999)) for m in (generator, discriminator))

    def step(batch):
        fake = generator(sn.randn(len(batch), 8, dtype=np.float64, device=device))
        d_loss = F.gan_discriminator_loss(discriminator(batch), discriminator(fake.detach()))
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = F.non_saturating_generator_loss(discriminator(fake))
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        return d_loss + g_loss

    return step, [generator, discriminator], images(5, 1, 8, 8)


def wgan_gp(device):
    """A critic's step with the gradient penalty, which differentiates twice."""
    critic = models.Critic(1, 4, 8).double().to(device)
    optimizer = optim.RMSprop(critic.parameters())

    def step(batch):
        loss = F.wasserstein_critic_loss(critic(batch), critic(1 - batch)) + F.gradient_penalty(
            critic, batch, 1 - batch
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, [critic], images(4, 1, 8, 8)


def vae(device):
    """A step of examples/train_vae.py, with dropout and batch norm on the way and averaged weights behind it."""
    encoder = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    decoder = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 1, 4, 2, 1))
    model = models.vae.VAE(encoder, 64, 3, decoder).double().to(device)
    optimizer = optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, nesterov=True)
    average = optim.ExponentialMovingAverage(model, 0.9)

    def step(batch):
        logits, mu, log_var = model(batch)
        loss = F.bernoulli_nll(logits, batch) + F.gaussian_kl(mu, log_var)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update()
        return loss

    return step, [model], images(5, 1, 8, 8)


def run(build, device, capture=lambda step: step):
    """The losses and the final states of some steps, computed on ``device``."""
    sn.manual_seed(0)
    step, modules, batches = build(device)
    step = capture(step)
    losses = [step(sn.tensor(batch, device=device)) for batch in batches]
    return losses, [module.state_dict() for module in modules]


EVERY_STEP = pytest.mark.parametrize("build", [classifier, dcgan, wgan_gp, vae])


@EVERY_STEP
def test_a_training_is_the_cpus(cuda, build):
    compare(cuda, build)


@EVERY_STEP
def test_a_training_with_the_cuda_kernels_is_the_cpus(emulated_cuda, build):
    compare(emulated_cuda, build)


@EVERY_STEP
def test_a_captured_training_is_the_plain_one(cuda, build):
    losses, states = run(build, "cuda")
    cuda.transfers.clear()
    captured, captured_states = run(build, "cuda", sn.capture)
    assert cuda.transfers["to host"] == 0
    assert [x.item() for x in captured] == [x.item() for x in losses]
    for state, captured_state in zip(states, captured_states, strict=True):
        for name, value in state.items():
            np.testing.assert_array_equal(captured_state[name].cpu().numpy(), value.cpu().numpy(), err_msg=name)


def compare(cuda, build):
    losses, states = run(build, "cpu")
    cuda.transfers.clear()
    gpu_losses, gpu_states = run(build, "cuda")
    assert cuda.transfers["to host"] == 0
    np.testing.assert_allclose([x.item() for x in gpu_losses], [x.item() for x in losses], rtol=1e-10)
    for state, gpu_state in zip(states, gpu_states, strict=True):
        for name, value in state.items():
            assert gpu_state[name].device == "cuda", name
            np.testing.assert_allclose(
                gpu_state[name].cpu().numpy(), value.numpy(), rtol=1e-8, atol=1e-10, err_msg=name
            )
