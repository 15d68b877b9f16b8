"""GapNet: three blocks of batch normalisation, convolution and max pooling, each pooled globally on its way out.

The table of layers is the report's; it goes back to the kernel "GapNet-PL" (M. Haltuf, 2018). Layers from the concatenated
features on carry the prefix `dense_part_`: the fine-tuning stages train one part and freeze the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Variant:
    """One setting of GapNet.

    Attributes:
        kernel: side of every convolution's kernel in pixels.
        filters: filters of the convolutions in the three blocks.
        dropout: rates after each convolutional block, after the first and after the second dense layer.
    """

    kernel: int
    filters: tuple[int, int, int]
    dropout: tuple[float, float, float]

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


def gapnet(size: int, channels: int, classes: int, output: str, variant: int, activation: str = "relu") -> keras.Model:
    """Return the report's network.

    Args:
        size: side of the square images in pixels.
        channels: channels of the images.
        classes: number of outputs.
        output: `"sigmoid"` (the report's) or `"softmax"`.
        variant: index into `VARIANTS`.
        activation: any of Keras' activations by name; the report's is "relu".

    Returns:
        An uncompiled model from uint8 images [B, size, size, channels] to probabilities float32 [B, classes].
    """
    from keras import layers

    images, blocks, _ = _blocks(VARIANTS[variant], size, channels, activation)
    pooled = [layers.GlobalAveragePooling2D()(block) for block in blocks]
    return _with_head(images, pooled, VARIANTS[variant], classes, output, activation, "gapnet")


def gapnet_fcn(size: int, channels: int, classes: int, output: str, variant: int, activation: str = "relu") -> keras.Model:
    """Return GapNet with a skip connection in the manner of fully convolutional networks.

    The deepest map is brought to the channels of the second block by a 1x1 convolution, upsampled, and added to that
    block's map from before its pooling; the sum is pooled globally as a fourth set of features. Where a pattern lies
    (the earlier map) and what it is (the deep one) meet before the positions are averaged away (Long, Shelhamer and
    Darrell, CVPR 2015). Arguments and result as for `gapnet`.
    """
    from keras import layers

    images, blocks, before_pooling = _blocks(VARIANTS[variant], size, channels, activation)
    deep = layers.Conv2D(before_pooling.shape[-1], 1, activation=activation)(blocks[-1])
    deep = layers.Resizing(*before_pooling.shape[1:3], interpolation="bilinear")(deep)
    added = layers.Add()([before_pooling, deep])
    pooled = [layers.GlobalAveragePooling2D()(block) for block in (*blocks, added)]
    return _with_head(images, pooled, VARIANTS[variant], classes, output, activation, "gapnet_fcn")


def _blocks(
    variant: Variant, size: int, channels: int, activation: str
) -> tuple[keras.KerasTensor, tuple[keras.KerasTensor, ...], keras.KerasTensor]:
    """Return the input, the map after each block's dropout, and the second block's map before pooling."""
    from keras import layers

    from hpa.models.normalization import BatchNormalization

    first, second, third = variant.filters
    rate = variant.dropout[0]

    def convolution(x: keras.KerasTensor, filters: int, strides: int = 1) -> keras.KerasTensor:
        x = BatchNormalization()(x)
        return layers.Conv2D(filters, variant.kernel, strides, activation=activation)(x)

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
    block_3 = layers.Dropout(rate)(x)
    return images, (block_1, block_2, block_3), before_pooling


def _with_head(
    images: keras.KerasTensor,
    pooled: list[keras.KerasTensor],
    variant: Variant,
    classes: int,
    output: str,
    activation: str,
    name: str,
) -> keras.Model:
    import keras
    from keras import layers

    _, rate_1, rate_2 = variant.dropout
    x = layers.Concatenate(name=f"{DENSE_PART}features")(pooled)
    x = layers.BatchNormalization(name=f"{DENSE_PART}batch_normalization_1")(x)
    x = layers.Dense(256, activation=activation, name=f"{DENSE_PART}dense_1")(x)
    x = layers.Dropout(rate_1, name=f"{DENSE_PART}dropout_1")(x)
    x = layers.BatchNormalization(name=f"{DENSE_PART}batch_normalization_2")(x)
    x = layers.Dense(256, activation=activation, name=f"{DENSE_PART}dense_2")(x)
    x = layers.Dropout(rate_2, name=f"{DENSE_PART}dropout_2")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense_3")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name=name)


_VARIANT_SIZES = tuple(variant.smallest_size for variant in VARIANTS)
GAPNET = Network(gapnet, ("variant", "activation"), variant_sizes=_VARIANT_SIZES)
GAPNET_FCN = Network(gapnet_fcn, ("variant", "activation"), variant_sizes=_VARIANT_SIZES)
