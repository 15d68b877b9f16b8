"""Pictures of images for people: channels as colours with stretched contrast, and contact sheets."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from hpa.data.images import write_image
from hpa.errors import BadInput

PERCENTILES = (0.2, 99.8)  # the pixels of a channel that become black and white
LEAST_SPAN = 4  # levels between them


def for_people(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return RGB pictures, uint8 [..., H, W, 3], of images uint8 [..., H, W, C] with the contrast of each channel stretched.

    The contrast is that of `stretched`.
    """
    return as_colour(stretched(images, reference))


def stretched(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return images uint8 [..., H, W, C] with the contrast of each channel stretched.

    Black and white are percentiles of the channel in the `reference`, uint8 [H, W, C]. A channel that spans only a few
    levels there is even or noise, and is not stretched.
    """
    low, high = np.percentile(reference, PERCENTILES, axis=(0, 1))
    low, high = np.where(high - low < LEAST_SPAN, [[0], [255]], [low, high])
    return np.round(255 * np.clip((images - low) / (high - low), 0, 1)).astype(np.uint8)


def as_colour(images: np.ndarray) -> np.ndarray:
    """Return RGB pictures, uint8 [..., H, W, 3], of images uint8 [..., H, W, C].

    A single channel is grey; else the first three are red, green and blue, a fourth is yellow, and more are not shown.
    """
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    paints = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 0]], np.float32)[: images.shape[-1]] / 255
    return np.clip(images[..., :4].astype(np.float32) @ paints, 0, 255).astype(np.uint8)


def write_sheet(path: Path, tiles: Iterable[np.ndarray], columns: int) -> None:
    """Write a contact sheet of so many `columns`; its tiles are drawn after `path` is found to be a picture's name.

    The tiles are images of one height in each row, uint8 [H, W] or RGB [H, W, 3], and fill their rows.
    """
    if not cv2.haveImageWriter(str(path)):
        raise BadInput(f"{path}: not a picture's name; let it end in .png")
    drawn = list(tiles)
    write_image(path, np.vstack([np.hstack(drawn[first : first + columns]) for first in range(0, len(drawn), columns)]))


def captioned(caption: str, image: np.ndarray) -> np.ndarray:
    """Return a tile: an image, uint8 [S, S] or RGB [S, S, 3], in a dark frame with a caption above it."""
    size = len(image)
    bar = max(14, size // 12)
    tile = cv2.copyMakeBorder(image, bar, 2, 2, 2, cv2.BORDER_CONSTANT, value=(32, 32, 32))
    font, place = cv2.FONT_HERSHEY_SIMPLEX, (4, round(0.75 * bar))
    scales = [0.95**step * bar / 45 for step in range(60)]  # by trial, since widths go in steps
    scale = next((scale for scale in scales if cv2.getTextSize(caption, font, scale, 1)[0][0] <= size - 2), scales[-1])
    return cv2.putText(tile, caption, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
