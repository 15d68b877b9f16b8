"""Packed images: decoded, stacked and resized once, then memory-mapped by everything that learns or predicts.

A store is a folder with `images.npy` (uint8 [n, S, S, C]), `stamps.npy` (uint64 [n], a hash of the names, sizes and
times of the files that a row was made from) and `store.json` (task, channels, size, ids, source). It grows under the
name `<store>.partial` and gets its own name when it is whole; a stamp of 0 marks a row that is still to be packed.
"""

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hpa.data.images import read_image
from hpa.data.layout import find_files
from hpa.errors import BadInput, refuse
from hpa.files import locked, read_json, write_json
from hpa.tasks import Task

# Rows that are made durable together: few enough that a crash costs a second's work, many enough that waiting for the
# disk is rare.
CHUNK = 128


@dataclass(frozen=True)
class ImageStore:
    """Packed images on disk.

    Attributes:
        folder: where they lie.
        ids: str array [n].
        images: uint8 array [n, S, S, C], memory-mapped and read-only.
    """

    folder: Path
    ids: np.ndarray
    images: np.ndarray


class Joined:
    """Packed images of several stores one after the other, read by row as if they were one array.

    Attributes:
        shape: (n, S, S, C), with all stores' images counted in n.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        """Take uint8 arrays [., S, S, C] of one S and C."""
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of some rows, integers [m] from 0 to below n: uint8 [m, S, S, C]."""
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        part_of_row = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(part_of_row):
            chosen = part_of_row == part
            images[chosen] = self._parts[part][rows[chosen] - self._starts[part]]
        return images


def pack(folder: Path, source: Path, ids: np.ndarray, task: Task, size: int) -> ImageStore:
    """Return the store at `folder`, packing what is missing from it first.

    A store that was made from the same files with the same settings is opened as it is. Any other one is packed anew,
    on all cores; an interrupted or failed packing goes on where it stopped. Memory does not grow with the number of
    images.

    Args:
        folder: the store.
        source: the folder of the images, or of their class folders.
        ids: the samples, in the order of the rows.
        task: gives the channels.
        size: side in pixels of the packed images.

    Raises:
        BadInput: naming every sample whose files are missing or cannot be used; the others stay packed.
        OSError: if the disk is full; what was packed stays.
    """
    files = find_files(source, ids, task, whole=True)
    stamps = np.array([_stamp(sample) for sample in files], np.uint64)
    request = {
        "task": task.name,
        "channels": list(task.channels),
        "size": size,
        "ids": [str(identifier) for identifier in ids],
        "source": str(source),
    }
    with locked(folder.parent / f".{folder.name}.lock", wait=True):
        if not _fits(folder, request, stamps):
            partial = folder.with_name(f"{folder.name}.partial")
            _begin(partial, request)
            _pack_rows(partial, request, files, stamps)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
        return ImageStore(folder, np.asarray(ids), np.load(folder / "images.npy", mmap_mode="r"))


def _stamp(files: list[Path]) -> int:
    try:
        stats = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in [os.stat(file)]]
    except OSError:  # a link to nowhere, say: decoding will tell
        return 1
    return int.from_bytes(hashlib.blake2b(repr(stats).encode(), digest_size=8).digest()) | 1  # 0 marks an open row


def _fits(folder: Path, request: dict, stamps: np.ndarray | None = None) -> bool:
    """Tell whether the store at `folder` answers the `request` and, if given, was made from files of these `stamps`."""
    try:
        made = read_json(folder / "store.json")
        np.load(folder / "images.npy", mmap_mode="r")  # fails if the file was cut short
        packed = np.load(folder / "stamps.npy")
    except (BadInput, OSError, ValueError, EOFError):
        return False
    return {**made, "source": request["source"]} == request and (stamps is None or np.array_equal(packed, stamps))


def _begin(partial: Path, request: dict) -> None:
    """Make sure that `partial` holds a store of the right shape, with the rows that an earlier try has packed."""
    if _fits(partial, request):
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows, size = len(request["ids"]), request["size"]
    shape = (rows, size, size, len(request["channels"]))
    needed, free = math.prod(shape), shutil.disk_usage(partial).free
    if needed > free:
        raise OSError(errno.ENOSPC, "", f"{partial} needs {needed / 2**30:.2f} GiB, {free / 2**30:.2f} GiB are free")
    # Images are a hole in the file at first. Plain writes will fill it, since they report a disk that is full by then;
    # writing through a memory map would kill the process instead.
    np.lib.format.open_memmap(partial / "images.npy", "w+", np.uint8, shape)
    np.save(partial / "stamps.npy", np.zeros(rows, np.uint64))
    write_json(partial / "store.json", request)


def _pack_rows(partial: Path, request: dict, files: list[list[Path]], stamps: np.ndarray) -> None:
    images = np.load(partial / "images.npy", mmap_mode="r")
    done = np.load(partial / "stamps.npy", mmap_mode="r+")
    rows = np.flatnonzero(done != stamps)
    size = request["size"]
    cores = len(os.sched_getaffinity(0))
    faults: list[str] = []
    with (
        open(partial / "images.npy", "rb+", buffering=0) as file,
        ThreadPoolExecutor(cores) as pool,  # OpenCV lets go of the interpreter lock while it decodes and resizes
        tqdm(total=len(files), initial=len(files) - len(rows), unit="img", desc=f"packing {size} px", disable=None) as bar,
    ):

        def pack_row(row: int) -> bool:
            try:
                _write_at(file.fileno(), images.offset + row * images[0].nbytes, read_image(files[row], size))
            except BadInput as error:
                faults.append(f"id {request['ids'][row]}: {error}")
                return False
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(partial)) from error
            return True

        def commit(chunk: np.ndarray, good: list[bool]) -> None:
            os.fdatasync(file.fileno())
            done[chunk[good]] = stamps[chunk[good]]
            done.flush()

        written: tuple[np.ndarray, list[bool]] | None = None
        for chunk in np.array_split(rows, range(CHUNK, len(rows), CHUNK)):
            results = pool.map(pack_row, chunk.tolist())
            if written:
                commit(*written)  # waits for the disk while the pool is at work on the next rows
            good = []
            for result in results:
                good.append(result)
                bar.update()
            written = chunk, good
        if written:
            commit(*written)
    refuse(request["source"], sorted(faults))


def _write_at(descriptor: int, offset: int, image: np.ndarray) -> None:
    view = memoryview(image).cast("B")
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
