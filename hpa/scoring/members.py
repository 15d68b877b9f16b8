"""The members of an ensemble: predictions for the same validation rows and the same test set.

A member is a folder, or all folds of a run. Then the fold that held out a validation row predicts it, and the test set has
the mean of all folds' predictions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.tables import id_differences
from hpa.errors import refuse, shown
from hpa.labels import LABELS, Labels
from hpa.scoring.folds import join_folds
from hpa.scoring.predictions import Predictions, is_made_from, model_fault, read_predictions
from hpa.tta import NO_TTA, TTA

WRITTEN_BY = {"validation.npz": "hpa train or hpa finetune", "test.npz": "hpa predict"}


@dataclass(frozen=True)
class Members:
    """The predictions of several models for the same samples; lists have one entry for each member.

    Attributes:
        names: the members' folders; for the folds of a run the folder of fold 0 and the number of folds.
        classes: class names, the columns of all arrays.
        targets: array [validation rows, classes] of 0 and 1.
        validation: float32 arrays [validation rows, classes], probabilities.
        test: float32 arrays [test rows, classes], probabilities; none if there is no test set.
        labels: a key of `LABELS`.
        tta: the test-time augmentation that all of them were predicted with.
        ids: str array [validation rows], or None if they do not matter.
    """

    names: list[str]
    classes: tuple[str, ...]
    targets: np.ndarray
    validation: list[np.ndarray]
    test: list[np.ndarray]
    labels: str = "many"
    tta: TTA = NO_TTA
    ids: np.ndarray | None = None

    @property
    def kind(self) -> Labels:
        """What follows from `labels`."""
        return LABELS[self.labels]


def read_members(folders: Sequence[Path], test_ids: np.ndarray | None) -> Members:
    """Read `validation.npz` and `test.npz` of every folder; test rows come in the order of `test_ids`.

    Without `test_ids` no `test.npz` is read. `join_folds` says which folders are one member. Rows are matched by their ids.

    Raises:
        BadInput: with members and differences. A folder is named twice, folds overlap or are missing, a file is absent,
            damaged or of another `model.keras` (see `model_fault` and `is_made_from`), or a member has other classes,
            validation ids or targets than the first one, or other test ids than `test_ids`.
    """
    counts = Counter(folders)
    _refuse([(folder, f"named {count} times; once is enough") for folder, count in counts.items() if count > 1])
    needed = ["validation.npz"] if test_ids is None else list(WRITTEN_BY)
    absent = [(folder, file) for folder in folders for file in needed if not (folder / file).is_file()]
    _refuse([(folder, f"no {file}; {WRITTEN_BY[file]} writes it") for folder, file in absent])
    members = join_folds(folders)
    files = {folder / "validation.npz": read_predictions(folder / "validation.npz") for folder in folders}
    test = {} if test_ids is None else {each / "test.npz": read_predictions(each / "test.npz") for each in folders}
    _refuse([(path, fault) for path, own in files.items() if (fault := model_fault(path, own))])
    _refuse([(path, fault) for path, own in test.items() for fault in _model_differences(path, own)])

    (first_path, first), *_ = files.items()
    faults = [(path, "no targets") for path, own in files.items() if own.targets is None]
    for path, own in (files | test).items():
        faults += [(path, each) for each in _class_differences(own.classes, first.classes, first_path)]
        if _kind(own) != _kind(first):
            faults.append((path, f"{_kind(own)}; {first_path} has {_kind(first)}, run hpa predict again"))
        if path in test and test_ids is not None:
            faults += [(path, each) for each in id_differences(own.ids, test_ids, "the test set")]
    _refuse(faults)

    sources = {own[0] / "validation.npz" if len(own) == 1 else name: own for name, own in members.items()}
    folds = {source: [files[each / "validation.npz"] for each in own] for source, own in sources.items()}
    validation = _in_one_order({source: _concatenate(own) for source, own in folds.items()})
    tests = []
    if test_ids is not None:
        tests = [_mean([_in_order(test[each / "test.npz"], test_ids) for each in own]) for own in members.values()]
    return Members(
        names=list(members),
        classes=first.classes,
        targets=validation[0].known_targets,
        validation=[own.probabilities for own in validation],
        test=tests,
        labels=first.labels,
        tta=first.tta,
        ids=validation[0].ids,
    )


def _in_one_order(validation: dict[Path | str, Predictions]) -> list[Predictions]:
    """Return the members' validation rows in the order of the first one; raise BadInput for other rows or targets."""
    (first_source, first), *_ = validation.items()
    series = {source: pd.Series(own.ids) for source, own in validation.items()}
    again = {source: ids[ids.duplicated()].unique() for source, ids in series.items()}
    fix = "keep one row of each, or train folds of one split"
    words = "ids are validated more than once, first"
    _refuse([(source, f"{len(ids)} {words} {shown(ids[0])}; {fix}") for source, ids in again.items() if len(ids)])
    differences = {source: id_differences(own.ids, first.ids, first_source) for source, own in validation.items()}
    _refuse([(source, each) for source, faults in differences.items() for each in faults])
    ordered = {source: _in_order(own, first.ids) for source, own in validation.items()}
    other = {source: np.flatnonzero(np.any(own.targets != first.targets, axis=1)) for source, own in ordered.items()}
    words = f"rows have other targets than in {first_source}, first"
    _refuse([(source, f"{len(rows)} {words} {shown(first.ids[rows[0]])}") for source, rows in other.items() if len(rows)])
    return list(ordered.values())


def _refuse(faults: Sequence[tuple[Path | str, str]]) -> None:
    """Raise `BadInput` if there are `faults`, each of a member, its folder or a file in it."""
    paths = dict.fromkeys(str(path) for path, _ in faults)
    refuse(", ".join(paths), [fault if len(paths) == 1 else f"{path}: {fault}" for path, fault in faults])


def _model_differences(path: Path, own: Predictions) -> list[str]:
    model = path.with_name("model.keras")
    if not model.exists() or is_made_from(model, own.model_sha256, path):
        return []
    return [f"{'made by another' if own.model_sha256 else 'older than'} model.keras; run hpa predict again"]


def _class_differences(own: Sequence[str], wanted: Sequence[str], source: object) -> list[str]:
    if len(own) != len(wanted):
        return [f"{len(own)} classes; {source} has {len(wanted)}"]
    pairs = [(number, *pair) for number, pair in enumerate(zip(own, wanted, strict=True)) if pair[0] != pair[1]]
    return [f"class {number} is '{shown(mine)}', in {source} '{shown(other)}'" for number, mine, other in pairs[:1]]


def _kind(own: Predictions) -> str:
    return f"{own.kind.words}, {own.tta}"


def _concatenate(folds: Sequence[Predictions]) -> Predictions:
    """Return the rows of all folds, one fold after the other."""
    names = ("ids", "probabilities", "targets")
    ids, probabilities, targets = (np.concatenate([getattr(own, name) for own in folds]) for name in names)
    return replace(folds[0], ids=ids, probabilities=probabilities, targets=targets)


def _mean(folds: Sequence[Predictions]) -> np.ndarray:
    """Return the mean of the folds' probabilities, float32 [n, classes]."""
    return np.stack([own.probabilities for own in folds]).mean(axis=0, dtype=np.float64).astype(np.float32)


def _in_order(own: Predictions, ids: np.ndarray) -> Predictions:
    """Return the same rows in the order of `ids`."""
    rows = pd.Index(own.ids).get_indexer(ids)
    targets = None if own.targets is None else own.targets[rows]
    return replace(own, ids=ids, probabilities=own.probabilities[rows], targets=targets)
