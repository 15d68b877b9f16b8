"""The members of an ensemble: folders with predictions for the same validation rows and the same test set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.tables import id_differences
from hpa.errors import refuse
from hpa.scoring.predictions import Predictions, read_predictions

WRITTEN_BY = {"validation.npz": "python -m hpa.train or hpa.finetune", "test.npz": "python -m hpa.predict"}


@dataclass(frozen=True)
class Members:
    """What several models think of the same samples; lists have one entry a member.

    Attributes:
        names: the members' folders.
        classes: class names, the columns of all arrays.
        targets: array [validation rows, classes] of 0 and 1.
        validation: float32 arrays [validation rows, classes], probabilities.
        test: float32 arrays [test rows, classes], probabilities; none if there is no test set.
        labels: `"one"` or `"many"`.
    """

    names: list[str]
    classes: tuple[str, ...]
    targets: np.ndarray
    validation: list[np.ndarray]
    test: list[np.ndarray]
    labels: str = "many"


def read_members(folders: Sequence[Path], test_ids: np.ndarray | None) -> Members:
    """Read `validation.npz` and `test.npz` of every folder; test rows come in the order of `test_ids`.

    Without `test_ids` there is no test set, and no `test.npz` is read.

    Rows are matched by their ids, so it does not matter in which order a member has them.

    Raises:
        BadInput: if a folder is named twice, a file is absent or damaged, `test.npz` is older than a `model.keras` beside
            it, or a member has other classes, validation ids or targets than the first one, or other test ids than
            `test_ids`; member and difference are named.
    """
    counts = Counter(folders)
    _refuse([(folder, f"named {count} times; once is enough") for folder, count in counts.items() if count > 1])
    needed = list(WRITTEN_BY) if test_ids is not None else ["validation.npz"]
    absent = [(folder, file) for folder in folders for file in needed if not (folder / file).is_file()]
    _refuse([(folder, f"no {file}; {WRITTEN_BY[file]} writes it") for folder, file in absent])
    # Validation and test would come from two different models.
    with_test = folders if test_ids is not None else []
    outdated = [folder / "test.npz" for folder in with_test if _is_older(folder / "test.npz", folder / "model.keras")]
    _refuse([(path, "older than model.keras; run python -m hpa.predict again") for path in outdated])
    validation = {folder / "validation.npz": read_predictions(folder / "validation.npz") for folder in folders}
    test = {folder / "test.npz": read_predictions(folder / "test.npz") for folder in with_test}

    (first_path, first), *_ = validation.items()
    faults = [(path, "no targets") for path, own in validation.items() if own.targets is None]
    for path, own in (validation | test).items():
        faults += [(path, each) for each in _class_differences(own.classes, first.classes, first_path)]
        if (own.labels, own.views) != (first.labels, first.views):
            faults.append((path, f"{_kind(own)}; {first_path} has {_kind(first)}, run python -m hpa.predict again"))
    for path, own in validation.items():
        faults += [(path, each) for each in id_differences(own.ids, first.ids, first_path)]
    for path, own in test.items():
        faults += [(path, each) for each in id_differences(own.ids, test_ids, "the sample submission")]
    _refuse(faults)

    validation = {path: _in_order(own, first.ids) for path, own in validation.items()}
    for path, own in validation.items():
        rows = np.flatnonzero(np.any(own.targets != first.targets, axis=1))
        if len(rows):
            faults.append((path, f"{len(rows)} rows have other targets than in {first_path}, first {first.ids[rows[0]]}"))
    _refuse(faults)
    return Members(
        names=[str(folder) for folder in folders],
        classes=first.classes,
        targets=first.targets,
        validation=[own.probabilities for own in validation.values()],
        test=[_in_order(own, test_ids).probabilities for own in test.values()],
        labels=first.labels,
    )


def _refuse(faults: Sequence[tuple[Path, str]]) -> None:
    """Raise `BadInput` if there are `faults`, each of a member's folder or of a file in it."""
    paths = dict.fromkeys(str(path) for path, _ in faults)
    refuse(", ".join(paths), [fault if len(paths) == 1 else f"{path}: {fault}" for path, fault in faults])


def _is_older(path: Path, than: Path) -> bool:
    return than.exists() and path.stat().st_mtime_ns < than.stat().st_mtime_ns


def _class_differences(own: Sequence[str], wanted: Sequence[str], source: object) -> list[str]:
    if len(own) != len(wanted):
        return [f"{len(own)} classes; {source} has {len(wanted)}"]
    pairs = enumerate(zip(own, wanted, strict=True))
    return [f"class {number} is '{mine}', in {source} '{other}'" for number, (mine, other) in pairs if mine != other][:1]


def _kind(own: Predictions) -> str:
    return f"{own.labels} label(s) a sample, {own.views} view(s)"


def _in_order(own: Predictions, ids: np.ndarray) -> Predictions:
    """Return the same rows in the order of `ids`."""
    if np.array_equal(own.ids, ids):
        return own
    row_of = {each: row for row, each in enumerate(own.ids.tolist())}
    rows = [row_of[each] for each in ids.tolist()]
    return Predictions(ids, own.classes, own.probabilities[rows], None if own.targets is None else own.targets[rows])
