"""Compare rules on rows that they have not seen: tables of cross-validated macro F1 with bootstrap intervals.

The validation rows are distributed over folds. A rule searches thresholds or weights on all folds but one and predicts that
one; the macro F1 is that of all rows predicted in this way. Next to it is the resubstituted macro F1, which is too good:
that of the rows that the rule searched on.

The intervals are basic bootstrap intervals (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section
5.2) of 95 %. All rules get the same resampled rows, so the interval of a gain is much narrower than that of a score. A
resample lacks some positives of rare classes, so its score is too low; the basic interval corrects this, the percentile
interval does not. If most classes have few positives, it is still too narrow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa.data.stratify import stratified_folds
from hpa.errors import BadInput
from hpa.files import require_output, write_csv
from hpa.scoring.blend import member_f1
from hpa.scoring.members import Members, read_members
from hpa.scoring.metrics import macro_f1, resampled_macro_f1
from hpa.scoring.rules import THRESHOLDS, WEIGHTS
from hpa.scoring.saved_thresholds import NAME, read_shares, write_thresholds
from hpa.scoring.thresholds import Rule, find_thresholds, predict_classes
from hpa.scoring.weights import blend, is_above, member_weights, require_above

FOLDS = 5
RESAMPLES = 1000
Found = Iterator[tuple[np.ndarray, np.ndarray]]  # the weights [members] and thresholds [classes] of one method after another
Find = Callable[[np.ndarray, Sequence[np.ndarray]], Found]  # from targets and the members' probabilities


def compare_thresholds(
    targets: np.ndarray, probabilities: np.ndarray, rules: Mapping[str, Rule], against: str, seed: int
) -> pd.DataFrame:
    """Compare threshold rules, by their names, with the one named `against`.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        probabilities: float32 array [n, classes].
        rules: rules of `find_thresholds`.
        against: the name of one of them.
        seed: of the folds and of the resampled rows.

    Returns:
        A frame with a row for each rule, its name as index, and the columns `cross_validated`, `low`, `high` (the macro
        F1 and its interval), `gain`, `gain_low`, `gain_high` (the same for the difference to `against`), `resubstituted`.

    Raises:
        BadInput: if n is less than 2.
    """

    def find(targets: np.ndarray, validation: Sequence[np.ndarray]) -> Found:
        return ((np.ones(1), find_thresholds(rule, targets, validation[0])) for rule in rules.values())

    return _table(pd.Index(rules, name="thresholds"), find, targets, [probabilities], against, seed)


def choose_thresholds(folders: Sequence[Path], rule: str | float, shares: Path | None = None, seed: int = 0) -> str:
    """Compare all threshold rules on rows that they have not seen, save the thresholds of one, and return a report.

    The thresholds are for the mean of some runs. Each run folder gets `thresholds.json`, which later predictions use, and
    the comparison as `thresholds.csv`.

    Args:
        folders: the run folders.
        rule: what is saved: one of `THRESHOLDS`, a number between 0 and 1, or `"best"` for the best of the comparison.
        shares: a file for `read_shares`, for the rule `"class-share"`; None for the shares of the validation rows.
        seed: of the folds and the resampled rows of the comparison.

    Raises:
        BadInput: if the runs are single-label, do not fit each other, or the file of shares is faulty.
    """
    if shares:
        for folder in folders:
            require_output(folder / "thresholds.csv", [shares], "the table")
    members = read_members(folders, None)
    if members.kind.exclusive:
        raise BadInput(f"{folders[0]}: a sample has one label here: the most probable class is predicted, no thresholds")
    probabilities = blend(members.validation)
    rules: dict[str, Rule] = {"0.5": 0.5, **{name: name for name in THRESHOLDS}}
    if shares:
        rules["class-share"] = read_shares(shares, members.classes)
    if isinstance(rule, float):
        rules = {f"{rule:g}": rule} | rules
    table = compare_thresholds(members.targets, probabilities, rules, "global", seed)
    named = rule if isinstance(rule, str) else f"{rule:g}"
    chosen = str(table["cross_validated"].idxmax()) if rule == "best" else named
    thresholds = find_thresholds(rules[chosen], members.targets, probabilities)
    scores = {"validation_rows": len(members.targets), **table.loc[chosen].to_dict()}
    write_thresholds(folders, rules[chosen], members.classes, thresholds, scores)
    [text, *_] = [write_table(folder / "thresholds.csv", table) for folder in folders]
    lines = [
        f"{text}\n",
        f"macro F1 on {len(members.targets)} validation rows, low to high: 95 % interval; gain: over global",
    ]
    if rule == "best" and chosen != "global" and scores["gain_low"] <= 0:
        why = f"its interval begins at {scores['gain_low']:+.4f}"
        lines.append(f"{chosen} is best in the table, but its gain over global may be chance: {why}")
    absent = list(compress(members.classes, members.targets.sum(axis=0) == 0))
    if absent:
        lines.append(f"no validation row has {', '.join(absent)}; per-class and class-share give it the global threshold")
    return "\n".join([*lines, f"saved {chosen}: {', '.join(str(folder / NAME) for folder in folders)}"])


def compare_weights(members: Members, shift: float, threshold: Rule, seed: int) -> pd.DataFrame:
    """Compare the rules of `member_weights`, and the best single member, with equal weights; as `compare_thresholds`.

    The rule `"shifted"` has no row if no member's F1 is above the shift.
    """
    f1 = member_f1(members.targets, members.validation, threshold)
    rules = [rule for rule in WEIGHTS if rule != "shifted" or is_above(shift, f1)]
    # With a large shift only the best member has a weight.
    find = _weighting([("shifted", np.inf), *((rule, shift) for rule in rules)], threshold)
    index = pd.Index(["best member", *rules], name="weights")
    return _table(index, find, members.targets, members.validation, "equal", seed)


def sweep_shifts(members: Members, shifts: Sequence[float], threshold: Rule, seed: int) -> pd.DataFrame:
    """Blend the members with shifted weights for each of several shifts.

    Returns:
        A frame like that of `compare_thresholds`, with the shift as index and without gains. Its further columns are
        `members`, how many have a weight, and `changed`, how many labels of the test set differ from those at the shift
        before (NaN for the first shift, and without a test set). A shift has no row if no member's F1 is above it.

    Raises:
        BadInput: if no shift has a row, or if there are fewer than 2 validation rows.
    """
    f1 = member_f1(members.targets, members.validation, threshold)
    if len(members.targets) > 1:  # else the table raises
        require_above(min(shifts), f1, members.names)
    shifts = [shift for shift in shifts if shift < f1.max()]
    find = _weighting([("shifted", shift) for shift in shifts], threshold)
    table = _table(pd.Index(shifts, name="shift"), find, members.targets, members.validation, None, seed)
    kept = [np.count_nonzero(f1 > shift) for shift in shifts]
    if not members.test:
        return table.assign(members=kept, changed=np.nan)
    found = find(members.targets, members.validation)
    predicted = [predict_classes(blend(members.test, weights), thresholds)[0] for weights, thresholds in found]
    changed = [np.nan, *(np.count_nonzero(one != other) for one, other in pairwise(predicted))]
    return table.assign(members=kept, changed=changed)


def _weighting(methods: Sequence[tuple[str, float]], threshold: Rule) -> Find:
    """Return what `_table` takes, for methods that are a rule of `member_weights` and its shift each."""

    def find(targets: np.ndarray, validation: Sequence[np.ndarray]) -> Found:
        f1 = member_f1(targets, validation, threshold)
        for rule, shift in methods:
            weights = member_weights(rule, f1, shift, targets, validation, threshold)
            yield weights, find_thresholds(threshold, targets, blend(validation, weights))

    return find


def write_table(path: Path, table: pd.DataFrame) -> str:
    """Write a table of this module as a CSV, whole or not at all, and return it as text for the screen."""
    write_csv(path, table, index=True, float_format="%.6g")
    return table.rename_axis(index=None, columns=table.index.name).to_string(
        float_format="{:.4f}".format, formatters={"changed": "{:.0f}".format}, na_rep="-"
    )


def _table(
    index: pd.Index, find: Find, targets: np.ndarray, validation: Sequence[np.ndarray], against: str | None, seed: int
) -> pd.DataFrame:
    """Return the frame that `compare_thresholds` describes, without gains if `against` is None.

    `find` takes targets and the members' probabilities; it returns weights and thresholds of each method in `index`.
    """

    def predictions(found: Found, rows: np.ndarray | slice) -> Iterator[np.ndarray]:
        own = [each[rows] for each in validation]
        return (predict_classes(blend(own, weights), thresholds)[0] for weights, thresholds in found)

    if len(targets) < 2:
        raise BadInput(f"validation.npz: {len(targets)} validation row; a comparison needs at least 2")
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


def _interval(name: str, scores: np.ndarray, resampled: np.ndarray, least: float) -> dict[str, np.ndarray]:
    """Return the basic 95 % interval of scores [methods], within `least` and 1, from `resampled` [methods, resamples]."""
    low, high = basic_interval(scores, resampled, least)
    return {f"{name}low": low, f"{name}high": high}


def basic_interval(scores: Any, resampled: np.ndarray, least: float = 0) -> tuple[Any, Any]:
    """Return the basic 95 % interval of scores [...], cut at `least` and 1, from `resampled` [..., resamples]."""
    low, high = np.quantile(resampled, [0.025, 0.975], axis=-1)
    return np.clip(2 * scores - high, least, 1), np.clip(2 * scores - low, least, 1)
