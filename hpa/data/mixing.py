"""Augmentations of a whole batch that mix its images, and their labels in the same shares."""

import numpy as np
from numpy.random import Generator

from hpa.registry import MIXINGS

Batch = tuple[np.ndarray, np.ndarray]


def none(images: np.ndarray, targets: np.ndarray, generator: Generator) -> Batch:
    """Return the batch."""
    return images, targets


def mix_up(images: np.ndarray, targets: np.ndarray, generator: Generator) -> Batch:
    """Fade every image into another one of the batch (Zhang et al. 2018, "mixup: beyond empirical risk minimization").

    The share of the image itself is drawn from Beta(0.3, 0.3), one an image; most results are nearly one of the two.

    Args:
        images: uint8 array [B, S, S, C].
        targets: float32 array [B, classes].
        generator: the source of all randomness.

    Returns:
        New arrays of the same shapes and types: each image, and its targets, a convex mixture of two of the batch.
    """
    import cv2

    partners = generator.permutation(len(images))
    shares = generator.beta(0.3, 0.3, len(images))
    mixed = aligned(images.shape)
    for place, (partner, share) in enumerate(zip(partners, shares, strict=True)):
        cv2.addWeighted(images[place], share, images[partner], 1 - share, 0, dst=mixed[place])
    return mixed, _weighted(targets, np.stack([np.arange(len(images)), partners]), np.stack([shares, 1 - shares]))


def cutmix(images: np.ndarray, targets: np.ndarray, generator: Generator) -> Batch:
    """Paste a box of another image of the batch into every image (Yun et al. 2019, "CutMix").

    The box has the image's shape, its area is 1 - lambda with lambda from Beta(1, 1), its centre lies anywhere, and what
    reaches beyond the image is cut off; labels go by the share of pixels that are left of it. Arguments and results are
    those of `mix_up`.
    """
    count, side = images.shape[:2]
    partners = generator.permutation(count)
    centers = generator.uniform(0, side, (count, 2))
    halves = side / 2 * np.sqrt(1 - generator.beta(1, 1, (count, 1)))
    starts, ends = (np.rint(edges).clip(0, side).astype(int) for edges in (centers - halves, centers + halves))
    mixed = aligned(images.shape)
    mixed[:] = images
    for place, (partner, (top, left), (bottom, right)) in enumerate(zip(partners, starts, ends, strict=True)):
        mixed[place, top:bottom, left:right] = images[partner, top:bottom, left:right]
    shares = (ends - starts).prod(axis=1) / side**2
    return mixed, _weighted(targets, np.stack([np.arange(count), partners]), np.stack([1 - shares, shares]))


def mosaic(images: np.ndarray, targets: np.ndarray, generator: Generator) -> Batch:
    """Put every image together from four of the batch, one a quadrant (Bochkovskiy et al. 2020, "YOLOv4").

    The quadrants meet at a point between 0.2 and 0.8 of the side on both axes, and labels go by their areas. A quadrant
    shows what its image has at the same place, neither shrunk nor moved: cells are told apart by their grain, which another
    scale would change, and a cell in the middle of its image gives a part to each quadrant, so that a picture of single
    cells stays one of a cell. Arguments and results are those of `mix_up`.
    """
    count, side = images.shape[:2]
    sources = np.stack([np.arange(count), *(generator.permutation(count) for _ in range(3))])
    middles = np.rint(side * generator.uniform(0.2, 0.8, (count, 2))).astype(int)
    mixed = aligned(images.shape)
    mixed[:] = images
    for place, ((_, above_right, below_left, below_right), (y, x)) in enumerate(zip(sources.T, middles, strict=True)):
        mixed[place, :y, x:] = images[above_right, :y, x:]
        mixed[place, y:, :x] = images[below_left, y:, :x]
        mixed[place, y:, x:] = images[below_right, y:, x:]
    above, left = middles.T / side
    shares = np.stack([above * left, above * (1 - left), (1 - above) * left, (1 - above) * (1 - left)])
    return mixed, _weighted(targets, sources, shares)


def mix(images: np.ndarray, targets: np.ndarray, mixing: str, generator: Generator) -> Batch:
    """Mix a batch by a name in `MIXINGS`, or with probability one half return it unchanged."""
    return MIXINGS[mixing](images, targets, generator) if generator.random() < 0.5 else (images, targets)


def _weighted(targets: np.ndarray, sources: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the sum of the targets of each image's sources, integers [k, B], by their shares [k, B], as float32."""
    return (shares[..., np.newaxis] * targets[sources]).sum(axis=0).astype(np.float32)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return an empty uint8 array at an address that TensorFlow takes without a copy, a multiple of 64."""
    size = int(np.prod(shape))
    room = np.empty(size + 63, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].reshape(shape)
