"""The generative models and their losses in plain PyTorch, for make_generative.py.

Written layer by layer from the definitions in papers and listings, and apart from scratchnet's source: only the names
of classes, functions and tensors agree. Sizes that the runs leave at their default are numbers here.
"""

import torch
from torch import nn
from torch.nn import functional as F


class EndPaddedConv2d(nn.Conv2d):
    """TensorFlow's "same" for 3 x 3 kernels, stride 2 and even sizes: a row and a column of zeros at the end."""

    def forward(self, x):
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class EndCroppedConvTranspose2d(nn.ConvTranspose2d):
    """Its adjoint."""

    def forward(self, x):
        return super().forward(x)[..., :-1, :-1]


class SmallGenerator(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(100, 6272),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.BatchNorm2d(64, momentum=0.2),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Tanh(),
        )


class SmallDiscriminator(nn.Sequential):
    def __init__(self):
        super().__init__(
            EndPaddedConv2d(1, 32, 3, 2),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.25),
            EndPaddedConv2d(32, 64, 3, 2),
            nn.BatchNorm2d(64, momentum=0.2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(3136, 1),
            nn.Flatten(0),
        )


class TinyGenerator(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Linear(100, 512), nn.ReLU(), nn.Unflatten(1, (8, 8, 8)), nn.Conv2d(8, 3, kernel_size=1), nn.Tanh()
        )


class LinearDiscriminator(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0))


class WideGenerator(nn.Sequential):
    def __init__(self, features, image_size):
        quarter = image_size // 4
        super().__init__(
            nn.Linear(100, features * quarter**2),
            nn.ReLU(),
            nn.Unflatten(1, (features, quarter, quarter)),
            EndCroppedConvTranspose2d(features, features, 3, 2),
            nn.ReLU(),
            EndCroppedConvTranspose2d(features, 3, 3, 2),
            nn.Tanh(),
        )


class WideDiscriminator(nn.Sequential):
    def __init__(self, channels, features, image_size, hidden):
        assert image_size == 20  # 20 x 20, 9 x 9, 4 x 4
        super().__init__(
            nn.Conv2d(channels, features, 3, 2),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Flatten(0),
        )


# Of 64 x 64 and 28 x 28 pixels: channels over features, and the size of the kernel, of each halving.
HALVINGS = {64: [(1, 4), (2, 4), (4, 4), (8, 4)], 28: [(1, 4), (2, 4), (4, 3)]}


class Generator(nn.Module):
    def __init__(self, features=64, image_size=64, latent=100):
        super().__init__()
        halvings = HALVINGS[image_size]
        widest = features * halvings[-1][0]
        layers = [nn.ConvTranspose2d(latent, widest, 4, 1, 0, bias=False), nn.BatchNorm2d(widest), nn.ReLU(True)]
        for (multiple, kernel), (less, _) in zip(halvings[:0:-1], halvings[-2::-1], strict=True):
            layers.append(nn.ConvTranspose2d(features * multiple, features * less, kernel, 2, 1, bias=False))
            layers.append(nn.BatchNorm2d(features * less))
            layers.append(nn.ReLU(True))
        layers.append(nn.ConvTranspose2d(features, 1, 4, 2, 1, bias=False))
        layers.append(nn.Tanh())
        self.main = nn.Sequential(*layers)

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self, channels=1, features=64, image_size=64):
        super().__init__()
        layers = [nn.Conv2d(channels, features, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for multiple, kernel in HALVINGS[image_size][1:]:
            width = features * multiple
            layers.append(nn.Conv2d(width // 2, width, kernel, 2, 1, bias=False))
            layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(width, 1, 4, 1, 0, bias=False))
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x).view(-1)


class Critic(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, features, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(features, 2 * features, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * features, 4 * features, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * features, 1, 4),
        )

    def forward(self, x):
        return self.main(x).view(-1)


class ConditionalGenerator(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.generator = Generator(features, 28, latent=110)

    def forward(self, z, labels):
        return self.generator(torch.cat([z, torch.eye(10, dtype=z.dtype)[labels]], dim=1))


class ConditionalDiscriminator(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.discriminator = Discriminator(11, features, 28)

    def forward(self, x, labels):
        planes = torch.zeros(len(x), 10, 28, 28, dtype=x.dtype)
        planes[torch.arange(len(x)), labels] = 1
        return self.discriminator(torch.cat([x, planes], dim=1))


class VAE(nn.Module):
    def __init__(self, encoder, width, latent, decoder):
        super().__init__()
        self.latent, self.encoder, self.decoder = latent, encoder, decoder
        self.mu, self.log_var = nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x, noise):
        hidden = self.encoder(x)
        mu, log_var = self.mu(hidden), self.log_var(hidden)
        std = torch.exp(log_var).sqrt()
        return self.decoder(mu + std * noise), mu, log_var


class ConditionalVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.latent = 20
        self.encoder = nn.Sequential(nn.Linear(784 + 10, 400), nn.ReLU())
        self.mu, self.log_var = nn.Linear(400, 20), nn.Linear(400, 20)
        self.decoder = nn.Sequential(nn.Linear(20 + 10, 400), nn.ReLU(), nn.Linear(400, 784), image(1, 28))

    def forward(self, x, labels, noise):
        label = torch.eye(10, dtype=x.dtype)[labels]
        hidden = self.encoder(torch.hstack([x.reshape(len(x), 784), label]))
        mu, log_var = self.mu(hidden), self.log_var(hidden)
        return self.decoder(torch.hstack([mu + torch.exp(log_var).sqrt() * noise, label])), mu, log_var


def image(channels, size):
    return nn.Unflatten(1, (channels, size, size))


def DenseVAE():  # noqa: N802
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU())
    return VAE(encoder, 400, 20, nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), image(1, 28)))


def PlaneVAE():  # noqa: N802
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU())
    hidden = (nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
    return VAE(encoder, 128, 2, nn.Sequential(*hidden, nn.Linear(128, 784), image(1, 28)))


def ConvVAE():  # noqa: N802
    return convolutional(20, 32, 64, nn.ReLU)


def SmallConvVAE():  # noqa: N802
    return convolutional(100, 8, 8, nn.Tanh)


def convolutional(latent, outer, inner, activation):
    encoder = nn.Sequential(
        nn.Conv2d(1, outer, 4, 2, 1), activation(), nn.Conv2d(outer, inner, 4, 2, 1), activation(), nn.Flatten()
    )
    decoder = nn.Sequential(
        nn.Linear(latent, 49 * inner),
        image(inner, 7),
        activation(),
        nn.ConvTranspose2d(inner, outer, 4, 2, 1),
        activation(),
        nn.ConvTranspose2d(outer, 1, 4, 2, 1),
    )
    return VAE(encoder, 49 * inner, latent, decoder)


def gan_discriminator_loss(real, fake):
    bce = nn.BCEWithLogitsLoss()
    return bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))


def non_saturating_generator_loss(fake):
    return nn.BCEWithLogitsLoss()(fake, torch.ones_like(fake))


def hinge_discriminator_loss(real, fake):
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wasserstein_critic_loss(real, fake):
    return fake.mean() - real.mean()


def wasserstein_generator_loss(fake):
    return -fake.mean()


hinge_generator_loss = wasserstein_generator_loss


def slopes(critic, x):
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope.flatten(1)


def gradient_penalty(critic, real, fake, mix):
    share = mix.view(-1, 1, 1, 1)
    return 10 * ((slopes(critic, share * real + (1 - share) * fake).norm(2, dim=1) - 1) ** 2).mean()


def r1_penalty(critic, real, gamma):
    return gamma / 2 * slopes(critic, real).square().sum(dim=1).mean()


def bernoulli_nll(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)


def gaussian_nll(mean, target, std):
    return -torch.distributions.Normal(mean, std).log_prob(target).flatten(1).sum(dim=1).mean()


def gaussian_kl(mu, log_var):
    posterior = torch.distributions.Normal(mu, torch.exp(log_var / 2))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
