"""Features of images in a network that is known by its name and a hash of its weights.

Distances in features mean something between numbers of one network only. So features carry the identity of theirs,
distances print it, and features of two networks are never compared.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from scratchnet.autograd import no_grad
from scratchnet.device import to_device
from scratchnet.metrics.inputs import on_host, real, whole
from scratchnet.tensor import Tensor


@dataclass(frozen=True)
class Features:
    """Features of N samples, float64 (N, D), and the identity of the network that they are from.

    Raises:
        ValueError: ``values`` are not finite or not of shape (N, D) with N at least 2, or ``network`` is empty.
        TypeError: ``values`` are no real numbers.
    """

    values: np.ndarray
    network: str

    def __post_init__(self):
        values = real("Features", "values", self.values, "(N, D)", 2)
        if len(values) < 2:
            raise ValueError("Features: values need at least 2 samples, got 1")
        if not isinstance(self.network, str) or not self.network:
            raise ValueError(f"Features: network must be the name of a network, got {self.network!r:.80}")
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class FeatureDistance:
    """A distance between two sets of samples, with all that the number depends on.

    Attributes:
        value: the distance.
        measure: what is measured, in words.
        network: the identity of the network that the features are from.
        samples: the numbers of samples of the first and the second set.
        standard_error: of ``value``; None where it is not estimated.
    """

    value: float
    measure: str
    network: str
    samples: tuple[int, int]
    standard_error: float | None = None

    def __str__(self):
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        first, second = self.samples
        return f"{self.measure} {self.value:.6g}{error} in features of {self.network}, {first} against {second} samples"


class FeatureNetwork:
    """Takes the features of images from a network, or from a layer inside it.

        judge = FeatureNetwork(model, "digits-cnn", layer="10")
        distance = frechet_distance(judge(real_images), judge(samples))
        print(judge.identity)  # digits-cnn.10-3f0c..., of 16 hexadecimal digits

    Args:
        network: an ``nn.Module``. Its identity is taken now: weights that change later are refused.
        name: what to call the network; say there what the hash cannot know, such as the activation functions.
        layer: dotted path of the submodule whose output is taken; "" for the network's own output.
        batch_size: images that run through the network at a time.

    Raises:
        ValueError: an empty name, a network without weights, or a wrong batch size.
        AttributeError: there is no such layer.
    """

    def __init__(self, network, name: str, layer: str = "", batch_size: int = 250):
        if not isinstance(name, str) or not name:
            raise ValueError(f"FeatureNetwork: name must be a text that is not empty, got {name!r:.80}")
        network.get_submodule(layer)
        self.network, self.layer = network, layer
        self.batch_size = whole("FeatureNetwork", "batch_size", batch_size, 1)
        self._hash = weights_hash(network)
        self.identity = f"{name}{'.' * bool(layer)}{layer}-{self._hash}"

    def __call__(self, images: Tensor | np.ndarray) -> Features:
        """The features, flattened to (N, D), of images (N, ...) of the dtype and scale that the network takes.

        The network runs in eval mode, without derivatives, and is left in the mode it was in.

        Raises:
            ValueError: fewer than 2 images, features that are not finite, weights that are no longer the same, or a
                layer that does not run once in a forward pass.
        """
        images = on_host(images)
        if images.ndim < 2 or len(images) < 2:
            raise ValueError(f"FeatureNetwork: images must have shape (N, ...), N at least 2, got {images.shape}")
        if (now := weights_hash(self.network)) != self._hash:
            raise ValueError(f"FeatureNetwork: {self.identity} has other weights by now, of hash {now}; name it anew")
        modes = [(module, module.training) for module in self.network.modules()]
        taken = []
        hook = self.network.get_submodule(self.layer).register_forward_hook(
            lambda module, args, output: taken.append(on_host(output).reshape(len(output), -1))
        )
        device = next(iter(self.network.state_dict().values())).device
        try:
            self.network.eval()
            with no_grad():
                for i in range(0, len(images), self.batch_size):
                    self.network(Tensor(to_device(images[i : i + self.batch_size], device)))
        finally:
            hook.remove()
            for module, mode in modes:
                module.training = mode
        rows = sum(map(len, taken))
        if rows != len(images):
            raise ValueError(
                f"FeatureNetwork: layer {self.layer!r} gave {rows} rows of features for {len(images)} images: it must "
                "run once in a forward pass"
            )
        return Features(np.concatenate(taken), self.identity)


def weights_hash(network) -> str:
    """16 hexadecimal digits (BLAKE2b) of the names, dtypes, shapes and bytes of all parameters and buffers.

    Raises:
        ValueError: there are none.
    """
    state = network.state_dict()
    if not state:
        raise ValueError(f"weights_hash: {type(network).__name__} has no weights by which to know it")
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(state.items()):
        array = np.ascontiguousarray(on_host(tensor))
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_same_network(caller: str, first: Features, second: Features) -> None:
    """Raise TypeError or ValueError unless both are features of one network."""
    for name, features in (("first", first), ("second", second)):
        if not isinstance(features, Features):
            raise TypeError(f"{caller}: {name} must be Features, as a FeatureNetwork gives, got {features!r:.80}")
    if first.network != second.network:
        raise ValueError(f"{caller}: first is in features of {first.network}, second in those of {second.network}")
    if first.values.shape[1] != second.values.shape[1]:
        raise ValueError(
            f"{caller}: first has {first.values.shape[1]} features a sample, second {second.values.shape[1]}"
        )
