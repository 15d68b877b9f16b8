"""Stratified folds of a multi-label table: every class, every label set and the rows themselves are distributed evenly.

Rows with the same labels are interchangeable, so label sets are distributed (Sechidis, Tsoumakas and Vlahavas, "On the
Stratification of Multi-Label Data", ECML PKDD 2011). Each fold gets the whole part of its share of every label set. The
remaining rows are dealt at random. Then they are moved between folds, one or two label sets at a time, while that lowers
the squared deviation of the class counts from their ideal share. Groups of rows are distributed in the same way: those with
the same number of rows of every class are interchangeable.

Measured with five folds (docs/pages/results.md): of the competition's 31,072 rows each class is within 0.8 rows of its ideal
share and fold sizes differ by one; iterative-stratification has folds up to 49 rows uneven. Of 74,606 rows in whole
antibodies each class is within 3.6 rows; scikit-learn's StratifiedGroupKFold is 44 rows off and leaves a class out of one.
"""

from itertools import combinations
from math import isqrt

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hpa.errors import BadInput

DEALS = 10  # the first deal is enough for large tables; a few of some dozen rows need up to five
CANDIDATES = 200  # label sets whose pairs are tried together
TOLERANCE = 1e-6  # a smaller gain may be one of rounding, and could be made again and again


def stratified_folds(targets: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Distribute the rows of a table over `folds` folds; holding one fold out gives a train/validation split.

    Without groups it is guaranteed that each fold has the rounded share of every label set and of all rows, and of every
    class if no row has two. A class with a single row is never in fold 0, so a run on fold 0 learns it. (If such rows are
    too many for both, fold 0 is smaller, but never empty.) On tables of real size each class has its rounded share, too.

    With groups, those with the same number of rows of every class are distributed evenly; fold sizes count like one more
    class. The search minimises chi-square, so that a rare class is in every fold if it has groups enough.

    Targets are uint8 [n, classes] of 0 and 1, and `groups` integers [n], the group of every row, all of whose rows go to one
    fold; None for single rows. The same table and seed give the same folds. Returns int64 [n], the fold of every row.

    Raises:
        BadInput: if there are fewer than two folds, fewer rows or groups than folds, or the seed is negative.
    """
    if folds < 2:
        raise BadInput(f"a split needs at least 2 folds, found {folds}")
    if seed < 0:
        raise BadInput(f"the seed of a split must be at least 0, found {seed}")
    counted = np.column_stack([targets, np.ones(len(targets), np.uint8)]).astype(np.int64)  # the last counts rows
    unit_of_row = np.arange(len(targets))
    if groups is not None:
        unit_of_row = np.unique(groups, return_inverse=True)[1]
        counted = pd.DataFrame(counted).groupby(unit_of_row).sum().to_numpy()
    if len(counted) < folds:
        what = "rows" if groups is None else "groups"
        raise BadInput(f"{len(counted)} {what} cannot fill {folds} folds; ask for fewer folds")
    with threadpool_limits(1, "blas"):  # the matrices are so small that threads only wait for each other: 10 times as long
        return _unit_folds(counted, folds, np.random.default_rng(seed))[unit_of_row]


def _unit_folds(counted: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """Return the fold of each unit, a row or a group of rows: int64 [units].

    `counted`, int64 [units, classes + 1], says how many rows of each class a unit has, and how many in all.
    """
    kinds, kind_of_unit, units = np.unique(counted, axis=0, return_inverse=True, return_counts=True)
    trained = _kinds_kept_from_fold_0(kinds, units, folds)
    ideal = units @ kinds / folds
    deals = DEALS
    if counted[:, -1].max() == 1:  # single rows: even fold sizes come before any gain in classes
        weights = np.ones(kinds.shape[1])
        weights[-1] = isqrt(2 * len(counted) * (kinds.shape[1] - 1)) + 1
    else:  # Pearson's chi-square, in which a fold without a row of a rare class weighs more than small gains in common ones
        weights = 1 / np.sqrt(np.maximum(ideal, 1))
        deals = min(DEALS, max(2, DEALS * 20**2 // folds**2))  # a deal takes as long as there are pairs of folds
    smallest = np.inf
    for _ in range(deals):
        extra = _deal(units % folds, kinds[:, -1], trained, folds, generator)
        _balance(extra, kinds * weights, trained)
        shares = units[:, None] // folds + extra  # [kinds, folds]
        deviation = (np.abs(shares.T @ kinds - ideal) * weights)[:, :-1].max()
        if deviation < smallest:
            smallest, best = deviation, shares
        if smallest < 1:
            break
    shuffled = generator.permutation(len(counted))
    units_by_kind = shuffled[np.argsort(kind_of_unit[shuffled], kind="stable")]
    fold_of_unit = np.empty(len(counted), np.int64)
    fold_of_unit[units_by_kind] = np.repeat(np.tile(np.arange(folds), len(kinds)), best.ravel())
    return fold_of_unit


def _kinds_kept_from_fold_0(kinds: np.ndarray, units: np.ndarray, folds: int) -> np.ndarray:
    """Return bool [kinds]: those with a class that no other unit has, as long as fold 0 does not become empty."""
    single = (kinds[:, units @ (kinds > 0) == 1] > 0).any(axis=1)
    rows = units * kinds[:, -1]
    return single & (np.cumsum(rows * single) <= rows.sum() - rows.sum() // folds)


def _deal(
    left_over: np.ndarray, sizes: np.ndarray, trained: np.ndarray, folds: int, generator: np.random.Generator
) -> np.ndarray:
    """Give each kind's `left_over` units (int [kinds]), of `sizes` rows, to as many of the folds that are smallest so far.

    Kinds that are `trained` (bool [kinds]) come first and go past fold 0, so that the others can make up for it. Returns
    bool [kinds, folds], true where the fold gets one unit more than its whole part.
    """
    extra = np.zeros((len(left_over), folds), bool)
    size = np.zeros(folds, np.int64)
    order = generator.permutation(len(left_over))
    for kind in order[np.argsort(~trained[order], kind="stable")]:
        smallest = np.lexsort((generator.random(folds), size))
        if trained[kind]:
            smallest = smallest[smallest != 0]
        chosen = smallest[: left_over[kind]]
        extra[kind, chosen] = True
        size[chosen] += sizes[kind]
    return extra


def _balance(extra: np.ndarray, counted: np.ndarray, trained: np.ndarray) -> None:
    """Move units in `extra` between folds until no move of one or two kinds between two folds evens them out more.

    What is lowered is the sum, over the columns of `counted` and the folds, of the squared deviation from the ideal. For two
    folds that is |d|^2 / 2 and a constant, where d is the difference of their counts: flipping a kind that only one of them
    has, of signed counts x, lowers |d|^2 by 4 (d.x - x.x), and flipping y as well by 4 (d.y - y.y - 2 x.y) more. Two folds
    are tried again only if one of them has changed since.
    """
    folds = extra.shape[1]
    changes, tried = np.zeros(folds, np.int64), np.full((folds, folds), -1)  # moves, of two folds when last tried
    improved = True
    while improved:
        improved = False
        for one, other in combinations(range(folds), 2):
            if changes[one] + changes[other] == tried[one, other]:
                continue
            sign = extra[:, one].astype(float) - extra[:, other]
            movable = np.flatnonzero((sign != 0) & ~(trained & (one == 0)))
            difference = sign @ counted
            signed = sign[movable, None] * counted[movable]
            square = (signed**2).sum(axis=1)
            while len(movable):
                gain = signed @ difference - square
                best = np.argsort(-gain, kind="stable")[:CANDIDATES]
                own, own_gain = signed[best], gain[best]
                gain_of_pair = own_gain[:, None] + own_gain
                gain_of_pair -= 2 * own @ own.T
                gain_of_pair.ravel()[:: len(best) + 1] = own_gain  # the diagonal: one kind alone
                pair = np.unravel_index(gain_of_pair.argmax(), gain_of_pair.shape)
                if gain_of_pair[pair] < TOLERANCE:
                    break
                flipped = best[list({*pair})]
                difference -= 2 * signed[flipped].sum(axis=0)
                signed[flipped] *= -1
                extra[movable[flipped, None], [one, other]] ^= True
                changes[[one, other]] += 1
                improved = True
            tried[one, other] = changes[one] + changes[other]
