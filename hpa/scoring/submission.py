"""The submission file: the competition's CSV `Id,Predicted`, and a JSON next to it with how it was made."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.tables import read_columns, read_sample_submission, read_training_table
from hpa.errors import first_of, refuse, shown
from hpa.files import file_digest, write_json, written_whole
from hpa.labels import LABELS
from hpa.scoring.metrics import macro_f1
from hpa.tasks import Task


def write_submission(path: Path, ids: np.ndarray, predicted: np.ndarray, about: dict[str, Any]) -> None:
    """Write what is predicted for `ids`, str [n], as bool [n, classes], and `about` to the `.json` of the same name."""
    names = [str(number) for number in range(predicted.shape[1])]
    labels = [" ".join(compress(names, row)) for row in predicted.tolist()]
    with written_whole(path) as temporary:
        pd.DataFrame({"Id": ids, "Predicted": labels}).to_csv(temporary, index=False, lineterminator="\n")
        # A crash after this leaves a table without its JSON, never with a wrong one.
        path.with_suffix(".json").unlink(missing_ok=True)
    write_about(path, about)


def write_about(path: Path, about: dict[str, Any]) -> None:
    """Write `about`, and the SHA-256 of the file `path` if it is there, to the `.json` of the same name.

    Several processes may write the same submission; the SHA-256 shows whether table and JSON are of one.
    """
    digest = {"sha256": file_digest(path)} if path.is_file() else {}
    write_json(path.with_suffix(".json"), about | digest)


def check_submission(path: Path, sample_submission_path: Path, class_count: int, labels: str = "many") -> np.ndarray:
    """Return the predictions of a submission, uint8 [n, classes], if it fits the sample submission: its ids in its order.

    Raises:
        BadInput: with every fault: an id that is missing, unknown or repeated, another order than the sample, a row with no
            class, a class twice, or something that is no class number; other columns than `Id` and `Predicted`, or a byte
            order mark before them, which Kaggle would read as part of the first name.
    """
    expected = read_sample_submission(sample_submission_path).ids.tolist()
    line_of, predicted, faults = _read(path, expected, sample_submission_path, class_count)
    known = set(expected)
    found = [identifier for identifier in line_of if identifier in known]
    wanted = [identifier for identifier in expected if identifier in line_of]
    differing = [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]]
    if differing:
        here, there = differing[0]
        where = f"line {line_of[here]}: id {shown(here)}"
        faults.append(f"{where} is where {sample_submission_path} has {shown(there)}; use its order")
    if LABELS[labels].exclusive:
        several = [each for each, row in zip(line_of, predicted.sum(axis=1), strict=False) if row > 1]
        faults += [
            f"line {line_of[each]}: id {shown(each)}: names several classes; this task has one a row" for each in several
        ]
    refuse(path, faults)
    return predicted


def score_submission(path: Path, key_path: Path, task: Task) -> float:
    """Return the macro F1 of a submission against an answer key, a CSV `Id,Target` of the same ids in any order.

    BadInput is raised as by `check_submission`, but not for another order, and for a faulty key.
    """
    key = read_training_table(key_path, task)
    expected = key.ids.tolist()
    line_of, predicted, faults = _read(path, expected, key_path, len(task.classes))
    refuse(path, faults)
    return macro_f1(key.known_targets, predicted[[line_of[identifier] - 2 for identifier in expected]])


def share_warnings(predicted: np.ndarray, targets: np.ndarray, source: str, classes: Sequence[str]) -> list[str]:
    """Return how predictions of a test set differ from known labels so much that the thresholds may be wrong.

    Warnings are for more than twice or less than half as many classes a row, and for classes whose two shares of the rows
    differ: the higher is above the lower + 0.5, or above 5 times the lower + 0.25. Predictions and targets are arrays of 0
    and 1, [n, classes] and [m, classes]; the `source` names the targets and has a verb, as "the training set has".
    """
    warnings = []
    here, there = predicted.sum(axis=1).mean(), targets.sum(axis=1).mean()
    if not there / 2 <= here <= 2 * there:
        warnings.append(f"{here:.2f} classes a row, {source} {there:.2f}; are the thresholds right?")
    shares, known = predicted.mean(axis=0), targets.mean(axis=0)
    lower, higher = np.minimum(shares, known), np.maximum(shares, known)
    far = np.flatnonzero(higher > np.minimum(lower + 0.5, 5 * lower + 0.25))
    named = [f"{shown(classes[each])} {shares[each]:.0%}, {source} {known[each]:.0%}" for each in far.tolist()]
    if named:
        more = f"; and {len(named) - 3} classes more" if len(named) > 3 else ""
        warnings.append(f"share of the rows with a class: {'; '.join(named[:3])}{more}; are the thresholds right?")
    return warnings


def _read(path: Path, expected: list[str], source: Path, class_count: int) -> tuple[dict[str, int], np.ndarray, list[str]]:
    """Return each id's line, the predictions, uint8 [n, classes], and the faults; the expected ids are those of `source`."""
    frame = read_columns(path, ["Id", "Predicted"], exact=True)
    numbers = {str(number): number for number in range(class_count)}
    predicted = np.zeros((len(frame), class_count), np.uint8)
    known = set(expected)
    line_of: dict[str, int] = {}
    faults = []
    for line, (identifier, text) in enumerate(zip(frame["Id"], frame["Predicted"], strict=True), start=2):
        where = f"line {line}: id {shown(identifier)}"
        if identifier in line_of:
            faults.append(f"{where} is already on line {line_of[identifier]}; keep one of them")
        elif identifier not in known:
            faults.append(f"{where} is not in {source}; remove it")
        line_of.setdefault(identifier, line)
        named = [name for name in text.split(" ") if name]  # for Kaggle other spaces separate nothing
        wrong = [name for name in named if name not in numbers]
        if not named:
            faults.append(f"{where}: Predicted is empty; give at least one class number")
        elif wrong:
            listed = first_of([f"'{shown(name)}'" for name in wrong], 10)
            faults.append(f"{where}: Predicted holds {listed}; class numbers are 0 to {class_count - 1}")
        elif len(set(named)) < len(named):
            faults.append(f"{where}: Predicted '{shown(text)}' names a class twice; name it once")
        else:
            predicted[line - 2, [numbers[name] for name in named]] = 1
    missing = [identifier for identifier in expected if identifier not in line_of]
    faults += [f"id {shown(identifier)} of {source} is missing; add its row" for identifier in missing]
    return line_of, predicted, faults
