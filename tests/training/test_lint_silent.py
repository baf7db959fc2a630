"""The lint has nothing to say about trainings that are right: small ones, and those of the examples as they stand."""

import itertools

import certified
import pytest

import train_cnn
import train_gan
import train_vae
from run import Run
from scratchnet import models, nn
from scratchnet.nn import functional as F
from scratchnet.testing.lint import Lint


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        (certified.Classifier, {"model": "model"}),
        (certified.GAN, {"generator": "g", "discriminator": "d"}),
        (certified.VAE, {"model": "model"}),
    ],
)
def test_nothing_is_found(kind, models):
    training = kind()
    lint = Lint({role: training.parts[name] for role, name in models.items()})
    with lint:
        for images, labels in itertools.islice(training.parts["loader"], 3):
            training.step(images, labels)
    lint.check()


class SeenEnoughError(Exception):
    """Ends a run when enough has been seen."""


@pytest.fixture
def codes(monkeypatch):
    """The codes that VAEs draw."""
    drawn, draw = [], F.reparameterize
    monkeypatch.setattr(F, "reparameterize", lambda *args, **options: drawn.append(draw(*args, **options)) or drawn[-1])
    return drawn


@pytest.fixture
def watch(monkeypatch, tmp_path, codes):
    """watch(trainer, arguments, steps): what the lint says of the first steps of an example."""
    batches = Run.steps

    def run(trainer, *arguments, steps=3):
        seen = []

        def watched(self, *args, **options):
            lint = Lint({name: part for name, part in self.parts.items() if isinstance(part, nn.Module)})
            seen.append(lint)

            def declare(model, inputs, result):
                output, mu, log_var = result
                likelihood = "gaussian" if model.likelihood == "gaussian" else "logits"
                told = {"output": output, "target": inputs[0], "likelihood": likelihood, "variance": self.args.std**2}
                lint.vae(mu, log_var, codes[-1], **told)

            with lint:
                for model in lint.models.values():
                    if isinstance(model, models.VAE):
                        model.register_forward_hook(declare)
                yield from itertools.islice(batches(self, *args, **options), steps)
            raise SeenEnoughError

        monkeypatch.setattr(Run, "steps", watched)
        with pytest.raises(SeenEnoughError):
            trainer.main([*arguments, "--smoke", "--quiet", "--batch-size", "16", "--out", str(tmp_path / "run")])
        return seen[0]

    return run


@pytest.mark.parametrize("model", train_cnn.MODELS)
def test_nothing_is_found_in_the_classifiers(model, watch):
    watch(train_cnn, "--model", model).check()


@pytest.mark.parametrize("model", sorted({*train_gan.MODELS} - {"wide"}))  # the wide one takes seconds a step
def test_nothing_is_found_in_the_adversarial_pairs(model, watch):
    watch(train_gan, "--model", model, steps=train_gan.CRITIC_STEPS if model == "wgan-gp" else 3).check()


@pytest.mark.parametrize("model", train_vae.MODELS)
def test_nothing_is_found_in_the_vaes(model, watch, codes):
    watch(train_vae, "--model", model).check()
    assert codes


def test_the_beta_of_a_mean_over_pixels_is_found_in_the_example(watch):
    assert "the effective beta is 784" in watch(train_vae, "--reduction", "mean").report()


def test_labels_exchanged_are_found_in_the_example(watch, monkeypatch):
    right = F.gan_discriminator_loss
    monkeypatch.setattr(F, "gan_discriminator_loss", lambda real, fake: right(fake, real))
    assert "labels exchanged" in watch(train_gan, "--model", "linear").report()
