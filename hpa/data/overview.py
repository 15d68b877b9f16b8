"""One picture of every augmentation."""

from pathlib import Path

import cv2
import numpy as np

from hpa.data.augment import augment, for_people, policies_for
from hpa.data.images import write_image
from hpa.data.mixing import MIXINGS
from hpa.errors import BadInput

VARIATIONS = 8
LABEL_WIDTH = 112
GAP = 2
GAP_GREY = 80


def write_overview(path: Path, images: np.ndarray, targets: np.ndarray, seed: int) -> None:
    """Write a picture with a row for every policy that the images' channels allow, and one for every mixing.

    A row has its name, the first image as it is, and eight variations of it; a mixing takes what it adds from the others.

    Args:
        path: the PNG file to write.
        images: uint8 array [n, S, S, C], shown as `hpa.data.augment.for_people` says.
        targets: float32 array [n, classes].
        seed: the seed of the variations.

    Raises:
        BadInput: if `path` has no suffix that OpenCV can write.
    """
    if not cv2.haveImageWriter(str(path)):
        raise BadInput(f"{path}: not a picture's name; let it end in .png")
    copies, items = np.repeat(images[:1], VARIATIONS, axis=0), np.arange(VARIATIONS)
    variations = {policy: augment(copies, items, policy, seed, epoch=0) for policy in policies_for(images.shape[-1])}
    for name, mixing in MIXINGS.items():
        generators = [np.random.default_rng([seed, item]) for item in items]
        variations[name] = np.stack([mixing(images, targets, generator)[0][0] for generator in generators])
    picture = np.vstack([_row(name, images[0], varied) for name, varied in variations.items()])
    write_image(path, picture[..., 0] if images.shape[-1] == 1 else picture)  # a grey file is half as large


def _row(name: str, image: np.ndarray, varied: np.ndarray) -> np.ndarray:
    side = len(image)
    label = np.zeros((side, LABEL_WIDTH, 3), np.uint8)
    cv2.putText(label, name, (6, side // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    tiles = for_people(np.stack([image, *varied]), image)
    below, right = ((0, GAP), (0, 0), (0, 0)), ((0, 0), (0, GAP), (0, 0))
    row = np.hstack([np.pad(tile, right, constant_values=GAP_GREY) for tile in (label[:, GAP:], *tiles)])
    return np.pad(row, below, constant_values=GAP_GREY)
