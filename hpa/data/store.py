"""Packed images: decoded, stacked and resized once, then memory-mapped for training and prediction.

A store is a folder with `images.npy` (uint8 [n, S, S, C]), `stamps.npy` (uint64 [n], a hash of the files that a row was made
from; 0 if it is still to be packed), `facts.npy` (int32 [n, 2 + C], or one column more, `Sample.facts` of these files) and
`store.json`, what was asked for. It grows under the name `<store>.partial` and gets its own name when it is whole.
"""

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpa.data.images import read_sample
from hpa.data.intensity import Ranges, remark
from hpa.data.layout import find_files, stamp
from hpa.data.parallel import map_in_threads, rows_of
from hpa.errors import BadInput, refuse
from hpa.files import locked, read_json, write_json
from hpa.resources import require_disk, require_memory
from hpa.tasks import Task

# Rows that are made durable together: few enough that a crash costs a second's work, many enough that waiting for the
# disk is rare.
CHUNK = 128
SYNC = getattr(os, "fdatasync", os.fsync)  # Linux alone has the quicker one


@dataclass(frozen=True)
class ImageStore:
    """Packed images on disk."""

    folder: Path
    ids: np.ndarray  # str [n]
    images: np.ndarray  # uint8 [n, S, S, C], memory-mapped and read-only


class ConcatenatedImages:
    """Packed images of several stores, uint8 [n, S, S, C], read by row as if they were one array.

    np.concatenate would copy the memory maps, all the images of a data set, into the memory.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | int) -> np.ndarray:
        """Return the images of some rows, integers [m] from 0 to below n: uint8 [m, S, S, C]. That of one row is no copy."""
        if isinstance(rows, int):
            part = int(np.searchsorted(self._starts, rows, side="right")) - 1
            return self._parts[part][rows - self._starts[part]]
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        part_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(part_of_row):
            chosen = part_of_row == part
            images[chosen] = self._parts[part][rows[chosen] - self._starts[part]]
        return images


Images = np.ndarray | ConcatenatedImages  # uint8 [n, S, S, C]


def store_folder(runs: Path, source: Path, task: Task, size: int, ranges: Ranges | None = None) -> Path:
    """Return the folder `<runs>/stores/<set>-<size>-<8 digits>` for the images of a source folder.

    The digits differ between tasks, data folders and intensity ranges.
    """
    made_of = (task.name, task.channels, task.suffixes, str(source.resolve()), ranges, *task.reading.items())
    digits = hashlib.blake2b(repr(made_of).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return runs / "stores" / f"{source.name}-{size}-{digits}"


def require_room(stores: Mapping[Path, int], size: int, channels: int) -> None:
    """Check all that packing needs except images, before the first of some stores is packed.

    `stores` says how many samples each has, by its folder.

    Raises:
        BadInput: if a file stands where a store should be, or one image of this size does not fit into the memory.
        Failure: if the stores that are not there yet do not fit on the disk.
    """
    places = [place for folder in stores for place in (folder, _partial(folder))]
    faults = [f"{place} is a file, but a folder belongs there; delete it" for place in places if place.is_file()]
    refuse("runs", faults, "runs")
    image = size * size * channels
    needed = sum(rows * image for folder, rows in stores.items() if not folder.exists() and not _partial(folder).exists())
    folder = next(iter(stores)).parent
    require_disk(folder, needed, str(folder))
    require_memory(2 * image, f"one image of {size} x {size} x {channels}")  # the channels one by one, and stacked


def pack(folder: Path, source: Path, ids: np.ndarray, task: Task, size: int, ranges: Ranges | None = None) -> ImageStore:
    """Return the store at `folder`, packing what is missing from it first.

    A store that was made from the same files with the same settings is only opened. Any other one is packed anew, on all
    cores; an interrupted or failed packing goes on where it stopped. Memory does not grow with the number of images.

    The `source` is the folder of the images, or of their class folders; rows are in the order of the ids, and `size` is the
    side of the packed images in pixels. `ranges` has the intensity range of 16-bit files for each channel, or None for 8
    bits; None if all have 8 bits.

    Raises:
        BadInput: naming every sample whose files are missing or cannot be used; the others stay packed. If a file stands
            where the store belongs, or one image is too large for the memory.
        Failure: if the store does not fit on the disk.
        OSError: if the disk is full all the same; what was packed stays.
    """
    require_room({folder: len(ids)}, size, len(task.channels))
    files = find_files(source, ids, task, whole=True)
    stamps, request = _stamps(files, source, task, ranges), _request(source, ids, task, size, ranges)
    with locked(folder.parent / f".{folder.name}.lock", wait=True):
        if not _fits(folder, request, stamps):
            partial = _partial(folder)
            _begin(partial, request)
            _take_parts(partial)
            _pack_rows(partial, request, source, task, files, stamps)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
        images, facts = (np.load(folder / name, mmap_mode="r") for name in ("images.npy", "facts.npy"))
    remark(source, [sample[0].name for sample in files], facts, task, ranges or [None] * len(task.channels))
    return ImageStore(folder, np.asarray(ids), images)


def pack_part(
    folder: Path, source: Path, ids: np.ndarray, task: Task, size: int, ranges: Ranges | None, part: tuple[int, int]
) -> None:
    """Do `pack` for a part of the rows, (number from 1, count), maybe while others pack others; `pack` completes the store.

    Images go to their places in the store, and what is noted of them to files of the part.
    """
    require_room({folder: len(ids)}, size, len(task.channels))
    rows, partial = rows_of(part, len(ids)), _partial(folder)
    files, mark = find_files(source, ids[rows.start : rows.stop], task), f"-{rows.start}"
    stamps, request = _stamps(files, source, task, ranges), _request(source, ids, task, size, ranges)
    with locked(folder.parent / f".{folder.name}.lock", wait=True):
        if _fits(folder, request) and np.array_equal(np.load(folder / "stamps.npy")[rows.start : rows.stop], stamps):
            return
        _begin(partial, request)
    with locked(folder.parent / f".{folder.name}{mark}.lock", wait=True):
        _begin_notes(partial, request, len(rows), mark)
        _pack_rows(partial, request, source, task, files, stamps, rows.start, mark)


def _stamps(files: Sequence[Sequence[Path]], source: Path, task: Task, ranges: Ranges | None) -> np.ndarray:
    # The stamps also tell whether predictions are up to date.
    made_of = (str(source.resolve()), ranges, *task.reading.items())
    return np.array([stamp(sample, made_of) for sample in files], np.uint64)


def _request(source: Path, ids: np.ndarray, task: Task, size: int, ranges: Ranges | None) -> dict[str, Any]:
    return {
        "task": task.name,
        "channels": list(task.channels),
        "suffixes": list(task.suffixes),
        "size": size,
        "intensity_range": ranges and [interval and list(interval) for interval in ranges],
        "ids": [str(identifier) for identifier in ids],
        "source": str(source.resolve()),
    } | ({"reading": task.reading} if task.reading else {})


def pack_all(
    sets: Mapping[str, np.ndarray],
    data: Path,
    runs: Path,
    task: Task,
    size: int,
    ranges: Ranges | None,
    part: tuple[int, int] | None = None,
) -> Iterator[ImageStore]:
    """Pack sets of a data folder, the ids of each under its name, once all of them are known to fit; see `pack`.

    With a part only `pack_part` is done for each set, and nothing is yielded.
    """
    folders = {name: store_folder(runs, data / name, task, size, ranges) for name in sets}
    require_room({folder: len(sets[name]) for name, folder in folders.items()}, size, len(task.channels))
    for name, folder in folders.items():
        if part:
            pack_part(folder, data / name, sets[name], task, size, ranges, part)
        else:
            yield pack(folder, data / name, sets[name], task, size, ranges)


def _partial(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.partial")


def _kinds(request: dict[str, Any]) -> list[tuple[type, tuple[int, ...]]]:
    """Return the types and shapes of images, stamps and facts."""
    rows, size, channels = len(request["ids"]), request["size"], len(request["channels"])
    facts = 2 + channels + ("reading" in request)
    return [(np.uint8, (rows, size, size, channels)), (np.uint64, (rows,)), (np.int32, (rows, facts))]


def _fits(folder: Path, request: dict[str, Any], stamps: np.ndarray | None = None) -> bool:
    """Tell whether the store at `folder` answers the `request` and, if given, was made from files of these `stamps`."""
    try:
        made = read_json(folder / "store.json")
        # Fails if a file was cut short.
        images, packed, facts = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "stamps", "facts"))
    except (BadInput, OSError, ValueError, EOFError):
        return False
    found = [(array.dtype, array.shape) for array in (images, packed, facts)]
    return made == request and found == _kinds(request) and (stamps is None or np.array_equal(packed, stamps))


def _begin(partial: Path, request: dict[str, Any]) -> None:
    """Make sure that `partial` holds a store of the right shape, with the rows that an earlier try has packed."""
    if _fits(partial, request):
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _, shape = _kinds(request)[0]
    require_disk(partial, math.prod(shape), str(partial))
    # Images are a hole in the file at first. Plain writes will fill it, since they report a disk that is full by then;
    # writing through a memory map would kill the process instead.
    np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, shape)
    _begin_notes(partial, request, shape[0])
    write_json(partial / "store.json", request)


def _begin_notes(partial: Path, request: dict[str, Any], rows: int, mark: str = "") -> None:
    """Make the files of stamps and facts if they are absent or damaged; the mark of a part is its first row."""
    for name, (dtype, shape) in zip(("stamps", "facts"), _kinds(request)[1:], strict=True):
        found = _read_notes(partial / f"{name}{mark}.npy")
        if found is None or found.shape != (rows, *shape[1:]):
            np.save(partial / f"{name}{mark}.npy", np.zeros((rows, *shape[1:]), dtype))


def _read_notes(path: Path) -> np.ndarray | None:
    """Return the array in a file; None if it is absent or was cut short."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None


def _take_parts(partial: Path) -> None:
    """Note in the store what its parts have noted; rows whose notes are damaged are packed again."""
    for file in partial.glob("stamps-*.npy"):
        first, other = int(file.stem.removeprefix("stamps-")), partial / file.name.replace("stamps", "facts")
        stamps, facts = _read_notes(file), _read_notes(other)
        if stamps is not None and facts is not None and len(stamps) == len(facts):
            for name, part in (("facts", facts), ("stamps", stamps)):
                whole = np.load(partial / f"{name}.npy", mmap_mode="r+")
                whole[first : first + len(part)] = part
                whole.flush()
        for each in (file, other):
            each.unlink(missing_ok=True)


def _pack_rows(
    partial: Path,
    request: dict[str, Any],
    source: Path,
    task: Task,
    files: list[list[Path]],
    stamps: np.ndarray,
    first: int = 0,
    mark: str = "",
) -> None:
    """Pack what is missing of the rows from `first` on, which have these files and stamps."""
    images = np.load(partial / "images.npy", mmap_mode="r")
    done, facts = (np.load(partial / f"{name}{mark}.npy", mmap_mode="r+") for name in ("stamps", "facts"))
    rows = np.flatnonzero(done != stamps)
    size = request["size"]
    ranges = request["intensity_range"] or [None] * len(request["channels"])
    faults: list[str] = []

    def read(row: int) -> tuple[int, np.ndarray]:
        sample = read_sample(files[row], task)
        facts[row] = sample.facts
        return row, sample.image(size, ranges)

    results = map_in_threads(
        read, rows.tolist(), f"packing {size} px", faults,
        done=len(files) - len(rows), name=lambda row: f"id {request['ids'][first + row]}: ",
    )  # fmt: skip
    with open(partial / "images.npy", "rb+", buffering=0) as file, contextlib.closing(results):
        for _ in range(0, len(rows), CHUNK):
            written = []
            for row, image in filter(None, islice(results, CHUNK)):
                try:
                    _write_at(file, images.offset + (first + row) * image.nbytes, image)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(partial)) from error
                written.append(row)
            SYNC(file.fileno())  # the threads go on with the next rows
            facts.flush()
            done[written] = stamps[written]
            done.flush()
    refuse(source, sorted(faults))


def _write_at(file: BinaryIO, offset: int, image: np.ndarray) -> None:
    """Write an image into an unbuffered file; the system may take a part at a time."""
    view = image.data.cast("B")
    file.seek(offset)
    while view:
        view = view[file.write(view) :]
