"""`thresholds.json`, the thresholds beside a model that later predictions use by themselves, and files of class shares."""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.tables import read_columns, shown
from hpa.errors import refuse
from hpa.files import file_digest, read_json, write_json
from hpa.scoring.rules import THRESHOLDS
from hpa.scoring.thresholds import Rule

NAME = "thresholds.json"
DEFAULT = "per-class"  # the rule where none is saved
MEND = "run python -m hpa.thresholds again, or delete it"


@dataclass(frozen=True)
class SavedThresholds:
    """What `thresholds.json` holds.

    Attributes:
        rule: of `find_thresholds`.
        thresholds: float64 array [classes].
        found_on: SHA-256 of every `validation.npz` that they were found on, sorted; they are those of the runs' mean.
    """

    rule: Rule
    thresholds: np.ndarray
    found_on: list[str]


def write_thresholds(
    folders: Sequence[Path], rule: Rule, classes: Sequence[str], thresholds: np.ndarray, scores: Mapping[str, float]
) -> None:
    """Write `thresholds.json` into the run folders.

    Args:
        folders: the runs whose mean the thresholds are for.
        rule: the rule that found them.
        classes: names [classes].
        thresholds: float64 array [classes].
        scores: what is known of the rule, to be read by people.
    """
    given = isinstance(rule, np.ndarray)
    about = {
        "rule": "class-share" if given else rule,
        "shares": dict(zip(classes, rule.tolist(), strict=True)) if given else None,
        "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
        "runs": [str(folder) for folder in folders],
        "found_on": _digests(folders),
        **scores,
    }
    for folder in folders:
        write_json(folder / NAME, about)


def saved_choice(folders: Sequence[Path], classes: Sequence[str]) -> tuple[Rule, np.ndarray | None]:
    """Return the threshold rule saved beside some runs, and the thresholds, float64 [classes], if they fit the runs' mean.

    They fit if they were found on the very `validation.npz` that are there now, all of them and no other. Unless all runs
    have the same rule it is `DEFAULT`; the runs that keep another from being used are named on the error stream.

    Raises:
        BadInput: if a file is damaged or for other classes.
    """
    saved = {folder: _read(folder / NAME, classes) for folder in folders if (folder / NAME).exists()}
    if not saved:
        return DEFAULT, None
    source, first = next(iter(saved.items()))
    other = [folder for folder in folders if folder not in saved or not np.array_equal(saved[folder].rule, first.rule)]
    if other:
        named = ", ".join(map(str, other[:3])) + (", ..." if len(other) > 3 else "")
        print(f"{source / NAME}: not all have this rule, so {DEFAULT} is used; other or none: {named}", file=sys.stderr)
        return DEFAULT, None
    digests = _digests(folders)
    fitting = all(each.found_on == digests for each in saved.values())
    return first.rule, first.thresholds if fitting else None


def read_shares(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Read which share of the rows each class has, float64 [classes], from a CSV `class,share` or a JSON object.

    Raises:
        BadInput: if the file cannot be read, lacks a class, has an unknown one or one twice, or a share that is not above
            0 and at most 1.
    """
    if path.suffix == ".json":
        read_json(path)  # refuses what is no JSON object, but keeps only the last of two equal names
        named = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    else:
        named = read_columns(path, ["class", "share"]).to_numpy().tolist()
    counts = Counter(name for name, _ in named)
    refuse(path, [f"class {shown(name)} is here twice; keep one of them" for name, count in counts.items() if count > 1])
    return _numbers_by_class(path, dict(named), classes, "share", "correct it")


def _read(path: Path, classes: Sequence[str]) -> SavedThresholds:
    about = read_json(path)
    rule, found_on, shares, named = (about.get(key) for key in ("rule", "found_on", "shares", "thresholds"))
    sound = [
        rule in THRESHOLDS or (isinstance(rule, float) and 0 < rule < 1),
        isinstance(found_on, list),
        isinstance(named, dict),
        shares is None or isinstance(shares, dict),
    ]
    if not all(sound):
        refuse(path, [f"not what hpa.thresholds writes; {MEND}"])
    thresholds = _numbers_by_class(path, named, classes, "threshold", MEND)
    rule = rule if shares is None else _numbers_by_class(path, shares, classes, "share", MEND)
    return SavedThresholds(rule, thresholds, found_on)


def _numbers_by_class(path: Path, named: Mapping[str, object], classes: Sequence[str], what: str, mend: str) -> np.ndarray:
    """Return the numbers in the order of `classes`, float64 [classes]; refuse other classes, and what is not in (0, 1]."""
    faults = [f"no {what} for class {name}; {mend}" for name in classes if name not in named]
    faults += [
        f"class {shown(name)} is not one of this task's {len(classes)}; {mend}" for name in named if name not in classes
    ]
    numbers = {name: _number(value) for name, value in named.items()}
    faults += [
        f"the {what} of class {shown(name)} is {shown(str(named[name]))}, not above 0 and at most 1; {mend}"
        for name, number in numbers.items()
        if not 0 < number <= 1
    ]
    refuse(path, faults)
    return np.array([numbers[name] for name in classes])


def _number(value: object) -> float:
    try:
        return np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _digests(folders: Sequence[Path]) -> list[str]:
    return sorted(file_digest(folder / "validation.npz") for folder in folders)
