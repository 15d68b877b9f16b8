"""CellNet: a small residual network for images of single cells, trained from new weights.

Residual blocks (He et al., CVPR 2016) with squeeze-and-excitation (Hu et al., CVPR 2018), and GapNet's idea on top: every
stage is pooled globally on its way out, so that fine texture and coarse shape reach the classifier alike. The first layer
brings each image to mean 0 and deviation 1, since brightness and contrast belong to the specimen rather than to the class.
"""

import keras
from keras import layers

from hpa.models.gapnet import DENSE_PART
from hpa.models.normalization import BatchNormalization
from hpa.models.variants import Topology

# Keras' 0.99 follows the activations too slowly for runs of a few thousand steps.
BATCH_MOMENTUM = 0.97


def cellnet(
    channels: int,
    classes: int,
    output: str,
    topology: Topology,
    activation: str,
) -> keras.Model:
    """Return the network.

    Args:
        channels: channels of the images.
        classes: number of outputs.
        output: `"softmax"` or `"sigmoid"`.
        topology: its stages.
        activation: any of Keras' activations by name.

    Returns:
        An uncompiled model from uint8 images [B, S, S, channels], of any side S, to probabilities float32 [B, classes].
    """

    def convolution(x, count: int, side: int, strides: int = 1):
        x = layers.Conv2D(count, side, strides, padding="same", use_bias=False)(x)
        return BatchNormalization(momentum=BATCH_MOMENTUM)(x)

    def residual(x, count: int, strides: int):
        y = layers.Activation(activation)(convolution(x, count, topology.kernel, strides))
        y = convolution(y, count, topology.kernel)
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
    x = layers.Activation(activation)(convolution(x, max(topology.filters[0] // 2, 1), topology.kernel))
    stages = []
    for count, repeats in zip(topology.filters, topology.blocks, strict=True):
        for repeat in range(repeats):
            x = residual(x, count, strides=1 if repeat else 2)
        stages.append(x)
    pooled = [*(layers.GlobalAveragePooling2D()(stage) for stage in stages), layers.GlobalMaxPooling2D()(x)]
    x = layers.Concatenate(name=f"{DENSE_PART}features")(pooled)
    x = layers.Dropout(topology.dropout, name=f"{DENSE_PART}dropout")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name="cellnet")
