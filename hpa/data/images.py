"""The files of one sample become one uint8 image, and pictures become files."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hpa.errors import BadInput
from hpa.files import written_whole


def read_image(files: Sequence[Path], size: int | None = None) -> np.ndarray:
    """Decode and stack the channel files of one sample: `read_in_sizes` for a single size, or as large as the files are."""
    return read_in_sizes(files, [size])[0]


def read_in_sizes(files: Sequence[Path], sizes: Sequence[int | None]) -> list[np.ndarray]:
    """Decode the channel files of one sample once, and stack them in each of some sizes.

    Args:
        files: one grey image a channel.
        sizes: side in pixels to resize to, by area averaging where the image shrinks and bilinearly where it grows;
            None keeps the size that the files have.

    Returns:
        uint8 array [H, W, channels] for each of the sizes.

    Raises:
        BadInput: if a file cannot be decoded or used (see `read_channel`), or the files differ in size.
    """
    channels = [read_channel(file) for file in files]
    if len({channel.shape for channel in channels}) > 1:
        found = ", ".join(f"{file.name} {c.shape[1]}x{c.shape[0]}" for file, c in zip(files, channels, strict=True))
        raise BadInput(f"the channels differ in size: {found}")
    return [np.dstack(channels if size is None else [resized(channel, size) for channel in channels]) for size in sizes]


def read_channel(file: Path) -> np.ndarray:
    """Decode one grey image.

    A 16-bit file is scaled to 8 bits (value / 257, rounded). A colour file is taken if it is grey in truth, that is if
    only one of its channels holds anything or all are equal; an alpha channel is passed over.

    Returns:
        uint8 array [H, W].

    Raises:
        BadInput: if the file is truncated, damaged, absent, in true colour or of other numbers than 8 or 16 bits.
    """
    try:
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise BadInput(f"{file.name} cannot be read ({error.strerror})") from error
    except cv2.error:  # an empty file, or a header that asks for gigabytes
        image = None
    if image is None:
        raise BadInput(f"{file.name} is truncated, damaged or not an image; fetch it again")
    if image.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"{file.name} holds {image.dtype} numbers; save it with 8 or 16 bits")
    if image.ndim == 3:
        image = _one_filled_channel(file, image[..., :3])
    if image.dtype == np.uint16:
        image = np.round(image / 257).astype(np.uint8)
    return image


def resized(channel: np.ndarray, size: int) -> np.ndarray:
    """Return one channel, uint8 [H, W], as uint8 [size, size]: by area averaging where it shrinks, else bilinearly."""
    shrinks = min(channel.shape) >= size
    return cv2.resize(channel, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a grey image, uint8 [H, W], or an RGB one, uint8 [H, W, 3], whole or not at all; the suffix names the format."""
    image = np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else image)
    with written_whole(path) as temporary:
        # Encoded in memory because OpenCV says nothing when the disk is full.
        temporary.write_bytes(cv2.imencode(temporary.suffix, image)[1].tobytes())


def _one_filled_channel(file: Path, image: np.ndarray) -> np.ndarray:
    filled = [channel for channel in np.moveaxis(image, -1, 0) if channel.any()]
    if len(filled) > 1 and any(not np.array_equal(channel, filled[0]) for channel in filled):
        raise BadInput(f"{file.name} is a colour image with {len(filled)} filled channels; save the one channel as grey")
    return filled[0] if filled else image[..., 0]
