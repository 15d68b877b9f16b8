"""GapNet: three blocks of batch normalisation, convolution and max pooling, each pooled globally on its way out.

The table of layers is the report's; it goes back to the kernel "GapNet-PL" (M. Haltuf, 2018). Layers from the concatenated
features on carry the prefix `dense_part_`: the fine-tuning stages train one part and freeze the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Variant:
    """One setting of GapNet."""

    kernel: int  # side of every convolution's kernel in pixels
    filters: tuple[int, int, int]  # of the convolutions in the three blocks
    dropout: tuple[float, float, float]  # after each convolutional block, after the first and after the second dense layer

    @property
    def smallest_size(self) -> int:
        """The smallest image side in pixels that leaves at least one pixel after the last convolution."""
        side = 1 + 3 * (self.kernel - 1)  # block 3
        side = side * 2 + 2 * (self.kernel - 1)  # block 2: pooling and the two convolutions before it
        side = (side - 1) * 2 + self.kernel  # block 2: its first convolution has stride 2
        return side * 2 + self.kernel - 1  # block 1


# 0 to 5 are the report's. Its 6 and 7 repeat 0 with another seed; here they are two settings that it leaves out: 4x4
# kernels with the light dropout of 0, and 3x3 kernels with less dropout among the convolutions than any other.
VARIANTS = (
    Variant(3, (32, 64, 128), (0.25, 0.25, 0.10)),
    Variant(5, (16, 32, 64), (0.25, 0.50, 0.50)),
    Variant(2, (32, 64, 128), (0.25, 0.50, 0.50)),
    Variant(2, (32, 64, 128), (0.25, 0.50, 0.25)),
    Variant(3, (32, 64, 128), (0.25, 0.50, 0.25)),
    Variant(4, (24, 48, 96), (0.25, 0.50, 0.25)),
    Variant(4, (24, 48, 96), (0.25, 0.25, 0.10)),
    Variant(3, (32, 64, 128), (0.10, 0.25, 0.10)),
)


def gapnet(
    size: int, channels: int, classes: int, output: str, variant: int, activation: str = "relu", skip: bool = False
) -> keras.Model:
    """Return the report's network, uncompiled; see `hpa.registry.Network` for the arguments. `variant` counts `VARIANTS`.

    With a `skip` connection, as in fully convolutional networks (Long, Shelhamer and Darrell, CVPR 2015), a 1x1 convolution
    gives the deepest map the channels of the second block. The map is upsampled and added to that block's map before its
    pooling, and the sum is pooled globally as a fourth set of features. So it combines what a pattern is with where it is.
    """
    import keras
    from keras import layers

    from hpa.models.normalization import BatchNormalization

    kernel, (first, second, third) = VARIANTS[variant].kernel, VARIANTS[variant].filters
    rate, rate_1, rate_2 = VARIANTS[variant].dropout

    def convolution(x: keras.KerasTensor, filters: int, strides: int = 1) -> keras.KerasTensor:
        x = BatchNormalization()(x)
        return layers.Conv2D(filters, kernel, strides, activation=activation)(x)

    images = layers.Input((size, size, channels), dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = convolution(x, first)
    x = BatchNormalization()(x)
    x = block_1 = layers.Dropout(rate)(layers.MaxPooling2D()(x))

    x = convolution(x, second, strides=2)
    x = convolution(x, second)
    x = convolution(x, second)
    x = before_pooling = BatchNormalization()(x)
    x = block_2 = layers.Dropout(rate)(layers.MaxPooling2D()(x))

    for _ in range(3):
        x = convolution(x, third)
    blocks = [block_1, block_2, layers.Dropout(rate)(x)]

    if skip:
        deep = layers.Conv2D(second, 1, activation=activation)(blocks[-1])
        deep = layers.Resizing(*before_pooling.shape[1:3], interpolation="bilinear")(deep)
        blocks.append(layers.Add()([before_pooling, deep]))
    x = layers.Concatenate(name=f"{DENSE_PART}features")([layers.GlobalAveragePooling2D()(block) for block in blocks])
    for number, dropout in ((1, rate_1), (2, rate_2)):
        x = layers.BatchNormalization(name=f"{DENSE_PART}batch_normalization_{number}")(x)
        x = layers.Dense(256, activation=activation, name=f"{DENSE_PART}dense_{number}")(x)
        x = layers.Dropout(dropout, name=f"{DENSE_PART}dropout_{number}")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense_3")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name="gapnet_fcn" if skip else "gapnet")


_VARIANT_SIZES = tuple(variant.smallest_size for variant in VARIANTS)
GAPNET = Network(gapnet, ("variant", "activation"), variant_sizes=_VARIANT_SIZES)
GAPNET_FCN = Network(partial(gapnet, skip=True), ("variant", "activation"), variant_sizes=_VARIANT_SIZES)
