"""A stack of convolutions, of which the fourth has four parallel kernel sizes, for structures of different sizes.

The network is that of the Kaggle kernel "CNN 128x128x4, Keras from scratch" (M. Haltuf, 2018), where the report began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras


def parallel_kernels(size: int, channels: int, classes: int, output: str, activation: str = "relu") -> keras.Model:
    """Return the network with four parallel kernel sizes (1, 3, 5 and 7 pixels), uncompiled.

    See `hpa.registry.Network` for the arguments. The report's source had images of 128 pixels and "relu".
    """
    import keras
    from keras import layers

    from hpa.models.normalization import BatchNormalization

    def convolution(x: keras.KerasTensor, filters: int, kernel: int, padding: str = "valid") -> keras.KerasTensor:
        x = layers.Conv2D(filters, kernel, padding=padding, activation=activation)(x)
        return BatchNormalization()(x)

    def pooled(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Dropout(0.25)(layers.MaxPooling2D()(x))

    images = layers.Input((size, size, channels), dtype="uint8")
    x = BatchNormalization()(layers.Rescaling(1 / 255)(images))
    for filters in (8, 8, 16):
        x = convolution(x, filters, 3)
    x = pooled(x)
    x = layers.Concatenate()([convolution(x, 16, kernel, padding="same") for kernel in (1, 3, 5, 7)])
    x = pooled(x)
    for filters in (32, 64, 128):
        x = pooled(convolution(x, filters, 3))

    x = layers.Flatten(name=f"{DENSE_PART}features")(x)
    x = layers.Dense(256, activation=activation, name=f"{DENSE_PART}dense_1")(x)
    x = layers.Dropout(0.5, name=f"{DENSE_PART}dropout_1")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense_2")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name="parallel_kernels")


PARALLEL_KERNELS = Network(parallel_kernels, ("activation",), smallest_size=94, feature_layer=f"{DENSE_PART}dense_1")
