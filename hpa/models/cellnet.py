"""CellNet: a small residual network for images of single cells, trained from new weights.

Residual blocks (He et al., CVPR 2016) with squeeze-and-excitation (Hu et al., CVPR 2018), and GapNet's idea on top: every
stage is pooled globally on its way out, so that fine texture and coarse shape reach the classifier alike. The first layer
brings each image to mean 0 and deviation 1, since brightness and contrast belong to the specimen rather than to the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras

# Keras' 0.99 follows the activations too slowly for runs of a few thousand steps.
BATCH_MOMENTUM = 0.97


def cellnet(
    size: int,
    channels: int,
    classes: int,
    output: str,
    filters: Sequence[int],
    blocks: Sequence[int],
    kernel: int,
    dropout: float,
    activation: str = "relu",
) -> keras.Model:
    """Return the network, uncompiled; see `hpa.registry.Network` for the arguments.

    It takes images of any side, whatever `size` says. Each stage has some `filters` and residual `blocks`, and half the side
    of the one before, the first half the image's. `kernel` is the side of every convolution in pixels, `dropout` the rate on
    the pooled features.
    """
    import keras
    from keras import layers

    from hpa.models.normalization import BatchNormalization

    def convolution(x: keras.KerasTensor, count: int, side: int, strides: int = 1) -> keras.KerasTensor:
        x = layers.Conv2D(count, side, strides, padding="same", use_bias=False)(x)
        return BatchNormalization(momentum=BATCH_MOMENTUM)(x)

    def residual(x: keras.KerasTensor, count: int, strides: int) -> keras.KerasTensor:
        y = layers.Activation(activation)(convolution(x, count, kernel, strides))
        y = convolution(y, count, kernel)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(max(count // 4, 1), 1, activation=activation)(gate)
        y = layers.Multiply()([y, layers.Conv2D(count, 1, activation="sigmoid")(gate)])
        if strides > 1:
            x = layers.AveragePooling2D(strides, padding="same")(x)
        if x.shape[-1] != count:
            x = convolution(x, count, 1)
        return layers.Activation(activation)(layers.Add()([x, y]))

    images = layers.Input((None, None, channels), dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.LayerNormalization(axis=(1, 2, 3), epsilon=1e-6, center=False, scale=False)(x)
    x = layers.Activation(activation)(convolution(x, max(filters[0] // 2, 1), kernel))
    stages = []
    for count, repeats in zip(filters, blocks, strict=True):
        for repeat in range(repeats):
            x = residual(x, count, strides=1 if repeat else 2)
        stages.append(x)
    pooled = [*(layers.GlobalAveragePooling2D()(stage) for stage in stages), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate(name=f"{DENSE_PART}features")(pooled)
    x = layers.Dropout(dropout, name=f"{DENSE_PART}dropout")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name="cellnet")


CELLNET = Network(cellnet, ("filters", "blocks", "kernel", "dropout", "activation"), smallest_size=8, any_size=True)
