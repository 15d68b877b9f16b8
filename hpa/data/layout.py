"""Where the files of samples lie: in one folder, or in class folders; which of them belong to which id.

The name of a file is `<id><suffix>` and an extension, or fits the pattern `files` of a task, such as
`{plate}_{well}_w{channel}*.tif`: a field stands for any letters, `{channel}` for one of the suffixes, `*` for any letters or
none. The id is then what the other fields stand for, joined by `_`.
"""

import functools
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpa.errors import BadInput, first_of, refuse
from hpa.tasks import FIELD, Task

logger = logging.getLogger(__name__)

EXTENSIONS = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
FORMATS = "PNG, TIFF, BMP or JPEG"
MICROSCOPES = (".czi", ".nd2", ".lif")  # read if the pattern of a task ends so
# Other formats of images, so that a message can name them.
OTHER_EXTENSIONS = (
    *MICROSCOPES, ".gif", ".webp", ".jp2", ".j2k", ".jxl", ".avif", ".heic", ".lsm", ".oib", ".oif", ".vsi",
    ".ims", ".svs", ".dv", ".stk", ".flex", ".dcm", ".zarr", ".h5", ".hdf5", ".npy", ".npz", ".zip",
)  # fmt: skip
EXTERNAL = "external"
PIECES = re.compile(rf"({FIELD.pattern.replace('(', '(?:')}|\*)")  # of a pattern of files' names
UNDECODED = re.compile("[\udc80-\udcff]")  # how Python reads a byte of a name that is not UTF-8


def find_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without hidden ones; raise BadInput if it cannot be listed."""
    return sorted(Path(entry) for entry in _listed(folder) if entry.is_dir())


def external_sets(data: Path) -> list[str]:
    """Return the names of the folders of external images in a data folder, `external` and `external-<any name>`, sorted."""
    names = (folder.name for folder in find_folders(data))
    return sorted(name for name in names if name == EXTERNAL or name.startswith(f"{EXTERNAL}-"))


def data_paths(data: Path) -> list[Path]:
    """Return the folders of the sets of a data folder and the tables next to them, also absent ones."""
    sets = ["train", "validation", "test", *(external_sets(data) if data.is_dir() else ())]
    tables = [f"{name}.csv" for name in (*sets, "sample_submission", "test_key")]
    return [data / name for name in (*sets, *tables)]


def file_names(task: Task, identifier: str = "<id>") -> list[str]:
    """Return what the files of a sample are called, one for each channel or one for all, for messages."""
    if not task.files:
        return [f"{identifier}{suffix}.png" for suffix in task.suffixes]
    pattern = task.files.replace("{id}", identifier)
    return [pattern.replace("{channel}", ending[1:]) for ending in _endings(task)]


def id_of(file: Path, task: Task) -> str | None:
    """Return the id of the sample that a file belongs to by its name; None if its name is that of no sample."""
    return next(iter(_ids_of(_stems_of(file, task), task)), None)


def list_images(folder: Path, task: Task) -> list[Path]:
    """Return the image files in a folder and in its class folders, without hidden ones.

    Those of class folders come first; those of the folder itself take precedence.

    Raises:
        BadInput: if a folder cannot be listed, and naming every image whose name is not UTF-8.
    """
    extensions = [*EXTENSIONS, *(each for each in MICROSCOPES if task.files.lower().endswith(each))]
    files = sorted(_files_in(folder, extensions), key=lambda file: (file.parent == folder, str(file)))
    odd = [os.fsencode(file.relative_to(folder)) for file in files if UNDECODED.search(file.name)]
    named = [name.decode(errors="backslashreplace") for name in sorted(odd)]
    refuse(folder, [f"{name} has a name that is not valid UTF-8; rename it" for name in named])
    return files


def _files_in(folder: Path, extensions: Sequence[str]) -> list[Path]:
    entries = _listed(folder)
    entries += [inner for entry in entries if entry.is_dir() for inner in _listed(entry)]
    return [Path(entry) for entry in entries if os.path.splitext(entry.name)[1].lower() in extensions and not entry.is_dir()]


def describe_unread(folder: Path, task: Task) -> str:
    """Say why the images in a folder are not samples, and how to fix it; "" if nothing in it looks like an image."""
    images = list_images(folder, task)
    if images:
        ends = " or ".join(f"{suffix}.png" for suffix in task.suffixes)
        found = f"holds {len(images)} image{'s' if len(images) > 1 else ''}, such as {images[0].name}"
        if task.files:
            names = " or ".join(file_names(task, "{id}"))
            return f"{found}, but none is named {names}; rename them, or give the task file the right files and suffixes"
        return f"{found}, but none ends in {ends}; rename them, or give the task file the right suffixes = [...]"
    others = Counter(file.suffix.lower() for file in _files_in(folder, OTHER_EXTENSIONS))
    if not others:
        return ""
    found = ", ".join(f"{count} {extension}" for extension, count in sorted(others.items()))
    return f"holds no image but {found} files, which are not read; save them as {FORMATS}" + (
        ', or name such files in a task file, as files = "{id}.czi"' if others.keys() & set(MICROSCOPES) else ""
    )


def list_ids(folder: Path, task: Task) -> list[str]:
    """Return the sorted ids of the samples that have a file in a folder or its class folders, if only of one channel.

    Raises:
        BadInput: naming every file of a sample that is there several times under one name, in class folders or as another
            format.
    """
    files = _files_of_stems(folder, task)
    several = [stem for stem in sorted(files) if len(files[stem]) > 1 and _ids_of([stem], task)]
    refuse(folder, [_same_name(folder, files[stem]) for stem in several])
    return _ids_of(files, task)


def find_files(folder: Path, ids: Iterable[str], task: Task, whole: bool = False) -> list[list[Path]]:
    """Return the files of every sample, in the order of `task.channels`, or the one that holds all its channels.

    They lie in the folder itself or in its class folders. An id that is a number is also found with other leading zeros.
    If the ids are those of a `whole` table, a warning, once a process, names samples of the folder that have no row.

    Raises:
        BadInput: naming every sample that lacks a file, and the channels it lacks, or has the files of another one, and
            every file that is there several times under one name, in class folders or as another format.
    """
    present, endings = _files_of_stems(folder, task), _endings(task)
    unpadded: dict[str, str] = {}
    for stem in present:
        if stem[:1].isdecimal():
            bare = stem.lstrip("0")
            unpadded[bare] = "" if bare in unpadded else stem  # of 1 and 01, neither is 001
    files, faults, used = [], [], set()
    owners: dict[str, str] = {}
    for identifier in ids:
        stems = [f"{identifier}{ending}" for ending in endings]
        if identifier.isdecimal():
            stems = [stem if stem in present else unpadded.get(stem.lstrip("0")) or stem for stem in stems]
        missing = [name for stem, name in zip(stems, file_names(task, identifier), strict=True) if stem not in present]
        owner = owners.setdefault(stems[0], identifier)
        if missing:
            faults.append(f"id {identifier}: no {', '.join(missing)}")
        elif owner != identifier:
            faults.append(f"id {identifier}: {present[stems[0]][-1].name} is that of id {owner} already; keep one of them")
        else:
            faults += [_same_name(folder, present[stem]) for stem in stems if len(present[stem]) > 1]
            files.append([present[stem][-1] for stem in stems])
            used.update(stems)
    if faults and not _ids_of(present, task) and (reason := describe_unread(folder, task)):
        faults = [reason]  # the cause of every missing file
    refuse(folder, faults)
    if whole and (rowless := _ids_of(present.keys() - used, task)):
        say_once(f"{folder}: samples without a row in the table are left out: {len(rowless)} ({first_of(rowless)})")
    return files


def _files_of_stems(folder: Path, task: Task) -> dict[str, list[Path]]:
    """Return the files of each stem; one in the folder itself takes precedence over class folders."""
    files: dict[str, list[Path]] = {}
    faults = []
    for image in list_images(folder, task):
        stems = _stems_of(image, task)
        if len(stems) > 1:
            named = " and of ".join(stem.rpartition("/")[2] for stem in stems)
            faults.append(f"{image.name} may be of channel {named}; write files so that it fits one")
        for stem in stems:
            before = [other for other in files.get(stem, ()) if image.parent != folder or other.parent == folder]
            files[stem] = [*before, image]
    refuse(folder, faults)
    return files


def _stems_of(file: Path, task: Task) -> list[str]:
    """Return the name of a file without extension; with a pattern, its id and ending for each channel that it fits."""
    if not task.files:
        return [file.stem]
    found = [(pattern.fullmatch(file.name), ending) for pattern, ending in zip(_patterns(task), _endings(task), strict=True)]
    return [f"{'_'.join(match.groups())}{ending}" for match, ending in found if match]


@functools.cache
def _patterns(task: Task) -> list[re.Pattern[str]]:
    """Return what the name of each file of a sample fits; letters of the extension may be large or small."""
    name, extension = os.path.splitext(task.files)
    ends = "(?i:" + ".*".join(map(re.escape, extension.split("*"))) + ")"
    patterns = []
    for ending in _endings(task):
        fields = {"*": ".*?", "{channel}": re.escape(ending[1:])}
        pieces = [fields.get(each, "(.+?)" if FIELD.fullmatch(each) else re.escape(each)) for each in PIECES.split(name)]
        patterns.append(re.compile("".join(pieces) + ends))
    return patterns


def _endings(task: Task) -> tuple[str, ...]:
    """Return what follows the id in the stem of each file of a sample; after a / where it is not what the name has there."""
    if not task.files:
        return task.suffixes
    return tuple(f"/{suffix}" for suffix in task.suffixes) if "{channel}" in task.files else ("",)


def stamp(files: Sequence[Path], made_of: object = None) -> int:
    """Return a number above 0 that changes with the names, sizes and times of some files, and with what else is given."""
    try:
        stats = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in [os.stat(file)]]
    except OSError:  # a link to nowhere, say: decoding will tell
        return 1
    text = repr((made_of, stats)).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) | 1


def _same_name(folder: Path, files: list[Path]) -> str:
    names = " and ".join(sorted(str(file.relative_to(folder)) for file in files))
    return f"{names} have one name; rename all but one, or delete them if they are the same image"


def _ids_of(stems: Iterable[str], task: Task) -> list[str]:
    ids = set()
    for stem in stems:
        endings = [ending for ending in _endings(task) if stem.endswith(ending)]
        if endings:  # of two that fit, "" and "_mask" say, the longer one is meant
            ids.add(stem.removesuffix(max(endings, key=len)))
    return sorted(ids)


@functools.cache  # a command reads and packs some folders several times
def say_once(text: str) -> None:
    """Log a warning, once a process."""
    logger.warning(text)


def _listed(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"{os.fspath(folder)}: cannot be listed ({error.strerror}); the images belong there") from error
