"""Augmentations of a whole batch that mix its images, and their labels in the same shares.

Each draws what is painted over every image: boxes of other images of the batch. The pixels are painted here or, during the
training step, in `hpa.training.on_device`.
"""

from typing import Any

import numpy as np
from numpy.random import Generator

from hpa.registry import MIXINGS

# A box of the image number `partner` of the batch, from row `top` and column `left` to before `bottom` and `right`.
FIELDS = ("partner", "top", "left", "bottom", "right", "opacity")
LAYER = np.dtype([(name, "f8" if name == "opacity" else "i8") for name in FIELDS])


def none(generator: Generator, count: int, side: int) -> np.ndarray:
    """Paint nothing; arguments and result are those of `mix_up`."""
    return np.zeros((0, count), LAYER)


def mix_up(generator: Generator, count: int, side: int) -> np.ndarray:
    """Fade every image into another one of the batch (Zhang et al. 2018, "mixup: beyond empirical risk minimization").

    The share of the image itself is drawn from Beta(0.3, 0.3), one an image; most results are nearly one of the two.

    Args:
        generator: the source of all randomness.
        count: images in the batch.
        side: of the images, in pixels.

    Returns:
        Array [k, count] of `LAYER`: k boxes for each image, which do not overlap.
    """
    return np.stack([_layer(generator.permutation(count), 0, 0, side, side, 1 - generator.beta(0.3, 0.3, count))])


def cutmix(generator: Generator, count: int, side: int) -> np.ndarray:
    """Paste a box of another image of the batch into every image (Yun et al. 2019, "CutMix").

    The box has the image's shape, its area is 1 - lambda with lambda from Beta(1, 1), its centre lies anywhere, and what
    reaches beyond the image is cut off; labels go by the share of pixels that are left of it. Arguments and result are
    those of `mix_up`.
    """
    partners = generator.permutation(count)
    centers = generator.uniform(0, side, (count, 2))
    halves = side / 2 * np.sqrt(1 - generator.beta(1, 1, (count, 1)))
    starts, ends = (np.rint(edges).clip(0, side).astype(int) for edges in (centers - halves, centers + halves))
    return np.stack([_layer(partners, *starts.T, *ends.T)])


def mosaic(generator: Generator, count: int, side: int) -> np.ndarray:
    """Put every image together from four of the batch, one a quadrant (Bochkovskiy et al. 2020, "YOLOv4").

    The quadrants meet at a point between 0.2 and 0.8 of the side on both axes, and labels go by their areas. A quadrant
    shows what its image has at the same place, neither shrunk nor moved: cells are told apart by their grain, which another
    scale would change, and a cell in the middle of its image gives a part to each quadrant, so that a picture of single
    cells stays one of a cell. Arguments and result are those of `mix_up`.
    """
    above_right, below_left, below_right = (generator.permutation(count) for _ in range(3))
    y, x = np.rint(side * generator.uniform(0.2, 0.8, (count, 2))).astype(int).T
    boxes = [(above_right, 0, x, y, side), (below_left, y, 0, side, x), (below_right, y, x, side, side)]
    return np.stack([_layer(*box) for box in boxes])


def draw(mixing: str, generator: Generator, count: int, side: int) -> np.ndarray:
    """Draw a mixing by its name in `MIXINGS`, which with probability one half has no opacity; see `mix_up`."""
    mixed = generator.random() < 0.5
    layers = MIXINGS[mixing](generator, count, side)
    layers["opacity"] *= mixed
    return layers


def paint(images: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Return a batch, uint8 [B, S, S, C], with layers [k, B] painted over it; itself if they have no opacity."""
    if not layers["opacity"].any():
        return images
    import cv2

    mixed = aligned(images.shape)
    mixed[:] = images
    for layer in layers:
        for place, (partner, top, left, bottom, right, opacity) in enumerate(layer.tolist()):
            own, other = (images[each, top:bottom, left:right] for each in (place, partner))
            if opacity < 1 and own.size:
                other = cv2.addWeighted(own, 1 - opacity, other, opacity, 0).reshape(own.shape)
            mixed[place, top:bottom, left:right] = other
    return mixed


def weigh(targets: np.ndarray, layers: np.ndarray, side: int) -> np.ndarray:
    """Return the targets, float32 [B, classes], of images of a side with layers [k, B]: a mean by shares of their pixels."""
    areas = (layers["bottom"] - layers["top"]) * (layers["right"] - layers["left"])
    shares = layers["opacity"] * areas / side**2
    sources = np.stack([np.arange(len(targets)), *layers["partner"]])
    shares = np.stack([1 - shares.sum(axis=0), *shares])
    return (shares[..., np.newaxis] * targets[sources]).sum(axis=0).astype(np.float32)


def _layer(*values: Any) -> np.ndarray:
    """Return an array [B] of `LAYER`; without an opacity it is 1."""
    layer = np.zeros(len(values[0]), LAYER)
    for name, value in zip(FIELDS, (*values, 1.0), strict=False):
        layer[name] = value
    return layer


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an empty uint8 array at an address that TensorFlow takes without a copy, a multiple of 64."""
    size = int(np.prod(shape))
    room = np.empty(size + 63, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape)
