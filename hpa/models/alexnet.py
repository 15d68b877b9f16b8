"""AlexNet as torchvision lays it out, with the HEp-2 report's head, and the reading of torchvision's weights.

Layers: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as torchvision's `alexnet`
has them. The report puts a dense layer for its own classes behind the 1000 outputs for ImageNet.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpa.models.tensors import assign_tensors, read_tensors, wheel_file
from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

SIDE, SIDE_ANTIALIASED = 224, 96  # pixels, what the dense part's 9216 features need
RESIZED = 256 / 224  # of the side: what the report makes of an image before it cuts the middle out
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of pixels in [0, 1]

# torchvision's layers by name, and ours.
STATE_DICT_LAYERS = {f"features.{place}": f"convolution_{number}" for number, place in enumerate((0, 3, 6, 8, 10), 1)}
STATE_DICT_LAYERS |= {f"classifier.{place}": f"{DENSE_PART}dense_{number}" for number, place in enumerate((1, 4, 6), 1)}
SHIFT_TOLERANT_LAYERS = {
    f"net.slice{number}.{place}": f"convolution_{number}" for number, place in enumerate((0, 5, 9, 11, 13), 1)
}
WHEEL = "stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth", "stlpips-pytorch==0.0.2"


def alexnet(
    size: int,
    channels: int,
    classes: int,
    output: str,
    activation: str = "relu",
    weights: str | None = None,
    antialiased: bool = False,
) -> keras.Model:
    """Return the report's network, uncompiled; see `hpa.registry.Network` for the arguments.

    Its first layers make images of more than 256 pixels as small as that, cut the central `SIDE` pixels out, and enlarge
    images that are smaller. They repeat a grey channel three times, and normalise by ImageNet's mean and deviation. The
    weights expect the activation "relu".

    `antialiased`, each step that halves a map blurs it first, and the first convolution has stride 1: small shifts of an
    image then change the features little (Zhang, "Making convolutional networks shift-invariant again", ICML 2019; Ghildyal
    and Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022). Images of `SIDE_ANTIALIASED` pixels then give as many
    features as `SIDE` pixels do without, for about as many multiplications, and 110 pixels stand for the 256.

    `weights` is the path of weights, or "imagenet" for those of the package stlpips-pytorch; see `load_weights`.

    Raises:
        BadInput: if the file of `weights` does not fit.
    """
    import keras
    from keras import layers

    side = SIDE_ANTIALIASED if antialiased else SIDE
    images = layers.Input((size, size, channels), dtype="uint8")
    largest, x = round(side * RESIZED), images
    if size > largest:
        x = layers.Resizing(largest, largest, antialias=True)(x)
    x = layers.CenterCrop(side, side)(x) if size >= side else layers.Resizing(side, side)(x)
    if channels == 1:
        x = layers.Concatenate()([x, x, x])
    mean, deviation = np.array(IMAGENET_MEAN), np.array(IMAGENET_DEVIATION)
    x = layers.Rescaling((1 / 255 / deviation).tolist(), (-mean / deviation).tolist(), name="normalised")(x)

    def halved(x: keras.KerasTensor) -> keras.KerasTensor:
        """Blur by 1, 2, 1 along both axes and take every second pixel; what lies outside is the mirror image."""
        x = keras.ops.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
        return layers.AveragePooling2D(2, strides=2)(layers.AveragePooling2D(2, strides=1)(x))

    def pooled(x: keras.KerasTensor) -> keras.KerasTensor:
        return halved(layers.MaxPooling2D(3, strides=1)(x)) if antialiased else layers.MaxPooling2D(3, strides=2)(x)

    # Keras' "same" would pad a stride of 4 with one row less at the top than at the bottom; torch pads 2 all round.
    x = layers.ZeroPadding2D(2)(x)
    if antialiased:
        x = layers.Activation(activation)(halved(layers.Conv2D(64, 11, name="convolution_1")(x)))
    else:
        x = layers.Conv2D(64, 11, strides=4, activation=activation, name="convolution_1")(x)
    x = layers.Conv2D(192, 5, padding="same", activation=activation, name="convolution_2")(pooled(x))
    x = pooled(x)
    for number, filters in ((3, 384), (4, 256), (5, 256)):
        x = layers.Conv2D(filters, 3, padding="same", activation=activation, name=f"convolution_{number}")(x)

    x = layers.Flatten(name=f"{DENSE_PART}features")(pooled(x))
    for number, units in ((1, 4096), (2, 4096), (3, 1000)):
        x = layers.Dropout(0.5, name=f"{DENSE_PART}dropout_{number}")(x)
        x = layers.Dense(units, activation=activation, name=f"{DENSE_PART}dense_{number}")(x)
    x = layers.Dropout(0.5, name=f"{DENSE_PART}dropout_4")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense_4")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    network = keras.Model(images, x, name="alexnet_antialiased" if antialiased else "alexnet")
    if weights:
        load_weights(network, wheel_file(*WHEEL) if weights == "imagenet" else Path(weights))
    return network


def load_weights(model: keras.Model, path: Path) -> None:
    """Put weights for ImageNet into a network made by `alexnet`.

    The file is torchvision's `.pth` (or `.pt`), or has the same arrays by the same names ("features.0.weight" to
    "classifier.6.bias") in an `.npz`; then all layers but the last take theirs. Or it is that of stlpips-pytorch, whose
    convolutions were tuned for anti-aliased pooling; then the dense part starts anew, with a warning that says so.

    Raises:
        BadInput: if the file cannot be read, or tensors are missing, surplus, misshapen or not finite.
    """
    tensors = read_tensors(path)
    names = STATE_DICT_LAYERS
    if any(name.startswith("net.slice") for name in tensors):
        names = SHIFT_TOLERANT_LAYERS
        tensors = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] in names}
        logger.warning("%s: weights of the five convolutions; the dense part starts anew", path.name)
    first = tensors.get("classifier.1.weight")
    if first is not None and first.shape == (4096, 9216):  # torch flattens the last map as [channel, row, column]
        tensors["classifier.1.weight"] = first.reshape(4096, 256, 6, 6).transpose(0, 2, 3, 1).reshape(first.shape)
    layers = {name: model.get_layer(own) for name, own in names.items()}
    assign_tensors(layers, tensors, path, "not torchvision's AlexNet state dict (alexnet-owt-7be5be79.pth)")


ALEXNET = Network(
    alexnet, ("activation", "weights"), channels=(1, 3), feature_layer=f"{DENSE_PART}dense_3", batch_normalised=False
)
ALEXNET_ANTIALIASED = replace(ALEXNET, build=partial(alexnet, antialiased=True))
