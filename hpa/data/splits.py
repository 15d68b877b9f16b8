"""Folds of a multi-label table: every class, every label set and the rows themselves shared out evenly.

Rows with the same labels are interchangeable, so what is shared out are label sets (the label-set view of Sechidis,
Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011). Each fold gets its whole part of
every label set; only what division leaves over is free. Those rows are dealt at random and then moved between folds, one
or two label sets at a time, while that lowers the squared deviation of the class counts from their ideal share.
"""

import warnings
from collections.abc import Sequence
from itertools import combinations
from math import isqrt
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.tables import SampleTable, id_differences, read_columns
from hpa.errors import BadInput, refuse
from hpa.files import written_whole

DEALS = 10  # the first deal is enough for large tables; a few of some dozen rows need up to five
CANDIDATES = 200  # label sets whose pairs are tried together


def stratified_folds(targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Share the rows of a table out over `folds` folds; holding one fold out gives a train/validation split.

    Guaranteed: a label set with m rows has m / folds of them in each fold, rounded down or up; so has each class where
    no row has two. Fold sizes are rounded shares too, and a class with a single row is never in fold 0: holding out
    fold 0 trains on it. (The latter wins where such rows are too many for both; no fold is ever empty.)
    Sought, and reached on tables of real size: each class has its rounded share in each fold too.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        folds: number of folds, at least 2.
        seed: at least 0; the same table and seed give the same folds.

    Returns:
        int64 array [n], the fold of every row.

    Raises:
        BadInput: if there are fewer than two folds, fewer rows than folds, or the seed is negative.
    """
    if folds < 2:
        raise BadInput(f"a split needs at least 2 folds, found {folds}")
    if len(targets) < folds:
        raise BadInput(f"{len(targets)} rows cannot fill {folds} folds; ask for fewer folds")
    if seed < 0:
        raise BadInput(f"the seed of a split must be at least 0, found {seed}")
    generator = np.random.default_rng(seed)
    label_sets, set_of_row, rows = np.unique(targets, axis=0, return_inverse=True, return_counts=True)
    trained = _sets_kept_from_fold_0(label_sets, rows, folds)
    ideal = rows @ label_sets / folds
    smallest = np.inf
    for _ in range(DEALS):
        extra = _deal(rows % folds, trained, folds, generator)
        _balance(extra, label_sets, trained, len(targets))
        shares = rows[:, None] // folds + extra  # [sets, folds]
        deviation = np.abs(shares.T @ label_sets - ideal).max()
        if deviation < smallest:
            smallest, best = deviation, shares
        if smallest < 1:
            break
    shuffled = generator.permutation(len(targets))
    rows_by_set = shuffled[np.argsort(set_of_row[shuffled], kind="stable")]
    fold_of_row = np.empty(len(targets), np.int64)
    fold_of_row[rows_by_set] = np.repeat(np.tile(np.arange(folds), len(label_sets)), best.ravel())
    return fold_of_row


def make_folds(table: SampleTable, folds: int, seed: int, groups: str | None) -> np.ndarray:
    """Share a table out over folds, int64 [n]; whole groups (see `read_groups`) if there are any, else single rows."""
    group_of_row = read_groups(groups, table.ids)
    if group_of_row is None:
        return stratified_folds(table.targets, folds, seed)
    return grouped_folds(table.targets, group_of_row, folds, seed)


def grouped_folds(targets: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Share whole groups of rows out over folds, as evenly as they allow.

    Each label set is shared out like a class of its own by scikit-learn's StratifiedGroupKFold.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        groups: integer array [n], the group of every row.
        folds: number of folds, at least 2.
        seed: at least 0.

    Returns:
        int64 array [n], the fold of every row.

    Raises:
        BadInput: if there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to load

    count = len(np.unique(groups))
    if not 2 <= folds <= count:
        raise BadInput(f"{count} groups cannot fill {folds} folds; ask for 2 to {count} folds, or for smaller groups")
    label_set = np.unique(targets, axis=0, return_inverse=True)[1]
    fold_of_row = np.empty(len(targets), np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # label sets with fewer rows than folds are no news
        for fold, (_, held_out) in enumerate(splitter.split(label_set, label_set, groups)):
            fold_of_row[held_out] = fold
    return fold_of_row


def read_groups(groups: str | None, ids: np.ndarray) -> np.ndarray | None:
    """Return the group of every row, int64 [n], or None if there are no groups.

    Args:
        groups: None; `"neighbours-<n>"` for ranges of n neighbouring ids, where ids are numbers: cells of one specimen
            have neighbouring ids, so a split by ranges keeps most specimens on one side; or a CSV with the columns `Id`
            and `group`, such as `hpa.duplicates` writes: rows that it does not name are groups of their own.
        ids: str array [n].

    Raises:
        BadInput: if ids are not numbers where ranges are asked for, or the file cannot be read or names an id twice.
    """
    if groups is None:
        return None
    span = groups.removeprefix("neighbours-")
    if span != groups:
        unsound = [identifier for identifier in ids.tolist() if not identifier.isdecimal()]
        refuse(f"--groups {groups}", [f"id {each} is not a number, so it has no neighbours" for each in unsound])
        if not span.isdecimal() or not int(span):
            raise BadInput(f"--groups {groups}: expected neighbours-<how many ids a range has>, as in neighbours-300")
        return np.array([int(identifier) // int(span) for identifier in ids.tolist()])
    frame = read_columns(Path(groups), ["Id", "group"])
    repeated = frame["Id"][frame["Id"].duplicated()]
    refuse(groups, [f"line {row + 2}: id {each} is here twice; keep one of them" for row, each in repeated.items()])
    group_of_row = pd.factorize(frame.set_index("Id")["group"].reindex(ids))[0].astype(np.int64)  # -1 for an id without
    alone = group_of_row < 0
    group_of_row[alone] = group_of_row.max() + 1 + np.arange(np.count_nonzero(alone))
    return group_of_row


def share_table(targets: np.ndarray, fold_of_row: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Count the rows of each class in each fold.

    Args:
        targets: uint8 array [n, classes].
        fold_of_row: int array [n].
        classes: class names.

    Returns:
        A frame with a row for each class and the columns `fold 0`, `fold 1`, ..., `ideal` (the class's rows divided by
        the number of folds) and `worst deviation` (rows by which the fold furthest from it differs).
    """
    folds = int(fold_of_row.max()) + 1
    counts = np.stack([targets[fold_of_row == fold].sum(axis=0, dtype=np.int64) for fold in range(folds)], axis=1)
    ideal = counts.mean(axis=1)
    table = pd.DataFrame(counts, index=list(classes), columns=[f"fold {fold}" for fold in range(folds)])
    return table.assign(ideal=ideal, **{"worst deviation": np.abs(counts - ideal[:, None]).max(axis=1)})


def write_split(path: Path, ids: np.ndarray, fold_of_row: np.ndarray) -> None:
    """Write a CSV with the columns `Id` and `fold`, whole or not at all."""
    with written_whole(path) as temporary:
        pd.DataFrame({"Id": ids, "fold": fold_of_row}).to_csv(temporary, index=False, lineterminator="\n")


def read_split(path: Path, ids: np.ndarray) -> np.ndarray:
    """Read what `write_split` wrote; the rows may stand in any order.

    Returns:
        int64 array [n], the fold of each of `ids`.

    Raises:
        BadInput: naming every row whose id is repeated or whose fold is not a whole number, and the first of the ids
            that only the file or only the table has.
    """
    frame = read_columns(path, ["Id", "fold"])
    repeated = frame["Id"].duplicated()
    unsound = ~frame["fold"].str.fullmatch("[0-9]{1,9}")
    faults = [f"line {row + 2}: id {frame['Id'][row]} is here twice; keep one of them" for row in np.flatnonzero(repeated)]
    faults += [f"line {row + 2}: fold '{fold}' is not a whole number from 0" for row, fold in frame["fold"][unsound].items()]
    mend = "the run was made on another table; name the --data it was trained on, or make a new run"
    faults += [f"{each}; {mend}" for each in id_differences(frame["Id"].unique(), ids, "the table")]
    refuse(path, faults)
    return frame.set_index("Id")["fold"].loc[ids].astype(np.int64).to_numpy()


def _sets_kept_from_fold_0(label_sets: np.ndarray, rows: np.ndarray, folds: int) -> np.ndarray:
    """Return bool [sets]: those with a class of a single row, short of what would leave fold 0 empty."""
    single = (label_sets[:, rows @ label_sets == 1] == 1).any(axis=1)
    return single & (np.cumsum(single) <= rows.sum() - rows.sum() // folds)


def _deal(left_over: np.ndarray, trained: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """Give each label set's `left_over` rows (int [sets]) to as many of the folds that are smallest so far.

    Sets that are `trained` (bool [sets]) come first and go past fold 0, so that the others can make up for it.

    Returns:
        bool array [sets, folds], true where the fold gets one row more than its whole part.
    """
    extra = np.zeros((len(left_over), folds), bool)
    size = np.zeros(folds, np.int64)
    order = generator.permutation(len(left_over))
    for label_set in order[np.argsort(~trained[order], kind="stable")]:
        smallest = np.lexsort((generator.random(folds), size))
        if trained[label_set]:
            smallest = smallest[smallest != 0]
        chosen = smallest[: left_over[label_set]]
        extra[label_set, chosen] = True
        size[chosen] += 1
    return extra


def _balance(extra: np.ndarray, label_sets: np.ndarray, trained: np.ndarray, rows: int) -> None:
    """Move rows in `extra` between folds until no move of one or two label sets between two folds evens them out more.

    What is lowered is the sum, over classes and folds, of the squared deviation from the ideal count. For two folds that
    is |d|^2 / 2 and a constant, where d is the difference of their counts: flipping a set that only one of them has, of
    signed counts x, lowers |d|^2 by 4 (d.x - x.x), and flipping y as well by 4 (d.y - y.y - 2 x.y) more. The fold size
    counts like a class, with a weight that no gain in the others can outdo.
    """
    size_weight = isqrt(2 * rows * label_sets.shape[1]) + 1
    counted = np.column_stack([label_sets, np.full(len(label_sets), size_weight)]).astype(float)
    improved = True
    while improved:
        improved = False
        for one, other in combinations(range(extra.shape[1]), 2):
            sign = extra[:, one].astype(float) - extra[:, other]
            movable = np.flatnonzero((sign != 0) & ~(trained & (one == 0)))
            difference = sign @ counted
            signed = sign[movable, None] * counted[movable]
            square = (signed**2).sum(axis=1)
            while len(movable):
                gain = signed @ difference - square
                best = np.argsort(-gain, kind="stable")[:CANDIDATES]
                gain_of_pair = gain[best, None] + gain[best] - 2 * signed[best] @ signed[best].T
                np.fill_diagonal(gain_of_pair, gain[best])
                pair = np.unravel_index(gain_of_pair.argmax(), gain_of_pair.shape)
                if gain_of_pair[pair] < 1:  # gains are whole numbers
                    break
                flipped = np.unique(best[list(pair)])
                difference -= 2 * signed[flipped].sum(axis=0)
                signed[flipped] *= -1
                extra[np.ix_(movable[flipped], [one, other])] ^= True
                improved = True
