"""The two sides of a run: the rows that it learns from and those that it is validated with.

Where the data has a `validation` set, that is the validation side and all of `train` is learned from. Else, or where folds
are asked for, one fold of `train` is held out. External sets are only ever learned from.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.external import join, read_external, warn_of_tested
from hpa.data.intensity import Ranges
from hpa.data.layout import EXTERNAL
from hpa.data.splits import copies_of_test, read_groups, read_split, split_text, stratified_folds, write_split
from hpa.data.store import Joined, pack, require_room, store_folder
from hpa.data.tables import SampleTable, read_samples
from hpa.errors import BadInput
from hpa.files import file_digest, read_json, require_plain
from hpa.scoring.predictions import read_predictions
from hpa.tasks import Task
from hpa.training.stages import Settings

OWN = ("train", "validation")


@dataclass(frozen=True)
class Sides:
    """Which rows of some labelled sets are on which side; they count on from set to set.

    Attributes:
        sets: the samples of each set, under the name of its folder.
        set_of_row: str array [n], the set of each row.
        table: the samples of all sets, one set after the other, which is what a run is told from another by.
        training: integer array, the rows to learn from.
        validation: integer array, the rows to validate with.
    """

    sets: dict[str, SampleTable]
    set_of_row: np.ndarray
    table: SampleTable
    training: np.ndarray
    validation: np.ndarray

    @property
    def external(self) -> np.ndarray:
        """Which rows are those of external sets, bool [n]."""
        return _is_external(self.set_of_row)


def has_validation_set(data: Path) -> bool:
    """Tell whether the data has a validation set of its own."""
    return (data / "validation").is_dir()


def divide(settings: Settings, task: Task, data: Path, split: Path | None = None) -> Sides:
    """Return the training and the validation side of a run.

    Rows of a group (`settings.groups`) are on one side: those of `train` in one fold, and what has a row of its group on
    the validation side is not learned from. Nor are external rows that have a copy in the test set by these groups.

    Args:
        settings: give folds, fold, seed of the split, groups, rows, and whether to learn from external sets.
        task: what is classified.
        data: folder of the data.
        split: a split.csv that `write_sides` wrote for this fold, whose sides are taken in place of new ones.

    Raises:
        BadInput: if a table, the groups or the split is faulty, an id is in two sets, or a side is empty.
    """
    sets = {"train": read_samples(data, "train", task)}
    if settings.folds is None:
        sets["validation"] = read_samples(data, "validation", task)
    warn_of_tested(data, {name: own.ids for name, own in sets.items()}, task)
    if settings.external_weight:
        sets |= read_external(data, task)
        if sets.keys() <= set(OWN):
            raise BadInput(f"{data}: no folder {EXTERNAL}/ in it, nor {EXTERNAL}-<any name>/; leave --external-weight out")
    table = join(sets, task)
    set_of_row = np.repeat(list(sets), [len(each) for each in sets.values()])
    if split:
        fold_of_row = read_split(split, table.ids)
        training, validation = (np.flatnonzero(fold_of_row == number) for number in (settings.fold + 1, settings.fold))
        for rows, number, purpose in ((training, 1, "learn from"), (validation, 0, "validate with")):
            if not len(rows):
                raise BadInput(
                    f"{split}: no row to {purpose}, which would have {settings.fold + number} as its fold; restore it, "
                    "or delete the run folder and train it again"
                )
        return Sides(sets, set_of_row, table, training, validation)

    groups = read_groups(settings.groups, table.ids)
    held_out = set_of_row == "validation"
    if settings.folds is not None:
        train = slice(len(sets["train"]))
        own = None if groups is None else groups[train]
        held_out[train] = stratified_folds(table.targets[train], settings.folds, settings.split_seed, own) == settings.fold
    learned = ~held_out if groups is None else ~np.isin(groups, groups[held_out])
    external = _is_external(set_of_row)
    learned[external] &= ~copies_of_test(settings.groups, table.ids[external])
    training = np.flatnonzero(learned)
    if settings.rows is not None and settings.rows < len(training):
        training = np.sort(np.random.default_rng(settings.split_seed).choice(training, settings.rows, replace=False))
    validation = np.flatnonzero(held_out)
    for rows, purpose in ((training, "learn from"), (validation, "validate with")):
        if not len(rows):
            raise BadInput(f"{data}: no row is left to {purpose}; give more rows, or other --folds, --fold or --groups")
    return Sides(sets, set_of_row, table, training, validation)


def _is_external(set_of_row: np.ndarray) -> np.ndarray:
    return ~np.isin(set_of_row, OWN)


def pack_sets(sides: Sides, data: Path, runs: Path, task: Task, size: int, ranges: Ranges | None) -> Joined:
    """Return the images of all rows, uint8 [n, size, size, channels], packed set by set; see `pack`."""
    folders = {name: store_folder(runs, data / name, task, size, ranges) for name in sides.sets}
    require_room({folder: len(sides.sets[name]) for name, folder in folders.items()}, size, len(task.channels))
    return Joined(
        [pack(folders[name], data / name, table.ids, task, size, ranges).images for name, table in sides.sets.items()]
    )


def read_sides(folder: Path, settings: Settings, task: Task, data: Path) -> Sides:
    """Return the sides of the run in `folder` as its split.csv has them.

    Args:
        folder: the run folder.
        settings: of this run, or of one that starts from it.
        task: what is classified.
        data: folder of the data.

    Raises:
        BadInput: as `divide` does, if split.csv is missing or is not the one that config.json names by its digest, or if it
            has other validation rows than validation.npz.
    """
    split = folder / "split.csv"
    again = "restore it, or delete it and run the command that made the run again, which writes it anew"
    if not split.exists():
        raise BadInput(f"{split}: missing; run the command that made the run again, which writes it anew")
    require_plain(split)
    digest = read_json(folder / "config.json").get("split_sha256")
    if digest and digest != file_digest(split):
        raise BadInput(f"{split}: not the split that config.json names, rows were changed; {again}")
    sides = divide(settings, task, data, split)
    if not validates_as(folder, sides):
        raise BadInput(f"{split}: has other validation rows than validation.npz, rows were changed; {again}")
    return sides


def validates_as(folder: Path, sides: Sides) -> bool:
    """Tell whether the validation.npz of a run folder, if there is one, is of the validation side's rows.

    That is all that tells a changed split where an earlier version left no digest of it.
    """
    file = folder / "validation.npz"
    own = set(sides.table.ids[sides.validation].tolist())
    return not file.exists() or own == set(read_predictions(file).ids.tolist())


def split_digest(settings: Settings, sides: Sides) -> str:
    """Return the SHA-256 of the file that `write_sides` writes."""
    return hashlib.sha256(split_text(sides.table.ids, _side_of_row(settings, sides)).encode()).hexdigest()


def write_sides(path: Path, settings: Settings, sides: Sides) -> None:
    """Write a CSV of all rows' ids with a number each, as `hpa.data.splits.write_split` does.

    The validation side has the fold held out, the training side the next number, and what is on neither the one after it.
    """
    write_split(path, sides.table.ids, _side_of_row(settings, sides))


def _side_of_row(settings: Settings, sides: Sides) -> np.ndarray:
    side_of_row = np.full(len(sides.table), settings.fold + 2)
    side_of_row[sides.training] = settings.fold + 1
    side_of_row[sides.validation] = settings.fold
    return side_of_row
