"""Networks of `keras.applications` with a new classifier, for images of any number of channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpa.errors import BadInput
from hpa.files import require_plain
from hpa.models.alexnet import IMAGENET_DEVIATION, IMAGENET_MEAN
from hpa.registry import DENSE_PART, Network, lazily

if TYPE_CHECKING:
    import keras

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Family:
    """One network of `keras.applications`, by its name in the settings and its function there."""

    name: str
    constructor: Callable[..., keras.Model]
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)  # of the pixels 0 to 255 that it expects, for red, green and blue
    deviation: tuple[float, ...] = (127.5, 127.5, 127.5)
    blue_first: bool = False  # whether its published weights expect the channels as blue, green, red
    downloads: bool = True  # whether its function has ImageNet's weights downloaded
    load: Callable[[keras.Model, str], dict[str, Any]] | None = (
        None  # for weights that Keras does not read; see `_pretrained`
    )


def backbone(family: Family, size: int, channels: int, classes: int, output: str, weights: str | None = None) -> keras.Model:
    """Return a network of `keras.applications` under global average pooling, dropout and a dense layer.

    The network normalises pixels as the family expects. One grey channel is repeated three times before, so that a grey
    image gives the same result as three equal channels. From the fourth channel on, mean and deviation are the means over
    the three colours.

    With weights and another number of channels the first convolution's kernel is inflated: the first three channels keep
    theirs, further ones get the mean of the three, and all are scaled by 3 / channels, to keep the scale of activations.

    `weights` is None for new ones, "imagenet" to have Keras download ImageNet's, or the path of a Keras weights file for the
    three-channel network without its top (`.h5`, as Keras publishes it, or `.weights.h5`, or what the family reads besides).
    See `hpa.registry.Network` for the other arguments.

    Raises:
        BadInput: if the weights cannot be downloaded, or the file is absent, damaged or another network's.
    """
    import keras
    from keras import layers

    if weights:
        family, pretrained = _pretrained(family, size, weights)

    images = layers.Input((size, size, channels), dtype="uint8")
    x = layers.Concatenate()([images, images, images]) if channels == 1 else images
    mean, deviation = (_per_channel(np.array(values), x.shape[-1]) for values in (family.mean, family.deviation))
    x = layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist(), name="normalised")(x)
    convolutional = family.constructor(include_top=False, weights=None, input_tensor=x)
    x = layers.GlobalAveragePooling2D(name=f"{DENSE_PART}features")(convolutional.output)
    x = layers.Dropout(0.3, name=f"{DENSE_PART}dropout")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)

    if weights:
        first, *others = pretrained.get_weights()
        first = first[:, :, ::-1] if family.blue_first else first
        convolutional.set_weights([inflated(first, convolutional.weights[0].shape[2]), *others])
    return keras.Model(images, x, name=family.name.replace("-", "_"))


def inflated(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return a first convolution's kernel [height, width, 3, filters] for another number of channels; see `backbone`."""
    return np.moveaxis(_per_channel(np.moveaxis(kernel, 2, 0), channels), 0, 2) * (3 / channels)


def _per_channel(values: np.ndarray, channels: int) -> np.ndarray:
    """Return `values` [3, ...] of the colours for `channels` channels: the first three, then their mean."""
    return np.stack([*values, *[values.mean(axis=0)] * (channels - 3)][:channels])


def _pretrained(family: Family, size: int, weights: str) -> tuple[Family, keras.Model]:
    """Return the three-channel network without its top and with the weights that are asked for.

    The family comes with it, as these weights expect the pixels. A family's own `load` puts them into the network and
    returns what they expect differently.
    """
    constructor = partial(family.constructor, include_top=False, input_shape=(size, size, 3))
    if weights == IMAGENET and family.downloads:
        try:
            return family, constructor(weights=IMAGENET)
        except Exception as error:  # Keras raises no narrower class for a failed download; its text names the address
            fix = "download that file where there is internet and give its path as the weights"
            raise BadInput(f"weights of {family.name}: {error}; {fix}") from error
    require_plain(Path(weights))
    model = constructor(weights=None)
    if family.load:
        return replace(family, **family.load(model, weights)), model
    load_keras_weights(family.name, model, weights)
    return family, model


def load_keras_weights(name: str, model: keras.Model, weights: str) -> None:
    """Put the weights of a Keras weights file into a network; raise BadInput unless it has all of them."""
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.weights])  # Keras may pass over some silently
    try:
        model.load_weights(weights)
        if not all(np.isfinite(weight).all() for weight in model.get_weights()):
            raise ValueError("it leaves weights without a finite value")
    except MemoryError:
        raise
    except Exception as error:  # damaged and hostile files raise errors of many kinds in Keras
        reason = (f"{error}".splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{weights}: absent, damaged or not the weights of {name} without its top ({reason})") from error


def _network(family: Family, **facts: Any) -> Network:
    return Network(partial(backbone, family), ("weights",), fused=False, **facts)


# Means and deviations are those behind the modes of keras.applications: "torch", "caffe" and, the default, "tf".
_torch = partial(Family, mean=tuple(255 * x for x in IMAGENET_MEAN), deviation=tuple(255 * x for x in IMAGENET_DEVIATION))
CAFFE: dict[str, Any] = {"mean": (123.68, 116.779, 103.939), "deviation": (1.0, 1.0, 1.0), "blue_first": True}

_APPS = "keras.applications"

MOBILENET_V2 = _network(Family("mobilenet-v2", lazily(f"{_APPS}:MobileNetV2")))
RESNET50_V2 = _network(Family("resnet50-v2", lazily(f"{_APPS}:ResNet50V2")))
DENSENET121 = _network(_torch("densenet121", lazily(f"{_APPS}:DenseNet121")))
EFFICIENTNET_V2_B0 = _network(_torch("efficientnet-v2-b0", lazily(f"{_APPS}:EfficientNetV2B0", include_preprocessing=False)))
INCEPTION_RESNET_V2 = _network(Family("inception-resnet-v2", lazily(f"{_APPS}:InceptionResNetV2")), smallest_size=75)
CONVNEXT_TINY = _network(
    _torch("convnext-tiny", lazily(f"{_APPS}:ConvNeXtTiny", include_preprocessing=False)), batch_normalised=False
)
