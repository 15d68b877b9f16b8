"""The augmentations: ways to vary a uint8 image, with the same movement of all its channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import SeedSequence

from hpa.registry import Augmentation, Vary

if TYPE_CHECKING:
    import imgaug.augmenters as iaa

GREY_LEVELS = np.arange(256) / 255


def report() -> iaa.Augmenter:
    """Return the first report's policy: flips, scale, translation, rotation, shear and a little noise.

    Ranges are those of the authors' script, with two departures. Its crops of up to 10 % are left to scale and translation,
    which do the same. Its noise of up to 0.05 of full scale is a quarter of that here: no pixel value is to be shifted,
    since the authors feared that this biases the data, but noise is cut off at 0, and on the dark ground of these images
    that adds brightness, 5 grey levels at 0.05 and about 1 here. A field of cells goes on beyond its edge, so what moves
    into view is a mirror image rather than black.
    """
    import imgaug.augmenters as iaa

    return iaa.Sequential(
        [
            iaa.Fliplr(0.5),
            iaa.Flipud(0.5),
            iaa.Affine(
                scale={"x": (0.8, 1.2), "y": (0.8, 1.2)},
                translate_percent={"x": (-0.2, 0.2), "y": (-0.2, 0.2)},
                rotate=(-180, 180),
                shear=(-8, 8),
                mode="reflect",
            ),
            iaa.AdditiveGaussianNoise(scale=(0, 0.0125 * 255), per_channel=0.5),
        ]
    )


def alexnet() -> iaa.Augmenter:
    """Return the second report's RandomAffine: its script turns by up to 5 degrees, and leaves the corners black."""
    import imgaug.augmenters as iaa

    return iaa.Affine(rotate=(-5, 5))


def cells(image: np.ndarray, sequence: SeedSequence) -> np.ndarray:
    """Turn, mirror, scale, shift and expose a single cell, which has no natural orientation.

    The angle is any, the scale 0.9 to 1.12, the shift up to 4 % of the side on either axis and gamma 0.8 to 1.25, darker as
    often as brighter. Cubic interpolation keeps the grain by which cells are told apart; linear would blur what is trained
    on and not what is predicted. One affine map for all channels at once and one table of grey levels, because this is what
    limits a small network's training on a few cores.
    """
    import cv2

    # `random`, because `uniform` with its ranges takes half as long as the map of a small image.
    turn, side, zoom, right, down, exposure = np.random.default_rng(sequence).random(6).tolist()
    height, width, channels = image.shape
    scale, mirror = 0.9 + 0.22 * zoom, 1 if side < 0.5 else -1
    cosine, sine = scale * math.cos(2 * math.pi * turn), scale * math.sin(2 * math.pi * turn)
    x, y = (width - 1) / 2, (height - 1) / 2  # the centre; OpenCV's coordinates are those of the middle of a pixel
    affine = np.array(
        [
            [mirror * cosine, -sine, x - mirror * cosine * x + sine * y + 0.08 * (right - 0.5) * width],
            [mirror * sine, cosine, y - mirror * sine * x - cosine * y + 0.08 * (down - 0.5) * height],
        ]
    )
    # OpenCV interpolates four channels at most by cubes, and with BORDER_REFLECT_101 never comes back from an image that is
    # one pixel high or wide.
    parts = (np.ascontiguousarray(image[..., first : first + 4]) for first in range(0, channels, 4))
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT
    moved = np.dstack([cv2.warpAffine(part, affine, (width, height), flags=flags, borderMode=border) for part in parts])
    exposed = np.rint(255 * GREY_LEVELS ** (1.25 ** (2 * exposure - 1))).astype(np.uint8)
    return cv2.LUT(moved, exposed).reshape(image.shape)  # OpenCV drops the axis of a single channel


def crop(image: np.ndarray, sequence: SeedSequence) -> np.ndarray:
    """Cut up to 10 % off each side and stretch the rest to the old size; imgaug's own crop fails under NumPy 2.4."""
    import cv2

    height, width, _ = image.shape
    top, bottom, left, right = np.random.default_rng(sequence).uniform(0, 0.1, 4)
    rest = image[int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)]
    return cv2.resize(rest, (width, height), interpolation=cv2.INTER_LINEAR).reshape(image.shape)


def _by_imgaug(build: Callable[[], iaa.Augmenter] | str, colours: bool = False, **arguments: object) -> Augmentation:
    """Return an augmentation by an imgaug augmenter: what `build` returns, or the class of that name."""

    def prepare() -> Vary:
        import imgaug.augmenters as iaa

        augmenter = getattr(iaa, build)(**arguments) if isinstance(build, str) else build()

        def vary(image: np.ndarray, sequence: SeedSequence) -> np.ndarray:
            augmenter.seed_(int(sequence.generate_state(1)[0]))
            return augmenter.augment_image(image)

        return vary

    return Augmentation(prepare, colours)


def flips() -> iaa.Augmenter:
    """Return a mirror image in half of the cases, and upside down in half of them."""
    import imgaug.augmenters as iaa

    return iaa.Sequential([iaa.Fliplr(0.5), iaa.Flipud(0.5)])


REPORT = _by_imgaug(report)
NONE = Augmentation(lambda: lambda image, _: image)
CELLS = Augmentation(lambda: cells)
ALEXNET = _by_imgaug(alexnet)
# The second report lists the others, one by one; it gives no ranges, these are mild.
CROP = Augmentation(lambda: crop)
ROTATION = _by_imgaug("Affine", rotate=(-180, 180), mode="reflect")
FLIP = _by_imgaug(flips)
HUE = _by_imgaug("AddToHue", colours=True, value=(-25, 25))  # 255 are once round, so up to 35 degrees
SATURATION = _by_imgaug("MultiplySaturation", colours=True, mul=(0.5, 1.5))
EXPOSURE = _by_imgaug("Multiply", mul=(0.7, 1.4))  # as a longer or shorter exposure does; black stays black
ASPECT = _by_imgaug("Affine", scale={"x": (0.8, 1.25)}, mode="reflect")
BLUR = _by_imgaug("GaussianBlur", sigma=(0, 2))
