"""Pictures of what augmentations do to an image."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hpa.data.augment import augment, policies_for
from hpa.data.pictures import for_people, write_sheet
from hpa.registry import MIXINGS

VARIATIONS = 8
LABEL_WIDTH = 112
GAP = 2
GAP_GREY = 80


def write_overview(path: Path, images: np.ndarray, targets: np.ndarray, seed: int) -> None:
    """Write a picture with a row for every policy that the images' channels allow, and one for every mixing.

    A row has its name, the first image as it is, and eight variations of it; a mixing takes what it adds from the others.

    Args:
        path: the PNG file to write.
        images: uint8 array [n, S, S, C], shown as `for_people` says.
        targets: float32 array [n, classes].
        seed: the seed of the variations.

    Raises:
        BadInput: if `path` has no suffix that OpenCV can write.
    """
    items = np.arange(VARIATIONS)

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for policy in policies_for(images.shape[-1]):
            yield policy, augment(np.repeat(images[:1], VARIATIONS, axis=0), items, policy, seed, epoch=0)
        for name, mixing in MIXINGS.items():
            if name != "none":  # which is an augmentation too
                generators = [np.random.default_rng([seed, item]) for item in range(VARIATIONS)]
                yield name, np.stack([mixing(images, targets, generator)[0][0] for generator in generators])

    tiles = (
        np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=GAP_GREY)
        for name, varied in rows()
        for tile in (_label(name, len(images[0])), *for_people(np.stack([images[0], *varied]), images[0]))
    )
    one_channel = images.shape[-1] == 1  # then a grey file, half as large
    write_sheet(path, (tile[..., 0] if one_channel else tile for tile in tiles), columns=2 + VARIATIONS)


def write_picture(path: Path, image: np.ndarray, policy: str, seed: int) -> None:
    """Write a picture of one image augmented sixteen ways, four a row, with the image itself at the left.

    Args:
        path: the PNG file to write.
        image: uint8 array [S, S, C], shown as `for_people` says.
        policy: a name in `AUGMENTATIONS`.
        seed: the seed of the variations.
    """
    varied = for_people(augment(np.repeat(image[np.newaxis], 16, axis=0), np.arange(16), policy, seed, epoch=0), image)
    left = [for_people(image, image), *[np.zeros_like(varied[0])] * 3]
    write_sheet(path, (tile for row in range(4) for tile in (left[row], *varied[4 * row :][:4])), columns=5)


def _label(name: str, height: int) -> np.ndarray:
    label = np.zeros((height, LABEL_WIDTH - GAP, 3), np.uint8)
    place = (6 - GAP, height // 2 + 5)
    return cv2.putText(label, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
