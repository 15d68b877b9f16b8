"""Pictures of what augmentations do to an image."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from hpa.data.augment import augment, policies_for
from hpa.data.images import read_image
from hpa.data.intensity import Ranges, measure
from hpa.data.layout import find_files
from hpa.data.mixing import paint
from hpa.data.pictures import WHITE, colours, for_people, write_sheet
from hpa.data.tables import SampleTable, read_labelled
from hpa.registry import AUGMENTATIONS, MIXINGS
from hpa.resources import require_picture
from hpa.tasks import Task

VARIATIONS = 8
LABEL_WIDTH = 112
GAP = 2
GAP_GREY = 80
OVERVIEW_BYTES = 700, 170  # of memory for a pixel, as measured: for the picture, and for each channel
PICTURE_BYTES = 60, 120


def write_overview_of(path: Path, data: Path, task: Task, size: int, seed: int) -> str:
    """Do `write_overview` for the first training sample, `size` pixels wide, and return what is shown, for people.

    What it is mixed with comes from all over the training table. Raises BadInput if a table or an image cannot be used, or
    the picture would be too large for the memory.
    """
    samples, images = _read(data, task, size, OVERVIEW_BYTES, VARIATIONS)
    write_overview(path, images, seed, colours(task))
    text = f"{path}: sample {samples.ids[0]} and {VARIATIONS} variations of it by each augmentation"
    channels = images.shape[-1]
    if missing := AUGMENTATIONS.keys() - policies_for(channels):
        text += f"\nleft out: {', '.join(sorted(missing))}; they need three colour channels, this task has {channels}"
    return text


def write_overview(path: Path, images: np.ndarray, seed: int, colours: Sequence[str]) -> None:
    """Write a picture with a row for every policy that the images' channels allow, and one for every mixing.

    A row has its name, the first image, and eight variations of it; a mixing adds parts of the others. Images are uint8
    [n, S, S, C], shown as `for_people` says in the colours of the channels.
    """
    items = np.arange(VARIATIONS)

    def rows() -> Iterator[tuple[str, np.ndarray]]:
        for policy in policies_for(images.shape[-1]):
            yield policy, augment(np.repeat(images[:1], VARIATIONS, axis=0), items, policy, seed, epoch=0)
        for name, mixing in MIXINGS.items():
            if name != "none":  # which is an augmentation too
                generators = [np.random.default_rng([seed, item]) for item in range(VARIATIONS)]
                layers = [mixing(generator, *images.shape[:2]) for generator in generators]
                yield name, np.stack([paint(images, each)[0] for each in layers])

    tiles = (
        np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=GAP_GREY)
        for name, varied in rows()
        for tile in (_label(name, len(images[0])), *for_people(np.stack([images[0], *varied]), images[0], colours))
    )
    grey = set(colours) == {WHITE}  # then a grey file, half as large
    write_sheet(path, (tile[..., 0] if grey else tile for tile in tiles), columns=2 + VARIATIONS)


def write_picture_of(path: Path, data: Path, task: Task, size: int, ranges: Ranges | None, policy: str, seed: int) -> str:
    """Do `write_picture` for the first training sample, and return what is shown, for people.

    The intensity range of 16-bit files is measured over that sample if `ranges` is None.
    """
    samples, [image] = _read(data, task, size, PICTURE_BYTES, 1, ranges)
    write_picture(path, image, policy, seed, colours(task))
    return f"{path}: sample {samples.ids[0]} and sixteen augmentations of it"


def write_picture(path: Path, image: np.ndarray, policy: str, seed: int, colours: Sequence[str]) -> None:
    """Write a picture of an image, uint8 [S, S, C], augmented sixteen ways, four a row, with itself at the left."""
    varied = augment(np.repeat(image[np.newaxis], 16, axis=0), np.arange(16), policy, seed, epoch=0)
    varied, shown = for_people(varied, image, colours), for_people(image, image, colours)
    left = [shown, *[np.zeros_like(varied[0])] * 3]
    write_sheet(path, (tile for row in range(4) for tile in (left[row], *varied[4 * row :][:4])), columns=5)


def _read(
    data: Path, task: Task, size: int, bytes_a_pixel: tuple[int, int], count: int, ranges: Ranges | None = None
) -> tuple[SampleTable, np.ndarray]:
    """Return the first training sample and others from all over the table, at most `count`, and their images."""
    of_picture, of_channel = bytes_a_pixel
    require_picture(size, of_picture + of_channel * len(task.channels), "a picture of images")
    table = read_labelled(data / "train", task)
    samples = table.at(np.unique(np.linspace(0, len(table) - 1, count).astype(int)))
    files = find_files(data / "train", samples.ids, task)
    ranges = ranges or measure(data / "train", files, task)
    return samples, np.stack([read_image(each, task, size, ranges) for each in files])


def _label(name: str, height: int) -> np.ndarray:
    label = np.zeros((height, LABEL_WIDTH - GAP, 3), np.uint8)
    place = (6 - GAP, height // 2 + 5)
    return cv2.putText(label, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
