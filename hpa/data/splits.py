"""Folds of a table, and the CSV of a split: ids with the number of a fold."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.groups import read_groups
from hpa.data.stratify import stratified_folds
from hpa.data.tables import SampleTable, id_differences, read_columns, repeated_faults
from hpa.errors import refuse, shown
from hpa.files import write_text


def make_folds(table: SampleTable, folds: int, seed: int, groups: str | None) -> np.ndarray:
    """Distribute the rows of a table over folds, int64 [n]; groups (see `read_groups`) stay together."""
    return stratified_folds(table.known_targets, folds, seed, read_groups(groups, table.ids))


def share_table(targets: np.ndarray, fold_of_row: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Count the rows of each class in each fold, from targets uint8 [n, classes] and folds int [n].

    Returns:
        A frame with a row for each class and the columns `fold 0`, `fold 1`, ..., `ideal` (the class's rows divided by
        the number of folds) and `worst deviation` (rows by which the fold furthest from it differs).
    """
    folds = int(fold_of_row.max()) + 1
    counts = np.stack([targets[fold_of_row == fold].sum(axis=0, dtype=np.int64) for fold in range(folds)], axis=1)
    ideal = counts.mean(axis=1)
    table = pd.DataFrame(counts, index=list(classes), columns=[f"fold {fold}" for fold in range(folds)])
    return table.assign(ideal=ideal, **{"worst deviation": np.abs(counts - ideal[:, None]).max(axis=1)})


def split_text(ids: np.ndarray, fold_of_row: np.ndarray) -> str:
    """Return a CSV with the columns `Id` and `fold`."""
    return pd.DataFrame({"Id": ids, "fold": fold_of_row}).to_csv(index=False, lineterminator="\n")


def write_split(path: Path, ids: np.ndarray, fold_of_row: np.ndarray) -> None:
    """Write the `split_text`, whole or not at all."""
    write_text(path, split_text(ids, fold_of_row))


def read_split(path: Path, ids: np.ndarray) -> np.ndarray:
    """Read what `write_split` wrote, with rows in any order: int64 [n], the fold of each of `ids`.

    Raises:
        BadInput: naming every row whose id is repeated or whose fold is not a whole number, and the first of the ids
            that only the file or only the table has.
    """
    frame = read_columns(path, ["Id", "fold"])
    unsound = frame["fold"][~frame["fold"].str.fullmatch("[0-9]{1,9}")]
    faults = repeated_faults(frame["Id"])
    faults += [f"line {row + 2}: fold '{shown(fold)}' is not a whole number from 0" for row, fold in unsound.items()]
    fix = "the run was made on another table; name the data it was trained on, or make a new run"
    faults += [f"{each}; {fix}" for each in id_differences(frame["Id"].unique(), ids, "the table")]
    refuse(path, faults)
    return frame.set_index("Id")["fold"].loc[ids].astype(np.int64).to_numpy()


def describe_shares(shares: pd.DataFrame, fold_of_row: np.ndarray) -> str:
    """Return the table of `share_table` for people, and below it the classes that a fold leaves without any row."""
    counts = shares.filter(like="fold ")
    total = counts.sum(axis=1)
    lines = [
        shares.to_string(float_format="%.1f"),
        f"rows per fold: {' '.join(map(str, np.bincount(fold_of_row)))}",
        f"worst deviation of a class from its ideal share: {shares['worst deviation'].max():.1f} rows",
    ]
    if (total == 0).any():
        lines.append(f"no row at all: {', '.join(counts.index[total == 0])}")
    for fold in counts:
        for missing, side in ((counts[fold] == total, "train on"), (counts[fold] == 0, "validate with")):
            if (missing & (total > 0)).any():
                lines.append(f"{fold} held out: nothing to {side} for {', '.join(counts.index[missing & (total > 0)])}")
    return "\n".join(lines)
