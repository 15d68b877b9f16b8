"""The rules that find thresholds are compared for some runs, and the thresholds of one are saved next to their models."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

from hpa.errors import BadInput
from hpa.files import require_output
from hpa.scoring.comparison import compare_thresholds, write_table
from hpa.scoring.members import read_members
from hpa.scoring.rules import THRESHOLDS
from hpa.scoring.saved_thresholds import NAME, read_shares, write_thresholds
from hpa.scoring.thresholds import Rule, find_thresholds
from hpa.scoring.weights import blend


def choose_thresholds(folders: Sequence[Path], rule: str | float, shares: Path | None = None, seed: int = 0) -> str:
    """Compare all rules on rows that they have not seen, and save the thresholds of one for the mean of some runs.

    Each run folder gets `thresholds.json`, which later predictions use, and the comparison as `thresholds.csv`.

    Args:
        folders: the run folders.
        rule: what is saved: one of `THRESHOLDS`, a number between 0 and 1, or `"best"` for the best of the comparison.
        shares: a file of the share of the samples that has each class, see `read_shares`; None for those of the validation
            rows.
        seed: of the folds and the resampled rows of the comparison.

    Returns:
        The comparison and what was saved, for people.

    Raises:
        BadInput: if the runs are single-label, do not fit each other, or the file of shares is faulty.
    """
    if shares:
        for folder in folders:
            require_output(folder / "thresholds.csv", [shares], "the table")
    members = read_members(folders, None)
    if members.kind.exclusive:
        raise BadInput(f"{folders[0]}: a sample has one label here, its strongest class; there are no thresholds to choose")
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
