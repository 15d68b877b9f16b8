"""Tables and class folders: from rows of text and names of folders to ids and targets.

A labelled set is a folder of images with a table `<folder>.csv` next to it, or a folder of class folders.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.layout import describe_unread, file_names, find_folders, list_ids, list_images
from hpa.errors import BadInput, first_of, refuse, shown
from hpa.files import require_plain
from hpa.tasks import TASKS, Task

LABEL_COLUMNS = (("Id", "Target"), ("Image ID", "Image class"))
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # line breaks and tabs among them
# What compressed files and archives begin with.
ARCHIVES = {
    b"PK\x03\x04": "zip archive or workbook",
    b"PK\x05\x06": "zip archive",  # an empty one
    b"\x1f\x8b": "gzip file",
    b"BZh91AY&SY": "bzip2 file",
    b"\xfd7zXZ": "xz file",
    b"\x28\xb5\x2f\xfd": "zstd file",
    b"7z\xbc\xaf": "7z archive",
    b"Rar!\x1a": "rar archive",
}


@dataclass(frozen=True)
class SampleTable:
    """The samples of a data set, in the order of its file."""

    ids: np.ndarray  # str [n], distinct
    targets: np.ndarray | None = None  # uint8 [n, classes] of 0 and 1, or None for a test set

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_targets(self) -> np.ndarray:
        """The targets of a set that has labels."""
        if self.targets is None:
            raise ValueError("this set has no labels")
        return self.targets

    def at(self, rows: np.ndarray) -> SampleTable:
        """Return the labelled samples of some rows, integers [m], in their order."""
        return SampleTable(self.ids[rows], self.known_targets[rows])


def concatenate(tables: Iterable[SampleTable]) -> SampleTable:
    """Return the labelled samples of some tables, one table after the other."""
    tables = list(tables)
    targets = np.concatenate([each.known_targets for each in tables])
    return SampleTable(np.concatenate([each.ids for each in tables]), targets)


def table_next_to(folder: Path) -> Path:
    """Return the file that holds the labels of the images in a folder, if there is one: `<folder>.csv`."""
    return Path(f"{folder if folder.name else folder.absolute()}.csv")  # the current folder is '.'


def read_labelled(folder: Path, task: Task, table: Path | None = None) -> SampleTable:
    """Read the labels of the images in a folder.

    Without a `table` they are the names of class folders, or in `<folder>.csv` next to the folder. Class folders count for
    single-label tasks only, if a folder is named after a class or there is no CSV. Their samples are sorted by id.

    Raises:
        BadInput: if there is no table; for a faulty one (see `read_training_table`), a folder that is not named after a
            class or holds no image, an id that is in two class folders, and an image next to them.
    """
    own_table = table_next_to(folder)
    class_folders = [] if table or not task.kind.exclusive else find_folders(folder)
    if own_table.exists() and not any(class_folder.name in task.classes for class_folder in class_folders):
        class_folders = []  # an `__MACOSX` or `old` next to flat images, say
    if not class_folders:
        if not table and not own_table.exists():
            raise BadInput(f"{own_table}: {_describe_missing_table(folder, own_table, task)}")
        return read_training_table(table or own_table, task)
    loose = [image.name for image in list_images(folder, task) if image.parent == folder]
    faults: list[str] = []
    class_of: dict[str, str] = {}
    for class_folder in class_folders:
        if class_folder.name not in task.classes:
            faults.append(f"folder {class_folder.name} is not one of the classes {', '.join(task.classes)}; rename it")
            continue
        ids = list_ids(class_folder, task)
        if not ids:
            reason = describe_unread(class_folder, task) or "holds no image; fill it or delete it"
            faults.append(f"class folder {class_folder.name} {reason}")
        for identifier in ids:
            if identifier in class_of:
                both = f"{class_of[identifier]} and in {class_folder.name}, but ids are distinct over all classes"
                faults.append(f"id {identifier} is in {both}; rename one, or delete it if it is the same image")
            class_of[identifier] = class_folder.name
    faults += [f"{name} lies next to the class folders; move it into one of them" for name in loose]
    refuse(folder, faults + _name_faults(class_of))
    ids = sorted(class_of)
    numbers = [task.classes.index(class_of[identifier]) for identifier in ids]
    return SampleTable(np.array(ids, dtype=str), np.eye(len(task.classes), dtype=np.uint8)[numbers])


def has_test_set(data: Path) -> bool:
    """Tell whether there is a test set; also true without a training set, so that the test set is reported as missing."""
    return any((data / name).exists() for name in ("sample_submission.csv", "test")) or not (data / "train").exists()


def read_ids(data: Path, task: Task) -> np.ndarray:
    """Return the ids of the test set: those of sample_submission.csv if it exists, else of the files in `test/`.

    Raises:
        BadInput: if there is neither, the table is faulty, or the folder holds no image.
    """
    sample_submission = data / "sample_submission.csv"
    if sample_submission.exists() or not (data / "test").is_dir():
        return read_sample_submission(sample_submission).ids
    ids = list_ids(data / "test", task)
    if not ids:
        reason = describe_unread(data / "test", task) or f"holds no image ({file_names(task)[0]}); fill it"
        raise BadInput(f"{data / 'test'}: {reason}")
    refuse(data / "test", _name_faults(ids))
    return np.array(ids, dtype=str)


def read_training_table(path: Path, task: Task) -> SampleTable:
    """Read a CSV with the columns `Id` and `Target`, or `Image ID` and `Image class`.

    Classes stand there as numbers separated by spaces or as names separated by `|`, in any order.

    Raises:
        BadInput: naming every faulty row: an id that is empty, repeated or holds a path; classes that are empty, unknown
            to the task, or more than one where the task is single-label.
    """
    frame = read_columns(path, *LABEL_COLUMNS)
    column = frame.columns[1]
    frame.columns = ["Id", "Target"]
    faults = _id_faults(frame["Id"])
    targets = np.zeros((len(frame), len(task.classes)), np.uint8)
    number_of = {own: number for number, name in enumerate(task.classes) for own in (name, str(number))}
    for row, (identifier, text) in enumerate(zip(frame["Id"], frame["Target"], strict=True)):
        text = text.strip()
        named = [text] if text in number_of else [part.strip() for part in text.split("|")] if "|" in text else text.split()
        wrong = [name for name in named if name not in number_of]
        numbers = list({number_of[name] for name in named if name in number_of})
        if not named:
            fault = "is empty; give at least one class number"
        elif wrong:
            unknown = first_of([f"'{shown(name)}'" for name in wrong], 10)
            names = "" if len(task.classes) > 10 else f" or {', '.join(task.classes)}"
            fault = f"holds {unknown}; class numbers are 0 to {len(task.classes) - 1}{names}"
        elif task.kind.exclusive and len(numbers) > 1:
            fault = f"names {len(numbers)} classes; this task has one a sample"
        else:
            targets[row, numbers] = 1
            continue
        faults.append((row, f"id {shown(identifier)}: {column} {fault}"))
    refuse(path, [f"line {row + 2}: {fault}" for row, fault in sorted(faults)])
    return SampleTable(frame["Id"].to_numpy(dtype=str), targets)


def read_sample_submission(path: Path) -> SampleTable:
    """Read the ids of a CSV with the columns `Id` and `Predicted`, but not its predictions; BadInput names faulty rows."""
    frame = read_columns(path, ["Id", "Predicted"])
    refuse(path, [f"line {row + 2}: {fault}" for row, fault in _id_faults(frame["Id"])])
    return SampleTable(frame["Id"].to_numpy(dtype=str))


def read_columns(
    path: Path, columns: Sequence[str], *alternatives: Sequence[str], may_be_empty: bool = False, exact: bool = False
) -> pd.DataFrame:
    """Read the named columns of a CSV as text, or the first of the `alternatives` that is there instead of them.

    A byte order mark, CRLF line ends and any file name are accepted. An `exact` table, which other programs will read, has
    these columns alone, in this order and without a byte order mark.

    Raises:
        BadInput: if the file is absent, no plain file, compressed or not a UTF-8 CSV; if it lacks a column, has one twice or
            has those of two alternatives; if it has no rows and may not be empty; and naming rows with control characters.
    """
    content = _read_bytes(path)
    try:
        names = _parse(content, header=None, nrows=1).fillna("").iloc[0].tolist()
        frame = _parse(content)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadInput(f"{path}: not a CSV table in UTF-8 ({shown(str(error).strip(), 200)})") from error
    choices = [list(each) for each in (columns, *alternatives)]
    columns = min(choices, key=lambda each: len(set(each) - set(names)))
    found = first_of([shown(name) for name in names], 20)
    missing = [column for column in columns if column not in names]
    if missing:
        accepted = f"; accepted are {' or '.join(map(','.join, choices))}" if alternatives else ""
        raise BadInput(f"{path}: no column {', '.join(missing)}; the first line has {found}{accepted}")
    twice = [column for column in columns if names.count(column) > 1]
    if twice:
        raise BadInput(f"{path}: column {', '.join(twice)} is there {names.count(twice[0])} times; keep one of them")
    for other in choices:
        if set(other) <= set(names) and not set(other) <= set(columns):
            raise BadInput(f"{path}: has both {','.join(columns)} and {','.join(other)}; keep one pair of columns")
    if exact and names != columns:
        raise BadInput(f"{path}: the first line is {found}; it must be {','.join(columns)}, without any other column")
    if exact and content.startswith(BYTE_ORDER_MARK):
        reason = f"begins with a byte order mark, with which the first column is not called {columns[0]}"
        raise BadInput(f"{path}: {reason}; save it as UTF-8 without one")
    if len(frame) and not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus first fields for row names
        raise BadInput(f"{path}: rows have more fields than the first line; put quotes around a field with commas")
    frame = frame.set_axis(names, axis=1)[columns].fillna("")
    unsound = np.argwhere(np.column_stack([frame[column].str.contains(CONTROL) for column in columns])).tolist()
    values = [(row, columns[column], shown(repr(frame.iloc[row, column]))) for row, column in unsound]
    fault = "holds a line break or control character; take it out"
    refuse(path, [f"line {row + 2}: {column} {value} {fault}" for row, column, value in values])
    filled = np.flatnonzero(frame.ne("").any(axis=1)) + 1
    refuse(path, [] if len(filled) or may_be_empty else ["no rows below the header"])
    return frame[: filled[-1] if len(filled) else 0]  # empty lines at the end are no rows


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file that may be a CSV table."""
    require_plain(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    kinds = [kind for start, kind in ARCHIVES.items() if content.startswith(start)]
    if content[257:262] == b"ustar":
        kinds.append("tar archive")
    refuse(path, [f"is a {kind}, not a CSV table; unpack it and name the table in it" for kind in kinds[:1]])
    zeros = content.find(b"\0")
    if zeros >= 0 and not content.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 has NUL bytes and a better message
        line = content.count(b"\n", 0, zeros) + 1
        fault = f"line {line}: holds NUL bytes, {content.count(0)} in all"
        raise BadInput(f"{path}: {fault}; the file is damaged, restore it, or not in UTF-8, save it as that")
    return content


def _parse(content: bytes, **options: object) -> pd.DataFrame:
    return pd.read_csv(
        io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False, **options
    )


def id_differences(found: np.ndarray, expected: np.ndarray, source: object) -> list[str]:
    """Say how many ids are missing, surplus or repeated compared with the distinct ids of a `source`, with the first few."""
    if np.array_equal(found, expected):  # as almost always
        return []
    counts, wanted = Counter(found.tolist()), dict.fromkeys(expected.tolist())
    differences = {
        f"ids of {source} missing": [each for each in wanted if each not in counts],
        f"ids that {source} does not have": [each for each in counts if each not in wanted],
        "ids in more than one row": [each for each, count in counts.items() if count > 1],
    }
    return [f"{len(ids)} {what} ({first_of([shown(each) for each in ids])})" for what, ids in differences.items() if ids]


def _name_faults(ids: Iterable[str]) -> list[str]:
    """Say which of some ids, from the names of files, cannot be in a table."""
    unsound = [shown(repr(each)) for each in ids if CONTROL.search(each)]
    return [f"the name of {each} holds a line break or control character; rename it" for each in unsound]


def _id_faults(ids: pd.Series) -> list[tuple[int, str]]:
    first_row: dict[str, int] = {}
    faults = []
    for row, identifier in enumerate(ids):
        if identifier.strip() != identifier or not identifier:
            faults.append((row, f"id '{shown(identifier)}' is empty or has spaces around it"))
        elif any(mark in identifier for mark in "/\\") or identifier.startswith("."):
            faults.append((row, f"id '{shown(identifier)}' looks like a path; an id is a part of a file's name"))
        elif identifier in first_row:
            where = f"line {first_row[identifier] + 2}"
            faults.append((row, f"id {shown(identifier)} stands already on {where}; keep one of them"))
        first_row.setdefault(identifier, row)
    return faults


def _describe_missing_table(folder: Path, own_table: Path, task: Task) -> str:
    if task.kind.exclusive:
        names = first_of(task.classes, 10 if len(task.classes) <= 10 else 3)
        fix = f"put the images into folders named {names}, or the labels into {own_table}"
        return f"no such table, and no class folders in {folder}; {fix}"
    present = {class_folder.name for class_folder in find_folders(folder)} if folder.is_dir() else set()
    other = [each.name for each in TASKS.values() if each.kind.exclusive and present & set(each.classes)]
    if other:
        return f"no such table; the class folders in {folder} are those of the task {other[0]}"
    fix = ", or name the task if the classes lie in folders or are your own" if folder.is_dir() else ""
    return f"no such table; the labels of the images in {folder} belong there{fix}"


def repeated_faults(ids: pd.Series) -> list[str]:
    """Say which ids, indexed by row from 0, occur twice."""
    repeated = ids[ids.duplicated()]
    return [f"line {row + 2}: id {shown(each)} is here twice; keep one of them" for row, each in repeated.items()]
