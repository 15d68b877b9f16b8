"""Augmentation policies with imgaug: named ways to vary a uint8 image, channels moved alike."""

from collections.abc import Callable
from pathlib import Path

import imgaug.augmenters as iaa
import numpy as np

from hpa.data.images import write_image


def report() -> iaa.Augmenter:
    """Return the report's policy: flips, scale, translation, rotation, shear and a little noise.

    Ranges are those of the authors' script, with two departures. Its crops of up to 10 % are left to scale and translation,
    which do the same. Its noise of up to 0.05 of full scale is a quarter of that here: no pixel value is to be shifted,
    since the authors feared that this biases the data, but noise is cut off at 0, and on the dark ground of these images
    that adds brightness, 5 grey levels at 0.05 and about 1 here. A field of cells goes on beyond its edge, so what moves
    into view is a mirror image rather than black.
    """
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


POLICIES: dict[str, Callable[[], iaa.Augmenter]] = {"report": report, "none": iaa.Identity}


def augment(images: np.ndarray, items: np.ndarray, policy: str, seed: int, epoch: int) -> np.ndarray:
    """Return augmented copies of some images.

    How an item is varied depends on `seed`, `epoch` and its number alone, not on the batch or thread it comes in.

    Args:
        images: uint8 array [B, H, W, C].
        items: integer array [B], the items' numbers in the data set.
        policy: a name in `POLICIES`.
        seed: the run's seed.
        epoch: the epoch's number.

    Returns:
        uint8 array [B, H, W, C].
    """
    augmenter = POLICIES[policy]()
    augmented = np.empty_like(images)
    for place, (image, item) in enumerate(zip(images, items, strict=True)):
        augmenter.seed_(int(np.random.SeedSequence([seed, epoch, item]).generate_state(1)[0]))
        augmented[place] = augmenter.augment_image(image)
    return augmented


def write_picture(path: Path, image: np.ndarray, policy: str, seed: int) -> None:
    """Write a picture of one image augmented sixteen ways, four a row, with the image itself at the left.

    Args:
        path: the PNG file to write.
        image: uint8 array [S, S, C]. The first three channels are shown as red, green and blue, a fourth as yellow.
        policy: a name in `POLICIES`.
        seed: the seed of the variations.
    """
    varied = augment(np.repeat(image[np.newaxis], 16, axis=0), np.arange(16), policy, seed, epoch=0)
    side = image.shape[0]
    grid = as_colour(varied).reshape(4, 4, side, side, 3).swapaxes(1, 2).reshape(4 * side, 4 * side, 3)
    left = np.zeros((4 * side, side, 3), np.uint8)
    left[:side] = as_colour(image)
    write_image(path, np.hstack([left, grid]))


def as_colour(image: np.ndarray) -> np.ndarray:
    """Return an RGB picture, uint8 [..., H, W, 3], of images of up to four channels: red, green, blue and yellow."""
    paints = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 0]], np.float32) / 255
    return np.clip(image.astype(np.float32) @ paints[: image.shape[-1]], 0, 255).astype(np.uint8)
