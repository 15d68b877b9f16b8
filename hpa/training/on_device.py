"""Augmentation in the training step: the packed images lie in the device's memory, and the host sends numbers alone.

Draws are those of the host (`hpa.data.augment`, `hpa.data.mixing`), the noise comes from the same pool, and the pictures are
the same but for the rounding of interpolation. All is made of `keras.ops` that XLA compiles with the network's step.
"""

from collections.abc import Iterator

import keras
import numpy as np
from keras import KerasTensor, ops

from hpa.data.augment import NOISE_LEVELS, NUMBERS, noise_pool
from hpa.data.feed import Feed
from hpa.data.mixing import FIELDS
from hpa.registry import AUGMENTATIONS, Warp


class OnDevice(keras.Model):
    """A network that makes its images from the numbers of `Feed.load` and from the pixels that it keeps.

    It is for training alone. Its `network` is what is validated and saved, and shares its weights and its optimizer.
    """

    def __init__(self, network: keras.Model, feed: Feed) -> None:
        """Take an uncompiled or compiled network, and what it learns from; the images are copied to the device."""
        super().__init__(name="on_device")
        self.network, self.warp = network, AUGMENTATIONS[feed.augmentation]
        _, side, _, channels = feed.images.shape
        pools = np.concatenate([noise_pool(side * side, channels, grey) for grey in (False, True)])
        # Variables, since JAX copies other arrays into the compiled step.
        self.pixels, self.pool = (
            keras.Variable(array, dtype="uint8", trainable=False) for array in (feed.images[feed.kept], pools)
        )

    def call(self, numbers: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Return the network's outputs, float [B, classes], for images in numbers, float32 [B, columns]."""
        return self.network(self.images(numbers), training=training)

    def images(self, numbers: KerasTensor) -> KerasTensor:
        """Return the images, uint8 [B, S, S, C], that `Feed.load` would return on the host."""
        side = self.pixels.shape[1]
        images = ops.take(self.pixels, ops.cast(numbers[:, 0], "int32"), axis=0)
        if isinstance(self.warp, Warp):
            gamma, deviation, grey, start = (numbers[:, place, None, None] for place in range(7, NUMBERS))
            images = moved(images, numbers[:, 1:7], self.warp.border, self.warp.cubic)
            images = ops.round(255 * ops.power(images / 255, gamma[..., None]))
            first = ops.cast(start, "int32") + ops.cast(grey, "int32") * (self.pool.shape[0] // 2)
            noise = ops.take(self.pool, first + ops.reshape(ops.arange(side * side), (side, side)), axis=0)
            images += (ops.cast(noise, "float32") - 128) * deviation[..., None] / NOISE_LEVELS
            images = ops.clip(ops.round(images), 0, 255)
        layers = [numbers[:, first : first + len(FIELDS)] for first in range(NUMBERS, numbers.shape[1], len(FIELDS))]
        if layers:
            images = ops.round(painted(ops.cast(images, "float32"), layers))
        return ops.cast(images, "uint8")


def moved(images: KerasTensor, maps: KerasTensor, border: str, cubic: bool) -> KerasTensor:
    """Return images uint8 [B, S, S, C] as an affine map of each moves them: whole numbers, float32 [B, S, S, C].

    Maps, float32 [B, 6], lead from points of the result to those of the image. Borders are those of `Warp`.
    """
    _, side, _, channels = images.shape
    x = ops.arange(side, dtype="float32")
    by_row = ops.reshape(maps, (-1, 2, 3, 1, 1))
    u, v = (by_row[:, axis, 0] * x + by_row[:, axis, 1] * x[:, None] + by_row[:, axis, 2] for axis in range(2))
    pixels = ops.reshape(images, (-1, channels))
    first = side * side * ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None]
    total = 0.0
    for row, share in _taps(v, side, border, cubic):
        for column, part in _taps(u, side, border, cubic):
            values = ops.take(pixels, first + row * side + column, axis=0)
            total += (share * part)[..., None] * ops.cast(values, "float32")
    return ops.clip(ops.round(total), 0, 255)


def _taps(places: KerasTensor, side: int, border: str, cubic: bool) -> Iterator[tuple[KerasTensor, KerasTensor]]:
    """Yield the pixels, integers of the shape of `places`, that a place on one axis lies between, and their shares."""
    floor = ops.floor(places)
    rest = places - floor
    for step in range(-1, 3) if cubic else range(2):
        distance = ops.abs(rest - step)
        share = 1 - distance
        if cubic:  # Keys 1981 with the -0.75 of OpenCV
            near = (1.25 * distance - 2.25) * distance**2 + 1
            far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
            share = ops.where(distance < 1, near, far)
        index = ops.cast(floor, "int32") + step
        if border == "constant":
            share *= ops.cast((index >= 0) & (index < side), "float32")
            index = ops.clip(index, 0, side - 1)
        edge = int(border == "reflect" and side > 1)  # then the outermost pixel comes once
        index = ops.mod(index, 2 * (side - edge))
        yield ops.where(index < side, index, 2 * side - 1 - edge - index), share


def painted(images: KerasTensor, layers: list[KerasTensor]) -> KerasTensor:
    """Return images, float32 [B, S, S, C], with layers painted over them: the `FIELDS`, float32 [B, 6], of each."""
    place, mixed = ops.arange(images.shape[1], dtype="float32"), images
    for layer in layers:
        top, left, bottom, right, opacity = (layer[:, field, None, None] for field in range(1, len(FIELDS)))
        rows, columns = place[:, None], place
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        share = (opacity * ops.cast(inside, "float32"))[..., None]
        mixed = (1 - share) * mixed + share * ops.take(images, ops.cast(layer[:, 0], "int32"), axis=0)
    return mixed
