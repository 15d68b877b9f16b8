"""The files of one sample become one uint8 image, and pictures become files.

A file holds one channel or all, see `hpa.data.stacks`. An image that is not square is stretched, padded or cropped, or its
middle is cut out at a pixel size, as the task says.

8-bit files are not scaled. 16-bit ones are scaled by the intensity range of the data set: a lowest and a highest number for
each channel, or None for a channel of 8-bit files (see `hpa.data.intensity`).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hpa.data.decoding import read_channel
from hpa.data.layout import file_names
from hpa.data.stacks import SAME_SIZE, read_channels
from hpa.errors import BadInput
from hpa.files import written_whole
from hpa.tasks import Task

Interval = tuple[int, int]
FULL: Interval = (0, 65535)
LARGEST_SQUARE = 16  # times the longer side of an image that its pixel size may ask for; the rest would be padding


@dataclass(frozen=True)
class Sample:
    """The decoded files of one sample, one for each channel or one for all."""

    files: Sequence[Path]
    channels: list[np.ndarray]  # uint8 or uint16 [H, W], with the numbers that the file holds
    task: Task
    pixel_size: float = 0.0  # micrometres; 0 if it is unknown

    @property
    def facts(self) -> list[int]:
        """Height, width, the brightest number of each channel and, if the task has `reading`, picometres of a pixel."""
        size = [round(1e6 * self.pixel_size)] if self.task.reading else []
        return [*self.channels[0].shape, *(int(channel.max()) for channel in self.channels), *size]

    def seen(self, size: int) -> int | None:
        """Return the side, in own pixels, of the middle square that a network with images of a size sees; None for all.

        An image is padded where it is smaller.
        """
        if self.task.pixel_size:
            return max(round(size * self.task.pixel_size / (self.pixel_size or self.task.pixel_size)), 1)
        return {"pad": max, "crop": min}[self.task.fit](self.channels[0].shape) if self.task.fit in ("pad", "crop") else None

    def image(self, size: int | None, ranges: Sequence[Interval | None] | None = None) -> np.ndarray:
        """Return the channels stacked, uint8 [H, W, channels]; if a size in pixels is given, what is `seen` in that size.

        `ranges` has for each channel the interval of 16-bit files that is scaled to 0 to 255, or None for 8-bit files.
        Without ranges all 16 bits are scaled to 8.

        Raises:
            BadInput: if a file has other bits than the ranges say, or its pixels are so small that hardly anything would be
                left of it at the task's pixel size.
        """
        ranges = ranges or [FULL if channel.dtype == np.uint16 else None for channel in self.channels]
        files = [*self.files] * (len(self.channels) // len(self.files))
        channels = [in_8_bits(*each) for each in zip(files, self.channels, ranges, strict=True)]
        if size is None:
            return np.dstack(channels)
        side = self.seen(size)
        height, width = self.channels[0].shape
        if side and self.task.pixel_size and side > LARGEST_SQUARE * max(height, width):
            raise BadInput(
                f"{self.files[0].name}: at its pixel size of {self.pixel_size:g} micrometres its {width}x{height} pixels "
                f"would be a dot in the {side}x{side} that {size} pixels of {self.task.pixel_size:g} micrometres hold; "
                "correct it, or pixel_size in the task file"
            )
        return np.dstack([resized(middle(channel, side) if side else channel, size) for channel in channels])


def read_sample(files: Sequence[Path], task: Task) -> Sample:
    """Decode the files of one sample of a task, one for each channel or one for all.

    Raises:
        BadInput: if a file cannot be used (see `read_channel` and `read_channels`), channels differ in size, or the task has
            a pixel size and a file does not tell its own.
    """
    if not task.reading:
        return _sample(files, [read_channel(file) for file in files], task, [])
    count = len(task.channels) // len(file_names(task))
    found = [read_channels(file, task, count) for file in files]
    sizes = [size for _, size in found]
    if task.pixel_size and not all(sizes):
        raise BadInput(
            f"{files[sizes.index(0)].name} does not tell the size of its pixels; save it with that, as OME-TIFF, or leave "
            "pixel_size out of the task file"
        )
    return _sample(files, [channel for own, _ in found for channel in own], task, sizes)


def _sample(files: Sequence[Path], channels: list[np.ndarray], task: Task, sizes: Sequence[float]) -> Sample:
    if len({channel.shape for channel in channels}) > 1:
        found = ", ".join(f"{file.name} {c.shape[1]}x{c.shape[0]}" for file, c in zip(files, channels, strict=True))
        raise BadInput(f"the channels differ in size: {found}")
    known = [size for size in sizes if size]
    if max(known, default=0) > min(known, default=0) * (1 + SAME_SIZE):
        raise BadInput(f"{files[0].name}: the channels differ in the size of their pixels: {', '.join(map(str, known))}")
    return Sample(files, channels, task, sizes[0] if sizes and all(sizes) else 0.0)


def read_image(
    files: Sequence[Path], task: Task, size: int | None = None, ranges: Sequence[Interval | None] | None = None
) -> np.ndarray:
    """Decode and stack the files of one sample of a task; see `Sample.image`."""
    return read_sample(files, task).image(size, ranges)


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle square of an image [H, W], cut out where it is larger than the side and padded with 0 elsewhere."""
    cut = image[middle_part(image.shape, side)]
    return np.pad(cut, [((side - length) // 2, side - length - (side - length) // 2) for length in cut.shape])


def middle_part(shape: Sequence[int], side: int) -> tuple[slice, ...]:
    """Return the part of an image [H, W] that its middle square of a side holds."""
    starts = [max(length - side, 0) // 2 for length in shape]
    return tuple(slice(start, start + side) for start in starts)


def in_8_bits(file: Path, channel: np.ndarray, interval: Interval | None) -> np.ndarray:
    """Return a channel, uint8 or uint16 [H, W], as uint8: 16 bits with the ends of their interval as 0 and 255."""
    if channel.dtype == np.uint8 and interval is None:
        return channel
    if interval is None:
        raise BadInput(
            f"{file.name} has 16 bits, but this channel has 8 in the training set, or there is none; save all with the same "
            "bits, or state the intensity range"
        )
    low, high = interval
    if channel.dtype == np.uint8:
        raise BadInput(
            f"{file.name} has 8 bits, but this channel is scaled by {low}:{high} of 16; save all with the same bits"
        )
    return _scale(low, high)[channel]


@functools.lru_cache(maxsize=16)
def _scale(low: int, high: int) -> np.ndarray:
    """Return what each of the 65,536 numbers becomes, uint8."""
    shares = (np.arange(2**16, dtype=np.float64) - low) / (high - low)
    return np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def resized(channel: np.ndarray, size: int) -> np.ndarray:
    """Return one channel, uint8 [H, W], as uint8 [size, size]: by area averaging where it shrinks, else bilinearly."""
    shrinks = min(channel.shape) >= size
    return cv2.resize(channel, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a grey image, uint8 [H, W], or an RGB one, uint8 [H, W, 3], whole or not at all; the suffix names the format.

    Raises:
        BadInput: if that format cannot hold the image.
    """
    image = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    with written_whole(path) as temporary:
        encoded, content = cv2.imencode(temporary.suffix, image)
        if not encoded:
            raise BadInput(f"{path}: {temporary.suffix} holds no such picture; let the name end in .png")
        temporary.write_bytes(content.tobytes())  # by hand, because OpenCV says nothing when the disk is full
