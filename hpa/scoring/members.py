"""The members of an ensemble: predictions for the same validation rows and the same test set.

A member is a folder, or all folds of a run. Then the fold that held out a validation row predicts it, and the test set has
the mean of all folds' predictions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.tables import id_differences
from hpa.errors import BadInput, refuse, shown
from hpa.labels import LABELS, Labels
from hpa.scoring.folds import join_folds
from hpa.scoring.predictions import Predictions, Shared, is_made_from, model_fault, read_predictions
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
        test: float32 arrays [test rows, classes], probabilities; none if there is no test set. Those of `read_members` are
            read from their files each time that they are asked for, so that only one is in memory.
        labels: a key of `LABELS`.
        tta: the test-time augmentation that all of them were predicted with.
        ids: str array [validation rows], or None if they do not matter.
    """

    names: list[str]
    classes: tuple[str, ...]
    targets: np.ndarray
    validation: list[np.ndarray]
    test: Sequence[np.ndarray]
    labels: str = "many"
    tta: TTA = NO_TTA
    ids: np.ndarray | None = None

    @property
    def kind(self) -> Labels:
        """What follows from `labels`."""
        return LABELS[self.labels]


@dataclass(frozen=True)
class Streamed(Sequence[np.ndarray]):
    """The members' probabilities of the test set, float32 [n, classes] each, read from their files when asked for.

    Attributes:
        files: the files of each member; those of its folds are averaged.
        ids: str array [n], the order of the rows.
        shared: ids that were read before.
    """

    files: Sequence[Sequence[Path]]
    ids: np.ndarray
    shared: Shared

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: Any) -> Any:
        own = [_in_order(file, read_predictions(file, self.shared), self.ids).probabilities for file in self.files[number]]
        return own[0] if len(own) == 1 else np.stack(own).mean(axis=0, dtype=np.float64).astype(np.float32)


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
    shared = Shared([] if test_ids is None else [test_ids])
    files = {path: read_predictions(path, shared) for path in [folder / "validation.npz" for folder in folders]}
    _refuse([(path, fault) for path, own in files.items() if (fault := model_fault(path, own))])

    (first_path, first), *_ = files.items()
    faults = [(path, "no targets") for path, own in files.items() if own.targets is None]
    faults += [(path, each) for path, own in files.items() for each in _differences(own, first, first_path)]
    outdated: list[tuple[Path, str]] = []
    if test_ids is not None:
        for path in [folder / "test.npz" for folder in folders]:
            own = read_predictions(path, shared)  # one at a time: the probabilities of all may be gigabytes
            outdated += [(path, each) for each in _model_differences(path, own)]
            faults += [(path, each) for each in _differences(own, first, first_path)]
            faults += [(path, each) for each in id_differences(own.ids, test_ids, "the test set")]
    _refuse(outdated)
    _refuse(faults)

    sources = {own[0] / "validation.npz" if len(own) == 1 else name: own for name, own in members.items()}
    whole = {source: _concatenate([files.pop(each / "validation.npz") for each in own]) for source, own in sources.items()}
    same = shared.same
    alike = {name: replace(own, ids=same(own.ids), targets=same(own.known_targets)) for name, own in whole.items()}
    validation = _in_one_order(alike)
    tests = [[each / "test.npz" for each in own] for own in members.values()]
    return Members(
        names=list(members),
        classes=first.classes,
        targets=validation[0].known_targets,
        validation=[own.probabilities for own in validation],
        test=[] if test_ids is None else Streamed(tests, test_ids, shared),
        labels=first.labels,
        tta=first.tta,
        ids=validation[0].ids,
    )


def _in_one_order(validation: dict[Path | str, Predictions]) -> list[Predictions]:
    """Return the members' validation rows in the order of the first one; raise BadInput for other rows or targets."""
    (first_source, first), *_ = validation.items()
    distinct = {id(own.ids): pd.Series(own.ids) for own in validation.values()}
    again = {key: ids[ids.duplicated()].unique() for key, ids in distinct.items()}
    words, fix = "ids are validated more than once, first", "keep one row of each, or train folds of one split"
    twice = [(source, ids) for source, own in validation.items() if len(ids := again[id(own.ids)])]
    _refuse([(source, f"{len(ids)} {words} {shown(ids[0])}; {fix}") for source, ids in twice])
    others = {source: own for source, own in validation.items() if own.ids is not first.ids}
    differences = {source: id_differences(own.ids, first.ids, first_source) for source, own in others.items()}
    _refuse([(source, each) for source, faults in differences.items() for each in faults])
    ordered = {source: _in_order(source, own, first.ids) for source, own in validation.items()}
    words, faults = f"rows have other targets than in {first_source}, first", []
    for source, own in ordered.items():
        if own.targets is not first.targets:
            rows = np.flatnonzero(np.any(own.targets != first.targets, axis=1))
            faults += [(source, f"{len(rows)} {words} {shown(first.ids[rows[0]])}")] if len(rows) else []
    _refuse(faults)
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


def _differences(own: Predictions, first: Predictions, source: Path) -> list[str]:
    """Return how the classes and kind of predictions differ from the `first` ones, those of a `source`."""
    found = _class_differences(own.classes, first.classes, source)
    if _kind(own) != _kind(first):
        found.append(f"{_kind(own)}; {source} has {_kind(first)}, run hpa predict again")
    return found


def _class_differences(own: Sequence[str], wanted: Sequence[str], source: object) -> list[str]:
    if len(own) != len(wanted):
        return [f"{len(own)} classes; {source} has {len(wanted)}"]
    pairs = [(number, *pair) for number, pair in enumerate(zip(own, wanted, strict=True)) if pair[0] != pair[1]]
    return [f"class {number} is '{shown(mine)}', in {source} '{shown(other)}'" for number, mine, other in pairs[:1]]


def _kind(own: Predictions) -> str:
    return f"{own.kind.words}, {own.tta}"


def _concatenate(folds: Sequence[Predictions]) -> Predictions:
    """Return the rows of all folds, one fold after the other."""
    if len(folds) == 1:
        return folds[0]
    names = ("ids", "probabilities", "targets")
    ids, probabilities, targets = (np.concatenate([getattr(own, name) for own in folds]) for name in names)
    return replace(folds[0], ids=ids, probabilities=probabilities, targets=targets)


def _in_order(source: Path | str, own: Predictions, ids: np.ndarray) -> Predictions:
    """Return the same rows in the order of `ids`."""
    if own.ids is ids or np.array_equal(own.ids, ids):
        return replace(own, ids=ids)
    rows = pd.Index(own.ids).get_indexer(ids)
    if rows.min() < 0:
        raise BadInput(f"{source}: has become another file while it was read; run the same command again")
    targets = None if own.targets is None else own.targets[rows]
    return replace(own, ids=ids, probabilities=own.probabilities[rows], targets=targets)
