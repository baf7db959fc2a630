"""Short trainings in float64, written once for either framework; see cases.py.

A training is a function of (sn, nn, optim) that returns what it saw, a dict of arrays: the losses, the learning
rates, and the final state.
"""

import numpy as np

STEPS = 20


def fill(sn, model, seed):
    """Give every parameter numbers that do not depend on the framework, and float64."""
    generator = np.random.default_rng(seed)
    model.double()
    state = model.state_dict()
    for name, value in state.items():
        if "running" not in name and "num_batches" not in name:
            shape = tuple(value.shape)
            array = generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)
            state[name] = sn.from_numpy(array + (1.0 if "norm" in name and "weight" in name else 0.0))
    model.load_state_dict(state)


def train(sn, nn, model, optimizer, scheduler, shape, classes):
    generator = np.random.default_rng(7)
    losses, rates = [], []
    for _ in range(STEPS):
        images = sn.from_numpy(generator.standard_normal(shape))
        labels = sn.from_numpy(generator.integers(0, classes, shape[0]))
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    return {"losses": np.array(losses), "rates": np.array(rates), **{f"state/{k}": v for k, v in state.items()}}


def small(nn):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            # no bias: before batch norm its gradient is 0, and Adam would make full steps of the rounding error
            self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(4)
            self.pool = nn.MaxPool2d(2)
            self.up = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1, bias=False)
            self.head = nn.Linear(3 * 6 * 6, 5)

        def forward(self, x):
            x = nn.functional.leaky_relu(self.norm(self.conv(x)), 0.2)
            return self.head(nn.functional.tanh(self.up(self.pool(x))).flatten(1))

    return Small()


def with_small(make_optimizer, make_scheduler=lambda optim, optimizer: None):
    def training(sn, nn, optim):
        model = small(nn)
        fill(sn, model, 3)
        optimizer = make_optimizer(optim, model)
        return train(sn, nn, model, optimizer, make_scheduler(optim, optimizer), (4, 1, 6, 6), 5)

    return training


def cnn(sn, nn, optim):
    """The CNN of the examples; only the losses and the size of each parameter are kept."""
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
    model = nn.Sequential(*layers)
    fill(sn, model, 5)
    seen = train(sn, nn, model, optim.Adam(model.parameters()), None, (4, 1, 28, 28), 10)
    return {k: np.array([np.square(v).sum()]) if k.startswith("state/") else v for k, v in seen.items()}


def _groups(optim, model):
    head = list(model.head.parameters())
    rest = [p for name, p in model.named_parameters() if not name.startswith("head")]
    return optim.Adam([{"params": rest}, {"params": head, "lr": 3e-3, "weight_decay": 0.1}], lr=1e-2, betas=(0.5, 0.99))


TRAININGS = {
    "sgd": with_small(lambda optim, m: optim.SGD(m.parameters(), lr=0.05)),
    "sgd_momentum": with_small(
        lambda optim, m: optim.SGD(m.parameters(), lr=0.05, momentum=0.9, dampening=0.1, weight_decay=0.01)
    ),
    "sgd_nesterov_steps": with_small(
        lambda optim, m: optim.SGD(m.parameters(), lr=0.05, momentum=0.9, nesterov=True),
        lambda optim, o: optim.lr_scheduler.StepLR(o, 7, 0.3),
    ),
    "adam_cosine": with_small(
        lambda optim, m: optim.Adam(m.parameters(), lr=1e-2, weight_decay=0.05),
        lambda optim, o: optim.lr_scheduler.CosineAnnealingLR(o, 20, 1e-4),
    ),
    "adam_groups": with_small(_groups),
    "adamw_one_cycle": with_small(
        lambda optim, m: optim.AdamW(m.parameters(), weight_decay=0.1),
        lambda optim, o: optim.lr_scheduler.OneCycleLR(o, 0.02, total_steps=21),
    ),
    "rmsprop": with_small(lambda optim, m: optim.RMSprop(m.parameters(), lr=1e-3)),
    "rmsprop_centered_lambda": with_small(
        lambda optim, m: optim.RMSprop(
            m.parameters(), lr=1e-3, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.1
        ),
        lambda optim, o: optim.lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    ),
    "cnn": cnn,
}
