"""The files of one sample: where they lie, and how they become one uint8 image."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from hpa.errors import BadInput, refuse
from hpa.files import written_whole
from hpa.tasks import Task

# What OpenCV decodes without loss, then what may have lost; of two files of one name the first counts.
EXTENSIONS = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")


def find_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name; hidden ones are passed over.

    Raises:
        BadInput: if the folder cannot be listed.
    """
    return sorted(Path(entry) for entry in _listed(folder) if entry.is_dir())


def list_images(folder: Path) -> list[Path]:
    """Return the image files in a folder and in its class folders, hidden ones passed over.

    They are in the order of `EXTENSIONS` from its end, so that of two files of one name the one that counts comes last.
    """
    entries = _listed(folder)
    for class_folder in [entry for entry in entries if entry.is_dir()]:
        entries += _listed(class_folder)
    rank = {extension: -place for place, extension in enumerate(EXTENSIONS)}
    images = [
        (rank[extension], entry.path)
        for entry in entries
        if (extension := os.path.splitext(entry.name)[1].lower()) in rank and not entry.is_dir()
    ]
    return [Path(path) for _, path in sorted(images)]


def list_ids(folder: Path, task: Task) -> list[str]:
    """Return the sorted ids of the samples that have a file in a folder or its class folders, if only of one channel."""
    ids = set()
    for stem in {image.stem for image in list_images(folder)}:
        suffixes = [suffix for suffix in task.suffixes if stem.endswith(suffix)]
        if suffixes:  # of two that fit, "" and "_mask" say, the longer one is meant
            ids.add(stem.removesuffix(max(suffixes, key=len)))
    return sorted(ids)


def find_files(folder: Path, ids: Iterable[str], task: Task) -> list[list[Path]]:
    """Return the channel files of every sample, in the order of `task.channels`.

    They lie in the folder itself or in its class folders. An id that is a number is also found with other leading zeros.

    Raises:
        BadInput: naming every sample that lacks a file, and the channels it lacks, or has the files of another one.
    """
    present = {image.stem: image for image in list_images(folder)}
    unpadded: dict[str, str] = {}
    for stem in present:
        if stem[:1].isdecimal():
            bare = stem.lstrip("0")
            unpadded[bare] = "" if bare in unpadded else stem  # of 1 and 01, neither is 001
    files, faults, owners = [], [], {}
    for identifier in ids:
        stems = [f"{identifier}{suffix}" for suffix in task.suffixes]
        if identifier.isdecimal():
            stems = [stem if stem in present else unpadded.get(stem.lstrip("0")) or stem for stem in stems]
        missing = [f"{stem}.png" for stem in stems if stem not in present]
        owner = owners.setdefault(stems[0], identifier)
        if missing:
            faults.append(f"id {identifier}: no {', '.join(missing)}")
        elif owner != identifier:
            faults.append(f"id {identifier}: {present[stems[0]].name} is that of id {owner} already; keep one of them")
        else:
            files.append([present[stem] for stem in stems])
    refuse(folder, faults)
    return files


def read_image(files: Sequence[Path], size: int | None = None) -> np.ndarray:
    """Decode and stack the channel files of one sample.

    Args:
        files: one PNG a channel.
        size: side in pixels to resize to, by area averaging where the image shrinks and bilinearly where it grows;
            None keeps the size that the files have.

    Returns:
        uint8 array [H, W, channels].

    Raises:
        BadInput: if a file cannot be decoded or used (see `read_channel`), or the files differ in size.
    """
    channels = [read_channel(file) for file in files]
    if len({channel.shape for channel in channels}) > 1:
        sizes = ", ".join(f"{file.name} {c.shape[1]}x{c.shape[0]}" for file, c in zip(files, channels, strict=True))
        raise BadInput(f"the channels differ in size: {sizes}")
    if size is not None:
        shrinks = min(channels[0].shape) >= size
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        channels = [cv2.resize(channel, (size, size), interpolation=interpolation) for channel in channels]
    return np.dstack(channels)


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


def _listed(folder: Path) -> list[os.DirEntry]:
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed ({error.strerror}); the images belong there") from error
