"""Pictures of images for people: channels as colours with stretched contrast, and contact sheets."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from hpa.data.images import read_image, write_image
from hpa.data.intensity import measure
from hpa.errors import BadInput
from hpa.tasks import Task

PERCENTILES = (0.2, 99.8)  # the pixels of a channel that become black and white
LEAST_SPAN = 4  # levels between them
NUCLEI = ("blue", "dapi", "hoechst", "nucleus", "nuclei", "dna")  # channels by these names show nuclei
# What a channel is painted in if the task does not say.
COLOURS = dict.fromkeys(NUCLEI, "#0000ff") | {
    "red": "#ff0000", "green": "#00ff00", "yellow": "#b0b000", "magenta": "#ff00ff", "cyan": "#00ffff", "gfp": "#00ff00",
    "fitc": "#00ff00", "rfp": "#ff0000", "mcherry": "#ff0000", "texasred": "#ff0000", "cy3": "#ff0000", "cy5": "#ff00ff",
}  # fmt: skip
WHITE, PALETTE = "#ffffff", ("#00ff00", "#ff0000", "#0000ff", "#ffff00", "#ff00ff", "#00ffff")


def colours(task: Task) -> list[str]:
    """Return the colour of each channel as `#rrggbb`: the task's own, else by the channel's name; a single one is white."""
    if task.colours:
        return list(task.colours)
    if len(task.channels) == 1:
        return [WHITE]
    free = iter([each for each in PALETTE if each not in [COLOURS.get(name.lower()) for name in task.channels]] * 99)
    return [COLOURS.get(name.lower()) or next(free, WHITE) for name in task.channels]


def for_people(images: np.ndarray, reference: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Return RGB pictures, uint8 [..., H, W, 3], of images uint8 [..., H, W, C] with the contrast of each channel stretched.

    The contrast is that of `stretched`, the colours are as for `as_colour`.
    """
    return as_colour(stretched(images, reference), colours)


def pictures_of(files: Sequence[Sequence[Path]], task: Task, side: int) -> np.ndarray:
    """Return RGB pictures of some samples of a task, by their files, uint8 [n, side, side, 3].

    Raises:
        BadInput: naming every file that cannot be used.
    """
    ranges = measure("images", files, task)
    images = [read_image(each, task, side, ranges) for each in files]
    return np.stack([for_people(image, image, colours(task)) for image in images])


def stretched(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return images uint8 [..., H, W, C] with the contrast of each channel stretched.

    Black and white are percentiles of the channel in the `reference`, uint8 [H, W, C]. A channel that spans only a few
    levels there is even or noise, and is not stretched.
    """
    low, high = np.percentile(reference, PERCENTILES, axis=(0, 1))
    low, high = np.where(high - low < LEAST_SPAN, [[0], [255]], [low, high])
    return np.round(255 * np.clip((images - low) / (high - low), 0, 1)).astype(np.uint8)


def as_colour(images: np.ndarray, colours: Sequence[str]) -> np.ndarray:
    """Return RGB pictures, uint8 [..., H, W, 3], of images uint8 [..., H, W, C]: the sum of its coloured channels.

    The colours are `#rrggbb`, one for each channel, such as those of `colours`.
    """
    paints = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.float32) / 255
    return np.clip(images.astype(np.float32) @ paints, 0, 255).astype(np.uint8)


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
