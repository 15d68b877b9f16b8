"""The train/validation partition: which rows a run learns from, and which validate it.

If the data has a `validation` set, a run learns from all of `train` and is validated on that set. Otherwise, or if folds are
asked for, one fold of `train` is held out, or of both sets if the settings say so. External rows are never validation rows.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.external import merge, read_external, warn_of_tested
from hpa.data.groups import copies_of_test, read_groups
from hpa.data.intensity import Ranges
from hpa.data.layout import EXTERNAL
from hpa.data.splits import read_split, split_text, write_split
from hpa.data.store import ConcatenatedImages, Images, pack_all
from hpa.data.stratify import stratified_folds
from hpa.data.tables import SampleTable, read_labelled
from hpa.errors import BadInput, refuse
from hpa.settings import Settings
from hpa.tasks import Task

OWN = ("train", "validation")


def own_sets(settings: Settings) -> tuple[str, ...]:
    """Return the names of the sets, external ones apart, that a run with some settings learns from or is validated with."""
    return OWN if settings.folds is None or settings.folds_of == "both" else OWN[:1]


@dataclass(frozen=True)
class Partition:
    """Which rows of some labelled sets are for training and which for validation; rows are counted on from set to set."""

    sets: dict[str, SampleTable]  # under the names of their folders
    set_of_row: np.ndarray  # str [n]
    table: SampleTable  # the samples of all sets, one set after the other
    training: np.ndarray  # integers, the rows to learn from
    validation: np.ndarray  # integers, the rows to validate with

    @property
    def external(self) -> np.ndarray:
        """Which rows belong to external sets, bool [n]."""
        return ~np.isin(self.set_of_row, OWN)

    def weights(self, external_weight: float) -> np.ndarray | None:
        """Return how much each row counts, float32 [n], external ones as said; None if all count alike."""
        weights = np.where(self.external, external_weight, 1).astype(np.float32)
        return None if (weights == 1).all() else weights


def has_validation_set(data: Path) -> bool:
    """Tell whether the data has a validation set."""
    return (data / "validation").is_dir()


def make_partition(settings: Settings, task: Task, data: Path, split: Path | None = None) -> Partition:
    """Return the training and the validation rows of a run.

    Rows of a group (`settings.groups`) stay together: those of the sets that folds are dealt from are in one fold, and a row
    whose group has a validation row is left out of the training. So are external rows that have a copy in the test set by
    these groups. With a `split`, a split.csv that `write_partition` wrote for this fold, the partition is read from it.

    Raises:
        BadInput: if a table, the groups or the split is faulty, an id is in two sets, or no row is left to learn from or to
            validate with.
    """
    sets = {name: read_labelled(data / name, task) for name in own_sets(settings)}
    warn_of_tested(data, {name: own.ids for name, own in sets.items()}, task)
    if settings.external_weight:
        sets |= read_external(data, task)
        if sets.keys() <= set(OWN):
            raise BadInput(f"{data}: no folder {EXTERNAL}/ in it, nor {EXTERNAL}-<any name>/; leave external_weight out")
    table = merge(sets, task)
    set_of_row = np.repeat(list(sets), [len(each) for each in sets.values()])
    if split:
        fold_of_row = read_split(split, table.ids)
        training, validation = (np.flatnonzero(fold_of_row == number) for number in (settings.fold + 1, settings.fold))
        _require_rows(split, training, validation, "restore it, or delete the run folder and train it again")
        return Partition(sets, set_of_row, table, training, validation)

    groups = read_groups(settings.groups, table.ids)
    held_out = set_of_row == "validation"
    if settings.folds is not None:
        dealt = np.isin(set_of_row, OWN)
        own = None if groups is None else groups[dealt]
        fold_of_row = stratified_folds(table.known_targets[dealt], settings.folds, settings.split_seed, own)
        held_out[dealt] = fold_of_row == settings.fold
    learned = ~held_out if groups is None else ~np.isin(groups, groups[held_out])
    external = ~np.isin(set_of_row, OWN)
    learned[external] &= ~copies_of_test(settings.groups, table.ids[external])
    training = np.flatnonzero(learned)
    if settings.rows is not None and settings.rows < len(training):
        training = np.sort(np.random.default_rng(settings.split_seed).choice(training, settings.rows, replace=False))
    validation = np.flatnonzero(held_out)
    _require_rows(data, training, validation, "give more rows, or other folds or groups")
    return Partition(sets, set_of_row, table, training, validation)


def _require_rows(source: Path, training: np.ndarray, validation: np.ndarray, fix: str) -> None:
    for rows, purpose in ((training, "learn from"), (validation, "validate with")):
        refuse(source, [] if len(rows) else [f"no row to {purpose}; {fix}"])


def pack_sets(partition: Partition, data: Path, runs: Path, task: Task, size: int, ranges: Ranges | None) -> Images:
    """Pack the sets and return the images of all rows, uint8 [n, size, size, channels]; see `pack`."""
    sets = {name: table.ids for name, table in partition.sets.items()}
    return ConcatenatedImages([store.images for store in pack_all(sets, data, runs, task, size, ranges)])


def split_digest(settings: Settings, partition: Partition) -> str:
    """Return the SHA-256 of the file that `write_partition` writes."""
    return hashlib.sha256(split_text(partition.table.ids, _part_of_row(settings, partition)).encode()).hexdigest()


def write_partition(path: Path, settings: Settings, partition: Partition) -> None:
    """Write a CSV of all rows' ids with a number each, as `hpa.data.splits.write_split` does.

    Validation rows have the number of the fold that is held out, training rows the next number, all others the one after it.
    """
    write_split(path, partition.table.ids, _part_of_row(settings, partition))


def _part_of_row(settings: Settings, partition: Partition) -> np.ndarray:
    part_of_row = np.full(len(partition.table), settings.fold + 2)
    part_of_row[partition.training] = settings.fold + 1
    part_of_row[partition.validation] = settings.fold
    return part_of_row
