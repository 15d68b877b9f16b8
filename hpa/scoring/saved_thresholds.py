"""`thresholds.json`, thresholds next to a model that later predictions use; and files of class shares."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpa.data.tables import read_columns
from hpa.errors import BadInput, first_of, refuse, shown
from hpa.files import file_digest, read_json, write_json
from hpa.scoring.rules import THRESHOLDS
from hpa.scoring.thresholds import Rule

NAME = "thresholds.json"
DEFAULT = "per-class"  # the rule if none is saved
FIX = "run hpa thresholds again, or delete it"

logger = logging.getLogger(__name__)


def write_thresholds(
    folders: Sequence[Path], rule: Rule, classes: Sequence[str], thresholds: np.ndarray, scores: Mapping[str, float]
) -> None:
    """Write `thresholds.json` into the folders of the runs for whose mean a rule found thresholds, float64 [classes].

    The `scores` are further keys, for people.
    """
    shares = dict(zip(classes, rule.tolist(), strict=True)) if isinstance(rule, np.ndarray) else None
    about = {
        "rule": rule if shares is None else "class-share",
        "shares": shares,
        "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
        "runs": [str(folder) for folder in folders],
        "found_on": _digests(folders),
        **scores,
    }
    for folder in folders:
        write_json(folder / NAME, about)


def saved_choice(folders: Sequence[Path], classes: Sequence[str]) -> tuple[Rule, np.ndarray | None]:
    """Return the threshold rule saved next to some runs, and the thresholds, float64 [classes], if they fit the runs' mean.

    They fit if they were searched on the present `validation.npz` of exactly these runs. If not all runs have the same rule,
    `DEFAULT` is returned and a warning logged. BadInput is raised if a file is damaged or for other classes.
    """
    saved = {folder: _read(folder / NAME, classes) for folder in folders if (folder / NAME).exists()}
    if not saved:
        return DEFAULT, None
    source, (rule, thresholds, _) = next(iter(saved.items()))
    other = [folder for folder in folders if folder not in saved or not np.array_equal(saved[folder][0], rule)]
    if other:
        named = first_of(list(map(str, other)))
        logger.warning("%s: not all have this rule, so %s is used; other or none: %s", source / NAME, DEFAULT, named)
        return DEFAULT, None
    digests = _digests(folders)
    return rule, thresholds if all(found_on == digests for *_, found_on in saved.values()) else None


def read_shares(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Read which share of the rows each class has, float64 [classes] in (0, 1], from a CSV `class,share` or a JSON object.

    BadInput is raised if the file cannot be read, a class is missing, unknown or there twice, or a share is out of bounds.
    """
    if path.suffix == ".json":
        return _numbers_by_class(path, read_json(path), classes, "share", "correct it")
    table = read_columns(path, ["class", "share"])
    repeated = table["class"][table["class"].duplicated()].unique()
    refuse(path, [f"class {shown(name)} is here twice; keep one of them" for name in repeated])
    return _numbers_by_class(path, dict(table.to_numpy().tolist()), classes, "share", "correct it")


def _read(path: Path, classes: Sequence[str]) -> tuple[Rule, np.ndarray, list[str]]:
    """Return rule, thresholds, float64 [classes], and the SHA-256 of every `validation.npz` whose mean they are for."""
    about = read_json(path)
    rule, found_on, shares, named = (about.get(key) for key in ("rule", "found_on", "shares", "thresholds"))
    if not (
        (rule in THRESHOLDS or (isinstance(rule, float) and 0 < rule < 1))
        and isinstance(found_on, list)
        and isinstance(named, dict)
        and (shares is None or isinstance(shares, dict))
    ):
        raise BadInput(f"{path}: not what hpa thresholds writes; {FIX}")
    thresholds = _numbers_by_class(path, named, classes, "threshold", FIX)
    given = rule if shares is None else _numbers_by_class(path, shares, classes, "share", FIX)
    return given, thresholds, found_on


def _numbers_by_class(path: Path, named: Mapping[str, Any], classes: Sequence[str], what: str, fix: str) -> np.ndarray:
    """Return the numbers in the order of `classes`, float64 [classes]; raise BadInput for others, and outside (0, 1]."""
    faults = [f"no {what} for class {name}; {fix}" for name in classes if name not in named]
    unknown = f"is not one of this task's {len(classes)}; {fix}"
    faults += [f"class {shown(name)} {unknown}" for name in named if name not in classes]
    numbers = {name: _number(value) for name, value in named.items()}
    faults += [
        f"the {what} of class {shown(name)} is {shown(str(named[name]))}, not above 0 and at most 1; {fix}"
        for name, number in numbers.items()
        if not 0 < number <= 1
    ]
    refuse(path, faults)
    return np.array([numbers[name] for name in classes])


def _number(value: Any) -> float:
    try:
        return np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _digests(folders: Sequence[Path]) -> list[str]:
    return sorted(file_digest(folder / "validation.npz") for folder in folders)
