"""Where the files of samples lie: in one folder, or in class folders; which of them belong to which id."""

import functools
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from hpa.errors import BadInput, refuse
from hpa.tasks import Task

# What OpenCV decodes without loss, then what may have lost; of two files of one name the first counts.
EXTENSIONS = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
EXTERNAL = "external"
NAMED_IDS = 3
UNDECODED = re.compile("[\udc80-\udcff]")  # how Python reads a byte of a name that is not UTF-8


def find_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name; hidden ones are passed over.

    Raises:
        BadInput: if the folder cannot be listed.
    """
    return sorted(Path(entry) for entry in _listed(folder) if entry.is_dir())


def external_sets(data: Path) -> list[str]:
    """Return the names of the folders of external images in a data folder, `external` and `external-<any name>`, sorted."""
    names = (folder.name for folder in find_folders(data))
    return sorted(name for name in names if name == EXTERNAL or name.startswith(f"{EXTERNAL}-"))


def data_paths(data: Path) -> list[Path]:
    """Return the folders of the sets of a data folder and the tables next to them, be they there or not."""
    sets = ["train", "validation", "test", *(external_sets(data) if data.is_dir() else ())]
    tables = [f"{name}.csv" for name in (*sets, "sample_submission", "test_key")]
    return [data / name for name in (*sets, *tables)]


def list_images(folder: Path) -> list[Path]:
    """Return the image files in a folder and in its class folders, hidden ones passed over.

    Of two files of one name the one that counts comes last: those of class folders stand before those of the folder itself,
    and either in the order of `EXTENSIONS` from its end.

    Raises:
        BadInput: if a folder cannot be listed, and naming every image whose name is not UTF-8, as that of an id must be.
    """
    entries = [(True, entry) for entry in _listed(folder)]
    for class_folder in [entry for _, entry in entries if entry.is_dir()]:
        entries += [(False, entry) for entry in _listed(class_folder)]
    rank = {extension: -place for place, extension in enumerate(EXTENSIONS)}
    images = [
        (flat, rank[extension], entry.path)
        for flat, entry in entries
        if (extension := os.path.splitext(entry.name)[1].lower()) in rank and not entry.is_dir()
    ]
    files = [Path(path) for *_, path in sorted(images)]
    odd = [os.fsencode(file.relative_to(folder)) for file in files if UNDECODED.search(file.name)]
    refuse(
        folder,
        [f"{name.decode(errors='backslashreplace')} has a name that is not valid UTF-8; rename it" for name in sorted(odd)],
    )
    return files


def list_ids(folder: Path, task: Task) -> list[str]:
    """Return the sorted ids of the samples that have a file in a folder or its class folders, if only of one channel.

    Raises:
        BadInput: naming every file of a sample that lies in several of the class folders under one name.
    """
    files = _files_of_stems(folder)
    refuse(
        folder, [_same_name(folder, files[stem]) for stem in sorted(files) if len(files[stem]) > 1 and _ids_of([stem], task)]
    )
    return _ids_of(files, task)


def find_files(folder: Path, ids: Iterable[str], task: Task, whole: bool = False) -> list[list[Path]]:
    """Return the channel files of every sample, in the order of `task.channels`.

    They lie in the folder itself or in its class folders. An id that is a number is also found with other leading zeros.
    Where they are those of a `whole` table, stderr says, once a process, which samples of the folder are not among them.

    Raises:
        BadInput: naming every sample that lacks a file, and the channels it lacks, or has the files of another one, and
            every file that lies in several of the class folders under one name.
    """
    present = _files_of_stems(folder)
    unpadded: dict[str, str] = {}
    for stem in present:
        if stem[:1].isdecimal():
            bare = stem.lstrip("0")
            unpadded[bare] = "" if bare in unpadded else stem  # of 1 and 01, neither is 001
    files, faults, owners, used = [], [], {}, set()
    for identifier in ids:
        stems = [f"{identifier}{suffix}" for suffix in task.suffixes]
        if identifier.isdecimal():
            stems = [stem if stem in present else unpadded.get(stem.lstrip("0")) or stem for stem in stems]
        missing = [f"{stem}.png" for stem in stems if stem not in present]
        owner = owners.setdefault(stems[0], identifier)
        if missing:
            faults.append(f"id {identifier}: no {', '.join(missing)}")
        elif owner != identifier:
            faults.append(f"id {identifier}: {present[stems[0]][-1].name} is that of id {owner} already; keep one of them")
        else:
            faults += [_same_name(folder, present[stem]) for stem in stems if len(present[stem]) > 1]
            files.append([present[stem][-1] for stem in stems])
            used.update(stems)
    refuse(folder, faults)
    if whole and (rowless := _ids_of(present.keys() - used, task)):
        first = ", ".join(rowless[:NAMED_IDS]) + (", ..." if len(rowless) > NAMED_IDS else "")
        _say_once(f"{folder}: samples without a row in the table are left out: {len(rowless)} ({first})")
    return files


def _files_of_stems(folder: Path) -> dict[str, list[Path]]:
    """Return for each name without extension the file that counts, or those of several class folders, of which none does."""
    files: dict[str, list[Path]] = {}
    for image in list_images(folder):
        before = [other for other in files.get(image.stem, ()) if image.parent not in (folder, other.parent)]
        files[image.stem] = [*before, image]
    return files


def _same_name(folder: Path, files: list[Path]) -> str:
    names = " and ".join(sorted(str(file.relative_to(folder)) for file in files))
    return f"{names} have one name; rename all but one, or delete them if they are the same image"


def _ids_of(stems: Iterable[str], task: Task) -> list[str]:
    ids = set()
    for stem in stems:
        suffixes = [suffix for suffix in task.suffixes if stem.endswith(suffix)]
        if suffixes:  # of two that fit, "" and "_mask" say, the longer one is meant
            ids.add(stem.removesuffix(max(suffixes, key=len)))
    return sorted(ids)


@functools.cache  # a command reads some folders several times
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)


def _listed(folder: Path) -> list[os.DirEntry]:
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed ({error.strerror}); the images belong there") from error
