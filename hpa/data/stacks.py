"""The channels of a sample from files that hold more than one grey image: channels, planes of a stack, parts of a colour.

What an axis of a file means is read from its metadata (OME, ImageJ, those of the library tifffile) or stated by the task. A
file that does not say it is refused, and so is one whose channels are in another order than the task's by their names.
"""

import contextlib
import io
import logging
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from hpa.data.decoding import (
    ALPHA,
    STACKED,
    TIFFS,
    as_8_or_16_bits,
    black_is_zero,
    damaged,
    decoder_of,
    one_filled_channel,
    palette_colours,
    read_with,
    require_fits,
    require_grey_or_colour,
    require_sound,
    several,
)
from hpa.data.layout import MICROSCOPES
from hpa.errors import BadInput, installing, shown
from hpa.tasks import MAXIMUM, Task

RED_FIRST = (b"\x89PNG",)  # of the formats with colours that are not TIFF; others are decoded to blue, green, red
ONE_COLOUR = 0.85  # of the energy of a colour image; traces of JPEG in images of one stain have less than 0.11
MICROMETRES = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4,
    "m": 1e6, "inch": 25400.0,
}  # fmt: skip
# Micrometres. No microscope has larger pixels: such a size comes from a resolution that nobody set, as one dot per inch, or
# from a wrong unit.
LARGEST_SIZE = 2000.0
UNKNOWN = "QI"  # tifffile's letters of axes that say nothing
# What such axes may be, by how many they are and whether there are parts of a colour beside them.
MEANINGS = {
    (1, False): ("CZ", "channels or planes"),
    (2, False): (("CZ", "ZC"), "channels and planes"),
    (1, True): ("Z", "planes"),
}
SAME_SIZE = 0.01  # the width and the height of a pixel may differ by this share


@dataclass(frozen=True)
class Stack:
    """What a file holds.

    Attributes:
        image: uint8 or uint16 array.
        axes: a letter for each of its axes: Y, X, C for channels, S for parts of a colour, Z for planes; others as tifffile
            has them.
        names: of the channels; empty if they are unknown.
        pixel_size: micrometres of a pixel's side; 0 if they are unknown.
        alpha: whether the last part of the colour is alpha.
    """

    image: np.ndarray
    axes: str
    names: tuple[str, ...] = ()
    pixel_size: float = 0.0
    alpha: bool = False


def read_channels(file: Path, task: Task, count: int) -> tuple[list[np.ndarray], float]:
    """Return the channels that a file holds, each uint8 or uint16 [H, W], and the micrometres of a pixel or 0 if unknown.

    `count` is how many these are: all of the task, or one.

    Raises:
        BadInput: if the file cannot be decoded, does not say what its axes are, or holds other channels or planes.
    """
    microscope = file.suffix.lower() in MICROSCOPES
    stack = _read_microscope(file) if microscope else read_with(file, _decode)
    as_8_or_16_bits(file.name, stack.image)
    stack = _one_plane(file.name, _as_stated(file.name, stack, task), task)
    channels = _channels(file.name, stack, task, count)
    return [np.ascontiguousarray(each) for each in channels], stack.pixel_size


def _decode(name: str, data: bytes) -> Stack:
    if data.startswith(TIFFS):
        return _decode_tiff(name, data)
    image = decoder_of(name, data)(name, data)
    if image.ndim == 2:
        return Stack(image, "YX")
    if not data.startswith(RED_FIRST):
        image[..., :3] = image[..., 2::-1].copy()
    return Stack(image, "YXS", alpha=image.shape[-1] in (2, 4))


def _decode_tiff(name: str, data: bytes) -> Stack:
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as tiff:
        present = [each for each in tiff.series if not (each.keyframe.is_reduced or each.keyframe.is_mask)]
        present = present or tiff.series[:1]  # a file may call its only image reduced
        if len(present) != 1:
            raise several(name, f"{len(present)} images")
        [series] = present
        page, pages = series.keyframe, list(series)
        if None in pages:
            raise BadInput(f"{name} has pages in other files; save each sample as a file of its own")
        pixels = page.imagewidth * page.imagelength
        require_fits(name, page.imagewidth, page.imagelength, math.ceil(series.nbytes / max(pixels, 1)))
        require_sound(name, data, page, pages)
        _require_all_pages(name, data, tiff, series)
        if series.dataoffset is not None and series.dataoffset + series.nbytes > len(data):
            raise damaged(name)  # ImageJ has large stacks in one page
        image = series.asarray()
        names, pixel_size = _metadata(tiff)
        if page.photometric == PHOTOMETRIC.PALETTE and image.ndim == 2:
            return Stack(palette_colours(page, image), "YXS", (), pixel_size)
        require_grey_or_colour(name, page)
        alpha = "S" in series.axes and any(kind in ALPHA for kind in page.extrasamples[-1:])
        return Stack(black_is_zero(page, image), series.axes, names, pixel_size, alpha)


def _require_all_pages(name: str, data: bytes, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Raise if the last page of a TIFF that was found names a further one, or ImageJ's metadata name more."""
    form, last = tiff.tiff, tiff.pages[len(tiff.pages) - 1]
    (tags,) = struct.unpack_from(form.tagnoformat, data, last.offset)
    (further,) = struct.unpack_from(form.offsetformat, data, last.offset + form.tagnosize + tags * form.tagsize)
    named, sizes = int((tiff.imagej_metadata or {}).get("images", 1)), zip(series.axes, series.shape, strict=True)
    if further or named > math.prod(length for axis, length in sizes if axis not in "YXS"):
        raise damaged(name)


def _metadata(tiff: tifffile.TiffFile) -> tuple[tuple[str, ...], float]:
    """Return the names of the channels and the size of a pixel that a TIFF has by OME or ImageJ."""
    names: tuple[str, ...] = ()
    sides: list[float] = []
    with contextlib.suppress(Exception):  # metadata may hold anything
        if tiff.ome_metadata:
            pixels: Any = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
            channels = pixels.get("Channel", [])
            channels = channels if isinstance(channels, list) else [channels]
            names = tuple(str(each["Name"]) for each in channels if "Name" in each)
            units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"]
            sides = [pixels[f"PhysicalSize{axis}"] * MICROMETRES[unit] for axis, unit in zip("XY", units, strict=True)]
        elif tiff.imagej_metadata:
            unit = str(tiff.imagej_metadata["unit"]).encode("ascii", "backslashreplace").decode("unicode_escape")
            sides = [MICROMETRES[unit] / each for each in tiff.series[0].keyframe.resolution]
    return names, _square(sides)


def _square(sides: Sequence[float | None]) -> float:
    """Return the side of a pixel, or 0 if it is unknown, above `LARGEST_SIZE`, or the two sides differ."""
    x, y = [float(each or 0) for each in sides] if len(sides) == 2 else (0.0, 0.0)
    return x if 0 < x <= LARGEST_SIZE and abs(x - y) <= SAME_SIZE * x else 0.0


def _read_microscope(file: Path) -> Stack:
    """Read a file in the format of a microscope's maker through bioio."""
    fix = f"{installing('formats')}, or save it as OME-TIFF"
    try:
        logging.getLogger("bioio").setLevel(logging.CRITICAL)  # what it logs is raised too
        from bioio import BioImage
    except ImportError as error:
        raise BadInput(f"{file.name}: a {file.suffix} file needs bioio; {fix}") from error
    try:
        image = BioImage(file)
        if len(image.scenes) > 1:
            raise several(file.name, f"{len(image.scenes)} images")
        sizes = dict(zip(image.dims.order, image.dims.shape, strict=True))
        axes = "".join(letter for letter, length in sizes.items() if length > 1 or letter in "YX")
        require_fits(file.name, sizes["X"], sizes["Y"], 2 * math.prod(image.dims.shape) // max(sizes["X"] * sizes["Y"], 1))
        names = tuple(map(str, image.channel_names or ()))
        size = image.physical_pixel_sizes
        return Stack(image.get_image_data(axes), axes, names, _square([size.X, size.Y]))
    except BadInput:
        raise
    except Exception as error:  # its readers raise anything
        reason = shown((str(error) or type(error).__name__).splitlines()[0])
        raise BadInput(f"{file.name} cannot be read by bioio ({reason}); {fix}") from error


def _as_stated(name: str, stack: Stack, task: Task) -> Stack:
    """Return a stack with the axes that the task states; raise BadInput if they are other or unknown ones.

    Without a statement an axis of length 1 says nothing, and is dropped.
    """
    shape = "x".join(map(str, stack.image.shape))
    if task.axes:
        if len(task.axes) != stack.image.ndim:
            raise BadInput(f"{name} has {stack.image.ndim} axes, {shape}; the task file states {task.axes}")
        stack = replace(stack, axes=task.axes)
    else:
        sizes = list(zip(stack.axes, stack.image.shape, strict=True))
        single = tuple(place for place, (letter, length) in enumerate(sizes) if length == 1 and letter not in "YX")
        axes = "".join(letter for place, letter in enumerate(stack.axes) if place not in single)
        stack = replace(stack, axes=axes, image=stack.image.squeeze(single))
    unknown = [length for letter, length in zip(stack.axes, stack.image.shape, strict=True) if letter in UNKNOWN]
    if unknown:
        raise _unknown_pages(name, stack.axes, unknown)
    for letter, length in zip(stack.axes, stack.image.shape, strict=True):
        if letter not in "CSZYX":
            raise several(name, f"{length} {STACKED.get(letter, f'images along the axis {letter}')}")
    return stack


def _unknown_pages(name: str, axes: str, lengths: Sequence[int]) -> BadInput:
    """Return what to raise for axes that say nothing, of these lengths: with all that a task file may state of them."""
    pages, kind = math.prod(lengths), (len(lengths), "S" in axes)
    if kind not in MEANINGS:
        return several(name, f"{pages} images")
    choices, words = MEANINGS[kind]
    template = re.sub(f"[{UNKNOWN}]", "{}", axes.replace("S", "C"))
    states = " or ".join(f'axes = "{template.format(*letters)}"' for letters in choices)
    return BadInput(f"{name} has {pages} pages and does not say what they are; state in the task file {states}, for {words}")


def _one_plane(name: str, stack: Stack, task: Task) -> Stack:
    """Return a stack without planes: their maximum or one of them, as the task states."""
    planes = stack.image.shape[stack.axes.index("Z")] if "Z" in stack.axes else 1
    if isinstance(task.plane, int) and task.plane > planes:
        raise BadInput(f"{name} has {planes} plane{'s' if planes > 1 else ''}, the task file states plane = {task.plane}")
    if "Z" not in stack.axes:
        return stack
    axis = stack.axes.index("Z")
    if planes > 1 and not task.plane:
        raise BadInput(f'{name} has {planes} planes; state in the task file plane = "{MAXIMUM}" or the number of one')
    number = task.plane - 1 if isinstance(task.plane, int) else 0
    image = stack.image.max(axis=axis) if task.plane == MAXIMUM else stack.image.take(number, axis)
    return replace(stack, image=image, axes=stack.axes.replace("Z", ""))


def _channels(name: str, stack: Stack, task: Task, count: int) -> list[np.ndarray]:
    """Return the channels of a stack without planes, each [H, W], in the order of the task."""
    letters = "".join(letter for letter in stack.axes if letter in "CS")
    if len(letters) > 1:
        raise several(name, "channels in colours")
    order = [stack.axes.index(letter) for letter in f"{letters}YX"]
    image = stack.image.transpose(order).reshape(-1, *(stack.image.shape[axis] for axis in order[-2:]))
    if stack.alpha and len(image) == count and count > 1 and (image[-1] == np.iinfo(image.dtype).max).all():
        raise BadInput(f"{name} has {count - 1} channels, and opaque alpha where {task.channels[-1]} should be")
    if stack.alpha and len(image) > count:
        image = image[:-1]
    if count == 1 and letters == "S" and len(image) == 3:
        return [_grey(name, np.moveaxis(image, 0, -1), task)]
    names = [re.sub(r"[\W_]", "", each).casefold() for each in stack.names]
    wanted = [re.sub(r"[\W_]", "", each).casefold() for each in task.channels]
    if count == len(task.channels) and len(names) == len(image) and len(set(names)) == len(names):
        if set(wanted) <= set(names):
            return [image[names.index(each)] for each in wanted]
        for place, each in enumerate(wanted):
            if each in names and names.index(each) != place:
                raise BadInput(
                    f"{name} has the channels {', '.join(stack.names)}, in another order than the task's "
                    f"{', '.join(task.channels)}; call all of them in the task file as the files do"
                )
    if len(image) != count:
        named = f" ({', '.join(stack.names)})" if stack.names else ""
        expected = f"the task has {count} ({', '.join(task.channels)})" if count > 1 else "one is expected in a file"
        raise BadInput(f"{name} has {len(image)} channel{'s' if len(image) > 1 else ''}{named}; {expected}")
    return list(image)


def _grey(name: str, image: np.ndarray, task: Task) -> np.ndarray:
    """Return the one channel of a colour image [H, W, 3]; its brightest one if the task says that colour is an artefact."""
    if not task.grey:
        return one_filled_channel(name, image)
    pixels = image.reshape(-1, 3).astype(np.float64)
    energies = np.linalg.eigvalsh(pixels.T @ pixels)
    if energies[-1] < ONE_COLOUR * energies.sum():
        raise BadInput(f"{name} shows more than one colour, so it is more than one channel; save each as a grey file")
    return image[..., pixels.sum(axis=0).argmax()]
