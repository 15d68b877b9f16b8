"""train.csv and sample_submission.csv: from rows of text to ids and multi-hot targets."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.errors import BadInput, refuse
from hpa.tasks import Task

NAMED_IDS = 3


@dataclass(frozen=True)
class SampleTable:
    """The samples of a data set, in the order of its file.

    Attributes:
        ids: str array [n], distinct.
        targets: uint8 array [n, classes] of 0 and 1, or None for a test set.
    """

    ids: np.ndarray
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)


def read_training_table(path: Path, task: Task) -> SampleTable:
    """Read a CSV with the columns `Id` and `Target`, class numbers parted by spaces in any order.

    Raises:
        BadInput: naming every faulty row: an id that is empty, repeated or holds a path; a target that is empty or
            names a class that the task does not have.
    """
    frame = read_columns(path, ["Id", "Target"])
    faults = _id_faults(frame["Id"])
    targets = np.zeros((len(frame), len(task.classes)), np.uint8)
    for row, (identifier, text) in enumerate(zip(frame["Id"], frame["Target"], strict=True)):
        numbers = text.split()
        wrong = [number for number in numbers if not _is_class(number, task)]
        if not numbers:
            faults.append((row, f"id {identifier}: Target is empty; give at least one class number"))
        elif wrong:
            named = ", ".join(f"'{number}'" for number in wrong)
            faults.append((row, f"id {identifier}: Target holds {named}; class numbers are 0 to {len(task.classes) - 1}"))
        else:
            targets[row, [int(number) for number in numbers]] = 1
    refuse(path, [f"line {row + 2}: {fault}" for row, fault in sorted(faults)])
    return SampleTable(frame["Id"].to_numpy(dtype=str), targets)


def read_sample_submission(path: Path) -> SampleTable:
    """Read the ids of a CSV with the columns `Id` and `Predicted`; what is predicted there does not matter.

    Raises:
        BadInput: naming every faulty row.
    """
    frame = read_columns(path, ["Id", "Predicted"])
    refuse(path, [f"line {row + 2}: {fault}" for row, fault in _id_faults(frame["Id"])])
    return SampleTable(frame["Id"].to_numpy(dtype=str))


def read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read the named columns of a CSV as text; a byte order mark and CRLF line ends are accepted.

    Raises:
        BadInput: if the file is absent, not a UTF-8 CSV, lacks a column or has no rows.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise BadInput(f"{path}: not a CSV table in UTF-8 ({str(error).strip()})") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInput(f"{path}: no column {', '.join(missing)}; the first line has {', '.join(frame.columns)}")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus first fields for row names
        raise BadInput(f"{path}: rows have more fields than the first line; put quotes around a field with commas")
    frame = frame[columns].fillna("")
    filled = np.flatnonzero(frame.ne("").any(axis=1))
    if not len(filled):
        raise BadInput(f"{path}: no rows below the header")
    return frame[: filled[-1] + 1]  # empty lines at the end are no rows


def id_differences(found: np.ndarray, expected: np.ndarray, source: object) -> list[str]:
    """Say how many ids are missing, surplus or repeated, and which are the first of them; nothing if none are.

    Args:
        found: ids [n], in any order.
        expected: the distinct ids [m] that should be there.
        source: what has the expected ids, for the message.
    """
    if np.array_equal(found, expected):  # as almost always
        return []
    counts, wanted = Counter(found.tolist()), dict.fromkeys(expected.tolist())
    differences = {
        f"ids of {source} missing": [each for each in wanted if each not in counts],
        f"ids that {source} does not have": [each for each in counts if each not in wanted],
        "ids in more than one row": [each for each, count in counts.items() if count > 1],
    }
    return [
        f"{len(ids)} {what} ({', '.join(map(str, ids[:NAMED_IDS]))}{', ...' if len(ids) > NAMED_IDS else ''})"
        for what, ids in differences.items()
        if ids
    ]


def _id_faults(ids: pd.Series) -> list[tuple[int, str]]:
    first_row: dict[str, int] = {}
    faults = []
    for row, identifier in enumerate(ids):
        if identifier.strip() != identifier or not identifier:
            faults.append((row, f"id '{identifier}' is empty or has spaces around it"))
        elif any(mark in identifier for mark in "/\\\0") or identifier.startswith("."):
            faults.append((row, f"id '{identifier}' looks like a path; an id is the part of a file name before '_red.png'"))
        elif identifier in first_row:
            faults.append((row, f"id {identifier} stands already on line {first_row[identifier] + 2}; keep one of them"))
        first_row.setdefault(identifier, row)
    return faults


def _is_class(text: str, task: Task) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(task.classes)
