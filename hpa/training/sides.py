"""The two sides of a run: the rows that it learns from and those that it is validated with.

Where the data has a `validation` set, that is the validation side and all of `train` is learned from. Else, or where folds
are asked for, one fold of `train` is held out.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpa.data.splits import make_folds, read_groups, read_split, write_split
from hpa.data.store import pack
from hpa.data.tables import SampleTable, concatenate, read_samples
from hpa.errors import BadInput, refuse
from hpa.tasks import Task
from hpa.training.stages import Settings


@dataclass(frozen=True)
class Side:
    """Rows of a labelled set.

    Attributes:
        set: `"train"` or `"validation"`, the set's folder in the data.
        table: all samples of the set.
        rows: integer array, those of the table that are on this side.
    """

    set: str
    table: SampleTable
    rows: np.ndarray

    @property
    def samples(self) -> SampleTable:
        """The ids and targets of the side's own rows."""
        return self.table.at(self.rows)


def has_validation_set(data: Path) -> bool:
    """Tell whether the data has a validation set of its own."""
    return (data / "validation").is_dir()


def divide(settings: Settings, task: Task, data: Path, split: Path | None = None) -> tuple[Side, Side]:
    """Return the training and the validation side of a run.

    Rows of a group (`settings.groups`) are on one side: in one fold, or, where the validation set is given, left out of
    the training side if the group has a row in the validation set.

    Args:
        settings: give folds, fold, seed of the split, groups and rows.
        task: what is classified.
        data: folder of the data.
        split: a split.csv whose folds are taken in place of new ones.

    Raises:
        BadInput: if a table, the groups or the split is faulty, an id is in both sets, or a side is empty.
    """
    train = read_samples(data, "train", task)
    if settings.folds is None:
        sides = _given(settings, train, read_samples(data, "validation", task))
    else:
        if split:
            fold_of_row = read_split(split, train.ids)
        else:
            fold_of_row = make_folds(train, settings.folds, settings.split_seed, settings.groups)
        held_out = fold_of_row == settings.fold
        sides = Side("train", train, np.flatnonzero(~held_out)), Side("train", train, np.flatnonzero(held_out))
    if settings.rows is not None and settings.rows < len(sides[0].rows):
        kept = np.random.default_rng(settings.split_seed).choice(sides[0].rows, settings.rows, replace=False)
        sides = replace(sides[0], rows=np.sort(kept)), sides[1]
    for side, purpose in zip(sides, ("learn from", "validate with"), strict=True):
        if not len(side.rows):
            raise BadInput(f"{data}: no row is left to {purpose}; give more rows, or other --folds, --fold or --groups")
    return sides


def joined(sides: tuple[Side, Side]) -> SampleTable:
    """Return the samples of all sets that the sides are of, which is what a run is told from another by."""
    return concatenate({side.set: side.table for side in sides}.values())


def pack_sets(sides: tuple[Side, Side], data: Path, runs: Path, task: Task, size: int) -> dict[str, np.ndarray]:
    """Return the packed images, uint8 [n, size, size, channels], of each set that the sides are of; see `pack`."""
    return {
        name: pack(runs / "stores" / f"{name}-{size}", data / name, table.ids, task, size).images
        for name, table in {side.set: side.table for side in sides}.items()
    }


def write_sides(path: Path, settings: Settings, sides: tuple[Side, Side]) -> None:
    """Write a CSV of all samples of the sides' sets with a number each, as `hpa.data.splits.write_split` does.

    The validation side has the fold held out, the training side the next number, and what is on neither the one after it.
    """
    fold_of_row = {side.set: np.full(len(side.table), settings.fold + 2) for side in sides}
    for side, fold in zip(sides, (settings.fold + 1, settings.fold), strict=True):
        fold_of_row[side.set][side.rows] = fold
    write_split(path, joined(sides).ids, np.concatenate(list(fold_of_row.values())))


def _given(settings: Settings, train: SampleTable, validation: SampleTable) -> tuple[Side, Side]:
    both = np.intersect1d(train.ids, validation.ids)
    refuse("train and validation", [f"id {identifier} is in both sets; keep one of them" for identifier in both])
    groups = read_groups(settings.groups, np.concatenate([train.ids, validation.ids]))
    kept = np.ones(len(train), bool) if groups is None else ~np.isin(groups[: len(train)], groups[len(train) :])
    return Side("train", train, np.flatnonzero(kept)), Side("validation", validation, np.arange(len(validation)))
