"""The files of one sample become one uint8 image, and pictures become files.

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
from hpa.errors import BadInput
from hpa.files import written_whole

Interval = tuple[int, int]
FULL: Interval = (0, 65535)


@dataclass(frozen=True)
class Sample:
    """The decoded files of one sample, one for each channel."""

    files: Sequence[Path]
    channels: list[np.ndarray]  # uint8 or uint16 [H, W], with the numbers that the file holds

    @property
    def facts(self) -> list[int]:
        """Height, width, and the brightest number of each channel."""
        return [*self.channels[0].shape, *(int(channel.max()) for channel in self.channels)]

    def image(self, size: int | None, ranges: Sequence[Interval | None] | None = None) -> np.ndarray:
        """Return the channels stacked, uint8 [H, W, channels], `resized` to a size in pixels if one is given.

        `ranges` has for each channel the interval of 16-bit files that is scaled to 0 to 255, or None for 8-bit files.
        Without ranges all 16 bits are scaled to 8.

        Raises:
            BadInput: if a file has other bits than the ranges say.
        """
        ranges = ranges or [FULL if channel.dtype == np.uint16 else None for channel in self.channels]
        channels = [in_8_bits(*each) for each in zip(self.files, self.channels, ranges, strict=True)]
        return np.dstack(channels if size is None else [resized(channel, size) for channel in channels])


def read_sample(files: Sequence[Path]) -> Sample:
    """Decode the channel files of one sample; raise BadInput if one cannot be used (see `read_channel`) or sizes differ."""
    channels = [read_channel(file) for file in files]
    if len({channel.shape for channel in channels}) > 1:
        found = ", ".join(f"{file.name} {c.shape[1]}x{c.shape[0]}" for file, c in zip(files, channels, strict=True))
        raise BadInput(f"the channels differ in size: {found}")
    return Sample(files, channels)


def read_image(
    files: Sequence[Path], size: int | None = None, ranges: Sequence[Interval | None] | None = None
) -> np.ndarray:
    """Decode and stack the channel files of one sample; see `Sample.image`."""
    return read_sample(files).image(size, ranges)


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
