"""Compare rules on rows that they have not seen: tables of cross-validated macro F1 with bootstrap intervals.

The validation rows are distributed over folds. A rule searches thresholds or weights on all folds but one and predicts that
one; the macro F1 is that of all rows predicted in this way. Next to it is the resubstituted macro F1, which is too good:
that of the rows that the rule searched on.

The intervals are basic bootstrap intervals (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section
5.2) of 95 %. Every rule gets the same resampled rows, so a gain is much surer than a score. A resample lacks some positives
of rare classes, so its score is too low; the basic interval corrects this, the percentile interval does not. If most
classes have only a handful of positives, it is still too narrow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa.data.stratify import stratified_folds
from hpa.errors import BadInput
from hpa.files import written_whole
from hpa.scoring.blend import member_f1
from hpa.scoring.members import Members
from hpa.scoring.metrics import macro_f1, resampled_macro_f1
from hpa.scoring.rules import WEIGHTS
from hpa.scoring.thresholds import Rule, find_thresholds, predict_classes
from hpa.scoring.weights import blend, is_above, member_weights, require_above

FOLDS = 5
RESAMPLES = 1000
Found = Iterator[tuple[np.ndarray, np.ndarray]]  # the weights [members] and thresholds [classes] of one method after another


def compare_thresholds(
    targets: np.ndarray, probabilities: np.ndarray, rules: Mapping[str, Rule], against: str, seed: int
) -> pd.DataFrame:
    """Compare threshold rules.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        probabilities: float32 array [n, classes].
        rules: rules of `find_thresholds` by name.
        against: the name of the rule that the others are compared with.
        seed: seed of the folds and of the resampled rows.

    Returns:
        A frame with a row for each rule, its name as index, and the columns `cross_validated`, `low`, `high` (the macro
        F1 and its interval), `gain`, `gain_low`, `gain_high` (the same for the difference to `against`), `resubstituted`.

    Raises:
        BadInput: if n is less than 2.
    """

    def find(targets: np.ndarray, validation: Sequence[np.ndarray]) -> Found:
        return ((np.ones(1), find_thresholds(rule, targets, validation[0])) for rule in rules.values())

    return _table(pd.Index(rules, name="thresholds"), find, targets, [probabilities], against, seed)


def compare_weights(members: Members, shift: float, threshold: Rule, seed: int) -> pd.DataFrame:
    """Compare the rules of `member_weights`, and the best single member, with equal weights; as `compare_thresholds`.

    The rule `"shifted"` has no row if no member's F1 is above the shift.
    """
    f1_of_members = member_f1(members.targets, members.validation, threshold)
    rules = ["best member", *(rule for rule in WEIGHTS if rule != "shifted" or is_above(shift, f1_of_members))]

    def find(targets: np.ndarray, validation: Sequence[np.ndarray]) -> Found:
        f1 = member_f1(targets, validation, threshold)
        for rule in rules:
            # With a large shift only the best member has a weight.
            how, by = ("shifted", np.inf) if rule == "best member" else (rule, shift)
            weights = member_weights(how, f1, by, targets, validation, threshold)
            yield weights, find_thresholds(threshold, targets, blend(validation, weights))

    return _table(pd.Index(rules, name="weights"), find, members.targets, members.validation, "equal", seed)


def sweep_shifts(members: Members, shifts: Sequence[float], threshold: Rule, seed: int) -> pd.DataFrame:
    """Blend the members with shifted weights for each of several shifts.

    Returns:
        A frame like that of `compare_thresholds`, with the shift as index and without gains. Its further columns are
        `members`, how many have a weight, and `changed`, how many labels of the test set differ from those at the shift
        before (NaN for the first shift, and without a test set). A shift has no row if no member's F1 is above it.

    Raises:
        BadInput: if no shift has a row, or if there are fewer than 2 validation rows.
    """
    _require_rows(members.targets)
    f1 = member_f1(members.targets, members.validation, threshold)
    require_above(min(shifts), f1, members.names)
    shifts = [shift for shift in shifts if shift < f1.max()]

    def find(targets: np.ndarray, validation: Sequence[np.ndarray]) -> Found:
        f1 = member_f1(targets, validation, threshold)
        for shift in shifts:
            weights = member_weights("shifted", f1, shift, targets, validation, threshold)
            yield weights, find_thresholds(threshold, targets, blend(validation, weights))

    table = _table(pd.Index(shifts, name="shift"), find, members.targets, members.validation, None, seed)
    kept = [np.count_nonzero(f1 > shift) for shift in shifts]
    if not members.test:
        return table.assign(members=kept, changed=np.nan)
    found = find(members.targets, members.validation)
    predicted = [predict_classes(blend(members.test, weights), thresholds)[0] for weights, thresholds in found]
    changed = [np.nan, *(np.count_nonzero(one != other) for one, other in pairwise(predicted))]
    return table.assign(members=kept, changed=changed)


def write_table(path: Path, table: pd.DataFrame) -> str:
    """Write a table of this module as a CSV, whole or not at all, and return it as text for the screen."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, float_format="%.6g", lineterminator="\n")
    return table.rename_axis(index=None, columns=table.index.name).to_string(
        float_format="{:.4f}".format, formatters={"changed": "{:.0f}".format}, na_rep="-"
    )


def _table(
    index: pd.Index,
    find: Callable[[np.ndarray, Sequence[np.ndarray]], Found],
    targets: np.ndarray,
    validation: Sequence[np.ndarray],
    against: str | None,
    seed: int,
) -> pd.DataFrame:
    """Return the frame that `compare_thresholds` describes, without gains if `against` is None.

    Args:
        index: a name for each of the methods that `find` tries.
        find: takes targets and the members' probabilities, returns the weights and the thresholds of each method.
        targets: uint8 array [n, classes].
        validation: the members' probabilities, float32 [n, classes].
        against: as for `compare_thresholds`, like the seed.
        seed: see there.
    """

    def predictions(found: Found, rows: np.ndarray | slice) -> Iterator[np.ndarray]:
        own = [each[rows] for each in validation]
        return (predict_classes(blend(own, weights), thresholds)[0] for weights, thresholds in found)

    _require_rows(targets)
    fold_of_row = stratified_folds(targets, min(FOLDS, len(targets)), seed)
    predicted = np.empty((len(index), *targets.shape), bool)
    for fold in tqdm(range(fold_of_row.max() + 1), desc="cross-validating", unit="fold", leave=False, disable=None):
        held_out = fold_of_row == fold
        found = find(targets[~held_out], [own[~held_out] for own in validation])
        for method, own in enumerate(predictions(found, held_out)):
            predicted[method, held_out] = own
    resampled = resampled_macro_f1(targets, predicted, RESAMPLES, np.random.default_rng(seed))
    scores = np.array([macro_f1(targets, own) for own in predicted])
    columns = {"cross_validated": scores} | _interval("", scores, resampled, 0)
    if against is not None:
        reference = index.get_loc(against)
        columns["gain"] = scores - scores[reference]
        columns |= _interval("gain_", columns["gain"], resampled - resampled[reference], -1)
    resubstituted = predictions(find(targets, validation), slice(None))
    columns["resubstituted"] = np.array([macro_f1(targets, own) for own in resubstituted])
    return pd.DataFrame(columns, index=index)


def _require_rows(targets: np.ndarray) -> None:
    if len(targets) < 2:
        raise BadInput(f"validation.npz: {len(targets)} validation row; a comparison needs at least 2")


def _interval(name: str, scores: np.ndarray, resampled: np.ndarray, least: float) -> dict[str, np.ndarray]:
    """Return the basic 95 % interval of scores [methods] from those of the `resampled` rows, [methods, resamples].

    It is clipped to `least` and 1, the bounds of the scores.
    """
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    return {f"{name}low": np.clip(2 * scores - high, least, 1), f"{name}high": np.clip(2 * scores - low, least, 1)}
